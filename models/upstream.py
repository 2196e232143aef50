"""Released checkpoints of LaMP and MoMask (`.tar`, `.pth`) as our models.

A file is told by the names of its tensors; sizes come from their shapes, and what shapes cannot tell from `overrides` or, without
them, from the release's defaults. Each kind of file has one `Reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.quantize import Codebook
from models.upstream_transformers import length_from, masked_from, residual_from
from models.vqvae import MotionTokeniser, VQConfig
from utils.errors import UserError

State = dict[str, Tensor]


@dataclass(frozen=True)
class Reader:
    """One kind of released checkpoint."""

    kind: str
    keys: tuple[str, ...]  # where the file keeps its state dict
    knows: Callable[[State], bool]  # whether a state dict is of this kind
    build: Callable[..., nn.Module]  # (state, **overrides) → our model with its weights


def load_released(path: str | Path, *, dataset_name: str | None = None, **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A released model in eval mode on the CPU, and metadata (kind, config, source, dataset_name as given).

    Runs no code from the file. Raises `UserError` for a file that is missing, damaged, of an unknown kind, or does not fit.
    """
    checkpoint = read_released(path)
    for reader in READERS:
        for key in reader.keys:
            state = checkpoint.get(key)
            if _is_state(state) and reader.knows(state):
                model = _fitting(path, reader, state, overrides)
                metadata = {"kind": reader.kind, "config": asdict(model.config), "source": str(path), "dataset_name": dataset_name}
                return model.eval(), metadata
    known = ", ".join(sorted({reader.kind for reader in READERS}))
    raise UserError(f"{path}: holds {', '.join(map(str, checkpoint)) or 'nothing'}, no released model known here ({known})")


def read_released(path: str | Path) -> dict[str, Any]:
    """The top level of a released checkpoint file, tensors on the CPU. Raises `UserError` if it cannot be read."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; download it, or check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle or zip can raise nearly anything
        raise UserError(f"{path}: not a readable checkpoint ({type(error).__name__}); download it again") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights; download a released checkpoint")
    return checkpoint


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and bool(state) and all(isinstance(value, Tensor) for value in state.values())


def _fitting(path: str | Path, reader: Reader, state: State, overrides: dict[str, Any]) -> nn.Module:
    try:
        return reader.build(state, **overrides)
    except (KeyError, IndexError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: looks like a released {reader.kind} but does not fit ({reason}); download it again") from error


# Tokenisers: LaMP's single-codebook VQ-VAE (names begin with `vqvae.`) and MoMask's RVQ-VAE

PREFIX = "vqvae."
CODEBOOK = re.compile(r"quantizer\.(?:layers\.(\d+)\.)?codebook")


def tokeniser_from(state: State, **overrides: Any) -> MotionTokeniser:
    """A tokeniser from a released state dict. `overrides`: `dilation_growth_rate` (3) and `vq_act` (relu)."""
    state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    books = [value for name, value in sorted(state.items(), key=_layer) if CODEBOOK.fullmatch(name)]
    down_t = sum(re.fullmatch(r"encoder\.model\.\d+\.0\.weight", name) is not None for name in state)
    # With a shared codebook every layer holds the same one.
    shared = len(books) > 1 and all(torch.equal(book, books[0]) for book in books)
    config = VQConfig(
        dim=state["encoder.model.0.weight"].shape[1],
        num_quantizers=len(books),
        nb_code=books[0].shape[0],
        code_dim=books[0].shape[1],
        down_t=down_t,
        width=state["encoder.model.0.weight"].shape[0],
        depth=sum(re.fullmatch(r"encoder\.model\.2\.1\.model\.\d+\.conv1\.weight", name) is not None for name in state),
        shared_codebook=shared,
        **overrides,
    )
    renamed = {_tokeniser_name(name, down_t): value for name, value in state.items() if not CODEBOOK.fullmatch(name)}
    for layer, book in enumerate(books[:1] if shared else books):
        renamed[f"quantizer.layers.{layer}.codebook"] = book
        # The release does not keep how often codes are chosen; as just placed, they train on.
        renamed[f"quantizer.layers.{layer}.counts"] = torch.full((len(book),), Codebook.FRESH)
    model = MotionTokeniser(config)
    model.load_state_dict(renamed, strict=True)
    return model


def _layer(item: tuple[str, Tensor]) -> int:
    """Orders quantiser layers by number, so that 10 comes after 9."""
    found = CODEBOOK.fullmatch(item[0])
    return int(found[1] or 0) if found else -1


def _tokeniser_name(name: str, down_t: int) -> str:
    """Our name for one tensor of a released encoder or decoder, whose `model` is a list:

    encoder: first conv, -, `down_t` × (halving conv, blocks), last conv
    decoder: first conv, -, `down_t` × (blocks, -, smoothing conv), conv, -, last conv
    """
    half, _, place, *rest = name.split(".")
    stage, rest = int(place) - 2, ".".join(rest)
    if stage == -2:
        return f"{half}.first.{rest}"
    if stage >= down_t:
        return f"{half}.{'before_last' if half == 'decoder' and stage == down_t else 'last'}.{rest}"
    rest = rest.split(".", 1)[1]
    if rest.startswith("model."):
        return f"{half}.refine.{stage}.{rest.removeprefix('model.')}"
    return f"{half}.{'halve' if half == 'encoder' else 'smooth'}.{stage}.{rest}"


READERS = (
    Reader(
        kind="tokeniser",
        keys=("vq_model", "net"),
        knows=lambda state: any(name.removeprefix(PREFIX) == "encoder.model.0.weight" for name in state),
        build=tokeniser_from,
    ),
    Reader(
        kind="masked",
        keys=("t2m_transformer",),
        knows=lambda state: "token_emb.weight" in state and not any(name.startswith("Qformer.") for name in state),  # LaMP's has
        build=masked_from,
    ),
    Reader("residual", ("res_transformer",), lambda state: "quant_emb.weight" in state, residual_from),
    Reader("length", ("estimator",), lambda state: "output.0.weight" in state, length_from),
)
