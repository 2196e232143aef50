"""LaMP, language-motion pretraining: a Q-Former that aligns captions with the latents of a frozen motion tokeniser.

See LaMP, section 3.2. Learned queries attend to a motion through cross-attention. Each of the four losses is a method:

    contrastive   make the embeddings of a caption and its motion more similar than those of a caption and another motion
    matching      classify whether a caption and a motion belong together
    captioning    predict the caption, word by word, from the queries
    generation    predict the motion's codes from queries that attend to the caption

A batch is {"latents": (B, N, C) outputs of the tokeniser's encoder, "codes": (B, N) base codes, "lengths": (B,) in motion tokens,
"ids": (B, L) WordPiece ids of "[CLS] … [SEP]", 0 at padding, "text_lengths": (B,), "caption": (B,) an id that samples share if they
have equal texts or come from the same clip}.

The released code differs from the paper in some details. If `LaMPConfig.released` is true, this module follows the released code in
these details. The field is true only for released weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from models.decoding import finished
from models.graphs import Graphs
from models.layers import IGNORED, Cache, counted, init_weights_, sinusoidal_positions, valid_mask, whiten_
from models.linear import Linear, linear
from models.qformer import QFormer, QFormerConfig

LOSSES = ("contrastive", "matching", "captioning", "generation")
POOLS: dict[str, Callable[[Tensor], Tensor]] = {"max": lambda x: x.amax(1), "mean": lambda x: x.mean(1)}


@dataclass(frozen=True)
class LaMPConfig(QFormerConfig):
    """Sizes of the Q-Former and its inputs. `latent_dim`, `nb_code` and `stride` describe the tokeniser."""

    latent_dim: int = 512
    nb_code: int = 512
    stride: int = 4
    embed_dim: int = 512  # width of the joint space of captions and motions
    max_text: int = 32  # maximum number of tokens of a caption, including [CLS] and [SEP]
    losses: tuple[str, ...] = LOSSES
    match_rows: int = 0  # samples per batch that the matching loss uses; 0: all
    label_smoothing: float = 0.1
    # If True: no exponential of the scale; no mask and no positions of latents; the generation loss projects word embeddings.
    released: bool = False


class LaMP(nn.Module):
    """The Q-Former with its projections and the heads of its four losses."""

    def __init__(self, config: LaMPConfig):
        super().__init__()
        self.config = c = config
        self.qformer = QFormer(c)
        self.motion_projection = Linear(c.latent_dim, c.cross_width, bias=not c.released)
        self.text_projection = Linear(c.hidden_size, c.cross_width, bias=False)
        self.motion_embedding = Linear(c.hidden_size, c.embed_dim)
        self.text_embedding = Linear(c.hidden_size, c.embed_dim)
        self.match_head = Linear(c.hidden_size, 2)
        self.word_head = WordHead(c.hidden_size, c.vocab_size)
        self.code_head = Linear(c.hidden_size, c.nb_code, bias=False)
        for part in (self.motion_embedding, self.text_embedding, self.match_head, self.word_head, self.code_head):
            part.apply(init_weights_)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.graphs = Graphs(self)
        # A released file contains two tokenisers: `tokeniser` encodes motions for LaMP, `coder` computes the codes to predict.
        self.tokeniser: nn.Module | None = None
        self.coder: nn.Module | None = None

    # Inference

    def motion_features(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Unit-length embeddings (B, Q, E) of motions, one per query, from latents (B, N, C) with `lengths` (B,) in tokens."""
        return F.normalize(self.project_motion(latents, lengths), dim=-1)

    def text_features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Unit-length embeddings (B, E) of texts, from token ids (B, L) with `lengths` (B,)."""
        return F.normalize(self.project_text(ids, lengths), dim=-1)

    def project_motion(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """The embeddings (B, Q, E) of `motion_features` before they are normalised to unit length."""
        return self.motion_embedding(self.qformer.queries(*self.motion_context(latents, lengths))[0])

    def project_text(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The embeddings (B, E) of `text_features` before they are normalised to unit length."""
        return self.text_embedding(self.qformer.text(ids, valid_mask(lengths, ids.shape[1]), wanted=1)[:, 0])

    @staticmethod
    def similarity(motion: Tensor, text: Tensor, pool: str = "max") -> Tensor:
        """Cosine similarities (N, M) of motions (N, Q, E) and texts (M, E): their maximum or mean (`pool`) over the queries."""
        return POOLS[pool](torch.einsum("nqe, me -> nqm", motion, text))

    def match(self, ids: Tensor, text_lengths: Tensor, latents: Tensor, lengths: Tensor) -> Tensor:
        """Log-odds (B,) that each text (token ids) and the motion at the same index (latents) belong together."""
        logits = self.match_logits(ids, text_lengths, *self.motion_context(latents, lengths))
        return logits[:, 1] - logits[:, 0]

    def condition(self, ids: Tensor, lengths: Tensor, query: bool = True) -> Tensor:
        """Vectors (B, H) of texts, as conditions of generators: the mean query output or, without `query`, the [CLS] output."""
        return self.graphs(self._condition, (ids, valid_mask(lengths, ids.shape[1])), query)[:, 0]

    def _condition(self, ids: Tensor, valid: Tensor, query: bool) -> Tensor:
        """The text vectors (B, 1, H) of `condition`, from token ids (B, L) with the mask `valid` (B, L)."""
        hidden = self.qformer.text(ids, valid)
        return self.query_context(self.text_projection(hidden), valid).mean(1, keepdim=True) if query else hidden[:, :1]

    @torch.no_grad()
    def caption(self, latents: Tensor, lengths: Tensor, end: int) -> Tensor:
        """Caption motions (latents) by greedy decoding. A caption ends before the first id `end` ([SEP]).

        Returns token ids (B, L), which are 0 after a caption's last word.
        """
        caches = self.qformer.queries(*self.motion_context(latents, lengths))[1]
        ids = torch.full((len(latents), 1), self.config.vocab_size - 1, device=latents.device)  # [DEC]
        running = torch.ones_like(ids, dtype=torch.bool)
        words = []
        for step in range(self.config.max_text - 1):
            hidden, caches = self.qformer.caption(ids, running, caches)
            ids = self.words(hidden).argmax(-1) * running
            running = running & (ids != end)
            words.append(ids * running)
            if finished(~running, step):
                break
        return torch.cat(words, dim=1)

    # Training

    @property
    def capturable(self) -> bool:
        """Whether training steps may be captured as CUDA graphs (see `training.update`).

        The value is False if the config field `released` is set, because the results then depend on the padding.
        """
        return not self.config.released

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the losses listed in the config, and a dict of these losses, keyed by name.

        The contents of `batch` are described at the top of the file.
        """
        names = self.config.losses
        # The padding (see `utils.padding`) can exceed the table of positions.
        ids, caption = batch["ids"][:, : self.config.max_position_embeddings], batch["caption"]
        text_valid = valid_mask(batch["text_lengths"], ids.shape[1])
        context = self.motion_context(batch["latents"], batch["lengths"])
        losses: dict[str, Tensor] = {}
        wanted = None if "generation" in names else 1  # [CLS]
        hidden = self.qformer.text(ids, text_valid, wanted) if {"contrastive", "matching", "generation"} & set(names) else None
        queries, caches = self.qformer.queries(*context) if set(names) != {"generation"} else (None, [])
        if {"contrastive", "matching"} & set(names):
            motion = F.normalize(self.motion_embedding(queries), dim=-1)  # (B, Q, E)
            text = F.normalize(self.text_embedding(hidden[:, 0]), dim=-1)  # (B, E)
        if "contrastive" in names:
            losses["contrastive"] = self.contrastive_loss(motion, text, caption)
        if "matching" in names:
            negatives = self.negatives(self.scale * self.similarity(motion, text), caption)
            losses["matching"] = self.matching_loss(ids, batch["text_lengths"], *context, negatives, caption)
        if "captioning" in names:
            losses["captioning"] = self.captioning_loss(ids, text_valid, caches)
        if "generation" in names:
            losses["generation"] = self.generation_loss(self.text_context(ids, hidden), text_valid, batch["codes"])
        return sum(losses.values()), losses

    def contrastive_loss(self, motion: Tensor, text: Tensor, caption: Tensor) -> Tensor:
        """Mean of motion-to-text and text-to-motion cross-entropy of motions (B, Q, E) and texts (B, E).

        The candidates are the samples of all processes. Wrong candidates with the `caption` id of the correct candidate are
        ignored.
        """
        first, motions, texts, captions = 0, motion, text, caption
        if self.training and dist.is_initialized():  # validation runs on rank 0 alone
            first = dist.get_rank() * len(caption)
            motions, texts, captions = (Gather.apply(value) for value in (motion, text, caption))
        target = first + torch.arange(len(caption), device=caption.device)
        other_sample = target[:, None] != torch.arange(len(captions), device=caption.device)
        ignored = (caption[:, None] == captions) & other_sample
        to_text = self.scale * self.similarity(motion, texts)  # (B, all)
        to_motion = self.scale * self.similarity(motions, text).T
        return (self._cross_entropy(to_text, target, ignored) + self._cross_entropy(to_motion, target, ignored)) / 2

    @torch.no_grad()
    def negatives(self, similarity: Tensor, caption: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sample hard negatives for the matching loss, using the similarities (B, B) of motions × texts.

        Returns three tensors (R,) of indices into the batch: R samples (`config.match_rows` random samples, or all), a hard
        negative motion for each of these samples, and a hard negative text for each of these samples.
        """
        rows = torch.arange(len(caption), device=caption.device)
        if 0 < self.config.match_rows < len(caption):
            rows = torch.randperm(len(caption), device=caption.device)[: self.config.match_rows]
        return rows, hard_negatives(similarity.T, caption)[rows], hard_negatives(similarity, caption)[rows]

    def matching_loss(
        self, ids: Tensor, text_lengths: Tensor, context: Tensor, context_valid: Tensor, negatives: tuple, caption: Tensor
    ) -> Tensor:
        """Two-class cross-entropy over matching pairs, texts with hard negative motions, and motions with hard negative texts.

        Texts are token ids, and motions are the outputs of `motion_context`. `negatives` is the result of the method `negatives`. A
        negative with the same `caption` id as its sample is ignored.
        """
        rows, wrong_motion, wrong_text = negatives
        text, motion = torch.cat((rows, rows, wrong_text)), torch.cat((rows, wrong_motion, rows))
        logits = self.match_logits(ids[text], text_lengths[text], context[motion], context_valid[motion])
        labels = torch.zeros_like(text).masked_fill(caption[text] == caption[motion], IGNORED)
        labels[: len(rows)] = 1
        return F.cross_entropy(logits, labels, ignore_index=IGNORED)

    def captioning_loss(self, ids: Tensor, valid: Tensor, caches: list[Cache]) -> Tensor:
        """Cross-entropy of the words of the captions, each predicted from [DEC] (start token), the words before it and the queries.

        `caches` are the keys and values of the queries.
        """
        hidden, _ = self.qformer.caption(self.decoder_ids(ids), valid, caches)
        hidden, labels = counted(valid[:, 1:], hidden[:, :-1], ids[:, 1:])
        return F.cross_entropy(self.words(hidden), labels, label_smoothing=self.config.label_smoothing)

    def generation_loss(self, context: Tensor, valid: Tensor, codes: Tensor) -> Tensor:
        """Cross-entropy of the codes (B, N) of motions, −1 at padding. Query n attends to a text, `context`, and predicts code n.

        If there are more codes than queries, the remaining codes are ignored.
        """
        logits = self.code_head(self.query_context(context, valid))  # (B, Q, K)
        queries = self.config.num_queries
        labels = F.pad(codes[:, :queries], (0, max(0, queries - codes.shape[1])), value=-1)
        return F.cross_entropy(
            logits.flatten(0, 1), labels.where(labels >= 0, IGNORED).flatten(), ignore_index=IGNORED,
            label_smoothing=self.config.label_smoothing,
        )  # fmt: skip

    def init_latents_(self, latents: Tensor) -> None:
        """Initialise the motion projection so that it whitens training latents (N, C).

        Without whitening, a few directions in which latents vary much would dominate.
        """
        whiten_(self.motion_projection, latents)

    # Components

    @property
    def scale(self) -> Tensor:
        """The inverse temperature of the contrastive loss."""
        return self.logit_scale if self.config.released else self.logit_scale.exp().clamp(max=100)

    def motion_context(self, latents: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Project latents (B, N, C) to the context (B, N, W) that the queries attend to; also returns its mask (B, N)."""
        context = self.motion_projection(latents)
        valid = valid_mask(lengths, latents.shape[1])
        if self.config.released:
            return context, torch.ones_like(valid)
        return context + sinusoidal_positions(*context.shape[1:], context.device, context.dtype), valid

    def text_context(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """Project the text branch's outputs `hidden` (B, L, H) to the context (B, L, W) that the queries attend to in the
        generation loss.

        If the config field `released` is set, the word embeddings are projected instead, as in the released code. The method
        `condition` does not call this method; it projects the text branch's outputs in either case.
        """
        return self.text_projection(self.qformer.embed(self.decoder_ids(ids)) if self.config.released else hidden)

    def decoder_ids(self, ids: Tensor) -> Tensor:
        """Token ids for the decoder: [DEC], the start token of captions, replaces [CLS]."""
        return torch.cat((torch.full_like(ids[:, :1], self.config.vocab_size - 1), ids[:, 1:]), dim=1)

    def query_context(self, context: Tensor, valid: Tensor) -> Tensor:
        """Outputs (B, Q, H) of the queries after attention to `context` (B, L, W), the projected outputs of the text branch."""
        return self.qformer.queries(context, valid)[0]

    def match_logits(self, ids: Tensor, text_lengths: Tensor, context: Tensor, context_valid: Tensor) -> Tensor:
        """Logits (B, 2) of the matching head (0: no match, 1: match) for pairs of text and motion, averaged over the queries."""
        hidden = self.qformer.both(ids, valid_mask(text_lengths, ids.shape[1]), context, context_valid)
        return self.match_head(hidden).mean(1)

    def words(self, hidden: Tensor) -> Tensor:
        """Logits (..., words) of the next word of a caption, from outputs (..., H) of `QFormer.caption`."""
        return self.word_head(hidden, self.qformer.words.weight)

    def _cross_entropy(self, logits: Tensor, target: Tensor, ignored: Tensor) -> Tensor:
        """Cross-entropy of logits (B, classes) with label smoothing; classes where `ignored` (B, classes) is True are left out."""
        log_probability = logits.masked_fill(ignored, -torch.inf).log_softmax(-1).masked_fill(ignored, 0)
        smoothing = self.config.label_smoothing
        correct = log_probability.gather(1, target[:, None])[:, 0]
        uniform = log_probability.sum(1) / (~ignored).sum(1)
        return -((1 - smoothing) * correct + smoothing * uniform).mean()


class WordHead(nn.Module):
    """BERT's head for predicting words: logits (..., words) from outputs (..., H) and the word embeddings (words, H)."""

    def __init__(self, dim: int, words: int):
        super().__init__()
        self.dense = Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        return linear(self.norm(self.dense(x, gelu=True)), words, self.bias)


class Gather(torch.autograd.Function):
    """Gather rows (B, …) of all processes, by rank: (world · B, …). Gradients flow back to the process that sent the rows.

    With the gloo backend, PyTorch's own differentiable `all_gather` returns wrong gradients if the incoming gradients are not
    contiguous.
    """

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum the gradients over all processes, and return the gradients of the rows that this process sent."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def hard_negatives(scores: Tensor, caption: Tensor) -> Tensor:
    """For each row of `scores` (B, B), sample a column by softmax, among the columns whose `caption` id is not the row's.

    The result is a column index per row (B,). If a row has no such column or contains NaN, the result is the index of the row.
    `torch.multinomial` is not used: its check for NaN waits for the GPU and raises before the trainer can report the batch.
    Instead, the probabilities are divided by exponential noise and the largest quotient is taken, which samples from the same
    distribution (Efraimidis and Spirakis 2006).
    """
    chance = scores.masked_fill(caption[:, None] == caption, -torch.inf).softmax(-1)  # NaN if all columns are masked
    chance = torch.where(chance.isnan(), torch.eye(len(caption), device=caption.device, dtype=chance.dtype), chance)
    return (chance / torch.empty_like(chance).exponential_()).argmax(1)
