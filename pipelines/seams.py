"""Seams between windows that are generated one after the other: how much context a window sees, and smoothing around seams."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CONTEXT = 3  # tokens of the preceding motion that a window sees; with 5, the previous action continues too often
FADE = 8  # frames to either side of a seam that are smoothed or cross-faded
SMOOTHING = 1.5  # frames; standard deviation of the Gaussian
WINDOW = 2**32  # offset of the sample number from window to window: no two windows of any motions get the same random numbers


def nearness(frames: int, seams: Sequence[int]) -> Tensor:
    """Weights (frames,) that fall from 1 at a seam to 0 at a distance of `FADE` frames. `seams` are frame indices."""
    if not seams:
        return torch.zeros(frames)
    distance = torch.arange(frames)[:, None] + 0.5 - torch.tensor(seams)  # (frames, seams)
    return (1 - distance.abs().amin(1) / FADE).clamp(min=0)


def soften(features: Tensor, seams: Sequence[int]) -> Tensor:
    """Features (B, T, D) smoothed over time near the seams; a seam s lies between frames s − 1 and s."""
    T, radius = features.shape[1], round(4 * SMOOTHING)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.softmax(-0.5 * (offsets / SMOOTHING) ** 2, dim=0)  # a Gaussian that sums to 1
    frames = torch.arange(T, device=features.device)
    smooth = sum(tap * features[:, (frames + offset).clamp(0, T - 1)] for offset, tap in zip(offsets.tolist(), taps.tolist()))
    return torch.lerp(features, smooth, nearness(T, seams)[:, None].to(features))
