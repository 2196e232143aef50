"""Generation of token codes window by window, and smoothing of the motion at the seams between windows.

Each window is generated with the last `CONTEXT` tokens before it as context (MoMask section 3.5, repeated in-painting). If a window
has a text, the best of several candidates is kept before the next window is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pipelines.candidates import best_of, score_spans

if TYPE_CHECKING:
    from pipelines.sampling import SamplingSettings
    from pipelines.text2motion import TextToMotion

CONTEXT = 3  # number of tokens before a window that are given; with 5, the previous action continues too often
FADE = 8  # number of frames on either side of a seam that are smoothed or cross-faded
SMOOTHING = 1.5  # standard deviation of the Gaussian that smooths a seam, in frames
SAMPLES_PER_WINDOW = 2**32  # offset between the sample numbers of consecutive windows, so that their random numbers differ


class Window(NamedTuple):
    """The tokens `start` to `stop` − 1 of a motion, with an encoded text. Tokens in the window that exist already are context."""

    start: int | Tensor  # one value for all motions, or one per motion (B,)
    stop: int | Tensor
    condition: Tensor  # conditions of 1 or B texts
    text: str = ""  # "": no candidates are compared


@torch.no_grad()
def fill(
    model: TextToMotion, codes: Tensor, windows: Sequence[Window], *, sampling: SamplingSettings, first_sample: int = 0
) -> Tensor:
    """Generate the missing tokens of B motions, window by window. A token of `codes` (B, L, Q) is missing if its base code is −1.

    For a window with a text, `sampling.candidates` versions are generated for each motion, and the one with the highest score is
    kept.
    """
    codes, (B, L, Q) = codes.clone(), codes.shape
    for number, (start, stop, condition, text) in enumerate(windows):
        start, stop = (torch.as_tensor(edge, device=codes.device).expand(B) for edge in (start, stop))
        positions = start[:, None] + torch.arange(int((stop - start).max()), device=codes.device)  # (B, W)
        given = codes.gather(1, positions.clamp(max=L - 1)[..., None].expand(-1, -1, Q))
        count = sampling.candidates if text else 1
        model.check_scorer(count)
        sample = count * (first_sample + number * SAMPLES_PER_WINDOW)
        condition = condition.expand(B, *condition.shape[1:])
        inputs = [rows.repeat_interleave(count, 0) for rows in (condition, stop - start, given)]
        drawn = model.draw(*inputs, sampling=sampling, first_sample=sample)
        if count > 1:
            new = (given[0, :, 0] < 0).nonzero()[:, 0]  # the new tokens, which have the same positions in all candidates
            span = [edge.expand(len(drawn)).minimum(inputs[1]) for edge in (new[0], new[-1] + 1)]
            scores = score_spans(model, [text] * len(drawn), inputs[0], drawn, inputs[1], *span)
            drawn = drawn[best_of(scores, count)]
        rows, columns = ((positions < stop[:, None]) & (given[..., 0] < 0)).nonzero(as_tuple=True)
        codes[rows, positions[rows, columns], : drawn.shape[2]] = drawn[rows, columns]
    return codes


def nearness(frames: int, seams: Sequence[int]) -> Tensor:
    """Weights (frames,) that fall linearly from 1 at a seam to 0 at a distance of `FADE` frames. `seams` are frame indices."""
    if not seams:
        return torch.zeros(frames)
    distance = torch.arange(frames)[:, None] + 0.5 - torch.tensor(seams)  # (frames, seams)
    return (1 - distance.abs().amin(1) / FADE).clamp(min=0)


def soften(features: Tensor, seams: Sequence[int]) -> Tensor:
    """Smooth features (B, T, D) over time near the seams, where parts of a motion meet. Seam s lies between frames s − 1 and s."""
    T, radius = features.shape[1], round(4 * SMOOTHING)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.softmax(-0.5 * (offsets / SMOOTHING) ** 2, dim=0)  # a Gaussian that sums to 1
    frames = torch.arange(T, device=features.device)
    smooth = sum(tap * features[:, (frames + offset).clamp(0, T - 1)] for offset, tap in zip(offsets.tolist(), taps.tolist()))
    return torch.lerp(features, smooth, nearness(T, seams)[:, None].to(features))
