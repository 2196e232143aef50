"""One way to load any model: from a weights file or a checkpoint folder, ours or a released one.

Our `.safetensors` say in their metadata what they hold (`kind`, `config`). Released `.tar` and `.pth` files are told by their
tensors, in `models/upstream.py`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from utils.checkpoint import RELEASED, find_weights, load_own_state, load_weights
from utils.errors import UserError

# kind → module, model, config; imported when first met
KINDS = {
    "tokeniser": ("models.vqvae", "MotionTokeniser", "VQConfig"),
    "masked": ("models.masked", "MaskedTransformer", "MaskedConfig"),
    "residual": ("models.residual", "ResidualTransformer", "ResidualConfig"),
    "length": ("models.length", "LengthPredictor", "LengthConfig"),
}


def load_model(path: str | Path, tag: str | None = None, **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model in eval mode on the CPU, and the metadata of its file (kind, config, and for ours step, revision, …).

    Args:
        path: a weights file, or a checkpoint folder `checkpoints/<dataset_name>/<name>`.
        tag: which weights of a folder, such as "latest"; without it the best (`net_best*`), else the latest.
        overrides: config fields that win over the file's. For released files, what shapes cannot tell, such as
            `dilation_growth_rate` and `vq_act`.

    Raises `UserError` for a missing or damaged file, or one that holds no model known here.
    """
    path = find_weights(path, tag)
    if path.suffix in RELEASED:
        from models.upstream import load_released

        return load_released(path, **overrides)
    state, metadata = load_weights(path)
    kind = metadata.get("kind")
    if kind not in KINDS:
        raise UserError(f"{path}: holds no model known here (kind '{kind}'); expected one of {', '.join(KINDS)}")
    metadata["config"] = {**metadata.get("config", {}), **overrides}
    model = build(kind, metadata["config"], path)
    load_own_state(model, state, path)
    return model.eval(), metadata


def build(kind: str, config: dict[str, Any], source: str | Path) -> nn.Module:
    """A new model from its config. Raises `UserError`, naming `source`, for settings that it does not have."""
    path, model_class, config_class = KINDS[kind]
    module = import_module(path)
    try:
        config = getattr(module, config_class)(**config)
    except TypeError as error:
        raise UserError(f"{source}: its config does not fit a {kind} model ({error}); it comes from another version") from error
    return getattr(module, model_class)(config)
