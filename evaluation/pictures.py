"""Contact sheets for TensorBoard (`--pictures`): motions of a model in training, for a few validation clips.

The clips are evenly spread over the split. All contact sheets of a run show the same clips. If a model needs a caption, the first
caption of the clip is used. All pictures of a run use the same random numbers.
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

COLUMNS = 6  # frames drawn per motion
Pictures = Callable[[nn.Module], dict[str, np.ndarray]]


def chosen(clips: CaptionedClips, count: int) -> tuple[Tensor, Tensor, list[str]]:
    """Features (N, T, D) in the dataset's units, lengths (N,) and captions of `count` clips, or of all clips if there are fewer."""
    index = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    identity = Normaliser.identity(clips.spec.dim)
    batch = clips.evaluation_batch(index, identity, np.random.default_rng(0), first_caption=True)
    return batch["motion"], batch["lengths"], batch["captions"]


def strips(features: Tensor, lengths: Tensor, captions: list[str], spec: DatasetSpec) -> list[tuple[str, np.ndarray]]:
    """One pair (caption, joints (length, J, 3) in metres) per clip, from features (N, T, D) and lengths (N,)."""
    joints = (features_to_joints(features, spec.num_joints) * spec.unit_scale).numpy()
    return [(caption, clip[:length]) for caption, clip, length in zip(captions, joints, lengths.tolist())]


def of_reconstructions(clips: CaptionedClips, normaliser: Normaliser, count: int) -> Pictures:
    """Return a function that takes a tokeniser, and draws `count` clips and, below each clip, its reconstruction."""
    features, lengths, captions = chosen(clips, count)
    real = strips(features, lengths, [f"{caption} (real)" for caption in captions], clips.spec)

    def draw(tokeniser: nn.Module) -> dict[str, np.ndarray]:
        decoded = reconstructor(tokeniser, normaliser)(features, lengths, captions)
        reconstructed = strips(decoded, lengths, [f"{caption} (reconstructed)" for caption in captions], clips.spec)
        rows = [row for pair in zip(real, reconstructed) for row in pair]
        return {"pictures": sheet(rows, clips.spec.fps, COLUMNS)}

    return draw


def of_generated(clips: CaptionedClips, generator: Generator, stage: str, count: int) -> Pictures:
    """Return a function that takes a masked or residual transformer (see `stage`), and draws its motions for `count` clips."""
    features, lengths, captions = chosen(clips, count)

    @torch.no_grad()
    def draw(model: nn.Module) -> dict[str, np.ndarray]:
        if stage == "residual":
            generated = generator.complete(model)(features, lengths, captions)
        else:
            pipeline = generator.pipeline(model)
            generated = pipeline.generate(captions, lengths, generator.sampling, stepwise=False, layered=False)[0].cpu()
        return {"pictures": sheet(strips(generated, lengths, captions, clips.spec), clips.spec.fps, COLUMNS)}

    return draw
