"""Motion editing: generate sections before, within or after a motion (MoMask section 3.5, temporal in-painting).

The motion is tokenised. The tokens of the sections are generated, and all other tokens are kept as input. Within the sections, the
result is the decoded motion; outside the sections, the result is the source motion. A short cross-fade just outside the sections
connects the two motions. Features store the velocity of the root, not its position, so the path stays continuous. A transformer
with causal attention does not see the tokens after a section. With such a transformer, only the cross-fade connects the section
with the frames after it.

Shapes: source features (T, D) in the dataset's own units → features (B, T', D) of B results, with codes (B, L, Q).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.long_motion import pieces
from pipelines.sampling import SamplingSettings
from pipelines.seams import CONTEXT, Window, fill, nearness, soften
from pipelines.text2motion import TextToMotion


class Edited(NamedTuple):
    """B edited motions: their features and codes, and which frames were generated."""

    features: Tensor  # (B, T', D), in the dataset's own units
    codes: Tensor  # (B, L, Q); without a residual model, −1 in the residual layers of new tokens
    weight: Tensor  # (T',) weight of the generated motion in each frame: 1 within sections, 0 where the source is unchanged


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
    """Regenerate sections of a motion with features `source` (T, D), and optionally add frames before and after it.

    Args:
        sections: (first, end) of each section in frames, rounded to token boundaries; a section has at least one token.
        prompt: text for the sections; "": in-betweening without text.
        before, after: numbers of frames to add before the start and after the end, multiples of the frames per token.
        takes: number of results, B.
        longest: maximum number of tokens in a window of the transformers; longer motions are edited in windows around sections.
        sampling: sampling settings; None: the defaults for the weights (`model.sampling`).
        first_sample: sample number of the first result; it and the seed determine the result. The others get the next numbers.

    Returns:
        B results of before + T + after frames. If the last section reaches the end of the source, or if `after` is not 0,
        the frames of the source beyond its last whole token are left out.

    Raises:
        UserError: the source has a different number of features than the tokeniser, or is shorter than a token.
    """
    stride, source = model.tokeniser.stride, source.to(model.mean)
    codes = model.tokeniser.encode(((source - model.mean) / model.std)[None])  # (1, L, Q)
    whole = codes.shape[1] * stride
    new = F.pad(tokens_in(sections, codes.shape[1], stride), (before // stride, after // stride), value=True)  # (L,)
    assert new.any() and before % stride == after % stride == 0
    mask = new[:, None].to(codes.device)
    codes = F.pad(codes, (0, 0, before // stride, after // stride)).masked_fill(mask, -1).repeat(takes, 1, 1)

    condition = model.encoder([prompt]) if prompt else source.new_zeros(1, model.encoder.dim)
    spans = spans_of(new.tolist(), longest)
    # A prompt applies to all tokens of a window. With a prompt, the window is therefore little larger than the section.
    reach = CONTEXT if prompt else longest
    windows = [Window(start, stop, condition, text=prompt) for start, stop in windows_around(spans, len(new), longest, reach)]
    codes = fill(model, codes, windows, sampling=sampling or model.sampling, first_sample=first_sample)

    generated, _ = model.features(codes, torch.full((takes,), len(new), device=source.device))
    seams = [edge * stride for span in spans for edge in span if 0 < edge < len(new)]
    weight = torch.where(new.repeat_interleave(stride), 1, nearness(generated.shape[1], seams)).to(generated)
    features = torch.lerp(F.pad(source[:whole], (0, 0, before, after)), soften(generated, seams), weight[:, None])
    if not new[-1]:
        remaining = source[whole:]  # the last frames, fewer than a token has
        features = torch.cat((features, remaining.expand(takes, -1, -1)), dim=1)
        weight = F.pad(weight, (0, len(remaining)))
    return Edited(features, codes, weight)


def tokens_in(sections: Sequence[tuple[int, int]], tokens: int, stride: int) -> Tensor:
    """Return a mask (tokens,) that is True for the tokens in the sections, which are (first, end) in frames.

    Sections are rounded to token boundaries (a token has `stride` frames), and have at least one token each.
    """
    mask = torch.zeros(tokens, dtype=torch.bool)
    for start, stop in sections:
        first = min((start + stride // 2) // stride, tokens - 1)
        mask[first : max(first + 1, (stop + stride // 2) // stride)] = True
    return mask


def spans_of(mask: Sequence[bool], longest: int) -> list[tuple[int, int]]:
    """Return the spans (first, end) of consecutive True values in a mask of tokens.

    If the mask has more than `longest` tokens, long spans are split, so that every span fits in a window of `longest` tokens
    together with `CONTEXT` tokens on both sides.
    """
    edges = [0, *(index for index in range(1, len(mask)) if mask[index] != mask[index - 1]), len(mask)]
    spans = [(first, end) for first, end in pairwise(edges) if mask[first]]
    if len(mask) <= longest:
        return spans
    return [piece for first, end in spans for piece in pieces(first, end, longest - 2 * CONTEXT)]


def windows_around(spans: Sequence[tuple[int, int]], tokens: int, longest: int, reach: int) -> list[tuple[int, int]]:
    """Return, for each span of a motion with `tokens` tokens, the window (start, stop) that the transformers see when they fill it.

    A window has up to `reach` tokens on each side of its span, and at most `longest` tokens in total. The span is in the centre if
    possible. The window ends before the next span, whose tokens have not been generated yet. If `tokens` exceeds neither `longest`
    nor `reach`, the only window is the whole motion.
    """
    if tokens <= min(longest, reach):
        return [(0, tokens)]
    windows = []
    for (first, end), (following, _) in pairwise([*spans, (tokens, tokens)]):
        minimum, maximum = max(0, first - reach), min(tokens, end + reach)
        start = max(minimum, min(first - (longest - (end - first)) // 2, maximum - longest))
        windows.append((start, min(start + longest, maximum, following)))
    return windows
