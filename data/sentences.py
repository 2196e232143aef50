"""Batches of captions without motions, for pretraining a captioner as a language model."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError

POOL = 16  # number of batches whose captions are sorted by length together


class Sentences:
    """Endless shuffled batches of captions of similar length; `batch(index)` is a pure function of its argument.

    `ids[i]` are the token ids of caption i. Raises `UserError` if a batch of all ranks needs more captions than there are.
    """

    def __init__(self, ids: Sequence[list[int]], *, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1):
        if batch_size * world > len(ids):
            size = batch_size * world
            raise UserError(f"--batch_size {batch_size}: {size} captions per step, but there are only {len(ids)}; lower it")
        self.lengths = torch.tensor([len(row) for row in ids])
        self.ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps_per_epoch = len(ids) // (batch_size * world)
        self._order = functools.lru_cache(maxsize=1)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        """Indices (steps, world · B) of the captions in each step of an epoch."""
        generator = np.random.default_rng((self.seed, epoch))
        size = self.batch_size * self.world
        rows = generator.permutation(len(self.ids))[: self.steps_per_epoch * size]
        order = np.lexsort((self.lengths.numpy()[rows], np.arange(len(rows)) // (POOL * size)))
        return generator.permutation(rows[order].reshape(-1, size))

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"ids": (B, L) token ids, 0 at padding; "text_lengths": (B,) numbers of tokens}."""
        epoch, step = divmod(index, self.steps_per_epoch)
        rows = self._order(epoch)[step, self.rank :: self.world]
        lengths = self.lengths[rows]
        return {"ids": self.ids[rows, : int(lengths.max())], "text_lengths": lengths}
