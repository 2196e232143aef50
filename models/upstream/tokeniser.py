"""Load released tokenisers as our `MotionTokeniser`: MoMask's RVQ-VAE, and LaMP's VQ-VAE with one codebook.

The tensor names of LaMP's tokeniser begin with `vqvae.`.
"""

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
    """Number of times the encoder of a released state dict halves the frame rate."""
    return sum(re.fullmatch(r"(?:vqvae\.)?encoder\.model\.\d+\.0\.weight", name) is not None for name in state)


def encoder_sizes(state: State) -> dict[str, Any]:
    """Fields of `VQConfig` from the shapes of an encoder's tensors, whose names begin with `encoder.`."""
    first, down_t = state["encoder.model.0.weight"], halvings(state)
    return {
        "dim": first.shape[1],
        "width": first.shape[0],
        "code_dim": state[f"encoder.model.{down_t + 2}.weight"].shape[0],
        "down_t": down_t,
        "depth": sum(re.fullmatch(r"encoder\.model\.2\.1\.model\.\d+\.conv1\.weight", name) is not None for name in state),
        "vq_norm": "LN" if any(".norm1." in name for name in state) else "none",
    }


def tokeniser_from(state: State, **overrides: Any) -> MotionTokeniser:
    """Build a tokeniser from a released state dict. `overrides`: `dilation_growth_rate` (default 3) and `vq_act` (default relu)."""
    down_t = halvings(state)
    state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    books = [value for name, value in sorted(state.items(), key=_layer) if CODEBOOK.fullmatch(name)]
    # If the codebook is shared, the file repeats it for every layer.
    shared = len(books) > 1 and all(torch.equal(book, books[0]) for book in books)
    sizes = encoder_sizes(state) | {"code_dim": books[0].shape[1]}
    config = VQConfig(**sizes, num_quantizers=len(books), nb_code=books[0].shape[0], shared_codebook=shared, **overrides)
    renamed = {tokeniser_name(name, down_t): value for name, value in state.items() if not CODEBOOK.fullmatch(name)}
    if len(renamed) + len(books) != len(state):
        raise KeyError("two tensors have the same name")
    for layer, book in enumerate(books[:1] if shared else books):
        renamed[f"quantizer.layers.{layer}.codebook"] = book
        # Released files do not store how often codes are used, so each code gets the count of a newly replaced code.
        renamed[f"quantizer.layers.{layer}.counts"] = torch.full((len(book),), Codebook.FRESH)
    model = MotionTokeniser(config)
    model.load_state_dict(renamed, strict=True)
    return model


def _layer(item: tuple[str, Tensor]) -> int:
    """Sort key of a (name, tensor) pair: the number of the quantiser in the name, so that layer 10 comes after layer 9."""
    match = CODEBOOK.fullmatch(item[0])
    return int(match[1] or 0) if match else -1


def tokeniser_name(name: str, down_t: int) -> str:
    """Our name for a tensor of a released encoder or decoder.

    The `model` of the encoder and of the decoder is a list of modules (-: a module without weights):

    encoder: first conv, -, `down_t` × (halving conv, blocks), last conv
    decoder: first conv, -, `down_t` × (blocks, -, smoothing conv), conv, -, last conv
    """
    part, _, index, *suffix = name.split(".")
    stage, suffix = int(index) - 2, ".".join(suffix)
    if stage == -2:
        return f"{part}.first.{suffix}"
    if stage >= down_t:
        return f"{part}.{'before_last' if part == 'decoder' and stage == down_t else 'last'}.{suffix}"
    suffix = suffix.split(".", 1)[1]
    if suffix.startswith("model."):
        return f"{part}.refine.{stage}.{suffix.removeprefix('model.')}"
    return f"{part}.{'halve' if part == 'encoder' else 'smooth'}.{stage}.{suffix}"
