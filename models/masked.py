"""The masked transformer: text condition → tokens of the base layer (LaMP section 3.3; MoMask section 3.3).

In training, random tokens of a sequence are selected for prediction; the fraction of selected tokens is the cosine schedule at a
random time. Of the selected tokens, 80 % are replaced by [MASK] and 10 % by random tokens; the others stay unchanged. From the
sequence with these replacements and from the condition (the encoded text, given as one or more prefix tokens), the model predicts
the original tokens at the selected positions. Generation starts with a sequence of [MASK] tokens. Every sampling step samples a
token at each masked position, keeps the sampled tokens with the highest confidence, and masks the other sampled tokens again. The
number of masked tokens falls from step to step.

Shapes: codes (B, L) int64, −1 at padding; condition (B, C), or (B, 1 + W, C) with words (`models.conditions`); lengths (B,) in
tokens; logits (B, L, K).
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
from models.linear import Linear, packed_weights
from models.sampling import cosine_schedule, guide, sample, uniforms

CHOICE = 2**20  # added to the step number when drawing the random numbers that decide which tokens are kept


@dataclass(frozen=True)
class MaskedConfig:
    """Sizes of a masked transformer, by default the paper's, and of the tokeniser whose codes the transformer generates."""

    nb_code: int = 512
    stride: int = 4  # frames per token
    cond_dim: int = 384
    word_dim: int = 0  # width of the condition's words; 0: words are not used
    code_dim: int = 512  # width of the token embedding
    latent_dim: int = 512
    ff_size: int = 1024
    n_layers: int = 8
    n_heads: int = 8
    dropout: float = 0.2
    cond_drop_prob: float = 0.1
    attention: str = "causal"  # causal | full | additive (see `models.layers.attention_mask`)
    infill: float = 0.0  # fraction of training samples whose masked tokens lie within one section, as in editing


class Step(NamedTuple):
    """One sampling step of generation. `logits` is (B, L, K); all other fields are token ids (B, L)."""

    ids_in: Tensor  # input of the network
    logits: Tensor  # after guidance
    drawn: Tensor  # a sampled token at every position
    ids: Tensor  # result: `drawn` where `ids_in` is masked, elsewhere `ids_in`


class Decoding(NamedTuple):
    """Settings of generation.

    Each step keeps the tokens with the highest noisy log probabilities. The Gumbel noise has a scale that falls linearly from
    `choice_temperature` to 0, as in MaskGIT's implementation. Without noise, as in MoMask, the tokens of a resting person, which
    are easy to predict, are kept first, and long motions freeze.
    """

    time_steps: int = 10
    cond_scale: float = 4.0  # guidance scale
    temperature: float = 1.0
    topkr: float = 0.9  # fraction of the codes that are never sampled, because they are the least likely ones
    choice_temperature: float = 0.0


