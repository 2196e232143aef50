"""Generate one motion of any length for several prompts, step by step (`pipelines/sequence.py`).

A prompt is generated in one step, or in several steps if its length exceeds the window of the transformers. The tokens of all steps
are then decoded together. Because the motion may change too fast between two steps, its features are smoothed over a few frames
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pipelines.sampling import SamplingSettings
from pipelines.seams import CONTEXT, SAMPLES_PER_WINDOW, soften
from pipelines.sequence import BRIDGE, generate_steps
from pipelines.text2motion import TextToMotion


def pieces(start: int, stop: int, maximum: int) -> list[tuple[int, int]]:
    """Split the range `start` to `stop` − 1 into the fewest parts (first, end) of about equal length, each at most `maximum`."""
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
        lengths: K lengths in frames, without upper limit; 0, or None for all: predicted.
        longest: maximum number of tokens that the transformers see at once.
        sampling: sampling settings; None: the defaults for the weights (`model.sampling`).
        first_sample: sample number of the motion; the seed and this number determine the motion.

    Returns:
        features (T, D) in the dataset's own units, and the frame at which the part of each prompt ends.

    Raises:
        UserError: an empty prompt, or a length shorter than one token.
    """
    sampling = sampling or model.sampling
    model.check_scorer(sampling.candidates)
    count, steps, sizes, firsts = sampling.candidates, [], [], []  # firsts: for each prompt, the index of its first step
    for k, prompt in enumerate(prompts):
        most = longest - CONTEXT if k else longest  # at the start of the motion, there is no context
        actions = [model.action([text]) for text in model.with_actions(prompt, sampling)]
        firsts.append(len(steps))
        if lengths is None or lengths[k] == 0:
            tokens = model.sizes(actions[0], None, sampling, first_sample + k * SAMPLES_PER_WINDOW)[0] + (BRIDGE if k else 0)
            parts = [tokens.clamp(max=most)]
        else:
            tokens = model.count_tokens(actions[0].condition, torch.tensor([lengths[k]]))
            whole = int(tokens)
            spans = pieces(0, whole, most if whole <= most else longest - CONTEXT)
            parts = [torch.full((count,), stop - start, device=tokens.device) for start, stop in spans]
        steps += [actions] * len(parts)
        sizes += parts
    continues = [number not in firsts for number in range(len(steps))]
    sizes = torch.stack(sizes, dim=-1)[None]  # (1, C, K)
    (codes, tokens), starts = generate_steps(
        model, steps, sizes, continues=continues, sampling=sampling, first_sample=first_sample
    )  # fmt: skip
    features, _ = model.features(codes, tokens)
    seams = [start * model.tokeniser.stride for start in starts[0].tolist()]
    ends = [*(seams[first] for first in firsts[1:]), features.shape[1]]
    return soften(features, seams[1:])[0], ends
