"""Text conditions as input of the transformers: prefix tokens, and augmentation in training.

A condition is the vector of a text, (B, C), or that vector followed by one row per word, (B, 1 + W, C). A word fills the last
`word_dim` columns of its row; the other columns, and the rows after the last word of a text, are zero. A condition of zeros stands
for "no text" in classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.conditions import Conditions
from models.layers import sinusoidal_positions, whiten_

STATISTICS_ROWS = 200_000  # maximum number of words from which statistics of the words are computed


def condition_of(batch: dict[str, Tensor]) -> Tensor:
    """The condition (encoded text) of a training batch, (B, C) or (B, 1 + W, C).

    Concatenates batch["condition"] (B, C) and, if present, batch["words"] (B, W, word_dim). Vectors of words are zero-padded on the
    left to width C.
    """
    vector, words = batch["condition"], batch.get("words")
    if words is None:
        return vector
    words = F.pad(words.to(vector.dtype), (vector.shape[1] - words.shape[2], 0))
    return torch.cat((vector[:, None], words), dim=1)


def rows_of(condition: Tensor) -> Tensor:
    """A condition (encoded text), (B, C) or (B, 1 + W, C), as rows (B, 1 or 1 + W, C): the text's vector, then its words."""
    return condition[:, None] if condition.ndim == 2 else condition


def text_prefix(condition: Tensor, vector_layer: nn.Linear, word_layer: nn.Linear | None) -> tuple[Tensor, Tensor]:
    """Project a condition (encoded text) to prefix tokens (B, P, D); also returns their mask (B, P), True = valid.

    There is one token for the vector of the text and, if the model uses words (`word_layer` is not None), one per word.
    """
    condition = rows_of(condition).to(vector_layer.weight.dtype)
    prefix, valid = vector_layer(condition[:, :1]), torch.ones_like(condition[:, :1, 0], dtype=torch.bool)
    if word_layer is None or condition.shape[1] == 1:
        return prefix, valid
    words = condition[:, 1:, -word_layer.in_features :]
    tokens = word_layer(words)
    tokens = tokens + sinusoidal_positions(words.shape[1], tokens.shape[2], tokens.device, tokens.dtype)
    return torch.cat((prefix, tokens), dim=1), torch.cat((valid, words.any(-1)), dim=1)


def without(condition: Tensor, dropped: Tensor) -> Tensor:
    """Set the condition (encoded text) to zero for the samples where `dropped` (B,) is True."""
    return condition.masked_fill(dropped.view(-1, *[1] * (condition.ndim - 1)), 0)


def init_condition_(vector_layer: nn.Linear, word_layer: nn.Linear | None, vectors: Tensor, words: Tensor | None) -> None:
    """Initialise the layers of `text_prefix` so that they whiten (`models.layers.whiten_`) the encoded training captions.

    These captions are given as one vector per caption, `vectors` (N, C), and one row per word, `words` (R, W).
    """
    whiten_(vector_layer, vectors)
    if word_layer is not None:
        whiten_(word_layer, evenly_spaced(words).float())


def evenly_spaced(rows: Tensor) -> Tensor:
    """Select at most `STATISTICS_ROWS` (a constant) evenly spaced rows of `rows` (R, W).

    Statistics of all rows could need too much memory.
    """
    return rows[:: -(-len(rows) // STATISTICS_ROWS)]


class ConditionAugmentation(nn.Module):
    """Augments conditions (encoded texts) in training, so that the model generalises to prompts that differ from captions.

    Gaussian noise is added to each column of a condition. The standard deviation of the noise is the column's standard deviation
    over the training conditions, times a factor. This factor is drawn uniformly from 0 to `noise`, once per sample. In a fraction
    `drop` of the samples, one part of the condition is set to zero: the vector of one text encoder, or all words. Before `set_` is
    called, and in eval mode, conditions are returned unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noise = self.drop = 0.0
        self.register_buffer("spread", torch.zeros(2, 0), persistent=False)  # (2, C): std of each column, for vector and words
        self.register_buffer("kept", torch.zeros(0, 2, 0), persistent=False)  # (parts, 2, C): 0 in the part's columns, else 1

    def set_(self, conditions: Conditions, parts: Sequence[int], noise: float, drop: float) -> None:
        """Set the strengths `noise` and `drop`, and compute the standard deviation of each column from the training `conditions`.

        The vector of a text is the concatenation of the vectors of several text encoders; `parts` are the widths of these vectors.
        """
        words, spread = conditions.words, torch.zeros(2, conditions.dim)
        spread[0] = conditions.vectors.std(0)
        vector_parts = torch.eye(len(parts)).repeat_interleave(torch.tensor(parts), dim=1)  # (encoders, C)
        removed = torch.stack((vector_parts, torch.zeros_like(vector_parts)), dim=1)  # (encoders, 2, C)
        if words is not None:
            spread[1, -conditions.word_dim :] = evenly_spaced(words).float().std(0)
            removed = torch.cat((removed, torch.tensor((0.0, 1.0))[None, :, None].expand(1, 2, conditions.dim)))
        self.noise, self.drop = noise, drop if len(removed) > 1 else 0.0
        self.spread, self.kept = spread.to(self.spread.device), (1 - removed).to(self.kept.device)

    def forward(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.training or not (self.noise or self.drop):
            return condition
        device, rows = condition.device, rows_of(condition)  # (B, S, C)
        uniform = torch.rand(3, len(rows), 1, 1, device=device, generator=generator)
        if self.noise:
            noise = torch.randn(rows.shape, device=device, generator=generator)
            rows = rows + self.noise * uniform[0] * noise * self._by_row(self.spread[None], rows) * rows.any(-1, keepdim=True)
        if self.drop:
            part = (uniform[1, :, 0, 0] * len(self.kept)).long()
            rows = torch.where(uniform[2] < self.drop, rows * self._by_row(self.kept[part], rows), rows)
        return rows.view(condition.shape)

    @staticmethod
    def _by_row(pairs: Tensor, rows: Tensor) -> Tensor:
        """Expand pairs (B, 2, C) to (B, S, C), one row for each row of a condition `rows` (B, S, C).

        The first entry of each pair is used for the vector, and the second entry for every word.
        """
        return torch.cat((pairs[:, :1], pairs[:, 1:].expand(-1, rows.shape[1] - 1, -1)), dim=1)
