"""Transformer layers that several models share: post-norm encoder layers, which can load the weights of MoMask and BERT.

Inputs and outputs are (B, L, D). Masks are bool, True = valid; `attention_mask` combines a padding mask with a kind of attention.
Sinusoidal positions follow Vaswani et al. 2017, section 3.5.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.linear import Linear

ATTENTION = ("causal", "full", "additive")
IGNORED = -100  # label of positions that do not count in a loss

Cache = tuple[Tensor, Tensor]  # keys and values of earlier positions in one layer, (B, H, L, D / H) each


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """A bool mask (B, size); row b is True at the first `lengths[b]` positions."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def attention_mask(valid: Tensor, kind: str) -> Tensor:
    """The mask (B or 1, 1, L, L) for `scaled_dot_product_attention`; `valid` (B, L) is False at padding. Depending on `kind`, each
    position attends to:

    full      every valid position
    causal    valid positions up to itself
    additive  every position, even padding; the mask contains the numbers 1 (positions up to itself) and 0 (later positions), which
              are added to the attention scores, as in LaMP's released models
    """
    size = valid.shape[1]
    if kind == "full":
        return valid[:, None, None, :].expand(-1, 1, size, -1)
    earlier = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril()
    if kind == "causal":
        return valid[:, None, None, :] & earlier
    assert kind == "additive", f"attention is one of {ATTENTION}, not {kind!r}"
    return earlier[None, None].float()


def counted(mask: Tensor, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Select rows (..., C) and labels (...) where `mask` (...) is True, for a cross-entropy; returns rows (N, C) and labels (N,).

    On a GPU, all rows are returned, and the labels where `mask` is False are set to `IGNORED`, the label that the loss ignores: a
    selection would make the CPU wait for the number of selected rows.
    """
    if mask.device.type == "cpu":
        return rows[mask], labels[mask]
    return rows.flatten(0, -2), labels.masked_fill(~mask, IGNORED).flatten()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The accuracy of logits (N, C) for labels (N,); positions with the label `IGNORED` (-100) do not count."""
    return (logits.argmax(-1) == labels).float().sum() / (labels != IGNORED).sum()


@functools.cache  # never evicted, because CUDA graphs hold the tables' addresses
def sinusoidal_positions(size: int, dim: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Position embeddings (size, dim): sine in even columns, cosine in odd columns, with wavelengths from 2π to 10,000 · 2π.

    The table is computed on the CPU, so that it is the same on all devices. The table is cached, so callers must not modify it.
    """
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angle = torch.arange(size)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim].to(device, dtype)


class Dropout(nn.Module):
    """Dropout with probability `p`.

    On a CPU, `p` is rounded to a multiple of 1/256, so that one random byte per element suffices. On a CPU, this class therefore
    takes a quarter of the time of `nn.Dropout`.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        dropped = round(256 * self.p)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * keep.to(x.dtype).mul_(256 / (256 - dropped))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Compute `scaled_dot_product_attention` of queries (B, H, L, d); in bf16 training on a CPU, compute it in float32."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # In training on a CPU, this function is four times as fast in float32 as in bf16.
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), mask).to(q.dtype)
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def extended(past: Cache | None, k: Tensor, v: Tensor) -> Cache:
    """Append keys and values (B, H, L, d) to the keys and values of earlier positions; returns all keys and all values."""
    return (k, v) if past is None else (torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2))


class SelfAttention(nn.Module):
    """Multi-head self-attention over x (B, L, D), with a mask that is broadcastable to (B, H, L, L)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        return self.out(rearrange(attend(q, k, v, mask), "b h l d -> b l (h d)"))


class EncoderLayer(nn.Module):
    """Self-attention, then a GELU feed-forward, both post-norm: output and input are added, and the sum is normalised."""

    def __init__(self, dim: int, heads: int, ff: int, dropout: float, eps: float = 1e-5):
        super().__init__()
        self.attention = SelfAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim, eps)
        self.ff1 = Linear(dim, ff)
        self.ff2 = Linear(ff, dim)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.ff2(self.dropout(self.ff1(x, gelu=True)))))


class PositionedEncoder(nn.Module):
    """Encodes prefix tokens (B, P, D) followed by a sequence (B, L, D); returns the sequence's outputs (B, L, D).

    Sinusoidal positions are added to the sequence, but not to the prefix. `prefix_valid` (B, P) is the mask of the prefix, and
    `valid` (B, L) is the mask of the sequence.
    """

    def __init__(self, dim: int, heads: int, ff: int, layers: int, dropout: float, attention: str):
        super().__init__()
        self.attention = attention
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, ff, dropout) for _ in range(layers))

    def forward(self, prefix: Tensor, prefix_valid: Tensor, x: Tensor, valid: Tensor) -> Tensor:
        prefixes = prefix.shape[1]
        x = self.dropout(x + sinusoidal_positions(x.shape[1], x.shape[2], x.device, x.dtype))
        x = torch.cat((prefix, x), dim=1)  # (B, P + L, D)
        mask = attention_mask(torch.cat((prefix_valid, valid), dim=1), self.attention)
        for layer in self.layers:
            x = layer(x, mask)
        return x[:, prefixes:]


class Head(nn.Module):
    """BERT's prediction head: linear, GELU, layer norm, linear. It maps (B, L, D) to (B, L, out)."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.dense = Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.final = Linear(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.norm(self.dense(x, gelu=True)))


def init_weights_(module: nn.Module) -> None:
    """Initialise as BERT does: weights normal with standard deviation 0.02, biases 0. Use with `module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def whiten_(linear: nn.Linear, features: Tensor, floor: float = 1e-3) -> None:
    """Set `linear` so that it maps `features` (N, C) to uncorrelated outputs with mean 0 and about unit variance.

    A layer that is initialised in this way distinguishes texts to which a sentence encoder gives almost the same vector, such as
    "raise the left hand" and "raise the right hand". Training alone would take long to amplify the small difference between these
    vectors. Principal components whose variance is below `floor` times the largest variance are mostly noise; these components are
    amplified as if their variance were equal to this limit. A random rotation spreads the components over all outputs.
    """
    dim = linear.out_features
    centred = (features - features.mean(0)).double()
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(features))  # ascending
    variance, axes = variance[-dim:], axes[:, -dim:]
    scaled = axes / variance.clamp(min=floor * variance[-1]).sqrt()  # (C, k)
    rotation = torch.linalg.qr(torch.randn(dim, scaled.shape[1], dtype=torch.double))[0]  # (dim, k), orthonormal columns
    weight = rotation @ scaled.T
    weight *= weight.shape[0] ** 0.5 / (centred @ weight.T).norm(dim=1).mean()
    linear.weight.copy_(weight)
    linear.bias.copy_(-weight @ features.mean(0).double())