class MaskedTransformer(nn.Module):
    """A transformer that predicts masked base tokens (codes of the first quantiser) from visible tokens and the encoded text."""

    uses_all_parameters = True  # every training step uses every parameter (see `training.processes`)

    def __init__(self, config: MaskedConfig):
        super().__init__()
        self.config = c = config
        self.mask_id, self.pad_id = c.nb_code, c.nb_code + 1
        self.token_emb = nn.Embedding(c.nb_code + 2, c.code_dim)
        self.input = Linear(c.code_dim, c.latent_dim)
        self.cond_emb = Linear(c.cond_dim, c.latent_dim)
        self.word_emb = Linear(c.word_dim, c.latent_dim) if c.word_dim else None
        self.augment = ConditionAugmentation()
        self.graphs = Graphs(self)
        self.encoder = PositionedEncoder(c.latent_dim, c.n_heads, c.ff_size, c.n_layers, c.dropout, c.attention)
        self.head = Head(c.latent_dim, c.nb_code)
        self.apply(init_weights_)

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
        """Initialise the embeddings from the first of the `codebooks` (Q, K, code_dim): similar codes get similar embeddings."""
        base = codebooks[0]
        self.token_emb.weight[: self.config.nb_code] = (base - base.mean(0)) / base.std()

    def forward(self, ids: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """Logits (B, L, K) for ids (B, L), which may be codes, mask_id ([MASK]) or pad_id; `valid` (B, L) is False at padding.

        A condition (encoded text) of zeros stands for "no text".
        """
        prefix = text_prefix(condition, self.cond_emb, self.word_emb)
        return self.head(self.encoder(*prefix, self.input(self.token_emb(ids)), valid))

    def guided(self, ids: Tensor, condition: Tensor, valid: Tensor, scale: float) -> Tensor:
        """Logits with classifier-free guidance of strength `scale`; one forward pass gives conditional and unconditional logits."""
        if scale == 1:
            return self(ids, condition, valid)
        if scale == 0:
            return self(ids, torch.zeros_like(condition), valid)
        both = torch.cat((condition, torch.zeros_like(condition)))
        return guide(*self(ids.repeat(2, 1), both, valid.repeat(2, 1)).chunk(2), scale)

    # Training

    def hide(self, codes: Tensor, lengths: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Mask a random fraction of the tokens of each sequence in `codes` (B, L), for training.

        Returns the input (B, L) of the network, and a bool mask (B, L) of the positions that the network has to predict. In a
        fraction `infill` of the sequences, all masked tokens lie within one section, as in editing.
        """
        valid = valid_mask(lengths, codes.shape[1])

        def rand(*shape: int) -> Tensor:
            return torch.rand(shape, device=codes.device, generator=generator)

        count = (lengths * cosine_schedule(rand(len(codes)))).round().clamp(min=1)
        order = rand(*codes.shape).masked_fill(~valid, 2.0).argsort(1).argsort(1)  # a random rank for each position, padding last
        hidden = order < count[:, None]
        if self.config.infill:
            # The section has between one and all tokens. The number of masked tokens in a section follows the cosine schedule.
            size = (lengths * rand(len(codes))).ceil().clamp(min=1)
            start = (rand(len(codes)) * (lengths - size + 1)).floor()
            position = torch.arange(codes.shape[1], device=codes.device)
            section = (position >= start[:, None]) & (position < (start + size)[:, None])
            within = order.masked_fill(~section, codes.shape[1]).argsort(1).argsort(1)
            section_count = (size * cosine_schedule(rand(len(codes)))).round().clamp(min=1)
            edited = rand(len(codes), 1) < self.config.infill
            hidden = torch.where(edited, within < section_count[:, None], hidden)
        uniform = rand(*codes.shape)
        random_ids = (rand(*codes.shape) * self.config.nb_code).long()
        ids = torch.where(valid, codes, self.pad_id)
        ids = torch.where(hidden & (uniform < 0.1), random_ids, ids)
        return torch.where(hidden & (uniform >= 0.2), self.mask_id, ids), hidden

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy on masked base tokens (codes of the first quantiser), and values to log.

        `batch` contains 'codes' (B, L, Q), 'lengths' (B,) and the condition (encoded text).
        """
        codes, condition = batch["codes"][..., 0], condition_of(batch)
        ids, hidden = self.hide(codes, batch["lengths"], generator)
        if self.training:
            dropped = torch.rand(len(condition), device=condition.device, generator=generator) < self.config.cond_drop_prob
            condition = without(self.augment(condition, generator), dropped)
        logits, targets = counted(hidden, self(ids, condition, valid_mask(batch["lengths"], codes.shape[1])), codes)
        loss = F.cross_entropy(logits.float(), targets)
        return loss, {"masked_ce": loss.detach(), "accuracy": accuracy(logits, targets)}

    # Generation

    @torch.no_grad()
    def generate(self, condition: Tensor, lengths: Tensor, given: Tensor | None = None, **options: Any) -> Tensor:
        """Generate base tokens (B, L), −1 beyond `lengths`. No row depends on other rows.

        Args:
            condition: encoded text, (B, C) or (B, 1 + W, C).
            lengths: (B,) in tokens.
            given: (B, L) tokens to keep, −1 at positions to generate; None: generate all positions. The cosine schedule
                counts only positions to generate.
            options: fields of `Decoding`, and `seed` and `first_sample` (both 0 by default). The random numbers of row b depend on
                `seed` and on the sample number `first_sample + b`.
        """
        tensors, settings = self.inputs(condition, lengths, given, **options)
        valid = tensors[1]
        return self.graphs(self._last_ids, tensors, *settings).masked_fill(~valid, -1)

    def inputs(
        self, condition: Tensor, lengths: Tensor, given: Tensor | None = None, *,
        seed: int = 0, first_sample: int = 0, **settings: Any,
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Decoding]:  # fmt: skip
        """Prepare the inputs of `steps` from the arguments of `generate`: four tensors and the settings of decoding.

        The tensors are ids (B, L), the mask of valid tokens (B, L), the condition (encoded text) (B, P, C), and random numbers (B,
        L, S), one per token and sampling step. If `choice_temperature` is set, S is twice the number of steps, and the second half
        of the numbers gives the Gumbel noise.
        """
        chosen = Decoding(**settings)
        samples = first_sample + torch.arange(len(lengths), device=lengths.device)
        valid = valid_mask(lengths, int(lengths.max()))
        given = torch.full_like(valid, -1, dtype=torch.long) if given is None else given
        ids = given.masked_fill(given < 0, self.mask_id)
        steps = torch.arange(chosen.time_steps, device=ids.device)
        steps = torch.cat((steps, steps + CHOICE)) if chosen.choice_temperature else steps
        noise = uniforms(seed, samples, steps[:, None, None], ids.shape[1])  # (S, B, L): all steps at once, with few kernels
        return (ids, valid, rows_of(condition), noise.movedim(0, -1)), chosen

    def steps(
        self,
        ids: Tensor,
        valid: Tensor,
        condition: Tensor,
        noise: Tensor,
        time_steps: int,
        cond_scale: float,
        temperature: float,
        topkr: float,
        choice_temperature: float,
    ) -> Iterator[Step]:
        """Generate tokens, and yield each sampling step. The arguments are the results of `inputs`."""
        ids = torch.where(valid, ids, self.pad_id)
        wanted = ids == self.mask_id
        confidence = torch.zeros_like(noise[..., 0]).masked_fill(~wanted, torch.inf)
        with packed_weights(self):
            for step, time in enumerate(torch.linspace(0, 1, time_steps, device=ids.device)):
                count = (cosine_schedule(time) * wanted.sum(1)).round().clamp(min=1)  # at the last step, one token is still masked
                hidden = wanted & (confidence.argsort(dim=1, stable=True).argsort(1) < count[:, None])
                ids_in = torch.where(hidden, self.mask_id, ids)
                logits = self.guided(ids_in, condition, valid, cond_scale)
                drawn = sample(logits, noise[..., step], temperature, topkr)
                ids = torch.where(hidden, drawn, ids_in)
                confidence = logits.softmax(-1).gather(2, drawn[..., None])[..., 0]
                if choice_temperature:
                    gumbel = -(-noise[..., time_steps + step].log()).log()
                    confidence = confidence.log() + choice_temperature * (1 - time) * gumbel
                confidence = confidence.masked_fill(~hidden, torch.inf)
                yield Step(ids_in, logits, drawn, ids)

    def _last_ids(self, *arguments: Any) -> Tensor:
        """Run all sampling steps (`steps`), and return the ids after the last step."""
        *_, last = self.steps(*arguments)
        return last.ids
