"""Text conditions as input of the transformers: prefix tokens, and augmentation in training.

A condition is the vector of a text, (B, C), or the vector followed by one row per word, (B, 1 + W, C). Words fill the last
`word_dim` columns of their rows; the other columns, and the rows after a text's last word, are zero. A condition of zeros means "no
text" (classifier-free guidance).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.conditions import Conditions
from models.layers import sinusoidal_positions


def condition_of(batch: dict[str, Tensor]) -> Tensor:
    """The condition of a training batch, (B, C) or (B, 1 + W, C): its "condition" (B, C), followed by its "words" (B, W, word_dim)
    if it has any, zero-padded on the left to width C."""
    vector, words = batch["condition"], batch.get("words")
    if words is None:
        return vector
    words = F.pad(words.to(vector.dtype), (vector.shape[1] - words.shape[2], 0))
    return torch.cat((vector[:, None], words), dim=1)


def rows_of(condition: Tensor) -> Tensor:
    """A condition (B, C) or (B, 1 + W, C) as rows (B, 1 or 1 + W, C)."""
    return condition[:, None] if condition.ndim == 2 else condition


def text_prefix(condition: Tensor, of_vector: nn.Linear, of_words: nn.Linear | None) -> tuple[Tensor, Tensor]:
    """A condition as prefix tokens (B, P, D) and their mask (B, P), True = valid: one token for the vector, and one per word if the
    model reads words (`of_words` is not None)."""
    condition = rows_of(condition).to(of_vector.weight.dtype)
    prefix, valid = of_vector(condition[:, :1]), torch.ones_like(condition[:, :1, 0], dtype=torch.bool)
    if of_words is None or condition.shape[1] == 1:
        return prefix, valid
    words = condition[:, 1:, -of_words.in_features :]
    placed = of_words(words)
    placed = placed + sinusoidal_positions(words.shape[1], placed.shape[2], placed.device, placed.dtype)
    return torch.cat((prefix, placed), dim=1), torch.cat((valid, words.any(-1)), dim=1)


def without(condition: Tensor, dropped: Tensor) -> Tensor:
    """The condition, set to zero for the samples where `dropped` (B,) is True."""
    return condition.masked_fill(dropped.view(-1, *[1] * (condition.ndim - 1)), 0)


class Disturbance(nn.Module):
    """Augments conditions in training, so that the model generalises to prompts worded differently from the captions.

    Each sample gets Gaussian noise, whose standard deviation is that of the features times a factor drawn from 0 to `noise`. A
    fraction `drop` of the samples lose one part: the vector of one encoder, or the words. Does nothing before `set_` is called, or
    in eval mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noise = self.drop = 0.0
        self.register_buffer("spread", torch.zeros(2, 0), persistent=False)  # (2, C): std of the vector and of the words
        self.register_buffer("kept", torch.zeros(0, 2, 0), persistent=False)  # (parts, 2, C): 0 for what a dropped part removes

    def set_(self, conditions: Conditions, parts: Sequence[int], noise: float, drop: float) -> None:
        """Set the strength of the augmentation, and the features' standard deviations from `conditions`. `parts` are the widths of
        the encoders' vectors."""
        words, spread = conditions.words, torch.zeros(2, conditions.dim)
        spread[0] = conditions.vectors.std(0)
        vector_parts = torch.eye(len(parts)).repeat_interleave(torch.tensor(parts), dim=1)  # (encoders, C)
        lost = torch.stack((vector_parts, torch.zeros_like(vector_parts)), dim=1)  # (encoders, 2, C)
        if words is not None:
            spread[1, -conditions.word_dim :] = words.float().std(0)
            lost = torch.cat((lost, torch.tensor((0.0, 1.0))[None, :, None].expand(1, 2, conditions.dim)))
        self.noise, self.drop = noise, drop if len(lost) > 1 else 0.0
        self.spread, self.kept = spread.to(self.spread.device), (1 - lost).to(self.kept.device)

    def forward(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.training or not (self.noise or self.drop):
            return condition
        device, rows = condition.device, rows_of(condition)  # (B, S, C)
        chance = torch.rand(3, len(rows), 1, 1, device=device, generator=generator)
        if self.noise:
            noise = torch.randn(rows.shape, device=device, generator=generator)
            rows = rows + self.noise * chance[0] * noise * self._by_row(self.spread[None], rows) * rows.any(-1, keepdim=True)
        if self.drop:
            part = (chance[1, :, 0, 0] * len(self.kept)).long()
            rows = torch.where(chance[2] < self.drop, rows * self._by_row(self.kept[part], rows), rows)
        return rows.view(condition.shape)

    @staticmethod
    def _by_row(pairs: Tensor, rows: Tensor) -> Tensor:
        """Pairs (B, 2, C), one row for the vector and one for all words, expanded to one row per row of the condition (B, S, C)."""
        return torch.cat((pairs[:, :1], pairs[:, 1:].expand(-1, rows.shape[1] - 1, -1)), dim=1)
