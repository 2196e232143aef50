"""Motion longer than the transformers see at once, in overlapping windows of tokens (MoMask section 3.5, in-painting, repeated).

A window's last tokens are wanted, the ones before them are given: the end of the motion so far. So several prompts become one
motion, each drawing the tokens of its own span. The tokens of all windows are decoded together by convolutions, of any length.
What is drawn may still change course faster than people do where one window takes over from another, so features are smoothed
over a few frames there.

Codes (B, L, Q) long, −1 where they are wanted. The transformers see at most `longest` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.text2motion import SamplingSettings, TextToMotion

CONTEXT = 5  # tokens of the motion so far that a window is given
FADE = 8  # frames to either side of a seam that are smoothed or cross-faded
SMOOTHING = 1.5  # frames; standard deviation of the Gaussian
WINDOW = 2**32  # between the sample numbers of a motion's windows, so that no two windows of any motions draw alike


class Window(NamedTuple):
    """What the transformers see at once: tokens start … stop − 1, and the text condition (1, C)."""

    start: int
    stop: int
    condition: Tensor


def pieces(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    """The span cut into as few pieces of at most `most` as it takes, all about as long."""
    count = -(-(stop - start) // most)
    edges = [start + (stop - start) * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))


@torch.no_grad()
def fill(
    model: TextToMotion, codes: Tensor, windows: Sequence[Window], *, sampling: SamplingSettings, first_sample: int = 0
) -> Tensor:
    """The codes with those that were wanted in the windows, drawn window by window; those given stay."""
    codes = codes.clone()
    for number, (start, stop, condition) in enumerate(windows):
        given = codes[:, start:stop]
        tokens = torch.full((len(codes),), stop - start, device=codes.device)
        sample = first_sample + number * WINDOW
        drawn = model.draw(condition.expand(len(codes), -1), tokens, given, sampling=sampling, first_sample=sample)
        layers = drawn.shape[2]  # 1 without a residual model
        codes[:, start:stop, :layers] = torch.where(given[..., :1] < 0, drawn, given[..., :layers])
    return codes


def nearness(frames: int, seams: Sequence[int]) -> Tensor:
    """How near each frame is to a seam before frame s, from 1 down to 0 at `FADE` frames: (frames,)."""
    if not seams:
        return torch.zeros(frames)
    distance = torch.arange(frames)[:, None] + 0.5 - torch.tensor(seams)  # (frames, seams)
    return (1 - distance.abs().amin(1) / FADE).clamp(min=0)


def soften(features: Tensor, seams: Sequence[int]) -> Tensor:
    """Features (B, T, D), smoothed along time near the seams, each before a frame s, and elsewhere as they are."""
    T, radius = features.shape[1], round(4 * SMOOTHING)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.softmax(-0.5 * (offsets / SMOOTHING) ** 2, dim=0)  # a Gaussian that sums to 1
    frames = torch.arange(T, device=features.device)
    smooth = sum(tap * features[:, (frames + offset).clamp(0, T - 1)] for offset, tap in zip(offsets.tolist(), taps.tolist()))
    return torch.lerp(features, smooth, nearness(T, seams)[:, None].to(features))


@torch.no_grad()
def join(
    model: TextToMotion,
    prompts: Sequence[str],
    lengths: Sequence[int] | None = None,
    *,
    longest: int,
    sampling: SamplingSettings | None = None,
    first_sample: int = 0,
) -> tuple[Tensor, list[int]]:
    """One motion that does what the prompts say, one after the other.

    Args:
        prompts: K texts.
        lengths: (K,) frames that each lasts, as long as you like; None: predicted.
        longest: tokens that the transformers see at most.
        sampling: default: the weights' own.
        first_sample: this motion's sample number; with the seed it determines the motion.

    Returns:
        features (T, D) in the dataset's own units; the frame where each prompt's span ends.

    Raises:
        UserError: an empty prompt, or a length under one token.
    """
    condition = model.encoder(prompts)  # (K, C)
    sampling = sampling or model.sampling
    stride = model.tokeniser.stride
    ends, seams, windows = [0], [], []
    for k in range(len(prompts)):
        frames = None if lengths is None else torch.tensor([lengths[k]])
        number = first_sample + k * WINDOW
        start, own = ends[-1], condition[k : k + 1]
        ends.append(start + int(model.count_tokens(own, frames, seed=sampling.seed, first_sample=number)))
        alone = k == 0 and ends[-1] <= longest
        for first, stop in pieces(start, ends[-1], longest if alone else longest - CONTEXT):
            windows.append(Window(max(0, first - CONTEXT), stop, own))
            seams.append(first)
    codes = torch.full((1, ends[-1], model.tokeniser.num_quantizers), -1, device=condition.device)
    codes = fill(model, codes, windows, sampling=sampling, first_sample=first_sample)
    features, _ = model.features(codes, torch.tensor([ends[-1]], device=condition.device))
    seams = [seam * stride for seam in seams if seam > 0]
    return soften(features, seams)[0], [end * stride for end in ends[1:]]
