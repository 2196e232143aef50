"""The Q-Former: a BERT with a branch for learned motion queries and a branch for text; both branches share self-attention.

See LaMP, section 3.2, which follows BLIP-2 (Li et al. 2023, section 3.1). Queries have their own feed-forward layers and, in every
second layer, cross-attention to a context, which is a motion or a text. The text branch alone is an ordinary BERT.

Four forward passes differ in what attends to what:

    text(ids)             text to text                                             (B, L, H)
    queries(context)      queries to queries and context                           (B, Q, H), keys and values of every layer
    both(ids, context)    queries and text to each other, queries to context       (B, Q, H), the queries' outputs
    caption(ids, caches)  text to the queries' cached keys and to earlier text     (B, L, H), the caches extended by the text
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.bert import Bert
from models.layers import Cache, Dropout, attend, extended, init_weights_
from models.linear import Linear


@dataclass(frozen=True)
class QFormerConfig:
    """Sizes of the Q-Former. The fields before `num_queries` are the sizes of the backbone, a BERT.

    `vocab_size` is one more than in the backbone: the last token, [DEC], starts a caption.
    """

    vocab_size: int = 30_523
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    dropout: float = 0.1
    num_queries: int = 49
    cross_width: int = 1408  # width of the context
    cross_every: int = 2  # n: in layers 0, n, 2n, …, the queries attend to the context


class Attention(nn.Module):
    """Attention of x (B, L, H) to a context (B, N, W); the result is added to x, and the sum is normalised."""

    def __init__(self, dim: int, heads: int, context_dim: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.q = Linear(dim, dim)
        self.kv = Linear(context_dim, 2 * dim)
        self.out = Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, 1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Attend from x (B, L, H) to `past` and `context` (B, N, W).

        `mask` is broadcastable to (B, heads, L, past + N), True = visible. Returns the outputs (B, L, H), and the keys and values
        of `past` followed by the keys and values of `context`.
        """
        q = rearrange(self.q(x), "b l (h d) -> b h l d", h=self.heads)
        k, v = rearrange(self.kv(context), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        k, v = extended(past, k, v)
        mixed = attend(q, k, v, mask)
        return self.norm(x + self.dropout(self.out(rearrange(mixed, "b h l d -> b l (h d)")))), (k, v)


class FeedForward(nn.Module):
    """Linear, GELU, linear; the result is added to the input, and the sum is normalised: (..., H) → (..., H)."""

    def __init__(self, dim: int, ff: int, dropout: float):
        super().__init__()
        self.ff1 = Linear(dim, ff)
        self.ff2 = Linear(ff, dim)
        self.norm = nn.LayerNorm(dim, 1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.ff2(self.ff1(x, gelu=True))))


class Layer(nn.Module):
    """Self-attention over queries and text, then cross-attention of the queries to a context, then one feed-forward per branch."""

    def __init__(self, config: QFormerConfig, crosses: bool):
        super().__init__()
        dim, heads, ff, dropout = config.hidden_size, config.num_attention_heads, config.intermediate_size, config.dropout
        self.attention = Attention(dim, heads, dim, dropout)
        self.cross = Attention(dim, heads, config.cross_width, dropout) if crosses else None
        self.text = FeedForward(dim, ff, dropout)
        self.query = FeedForward(dim, ff, dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        queries: int,
        context: Tensor | None,
        context_mask: Tensor | None,
        past: Cache | None,
        wanted: int | None,
    ) -> tuple[Tensor, Cache]:
        """Apply the layer to x (B, queries + L, H), queries followed by a text; also returns the keys and values of self-attention.

        `past` holds the keys and values of earlier positions. Only the first `wanted` outputs are computed; None: all. `mask`
        applies to the keys of self-attention, and `context_mask` to the keys of cross-attention.
        """
        x, cache = self.attention(x[:, :wanted], x, mask, past)
        q, text = x[:, :queries], x[:, queries:]
        if queries:
            if self.cross is not None:
                q = self.cross(q, context, context_mask)[0]
            q = self.query(q)
        if text.shape[1]:
            text = self.text(text)
        return torch.cat((q, text), dim=1), cache


