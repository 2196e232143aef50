"""Motion editing: sections before, within or after a motion are regenerated (MoMask section 3.5, temporal in-painting).

The motion is tokenised; tokens of the sections are generated, all others are given. The result is the decoded motion within the
sections and the source elsewhere, with a short cross-fade just outside the sections. Features store the root's velocity, not its
position, so the path stays continuous. A transformer with causal attention does not see what follows a section; there, only the
cross-fade connects the two.

Source (T, D) features in the dataset's own units → features (B, T', D) of B takes; codes (B, L, Q).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.long_motion import pieces
from pipelines.seams import CONTEXT, Window, fill, nearness, soften
from pipelines.text2motion import SamplingSettings, TextToMotion


class Edited(NamedTuple):
    """B takes of an edit."""

    features: Tensor  # (B, T', D), in the dataset's own units
    codes: Tensor  # (B, L, Q), −1 on upper layers of new tokens where there is no residual model
    weight: Tensor  # (T',) how much of each frame is new: 1 within sections, 0 where it is the source's


@torch.no_grad()
def edit(
    model: TextToMotion,
    source: Tensor,
    sections: Sequence[tuple[int, int]],
    prompt: str = "",
    *,
    before: int = 0,
    after: int = 0,
    takes: int = 1,
    longest: int,
    sampling: SamplingSettings | None = None,
    first_sample: int = 0,
) -> Edited:
    """Regenerate sections of `source` (T, D), and optionally add frames before and after it.

    Args:
        sections: (first, end) of each in frames; moved to the nearest token boundaries, at least one token.
        prompt: text for the sections; "": in-betweening without text.
        before, after: frames to add at either end, whole tokens.
        takes: B, number of results; take b is sample `first_sample + b`.
        longest: maximum tokens that the transformers see. Longer motions are edited in windows around the sections.
        sampling: default: the weights' own.

    Returns:
        B takes of before + T + after frames. If the last section reaches the source's end, or frames are added after it, frames
        beyond the source's last whole token are left out.

    Raises:
        UserError: the source has another width than the tokeniser's motions, or is shorter than a token.
    """
    stride, source = model.tokeniser.stride, source.to(model.mean)
    codes = model.tokeniser.encode(((source - model.mean) / model.std)[None])  # (1, L, Q)
    whole = codes.shape[1] * stride
    wanted = F.pad(within(sections, codes.shape[1], stride), (before // stride, after // stride), value=True)
    assert wanted.any() and before % stride == after % stride == 0
    new = wanted[:, None].to(codes.device)
    codes = F.pad(codes, (0, 0, before // stride, after // stride)).masked_fill(new, -1).repeat(takes, 1, 1)

    condition = model.encoder([prompt]) if prompt else source.new_zeros(1, model.encoder.dim)
    spans = spans_of(wanted.tolist(), longest)
    reach = CONTEXT if prompt else longest  # a prompt describes what the transformers see, so they see little else than its section
    windows = [Window(start, stop, condition) for start, stop in windows_around(spans, len(wanted), longest, reach)]
    codes = fill(model, codes, windows, sampling=sampling or model.sampling, first_sample=first_sample)

    made, _ = model.features(codes, torch.full((takes,), len(wanted), device=source.device))
    seams = [edge * stride for span in spans for edge in span if 0 < edge < len(wanted)]
    weight = torch.where(wanted.repeat_interleave(stride), 1, nearness(made.shape[1], seams)).to(made)
    features = torch.lerp(F.pad(source[:whole], (0, 0, before, after)), soften(made, seams), weight[:, None])
    if not wanted[-1]:
        rest = source[whole:]
        features = torch.cat((features, rest.expand(takes, -1, -1)), dim=1)
        weight = F.pad(weight, (0, len(rest)))
    return Edited(features, codes, weight)


def within(sections: Sequence[tuple[int, int]], tokens: int, stride: int) -> Tensor:
    """Mask of tokens (L,) nearest to the sections' frames, at least one per section."""
    wanted = torch.zeros(tokens, dtype=torch.bool)
    for start, stop in sections:
        first = min((start + stride // 2) // stride, tokens - 1)
        wanted[first : max(first + 1, (stop + stride // 2) // stride)] = True
    return wanted


def spans_of(wanted: Sequence[bool], longest: int) -> list[tuple[int, int]]:
    """Spans (first, end) of tokens to generate. If the motion exceeds `longest`, spans that leave less than `CONTEXT` tokens around
    them in a window are split."""
    edges = [0, *(place for place in range(1, len(wanted)) if wanted[place] != wanted[place - 1]), len(wanted)]
    spans = [(first, last) for first, last in pairwise(edges) if wanted[first]]
    if len(wanted) <= longest:
        return spans
    return [piece for first, last in spans for piece in pieces(first, last, longest - 2 * CONTEXT)]


def windows_around(spans: Sequence[tuple[int, int]], tokens: int, longest: int, reach: int) -> list[tuple[int, int]]:
    """The window that the transformers see to fill each span: up to `reach` tokens on both sides, but at most `longest` in all,
    with the span in the centre as far as possible. It ends before the next span, whose tokens are not known yet. One window for all
    spans if it reaches everything."""
    if tokens <= min(longest, reach):
        return [(0, tokens)]
    windows = []
    for (first, last), (following, _) in pairwise([*spans, (tokens, tokens)]):
        least, most = max(0, first - reach), min(tokens, last + reach)
        start = max(least, min(first - (longest - (last - first)) // 2, most - longest))
        windows.append((start, min(start + longest, most, following)))
    return windows
