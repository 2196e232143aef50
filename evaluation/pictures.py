"""Contact sheets of what a model in training makes of a few validation clips, for TensorBoard (`--pictures`).

The clips are spread over the split and stay the same, with their first captions and the same random draws every time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from data.store import Normaliser
from data.text import CaptionedClips
from evaluation.in_training import Generator
from evaluation.tokeniser import reconstructor
from motion.drawing.render import sheet
from motion.features import features_to_joints
from motion.spec import DatasetSpec

COLUMNS = 6  # moments of a motion
Pictures = Callable[[nn.Module], dict[str, np.ndarray]]


def chosen(clips: CaptionedClips, count: int) -> tuple[Tensor, Tensor, list[str]]:
    """Features (N, T, D) in the dataset's own units, lengths (N,) and captions of `count` clips, or of all there are."""
    index = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    own_units = Normaliser.identity(clips.spec.dim)
    batch = clips.evaluation_batch(index, own_units, np.random.default_rng(0), first_caption=True)
    return batch["motion"], batch["lengths"], batch["captions"]


def strips(features: Tensor, lengths: Tensor, captions: list[str], spec: DatasetSpec) -> list[tuple[str, np.ndarray]]:
    """Captions and joints (T, J, 3) in metres of features (N, T, D)."""
    joints = (features_to_joints(features, spec.num_joints) * spec.unit_scale).numpy()
    return [(caption, one[:length]) for caption, one, length in zip(captions, joints, lengths.tolist())]


def of_reconstructions(clips: CaptionedClips, normaliser: Normaliser, count: int) -> Pictures:
    """Each clip as it is, and below as a tokeniser reconstructs it."""
    features, lengths, captions = chosen(clips, count)
    real = strips(features, lengths, [f"{caption} (real)" for caption in captions], clips.spec)

    def draw(tokeniser: nn.Module) -> dict[str, np.ndarray]:
        made = reconstructor(tokeniser, normaliser)(features, lengths, captions)
        ours = strips(made, lengths, [f"{caption} (reconstructed)" for caption in captions], clips.spec)
        rows = [row for pair in zip(real, ours) for row in pair]
        return {"pictures": sheet(rows, clips.spec.fps, COLUMNS)}

    return draw


def of_generated(clips: CaptionedClips, generator: Generator, stage: str, count: int) -> Pictures:
    """A function that draws the motions that a masked or a residual transformer generates for some clips' captions and lengths."""
    features, lengths, captions = chosen(clips, count)

    @torch.no_grad()
    def draw(model: nn.Module) -> dict[str, np.ndarray]:
        if stage == "residual":
            made = generator.complete(model)(features, lengths, captions)
        else:
            made = generator.pipeline(model).generate(captions, lengths, generator.sampling, stepwise=False, layered=False)[0].cpu()
        return {"pictures": sheet(strips(made, lengths, captions, clips.spec), clips.spec.fps, COLUMNS)}

    return draw
