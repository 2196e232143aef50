"""Seams between windows of tokens that are generated one after the other: how they connect, and how motion is smoothed there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CONTEXT = 3  # tokens of the motion so far that a window is given; with 5, the action before it goes on too often
FADE = 8  # frames to either side of a seam that are smoothed or cross-faded
SMOOTHING = 1.5  # frames; standard deviation of the Gaussian
WINDOW = 2**32  # between the sample numbers of a motion's windows, so that no two windows of any motions draw alike


def nearness(frames: int, seams: Sequence[int]) -> Tensor:
    """Weight of each frame (frames,) by its distance to a seam: 1 at a seam, 0 from `FADE` frames on."""
    if not seams:
        return torch.zeros(frames)
    distance = torch.arange(frames)[:, None] + 0.5 - torch.tensor(seams)  # (frames, seams)
    return (1 - distance.abs().amin(1) / FADE).clamp(min=0)


def soften(features: Tensor, seams: Sequence[int]) -> Tensor:
    """Features (B, T, D) smoothed along time near the seams; a seam s is between frames s − 1 and s."""
    T, radius = features.shape[1], round(4 * SMOOTHING)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.softmax(-0.5 * (offsets / SMOOTHING) ** 2, dim=0)  # a Gaussian that sums to 1
    frames = torch.arange(T, device=features.device)
    smooth = sum(tap * features[:, (frames + offset).clamp(0, T - 1)] for offset, tap in zip(offsets.tolist(), taps.tolist()))
    return torch.lerp(features, smooth, nearness(T, seams)[:, None].to(features))
