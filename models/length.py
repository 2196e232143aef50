"""The length predictor: condition (encoded text) → number of tokens of the motion (MoMask's length estimator).

The predictor maps a condition (B, C) to logits (B, classes); class k stands for a length of k tokens. If a condition also contains
vectors of words, these vectors are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditions import ConditionAugmentation, condition_of
from models.layers import init_weights_, whiten_
from models.linear import Linear
from models.sampling import uniforms

NOISE_STEP = -1000  # `step` passed to `uniforms`; the transformers never pass this step
QUANTILES = (0.5, 0.9)  # quantiles between which lengths are sampled; shorter lengths cut actions, longer lengths repeat actions


@dataclass(frozen=True)
class LengthConfig:
    """Sizes of a length predictor; `classes` is the length of the longest motion in tokens, plus one."""

    cond_dim: int = 384
    classes: int = 50
    stride: int = 4  # frames per token
    hidden_dim: int = 512
    dropout: float = 0.2


class LengthPredictor(nn.Module):
    """An MLP that maps a text's condition (its vector) to a distribution over the number of motion tokens."""

    uses_all_parameters = True  # every training step uses every parameter (see `training.processes`)
    capturable = True  # training steps may be captured as CUDA graphs (see `training.update`)

    def __init__(self, config: LengthConfig):
        super().__init__()
        self.config = config
        widths = (config.cond_dim, config.hidden_dim, config.hidden_dim // 2, config.hidden_dim // 4)
        self.linears = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:])
        self.output = Linear(widths[-1], config.classes)
        self.dropout = nn.Dropout(config.dropout)
        self.augment = ConditionAugmentation()
        self.apply(init_weights_)

    def init_condition_(self, vectors: Tensor, words: Tensor | None = None) -> None:
        """Initialise the first layer so that it whitens the training captions' vectors, `vectors` (N, C); `words` are not used."""
        whiten_(self.linears[0], vectors)

    def forward(self, condition: Tensor) -> Tensor:
        """Logits (B, classes) for a condition (encoded text), (B, C), or (B, 1 + W, C) with words."""
        x = (condition if condition.ndim == 2 else condition[:, 0]).to(self.output.weight.dtype)
        for linear, norm in zip(self.linears, self.norms):
            x = self.dropout(F.leaky_relu(norm(linear(x)), 0.2))
        return self.output(x)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the lengths, and values to log, such as the mean error of the most likely length in tokens.

        `batch` contains the condition (encoded text) and 'lengths' (B,) in tokens.
        """
        logits, lengths = self(self.augment(condition_of(batch), generator)), batch["lengths"]
        loss = F.cross_entropy(logits, lengths)
        error = (logits.argmax(-1) - lengths).abs().float()
        return loss, {"length_ce": loss.detach(), "accuracy": (error == 0).float().mean(), "error": error.mean()}

    @torch.no_grad()
    def predict(
        self, condition: Tensor, *, quantiles: tuple[float, float] = QUANTILES, seed: int = 0, first_sample: int = 0
    ) -> Tensor:
        """Sample lengths (B,) in tokens, at least 1, from a range of the predicted distribution.

        `quantiles` are the limits of the range: (0, 1) is the whole distribution, as in MoMask; (0.5, 0.5) is the median.
        The sample number of row b is `first_sample + b`. The random number for a row depends only on `seed` and on the row's sample
        number.
        """
        samples = first_sample + torch.arange(len(condition), device=condition.device)
        low, high = quantiles
        quantile = low + (high - low) * uniforms(seed, samples, NOISE_STEP, 1)  # (B, 1)
        below = self(condition).double().softmax(-1).cumsum(-1) < quantile
        return below.sum(-1).clamp(min=1, max=self.config.classes - 1)
