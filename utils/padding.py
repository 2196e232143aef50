"""Padding of sequences to whole units of length, so that few different shapes occur: a CUDA graph serves only one shape."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

UNIT = 8  # sequence lengths are padded to a multiple of this
PADDING = {"codes": -1, "latents": 0, "ids": 0, "words": 0}  # the sequences (B, S, …) of training batches, and their padding


def to_units(tensor: Tensor, value: int = 0) -> Tensor:
    """Pad the dimension S of a tensor (B, S, …) with `value` to a multiple of UNIT. If S is 1, return the tensor unchanged."""
    missing = -tensor.shape[1] % UNIT if tensor.shape[1] > 1 else 0
    return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, missing), value=value) if missing else tensor


def batch_to_units(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a training batch in which the sequences listed in `PADDING` are padded to whole units. Lengths are unchanged."""
    return {name: to_units(value, PADDING[name]) if name in PADDING else value for name, value in batch.items()}
