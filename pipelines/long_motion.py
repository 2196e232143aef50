"""Generate one motion of any length for several prompts, in overlapping windows (`pipelines.seams.fill`).

The tokens of each prompt are generated in one or more windows. All tokens are then decoded together. Because the motion may change
too fast at the seams between windows, its features are smoothed over a few frames there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pipelines.sampling import SamplingSettings
from pipelines.seams import CONTEXT, SAMPLES_PER_WINDOW, Window, fill, soften
from pipelines.text2motion import TextToMotion


def pieces(start: int, stop: int, maximum: int) -> list[tuple[int, int]]:
    """Split the span start … stop − 1 into the fewest pieces of about equal length. No piece is longer than `maximum`."""
    count = -(-(stop - start) // maximum)
    edges = [start + (stop - start) * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))


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
    """Generate one motion that follows the prompts, one after the other.

    Args:
        prompts: K texts.
        lengths: K lengths in frames, without upper limit; None: predicted.
        longest: maximum number of tokens that the transformers see at once.
        sampling: sampling settings; None: the defaults for the weights (`model.sampling`).
        first_sample: sample number of the motion; the seed and this number determine the motion.

    Returns:
        features (T, D) in the dataset's own units, and the end frame of each prompt's span.

    Raises:
        UserError: an empty prompt, or a length shorter than one token.
    """
    sampling = sampling or model.sampling
    conditions = model.encoder(prompts)  # (K, …)
    stride = model.tokeniser.stride
    ends, seams, windows = [0], [], []
    for k in range(len(prompts)):
        frames = None if lengths is None else torch.tensor([lengths[k]])
        number = first_sample + k * SAMPLES_PER_WINDOW
        start, condition = ends[-1], conditions[k : k + 1]
        actions = [model.encoder([text]) for text in model.with_actions(prompts[k], sampling)[1:]]
        ends.append(start + int(model.count_tokens(condition, frames, seed=sampling.seed, first_sample=number)))
        fits_one_window = k == 0 and ends[-1] <= longest  # at the start of the motion, there is no context
        for first, stop in pieces(start, ends[-1], longest if fits_one_window else longest - CONTEXT):
            windows.append(Window(max(0, first - CONTEXT), stop, condition, actions, prompts[k]))
            seams.append(first)
    codes = torch.full((1, ends[-1], model.tokeniser.num_quantizers), -1, device=model.mean.device)
    codes = fill(model, codes, windows, sampling=sampling, first_sample=first_sample)
    features, _ = model.features(codes, torch.tensor([ends[-1]], device=codes.device))
    seams = [seam * stride for seam in seams if seam > 0]
    return soften(features, seams)[0], [end * stride for end in ends[1:]]
