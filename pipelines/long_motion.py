"""Motions longer than the transformers' window, generated in overlapping windows of tokens (MoMask section 3.5, repeated
in-painting).

In each window the last tokens are generated, and the ones before them, the end of the motion so far, are given. So several prompts
become one motion, each generating the tokens of its own span. All tokens are decoded together by convolutions. At the seams between
windows the motion may still change too fast, so features are smoothed over a few frames there.

Codes (B, L, Q) long, −1 where they are to be generated. The transformers see at most `longest` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.seams import CONTEXT, WINDOW, soften
from pipelines.text2motion import SamplingSettings, TextToMotion


class Window(NamedTuple):
    """A window of the transformers: tokens start … stop − 1, and the text condition, of one text."""

    start: int
    stop: int
    condition: Tensor


def pieces(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    """The span split into the smallest number of pieces of at most `most`, of about equal length."""
    count = -(-(stop - start) // most)
    edges = [start + (stop - start) * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))


@torch.no_grad()
def fill(
    model: TextToMotion, codes: Tensor, windows: Sequence[Window], *, sampling: SamplingSettings, first_sample: int = 0
) -> Tensor:
    """The codes with missing ones generated window by window; given codes are kept."""
    codes = codes.clone()
    for number, (start, stop, condition) in enumerate(windows):
        given = codes[:, start:stop]
        tokens = torch.full((len(codes),), stop - start, device=codes.device)
        sample = first_sample + number * WINDOW
        conditions = condition.expand(len(codes), *condition.shape[1:])
        drawn = model.draw(conditions, tokens, given, sampling=sampling, first_sample=sample)
        layers = drawn.shape[2]  # 1 without a residual model
        codes[:, start:stop, :layers] = torch.where(given[..., :1] < 0, drawn, given[..., :layers])
    return codes


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
    """One motion that follows the prompts, one after the other.

    Args:
        prompts: K texts.
        lengths: (K,) frames of each prompt, without limit; None: predicted.
        longest: maximum tokens that the transformers see.
        sampling: default: the weights' own.
        first_sample: this motion's sample number; with the seed it determines the motion.

    Returns:
        features (T, D) in the dataset's own units; the end frame of each prompt's span.

    Raises:
        UserError: an empty prompt, or a length under one token.
    """
    condition = model.encoder(prompts)  # of K texts
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
