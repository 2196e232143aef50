"""The selector: scores how well motions match texts, so that the best of several generated motions can be selected.

The selector compares a text with the *profile* of a motion (`motion.facts.profile`). A profile states what the joints show:
directions, turns, numbers of repetitions, heights of the hands. Two networks map the text's condition and the profile to unit
vectors, and the score is the scaled cosine of the two vectors. The networks are trained like CLIP (Radford et al. 2021), with the
symmetric InfoNCE loss. The text network is a single linear layer, because a deeper network understands paraphrases less well
(docs/experiments.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditions import ConditionAugmentation, condition_of
from models.layers import whiten_
from models.linear import Linear
from motion.facts.profile import BITS

TEXT_DROPOUT = 0.1


@dataclass(frozen=True)
class SelectorConfig:
    """Sizes of a selector; `profile_dim` is the number of bits of a profile, which states what the joints of a motion do."""

    cond_dim: int = 384
    profile_dim: int = len(BITS)
    hidden_dim: int = 256
    embed_dim: int = 128
    dropout: float = 0.2


class Selector(nn.Module):
    """Scores how well texts (sentence vectors) match motions (profiles: vectors of bits that state what the joints do)."""

    uses_all_parameters = True  # every training step uses every parameter (see `training.processes`)
    capturable = True  # training steps may be captured as CUDA graphs (see `training.update`)

    def __init__(self, config: SelectorConfig):
        super().__init__()
        self.config = config
        width, dropout = config.hidden_dim, nn.Dropout(config.dropout)
        self.text = Linear(config.cond_dim, config.embed_dim)
        self.motion = nn.Sequential(
            nn.Dropout(config.dropout / 2), Linear(config.profile_dim, width), nn.GELU(), dropout,
            Linear(width, width), nn.GELU(), dropout, Linear(width, config.embed_dim),
        )  # fmt: skip
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10)))
        self.augment = ConditionAugmentation()
        self.text_dropout = nn.Dropout(TEXT_DROPOUT)

    def init_condition_(self, vectors: Tensor, words: Tensor | None = None) -> None:
        """Initialise the text layer so that it whitens the training captions' vectors, `vectors` (N, C); `words` are not used."""
        whiten_(self.text, vectors)

    def embed_texts(self, condition: Tensor) -> Tensor:
        """Unit-length embeddings (B, E) of texts, given as conditions (sentence vectors) (B, C)."""
        return F.normalize(self.text(self.text_dropout(condition)).float(), dim=-1)

    def embed_profiles(self, profiles: Tensor) -> Tensor:
        """Unit-length embeddings (B, E) of motions, given as profiles (vectors of bits) (B, F)."""
        return F.normalize(self.motion(profiles.to(self.text.weight.dtype)).float(), dim=-1)

    def forward(self, condition: Tensor, profiles: Tensor) -> Tensor:
        """Scores (B,) of how well texts, given as conditions (sentence vectors) (B, C), match motions, given as profiles (B, F)."""
        return self.logit_scale.exp() * (self.embed_texts(condition) * self.embed_profiles(profiles)).sum(-1)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the symmetric InfoNCE loss, and values to log: the loss, and the fraction of texts whose own motion scores best.

        `batch`: {'condition' (B, C), 'profile' (B, F), 'caption' (B,), 'clip' (B,)}. A text and the motion of another sample are
        ignored as a wrong pair if both samples have the same caption or come from the same clip.
        """
        texts = self.embed_texts(self.augment(condition_of(batch), generator))
        logits = self.logit_scale.exp() * texts @ self.embed_profiles(batch["profile"]).T  # texts × motions
        target = torch.arange(len(logits), device=logits.device)
        same = [batch[name][:, None] == batch[name] for name in ("caption", "clip")]
        logits = logits.masked_fill((same[0] | same[1]) & (target[:, None] != target), -torch.inf)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, {"info_nce": loss.detach(), "accuracy": (logits.argmax(1) == target).float().mean()}
