"""Released tokenisers as our `MotionTokeniser`: LaMP's VQ-VAE of one codebook (names begin with `vqvae.`), MoMask's RVQ-VAE."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from models.quantize import Codebook
from models.vqvae import MotionTokeniser, VQConfig

State = dict[str, Tensor]

PREFIX = "vqvae."
CODEBOOK = re.compile(r"quantizer\.(?:layers\.(\d+)\.)?codebook")


def is_tokeniser(state: State) -> bool:
    """Whether a state dict is a released motion tokeniser."""
    return "encoder.model.0.weight" in state or f"{PREFIX}encoder.model.0.weight" in state


def halvings(state: State) -> int:
    """Number of times the encoder halves the frame rate."""
    return sum(re.fullmatch(r"(?:vqvae\.)?encoder\.model\.\d+\.0\.weight", name) is not None for name in state)


def tokeniser_from(state: State, **overrides: Any) -> MotionTokeniser:
    """A tokeniser from a released state dict. `overrides`: `dilation_growth_rate` (3) and `vq_act` (relu)."""
    down_t = halvings(state)
    state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    books = [value for name, value in sorted(state.items(), key=_layer) if CODEBOOK.fullmatch(name)]
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
        vq_norm="LN" if any(".norm1." in name for name in state) else "none",
        **overrides,
    )
    renamed = {_tokeniser_name(name, down_t): value for name, value in state.items() if not CODEBOOK.fullmatch(name)}
    if len(renamed) + len(books) != len(state):
        raise KeyError("two tensors for one place")
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
