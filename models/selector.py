"""The selector: scores how well motions match texts, so that the best of several generated motions can be selected.

The selector compares a text with the *profile* of a motion (`motion.facts.profile`). A profile states what the joints show:
directions, turns, numbers of repetitions, heights of the hands. The score is the sum of two terms:

- Two networks map the text's condition and the profile to unit vectors; the term is the scaled cosine of the two vectors. The
  networks are trained like CLIP (Radford et al. 2021), with the symmetric InfoNCE loss.
- Two classifiers predict the action (such as "sneak") from the condition and from the profile; the term is the weighted logarithm
  of the probability that both have the same action. The classifiers exist if the training clips have labelled actions.

The networks that read the condition are single linear layers, because deeper networks understand paraphrases less well
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
ACTION_WEIGHT = 2.0  # weight of the logarithm of the probability that text and motion have the same action
FLOOR = 1e-3  # added to this probability, so that a motion of another action loses a limited number of points
LABEL_SMOOTHING = 0.02  # of the actions


@dataclass(frozen=True)
class SelectorConfig:
    """Sizes of a selector; `profile_dim` is the number of bits of a profile, which states what the joints of a motion do.

    `actions` is the number of actions that the classifiers distinguish; 0: the selector has no classifiers.
    """

    cond_dim: int = 384
    profile_dim: int = len(BITS)
    hidden_dim: int = 256
    embed_dim: int = 128
    dropout: float = 0.2
    actions: int = 0


class Selector(nn.Module):
    """Scores how well texts (sentence vectors) match motions (profiles: vectors of bits that state what the joints do)."""

    uses_all_parameters = True  # every training step uses every parameter (see `training.processes`)
    capturable = True  # training steps may be captured as CUDA graphs (see `training.update`)

    def __init__(self, config: SelectorConfig):
        super().__init__()
        self.config = config
        self.text = Linear(config.cond_dim, config.embed_dim)
        self.motion = profile_network(config, config.embed_dim)
        self.text_action = Linear(config.cond_dim, config.actions) if config.actions else None
        self.motion_action = profile_network(config, config.actions) if config.actions else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10)))
        self.augment = ConditionAugmentation()
        self.text_dropout = nn.Dropout(TEXT_DROPOUT)

    def init_condition_(self, vectors: Tensor, words: Tensor | None = None) -> None:
        """Initialise the text layers so that they whiten the training captions' vectors, `vectors` (N, C); `words` are not used."""
        for layer in filter(None, (self.text, self.text_action)):
            whiten_(layer, vectors)

    def embed_texts(self, condition: Tensor) -> Tensor:
        """Unit-length embeddings (B, E) of texts, given as conditions (sentence vectors) (B, C)."""
        return F.normalize(self.text(self.text_dropout(condition)).float(), dim=-1)

    def embed_profiles(self, profiles: Tensor) -> Tensor:
        """Unit-length embeddings (B, E) of motions, given as profiles (vectors of bits) (B, F)."""
        return F.normalize(self.motion(profiles.to(self.text.weight.dtype)).float(), dim=-1)

    def forward(self, condition: Tensor, profiles: Tensor) -> Tensor:
        """Scores (B,) of how well texts, given as conditions (sentence vectors) (B, C), match motions, given as profiles (B, F)."""
        score = self.logit_scale.exp() * (self.embed_texts(condition) * self.embed_profiles(profiles)).sum(-1)
        if self.config.actions == 0:
            return score
        of_text, of_motion = (logits.softmax(-1) for logits in self.action_logits(condition, profiles))
        return score + ACTION_WEIGHT * ((of_text * of_motion).sum(-1) + FLOOR).log()

    def action_logits(self, condition: Tensor, profiles: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A) of the actions of texts, given as conditions (B, C), and of motions, given as profiles (B, F)."""
        of_text = self.text_action(self.text_dropout(condition))
        return of_text.float(), self.motion_action(profiles.to(self.text.weight.dtype)).float()

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss (the symmetric InfoNCE loss plus the cross-entropies of the two classifiers), and values to log.

        `batch`: {'condition' (B, C), 'profile' (B, F), 'caption' (B,), 'clip' (B,), 'action' (B,)}. A text and the motion of
        another sample are ignored as a wrong pair if both samples have the same caption or come from the same clip. An action of -1
        is unknown; the classifiers are not trained on such a sample.

        The logged values are the InfoNCE loss, the fraction of texts whose own motion scores best, and the mean cross-entropy of
        the classifiers.
        """
        condition = self.augment(condition_of(batch), generator)
        logits = self.logit_scale.exp() * self.embed_texts(condition) @ self.embed_profiles(batch["profile"]).T  # texts × motions
        target = torch.arange(len(logits), device=logits.device)
        same = [batch[name][:, None] == batch[name] for name in ("caption", "clip")]
        logits = logits.masked_fill((same[0] | same[1]) & (target[:, None] != target), -torch.inf)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        values = {"info_nce": loss.detach(), "accuracy": (logits.argmax(1) == target).float().mean()}
        if self.config.actions == 0:
            return loss, values
        entropies = [action_entropy(logits, batch["action"]) for logits in self.action_logits(condition, batch["profile"])]
        return loss + sum(entropies), values | {"action_ce": sum(entropies).detach() / 2}


def profile_network(config: SelectorConfig, outputs: int) -> nn.Sequential:
    """A network that maps profiles (B, F) to (B, outputs)."""
    width = config.hidden_dim
    return nn.Sequential(
        nn.Dropout(config.dropout / 2), Linear(config.profile_dim, width), nn.GELU(), nn.Dropout(config.dropout),
        Linear(width, width), nn.GELU(), nn.Dropout(config.dropout), Linear(width, outputs),
    )  # fmt: skip


def action_entropy(logits: Tensor, actions: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, A) over the samples whose action (B,) is known, i.e. not -1; 0 without such a sample."""
    total = F.cross_entropy(logits, actions, ignore_index=-1, label_smoothing=LABEL_SMOOTHING, reduction="sum")
    return total / (actions >= 0).sum().clamp(min=1)
