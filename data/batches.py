"""Shuffled batches of clip indices, and batches of captioned motions for training and validating the matching evaluator (a
text–motion embedding model)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.balance import weighted_epoch
from data.store import Normaliser
from data.text import CaptionedClips
from utils.errors import UserError

Words = Callable[[Sequence[Sequence[str]]], dict[str, Tensor]]  # B captions as lists of `word/POS` → tensors (B, ...)


class ClipBatches:
    """Endless shuffled batches of clip indices. With `weights` (N,), an epoch samples clips in proportion to their weights.

    A batch contains `batch_size` clips for each of the `world` ranks. If the batches of an epoch need more clips than the epoch
    has, some clips are in two batches. If a batch is larger than the split, the batch contains some clips more than once.
    `batch_clips(index)` is a pure function of its argument; each rank gets a different part of the batch.
    """

    def __init__(
        self, clips: CaptionedClips, *,
        batch_size: int, seed: int = 0, rank: int = 0, world: int = 1, weights: np.ndarray | None = None,
    ):  # fmt: skip
        self.seed, self.rank, self.world = seed, rank, world
        self.weights = np.ones(len(clips)) if weights is None else weights
        self.size = batch_size * world
        self.steps_per_epoch = -(-len(clips) // self.size)
        numbers: dict[str, int] = {}
        self.numbers = {caption.text: numbers.setdefault(caption.text, len(numbers)) for caption in clips.captions}
        self._order = functools.lru_cache(maxsize=2)(self._permutation)  # two threads may need two epochs

    def _permutation(self, epoch: int) -> np.ndarray:
        """Indices (steps, world · B) of the clips in each step of an epoch."""
        clips = weighted_epoch(self.weights, np.random.default_rng((self.seed, epoch)))
        order = np.resize(clips, max(len(clips), self.size))
        begin = np.linspace(0, len(order) - self.size, self.steps_per_epoch).astype(int)
        return order[begin[:, None] + np.arange(self.size)]

    def batch_clips(self, index: int) -> tuple[np.ndarray, np.random.Generator]:
        """The indices (B,) of this rank's clips in batch `index`, and a random generator that is seeded for this rank and batch."""
        epoch, step = divmod(index, self.steps_per_epoch)
        return self._order(epoch)[step, self.rank :: self.world], np.random.default_rng((self.seed, index, self.rank))


class MatchingBatches(ClipBatches):
    """Endless shuffled batches of clips, each with a random caption, for the matching evaluator (a text–motion embedding model).

    Clips are cropped at random, as in HumanML3D's protocol. `words` converts the tokens `word/POS` of several captions to tensors.
    The negatives of a clip are the other clips in its batch, so no batch should contain a clip twice. With unequal `weights` (N,),
    however, an epoch samples some clips several times, and a few batches contain a clip twice. Raises `UserError` if a batch of all
    ranks needs more clips than the split has.
    """

    def __init__(self, clips: CaptionedClips, normaliser: Normaliser, words: Words, *, batch_size: int = 32, **settings: Any):
        size = batch_size * settings.get("world", 1)
        if not 0 < size <= len(clips):
            raise UserError(f"--batch_size {batch_size}: {size} clips per step, but the split has only {len(clips)}; lower it")
        super().__init__(clips, batch_size=batch_size, **settings)
        self.clips, self.normaliser, self.words = clips, normaliser, words

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"motion": (B, T, D) normalised, "lengths": (B,) frames, "words": (B, L, W) word vectors,
        "pos": (B, L, P) one-hot word classes, "text_lengths": (B,) words, "caption": (B,) an id shared by equal captions}."""
        clips, generator = self.batch_clips(index)
        batch = self.clips.evaluation_batch(clips, self.normaliser, generator)
        return {
            "motion": batch["motion"],
            "lengths": batch["lengths"],
            "caption": torch.tensor([self.numbers[caption] for caption in batch["captions"]]),
            **self.words(batch["tokens"]),
        }
