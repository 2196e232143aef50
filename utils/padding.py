"""Padding of sequences to a multiple of `UNIT`. Each shape needs its own CUDA graph; padding reduces the number of shapes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

UNIT = 8  # sequence lengths are padded to a multiple of this number
PADDING = {"codes": -1, "latents": 0, "ids": 0, "words": 0}  # sequences (B, S, …) of training batches → padding value


def to_units(tensor: Tensor, value: int = 0) -> Tensor:
    """Pad the dimension S of a tensor (B, S, …) with `value` to a multiple of `UNIT` (8). If S is 1, the tensor is unchanged."""
    missing = -tensor.shape[1] % UNIT if tensor.shape[1] > 1 else 0
    return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, missing), value=value) if missing else tensor


def batch_to_units(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pad the sequences in a training batch (codes, latents, ids, words) to a multiple of `UNIT` (8); lengths stay unchanged."""
    return {name: to_units(value, PADDING[name]) if name in PADDING else value for name, value in batch.items()}
