"""Generate several motions per prompt and keep the one that LaMP's matching head scores highest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.language_motion import LanguageMotion
from pipelines.text2motion import SamplingSettings, TextToMotion


@torch.no_grad()
def best_motions(
    model: TextToMotion,
    lamp: LanguageMotion,
    prompts: Sequence[str],
    lengths: Tensor | None,
    sampling: SamplingSettings,
    *,
    candidates: int,
    first_sample: int = 0,
) -> tuple[Tensor, Tensor]:
    """Generate `candidates` motions for each of B prompts. Keep, for each prompt, the motion that most likely matches the prompt.

    Candidate c of sample n has the sample number `n · candidates + c`, so a motion does not depend on the other prompts.

    Args:
        lengths: (B,) in frames; None: predicted.
        first_sample: sample number n of the first prompt; the other prompts get the next numbers.

    Returns:
        features (B, T, D) in the dataset's own units, and lengths (B,) in frames.
    """
    texts = [prompt for prompt in prompts for _ in range(candidates)]
    frames = None if lengths is None else lengths.repeat_interleave(candidates)
    features, frames = model.generate(texts, frames, sampling, first_sample=first_sample * candidates)
    mean, std = (torch.as_tensor(row).to(features) for row in (lamp.mean, lamp.std))
    scores = lamp.match(texts, (features - mean) / std, frames).view(len(prompts), candidates)
    best = scores.argmax(1) + candidates * torch.arange(len(prompts), device=scores.device)
    frames = frames[best]
    return features[best, : int(frames.max())], frames
