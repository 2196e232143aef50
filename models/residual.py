"""The residual transformer: base codes → codes of all further layers, one layer at a time (MoMask section 3.4).

A layer is one quantiser of the tokeniser; layer 0 is the base. Layer q is predicted from the sum of the embedded codes of layers 0
… q−1, from the layer number and from the condition (encoded text). Layer number and condition are prefix tokens. In training, a
random layer is drawn for each sample, and the model predicts the codes of this layer.

Shapes: codes (B, L, Q) int64, −1 at padding; condition (B, C), or (B, 1 + W, C) with words (`models.conditions`); lengths (B,) in
tokens; logits (B, L, K + 1). The last class, padding, is never a target. If padding is sampled, the code is −1 and the layer adds
nothing to the latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditions import ConditionAugmentation, condition_of, init_condition_, rows_of, text_prefix, without
from models.graphs import Graphs
from models.layers import Head, PositionedEncoder, accuracy, counted, init_weights_, valid_mask
from models.linear import Linear, linear, packed_weights
from models.sampling import guide, sample, uniforms


@dataclass(frozen=True)
class ResidualConfig:
    """Sizes of a residual transformer, by default MoMask's, and of the tokeniser whose codes the transformer generates."""

    nb_code: int = 512
    num_quantizers: int = 6
    stride: int = 4  # frames per token
    cond_dim: int = 384
    word_dim: int = 0  # width of the condition's words; 0: words are not used
    code_dim: int = 512  # width of the code embedding
    latent_dim: int = 384
    ff_size: int = 1024
    n_layers: int = 8
    n_heads: int = 6
    dropout: float = 0.2
    cond_drop_prob: float = 0.2
    attention: str = "full"  # full | causal
    share_weight: bool = False  # one table per layer, which embeds the layer's codes and computes their logits
    weight_gain: float = 1.0  # factor of the logits before the bias is added; 2 in released files without shared weights


class Decoding(NamedTuple):
    """Settings of generation."""

    cond_scale: float = 5.0  # guidance scale
    temperature: float = 1.0
    topkr: float = 0.9  # fraction of the codes that is excluded from sampling, beginning with the least likely code
    layers: int | None = None  # number of layers above the base to generate; None: all


