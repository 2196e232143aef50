"""Scores of motions that were generated for the same prompt, so that the best of these candidates can be kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.selector import Selector
from motion.facts.profile import BITS, profile
from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from pipelines.language_motion import LanguageMotion
from utils.errors import UserError

if TYPE_CHECKING:
    from pipelines.text2motion import TextToMotion

TYPICAL = 20  # tokens (4 s at 20 frames per second); typical length of a motion that shows one action


def varied(tokens: Tensor) -> Tensor:
    """Vary the predicted lengths (B, C) in tokens of C candidates: every second length becomes its geometric mean with `TYPICAL`.

    A wrong length is the main reason why a motion does not show its action, and lengths that are predicted for an unusual wording
    are often much too long or too short (docs/experiments.md).
    """
    second = torch.arange(tokens.shape[1], device=tokens.device) % 2 == 1
    return torch.where(second, (tokens * TYPICAL).sqrt().round().long(), tokens)


class Scorer(Protocol):
    """A model that scores how well motions match texts."""

    def __call__(self, texts: Sequence[str], condition: Tensor, motions: Sequence[Tensor]) -> Tensor:
        """Return a score (B,) for each pair of a text and a motion; higher is better.

        Args:
            texts: B texts.
            condition: the same texts, encoded by the text encoder (B, …).
            motions: B motions as features (T, D) in the dataset's own units.
        """


def best_of(scores: Tensor, count: int) -> Tensor:
    """Return the index (B,) of each motion's highest score; `scores` (B · count,) lists `count` candidates per motion in a row."""
    return scores.view(-1, count).argmax(1) + count * torch.arange(len(scores) // count, device=scores.device)


def score_spans(
    model: TextToMotion, texts: Sequence[str], condition: Tensor, codes: Tensor, tokens: Tensor, first: Tensor, end: Tensor
) -> Tensor:  # fmt: skip
    """Score how well a part of each motion matches a text. Returns scores (B,), 0 where the part is empty.

    Args:
        model: decodes the codes and has the scorer.
        texts: B texts.
        condition: the same texts, encoded by the text encoder (B, …).
        codes, tokens: tokeniser codes (B, L, Q) of the motions, and lengths (B,) in tokens.
        first, end: (B,) first token of each part, and the token after the part.
    """
    features, _ = model.features(codes, tokens)
    first, end = ((edge * model.tokeniser.stride).tolist() for edge in (first, end))
    rows = [row for row in range(len(codes)) if first[row] < end[row]]
    scores = torch.zeros(len(codes), device=codes.device)
    if rows:
        motions = [features[row, first[row] : end[row]] for row in rows]
        scores[rows] = model.scorer([texts[row] for row in rows], condition[rows], motions).to(scores)
    return scores


class FactScorer:
    """Scores motions with the selector, a network that compares a text with a motion's profile.

    A profile is a vector of bits, which state what the joints of a motion do. `read` takes an encoded text and returns the part of
    it that the selector uses. Raises `UserError` if the selector was trained on profiles with another number of bits.
    """

    def __init__(self, selector: Selector, read: Callable[[Tensor], Tensor]):
        if selector.config.profile_dim != len(BITS):
            trained = f"the selector was trained on profiles of {selector.config.profile_dim} bits, but this code has {len(BITS)}"
            raise UserError(f"{trained}; train it again with train_selector.py")
        self.selector, self.read = selector, read

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], condition: Tensor, motions: Sequence[Tensor]) -> Tensor:
        joints = (features_to_joints(motion.float().cpu(), HUMANML3D.num_joints).numpy() for motion in motions)
        profiles = torch.from_numpy(np.stack([profile(clip) for clip in joints])).to(condition.device)
        vectors = self.read(condition)
        return self.selector(vectors if vectors.ndim == 2 else vectors[:, 0], profiles)


class MatchScorer:
    """Scores motions with LaMP's matching head: log-odds that a text and a motion match."""

    def __init__(self, lamp: LanguageMotion):
        self.lamp = lamp

    def __call__(self, texts: Sequence[str], condition: Tensor, motions: Sequence[Tensor]) -> Tensor:
        features = pad_sequence(list(motions), batch_first=True)
        mean, std = (torch.as_tensor(row).to(features) for row in (self.lamp.mean, self.lamp.std))
        frames = torch.tensor([len(motion) for motion in motions], device=features.device)
        return self.lamp.match(texts, (features - mean) / std, frames)
