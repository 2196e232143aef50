"""Conditions (encoded texts) of many captions, stored without padding: one vector per caption and, for some text encoders, one row
per word piece, which is called a word here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """Conditions (encoded texts) of N captions: `vectors` (N, C) float32, and for some text encoders `words` (R, word_dim) float16.

    `words` has one row per word piece of each caption. Caption i has the `counts[i]` rows from row `starts[i]` on.
    """

    vectors: Tensor
    words: Tensor | None = None
    starts: Tensor | None = None  # (N,)
    counts: Tensor | None = None  # (N,)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """The width C of `vectors`."""
        return self.vectors.shape[1]

    @property
    def word_dim(self) -> int:
        """The width of a row of `words`, or 0 if `words` is None."""
        return 0 if self.words is None else self.words.shape[1]

    @classmethod
    def packed(cls, conditions: Tensor) -> Conditions:
        """Pack the output of a text encoder for N captions: vectors (N, C), or (N, 1 + W, C) with one vector and W rows for word
        pieces per caption. Rows for padding must be zero and are dropped."""
        if conditions.ndim == 2:
            return cls(conditions)
        counts = conditions[:, 1:].any(-1).sum(1)
        valid = torch.arange(conditions.shape[1] - 1) < counts[:, None]
        return cls(conditions[:, 0], conditions[:, 1:][valid].half(), counts.cumsum(0) - counts, counts)

    @classmethod
    def joined(cls, parts: Sequence[Conditions]) -> Conditions:
        """Concatenate, along C, the conditions that several text encoders computed for the same captions.

        Each part contains the conditions of one encoder. Only the last part may have `words`.
        """
        assert all(part.words is None for part in parts[:-1]), "only the last part may have words"
        last = parts[-1]
        return cls(torch.cat([part.vectors for part in parts], dim=1), last.words, last.starts, last.counts)

    @classmethod
    def concatenated(cls, blocks: Sequence[Conditions]) -> Conditions:
        """Concatenate, along N, the conditions that one encoder computed for several lists of captions."""
        vectors = torch.cat([block.vectors for block in blocks])
        if blocks[0].words is None:
            return cls(vectors)
        counts = torch.cat([block.counts for block in blocks])
        return cls(vectors, torch.cat([block.words for block in blocks]), counts.cumsum(0) - counts, counts)

    def take(self, captions: Tensor) -> Conditions:
        """The conditions of the captions with the indices `captions` (M,), in this order; the tensor `words` is not copied."""
        if self.words is None:
            return Conditions(self.vectors[captions])
        return Conditions(self.vectors[captions], self.words, self.starts[captions], self.counts[captions])

    def batch(self, captions: np.ndarray) -> dict[str, Tensor]:
        """The conditions of the captions with the indices `captions` (B,), for a training batch.

        Returns "condition" (B, C) float32. If there are `words`, also returns "words" (B, W, word_dim) float16, which is zero after
        the last word piece of a caption. `models.conditions.condition_of` combines both entries in one tensor.
        """
        vectors = self.vectors[torch.from_numpy(captions)]
        if self.words is None:
            return {"condition": vectors}
        starts, counts = self.starts.numpy()[captions, None], self.counts.numpy()[captions, None]
        steps = np.arange(counts.max())
        words = np.take(self.words.numpy(), starts + np.minimum(steps, counts - 1), axis=0, mode="clip")  # (B, W, word_dim)
        words[steps >= counts] = 0
        return {"condition": vectors, "words": torch.from_numpy(words)}