class ResidualTransformer(nn.Module):
    """A transformer that predicts the codes of one layer (quantiser) from the layers below it and the condition (encoded text)."""

    uses_all_parameters = True  # every training step uses every parameter (see `training.processes`)

    def __init__(self, config: ResidualConfig):
        super().__init__()
        self.config = c = config
        self.pad_id = c.nb_code
        classes, layers = c.nb_code + 1, c.num_quantizers - 1
        if c.share_weight:
            # Table q embeds the codes of layer q and computes their logits. Layer 0 needs no logits; layer Q−1 is never an input.
            self.tables = nn.Parameter(0.02 * torch.randn(layers + 1, classes, c.code_dim))
        else:
            self.input_tables = nn.Parameter(0.02 * torch.randn(layers, classes, c.code_dim))
            self.output_tables = nn.Parameter(0.02 * torch.randn(layers, classes, c.code_dim))
            self.output_bias = nn.Parameter(torch.zeros(layers, classes))
        self.input = Linear(c.code_dim, c.latent_dim)
        self.quant_emb = Linear(c.num_quantizers, c.latent_dim)
        self.cond_emb = Linear(c.cond_dim, c.latent_dim)
        self.word_emb = Linear(c.word_dim, c.latent_dim) if c.word_dim else None
        self.augment = ConditionAugmentation()
        self.graphs = Graphs(self)
        self.encoder = PositionedEncoder(c.latent_dim, c.n_heads, c.ff_size, c.n_layers, c.dropout, c.attention)
        self.head = Head(c.latent_dim, c.code_dim)
        self.apply(init_weights_)

    @property
    def embeddings(self) -> Tensor:
        """Input embedding tables of layers (quantisers) 0 … Q−2: (Q − 1, K + 1, code_dim)."""
        return self.tables[:-1] if self.config.share_weight else self.input_tables

    @property
    def projections(self) -> Tensor:
        """Output tables of layers (quantisers) 1 … Q−1, which give their logits: (Q − 1, K + 1, code_dim)."""
        return self.tables[1:] if self.config.share_weight else self.output_tables

    @property
    def capturable(self) -> bool:
        """Whether training steps may be captured as CUDA graphs (see `training.update`).

        The value is False for additive attention, because its outputs depend on the padding.
        """
        return self.config.attention != "additive"

    def init_condition_(self, vectors: Tensor, words: Tensor | None = None) -> None:
        """Initialise the projections of the condition (encoded text); see `models.conditions.init_condition_`."""
        init_condition_(self.cond_emb, self.word_emb, vectors, words)

    @torch.no_grad()
    def init_tokens_(self, codebooks: Tensor) -> None:
        """Initialise the embedding and output tables from the tokeniser's codebooks (Q, K, code_dim).

        For every q, the sum of the embedded codes of quantisers 0 … q−1 is then proportional to the sum of their code vectors.
        """
        relative = codebooks / codebooks.std()
        if self.config.share_weight:
            self.tables[:, :-1] = 0.02 * relative
        else:
            self.input_tables[:, :-1] = relative[:-1]
            self.output_tables[:, :-1] = 0.02 * relative[1:] / relative[1:].std((1, 2), keepdim=True)

    def history(self, codes: Tensor) -> Tensor:
        """Embed the codes (B, L, q) of quantisers 0 … q−1, and return the cumulative sums over quantisers (B, L, q, code_dim).

        The k-th of these sums is the *history* from which the codes of quantiser k are predicted (k = 1 … q). q is at most Q − 1;
        the codes are pad_id at padding.
        """
        layers = torch.arange(codes.shape[-1], device=codes.device)
        return self.embeddings[layers, codes].cumsum(2)

    def hidden(self, history: Tensor, condition: Tensor, valid: Tensor, layer: Tensor | int) -> Tensor:
        """Outputs (B, L, code_dim) of the transformer, from which `project` computes logits.

        Args:
            history: (B, L, code_dim) sum of the embedded codes of all layers below `layer`.
            condition: the encoded text; zeros: no text.
            valid: (B, L) mask of the tokens.
            layer: the layer (quantiser) to predict, from 1 to Q−1: (B,), or one int for all samples.
        """
        if isinstance(layer, int):
            number = (self.quant_emb.weight[:, layer] + self.quant_emb.bias).expand(len(history), -1)  # (B, D)
        else:
            number = self.quant_emb(F.one_hot(layer, self.config.num_quantizers).to(history))
        prefix, prefix_valid = text_prefix(condition, self.cond_emb, self.word_emb)
        prefix = torch.cat((prefix[:, :1], number[:, None], prefix[:, 1:]), dim=1)  # (B, 2 + W, D)
        prefix_valid = F.pad(prefix_valid, (1, 0), value=True)
        return self.head(self.encoder(prefix, prefix_valid, self.input(history), valid))

    def project(self, hidden: Tensor, layer: Tensor | int) -> Tensor:
        """Project outputs (B, L, code_dim) to logits (B, L, K + 1) with the output table of `layer`, the number of a quantiser."""
        gain, table = self.config.weight_gain, self.projections[layer - 1]
        if isinstance(layer, int):  # one table for all samples, without a copy per sample
            logits = gain * linear(hidden, table)
        else:
            logits = gain * torch.einsum("bld,bkd->blk", hidden, table)
        return logits if self.config.share_weight else logits + self.output_bias[layer - 1][..., None, :]

    def forward(self, history: Tensor, condition: Tensor, valid: Tensor, layer: Tensor | int) -> Tensor:
        """Logits (B, L, K + 1) of the codes of `layer`, the number of a quantiser; for the arguments, see `hidden`."""
        return self.project(self.hidden(history, condition, valid, layer), layer)

    def guided(self, history: Tensor, condition: Tensor, valid: Tensor, layer: Tensor | int, scale: float) -> Tensor:
        """Logits with classifier-free guidance of strength `scale`; one forward pass gives conditional and unconditional logits."""
        if scale == 1:
            return self(history, condition, valid, layer)
        if scale == 0:
            return self(history, torch.zeros_like(condition), valid, layer)
        both = torch.cat((condition, torch.zeros_like(condition)))
        layer = layer if isinstance(layer, int) else layer.repeat(2)
        return guide(*self(history.repeat(2, 1, 1), both, valid.repeat(2, 1), layer).chunk(2), scale)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the codes of one random layer (quantiser) per sample, and values to log.

        `batch` contains 'codes' (B, L, Q), 'lengths' (B,) and the condition (encoded text).
        """
        codes, condition = batch["codes"], condition_of(batch)
        uniform = torch.rand(2, len(codes), device=codes.device, generator=generator)
        layer = 1 + (uniform[0] * (codes.shape[2] - 1)).long()
        if self.training:
            condition = without(self.augment(condition, generator), uniform[1] < self.config.cond_drop_prob)
        loss, accuracy = self.layer_loss(codes, batch["lengths"], condition, layer)
        return loss, {"residual_ce": loss.detach(), "accuracy": accuracy}

    def layer_loss(self, codes: Tensor, lengths: Tensor, condition: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and accuracy of predicted codes. The codes of sample b are predicted for one quantiser, `layer[b]`.

        The prediction depends on the codes of all lower quantisers and on `condition`, the encoded text. `codes` (B, L, Q) contains
        the codes of all quantisers, and `layer` (B,) the index of each sample's quantiser, at least 1.
        """
        rows = torch.arange(len(codes), device=codes.device)
        valid = valid_mask(lengths, codes.shape[1])
        padded = torch.where(valid[..., None], codes, self.pad_id)
        history = self.history(padded[..., :-1])[rows, :, layer - 1]  # (B, L, code_dim)
        logits, targets = counted(valid, self(history, condition, valid, layer), codes[rows, :, layer])
        return F.cross_entropy(logits.float(), targets), accuracy(logits, targets)

    @torch.no_grad()
    def generate(self, base: Tensor, condition: Tensor, lengths: Tensor, given: Tensor | None = None, **options: Any) -> Tensor:
        """Generate the codes of all layers (quantisers) above the `base` codes (B, L). Returns the codes of all layers (B, L, Q).

        Codes are −1 beyond `lengths`. If the model samples padding for a token in a layer, this code is also −1, and the layer adds
        nothing to the latent of the token. Positions where `given` (B, L, Q) has a base code keep the given codes in all layers.
        `options` are fields of `Decoding`, and `seed` and `first_sample` (both 0 by default); the random numbers of row b depend on
        `seed` and `first_sample + b`.
        """
        tensors, settings = self.inputs(base, condition, lengths, given, **options)
        codes = self.graphs(self._all_layers, tensors, *settings)
        return codes.masked_fill(codes == self.pad_id, -1)

    def inputs(
        self, base: Tensor, condition: Tensor, lengths: Tensor, given: Tensor | None = None, *,
        seed: int = 0, first_sample: int = 0, **settings: Any,
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], Decoding]:  # fmt: skip
        """Return the tensors and the settings that `layers` takes, from the arguments of `generate`.

        The tensors are base codes (B, L), the mask of valid positions (B, L), the condition (encoded text) (B, P, C), given codes
        (B, L, Q), −1 at positions to generate, and one uniform random number per position and layer (quantiser), (B, L, Q).
        """
        samples = first_sample + torch.arange(len(base), device=base.device)
        # The layers use the random numbers of steps −1, −2, …, because the masked transformer uses steps 0, 1, … of the same seed.
        numbers = torch.arange(self.config.num_quantizers, device=base.device)
        noise = uniforms(seed, samples, -numbers[:, None, None], base.shape[1]).movedim(0, -1)
        given = torch.full_like(noise, -1, dtype=torch.long) if given is None else given
        return (base, valid_mask(lengths, base.shape[1]), rows_of(condition), given, noise), Decoding(**settings)

    def layers(
        self,
        base: Tensor,
        valid: Tensor,
        condition: Tensor,
        given: Tensor,
        noise: Tensor,
        cond_scale: float,
        temperature: float,
        topkr: float,
        layers: int | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Generate the codes of one layer (quantiser) after another; the arguments are the results of `inputs`.

        Yields the guided logits (B, L, K + 1) and the codes (B, L) of each layer; the codes are pad_id at padding.
        """
        ids, history = torch.where(valid, base, self.pad_id), 0
        with packed_weights(self):
            for q in range(1, self.config.num_quantizers if layers is None else layers + 1):
                history = history + self.embeddings[q - 1][ids]  # (B, L, code_dim)
                logits = self.guided(history, condition, valid, q, cond_scale)
                drawn = sample(logits, noise[..., q], temperature, topkr)
                kept = given[..., q] % (self.pad_id + 1)  # −1, which stands for no code, becomes pad_id
                ids = torch.where(valid, torch.where(given[..., 0] < 0, drawn, kept), self.pad_id)
                yield logits, ids

    def _all_layers(self, base: Tensor, valid: Tensor, *arguments: Any) -> Tensor:
        """The codes of all layers (quantisers), including the base: (B, L, Q), pad_id at padding."""
        upper = [ids for _, ids in self.layers(base, valid, *arguments)]
        return torch.stack((torch.where(valid, base, self.pad_id), *upper), dim=-1)
