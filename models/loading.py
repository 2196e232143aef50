"""Load a model, our own or a released one, from a weights file or a checkpoint folder.

The metadata of our `.safetensors` files contains the `kind` and the `config` of the model. Released `.tar` and `.pth` files have no
such metadata; `models/upstream/released.py` recognises them by the names of their tensors.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.configs import built, checked_config, shown
from utils.checkpoint import RELEASED, find_weights, freeze, load_own_state, load_weights, read_metadata
from utils.errors import UserError

# kind → module, model class, config class; modules are imported on first use
KINDS = {
    "tokeniser": ("models.vqvae", "MotionTokeniser", "VQConfig"),
    "lamp": ("models.lamp", "LaMP", "LaMPConfig"),
    "masked": ("models.masked", "MaskedTransformer", "MaskedConfig"),
    "residual": ("models.residual", "ResidualTransformer", "ResidualConfig"),
    "length": ("models.length", "LengthPredictor", "LengthConfig"),
    "selector": ("models.selector", "Selector", "SelectorConfig"),
    "evaluator": ("models.evaluator", "Evaluator", "EvaluatorConfig"),
    "caption_gpt": ("models.caption", "CaptionGPT", "GPTConfig"),
    "words": ("models.caption", "CaptionGPT", "GPTConfig"),  # a GPT pretrained on captions without motions
    "caption_lm": ("models.caption_lm", "CaptionLM", "CaptionLMConfig"),
    "caption_opt": ("models.caption_opt", "CaptionOPT", "CaptionOPTConfig"),
}
LARGE = ("caption_opt",)  # two copies of such a model may not fit in memory, so the tensors of the file are not copied


def load_model(path: str | Path, tag: str | None = None, **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model in eval mode on the CPU; also returns the metadata of its file (kind, config, and others such as step).

    Args:
        path: a weights file, or a checkpoint folder `checkpoints/<dataset_name>/<name>`.
        tag: which weights of a folder to load, such as "latest"; default: the best weights (`net_best*`) or, if the folder has no
            best weights, the latest weights.
        overrides: values that replace config fields of the file. For released files, only fields that tensor shapes do not
            determine can be replaced, such as `dilation_growth_rate` and `vq_act`.

    Raises `UserError` for a file that is missing, damaged or of an unknown kind.
    """
    path = find_weights(path, tag)
    if path.suffix in RELEASED:
        from models.upstream.released import load_released

        return load_released(path, **overrides)
    state, metadata = load_weights(path)
    kind = metadata.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{path}: holds no known kind of model (kind {shown(kind)}); expected one of {', '.join(KINDS)}")
    if isinstance(config := metadata.get("config", {}), dict):
        metadata["config"] = config = {**config, **overrides}
    with torch.device("meta") if kind in LARGE else contextlib.nullcontext():
        model = build(kind, config, path, state)
    if "text" in metadata:  # a converted released model with its text encoder
        from models.upstream.lamp import text_condition

        model.text = text_condition(metadata["text"])
    load_own_state(model, state, path)
    if "text" in metadata:
        freeze(model.text)
    return model.eval(), metadata


class Loader:
    """Loads models onto a device and caches them by file, so that pipelines with the same loader share models."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.loaded: dict[Path, tuple[nn.Module, dict[str, Any]]] = {}

    def __call__(self, path: str | Path, tag: str | None = None, **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
        """Like `load_model`, but on the loader's device. `overrides` apply only when a file is loaded for the first time."""
        path = find_weights(path, tag)
        key = path.resolve()
        if key not in self.loaded:
            model, metadata = load_model(path, **overrides)
            self.loaded[key] = model.to(self.device), metadata
        return self.loaded[key]

    @property
    def files(self) -> list[Path]:
        """The files loaded so far."""
        return list(self.loaded)


def build(kind: str, config: dict[str, Any], source: str | Path, state: dict[str, torch.Tensor] | None = None) -> nn.Module:
    """Build a new model of a `kind`, such as "lamp", from its config. With `state`, the tensors of a file, the config is checked.

    Raises `UserError`, naming `source`, for unknown or unsuitable settings.
    """
    module, *names = KINDS[kind]
    model_class, config_class = (getattr(import_module(module), name) for name in names)
    if state is not None:
        return built(model_class, checked_config(config_class, config, state, source), source)
    try:
        return model_class(config_class(**config))
    except TypeError as error:
        problem = f"its config does not fit a {kind} model ({error})"
        raise UserError(f"{source}: {problem}; another version of the code wrote it") from error


def require_kind(metadata: dict[str, Any], source: object, *kinds: str, remedy: str) -> None:
    """Raise `UserError`, with `source` and `remedy` in its message, if the model's kind in the metadata is not one of `kinds`."""
    if metadata["kind"] not in kinds:
        raise UserError(f"{source}: holds a {metadata['kind']} model, but {' or '.join(kinds)} is needed; {remedy}")


def kind_of(path: Path) -> str | None:
    """The kind of model in a weights file, or None if the file does not state the kind.

    Raises `UserError` for a damaged file or an unknown released file.
    """
    if path.suffix in RELEASED:
        from models.upstream.released import read_released, recognise

        return recognise(path, read_released(path))[0].kind
    return read_metadata(path).get("kind")