class QFormer(nn.Module):
    """The Q-Former. Token ids (B, L) have a mask (B, L), contexts (B, N, W) a mask (B, N); masks are bool, True = valid."""

    def __init__(self, config: QFormerConfig):
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.query_tokens = nn.Parameter(torch.empty(c.num_queries, c.hidden_size))
        self.norm = nn.LayerNorm(c.hidden_size, 1e-12)
        self.dropout = Dropout(c.dropout)
        self.layers = nn.ModuleList(Layer(c, number % c.cross_every == 0) for number in range(c.num_hidden_layers))
        self.apply(init_weights_)
        nn.init.normal_(self.query_tokens, std=0.02)

    def embed(self, ids: Tensor, first: int = 0) -> Tensor:
        """Sums (B, L, H) of word and position embeddings, for ids (B, L) at positions `first`, `first` + 1, …"""
        x = self.words(ids) + self.positions.weight[first : first + ids.shape[1]]
        return self.dropout(self.norm(x))

    def text(self, ids: Tensor, valid: Tensor, wanted: int | None = None) -> Tensor:
        """Outputs (B, L, H) of the text branch alone. `wanted` = 1 computes only the output of [CLS]."""
        return self._run(self.embed(ids), valid[:, None, None, :], wanted=wanted)[0]

    def queries(self, context: Tensor, valid: Tensor) -> tuple[Tensor, list[Cache]]:
        """The queries' outputs (B, Q, H) for a context, and the queries' keys and values, which `caption` takes as `caches`."""
        x = self._query_inputs(context)
        return self._run(x, None, x.shape[1], context, valid)

    def both(self, ids: Tensor, valid: Tensor, context: Tensor, context_valid: Tensor) -> Tensor:
        """The queries' outputs (B, Q, H). Queries attend to queries, text and context; text attends to queries and text."""
        queries = self._query_inputs(context)
        size = queries.shape[1]
        mask = F.pad(valid, (size, 0), value=True)[:, None, None, :]
        return self._run(torch.cat((queries, self.embed(ids)), dim=1), mask, size, context, context_valid, wanted=size)[0]

    def caption(self, ids: Tensor, valid: Tensor, caches: list[Cache]) -> tuple[Tensor, list[Cache]]:
        """Outputs (B, L, H) of a text. Each position attends to the queries, to earlier positions and to itself.

        Also returns the keys and values of each layer, `caches`, extended by the text. The argument `caches` comes from `queries`
        or, to continue a text, from the previous call of `caption`. `valid` (B, L) is the mask of `ids`.
        """
        past = caches[0][0].shape[2]
        size = ids.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()
        mask = F.pad(causal & valid[:, None, None, :], (past, 0), value=True)  # (B, 1, L, past + L)
        return self._run(self.embed(ids, past - self.config.num_queries), mask, past=caches)

    def _query_inputs(self, context: Tensor) -> Tensor:
        return self.dropout(self.norm(self.query_tokens).expand(len(context), -1, -1))

    def _run(
        self,
        x: Tensor,
        mask: Tensor | None,
        queries: int = 0,
        context: Tensor | None = None,
        context_valid: Tensor | None = None,
        past: list[Cache] | None = None,
        wanted: int | None = None,
    ) -> tuple[Tensor, list[Cache]]:
        """Apply all layers to x, the last one for the first `wanted` outputs; also returns the keys and values of each layer."""
        context_mask = None if context_valid is None else context_valid[:, None, None, :]
        caches = []
        for number, layer in enumerate(self.layers, start=1):
            layer_past = past[number - 1] if past else None
            x, cache = layer(x, mask, queries, context, context_mask, layer_past, wanted if number == len(self.layers) else None)
            caches.append(cache)
        return x, caches

    @torch.no_grad()
    def init_backbone_(self, bert: Bert) -> None:
        """Initialise the text branch from a BERT, and the queries' feed-forward layers from the BERT's feed-forward layers.

        The embedding of [DEC], which starts captions, becomes the mean of all word embeddings. Raises `ValueError` for other sizes.
        """
        config, backbone = self.config, bert.config
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"):
            if getattr(config, name) != getattr(backbone, name):
                raise ValueError(f"{name} is {getattr(backbone, name)} in the backbone and {getattr(config, name)} in the Q-Former")
        if config.vocab_size != backbone.vocab_size + 1:
            raise ValueError(f"the backbone has {backbone.vocab_size} words, so vocab_size must be {backbone.vocab_size + 1}")
        self.words.weight.copy_(torch.cat((bert.words.weight, bert.words.weight.mean(0, keepdim=True))))
        self.positions.weight.copy_(bert.positions.weight + bert.types.weight[0])  # all text has token type 0
        self.norm.load_state_dict(bert.norm.state_dict())
        for layer, source in zip(self.layers, bert.layers, strict=True):
            _copy_attention_(layer.attention, source)
            for branch in (layer.text, layer.query):
                for part, name in ((branch.ff1, "ff1"), (branch.ff2, "ff2"), (branch.norm, "norm2")):
                    part.load_state_dict(getattr(source, name).state_dict())


def _copy_attention_(attention: Attention, layer: nn.Module) -> None:
    """Copy the self-attention of a `models.layers.EncoderLayer`, which keeps queries, keys and values in one matrix."""
    dim = attention.out.in_features
    for kind in ("weight", "bias"):
        joined = getattr(layer.attention.qkv, kind)
        getattr(attention.q, kind).copy_(joined[:dim])
        getattr(attention.kv, kind).copy_(joined[dim:])
    attention.out.load_state_dict(layer.attention.out.state_dict())
    attention.norm.load_state_dict(layer.norm1.state_dict())
