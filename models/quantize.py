"""Plain and residual vector quantisation, with codebooks that are learned by moving averages.

Codebook: van den Oord et al. 2017, appendix A.1 (moving averages), with the dead-code reset of Jukebox (Dhariwal et al. 2020).
Residual stack and quantiser dropout: SoundStream (Zeghidour et al. 2021), as MoMask uses them for motion. A layer is one of the Q
quantisers of the stack. Latents `(B, L, C)` are quantised to vectors `(B, L, C)` and codes `(B, L, Q)`; the code -1 stands for "no
code".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from einops import rearrange, repeat
from torch import Tensor, nn


class Quantised(NamedTuple):
    """The result of quantising latents `(B, L, C)`."""

    vectors: Tensor  # (B, L, C), the sum of the chosen code vectors; its gradient passes straight to the latents
    codes: Tensor  # (B, L, Q) int64, -1 at padding and in dropped layers
    commitment: Tensor  # mean over q of the squared error between the latents and the sum of the code vectors of layers 0 … q
    perplexity: Tensor  # (Q,) effective number of codes that each layer uses


class Codebook(nn.Module):
    """K code vectors, each the moving average of the latents assigned to it.

    `counts` is the moving average of each code's uses per batch. A code with an average below one use is *dead* and is replaced by
    a random latent. Before the first batch, all codes are dead, so the latents of the first batch replace all codes.
    """

    ALIVE = 1.0  # uses per batch; codes with a lower average are dead
    FRESH = 2.0  # average that a replaced code starts with; at mu = 0.99, an unused code then stays alive for 70 batches

    def __init__(self, nb_code: int, code_dim: int, mu: float):
        super().__init__()
        self.mu = mu
        self.register_buffer("codebook", torch.zeros(nb_code, code_dim))
        self.register_buffer("counts", torch.zeros(nb_code))

    def nearest(self, latents: Tensor) -> Tensor:
        """The codes (N,) nearest to latents (N, C)."""
        # |x - c|² = |x|² - 2 (x·c - |c|²/2), and |x|² is the same for all codes.
        return torch.addmm(self.codebook.square().sum(1), latents, self.codebook.T, beta=-0.5).argmax(1)

    def replace_dead_(self, latents: Tensor, valid: Tensor) -> None:
        """Replace dead (rarely used) codes by random latents (N, C). Only latents for which `valid` (N,) is True are drawn."""
        order = torch.rand(len(latents), device=latents.device).masked_fill(~valid, 2).argsort()  # valid latents first
        picks = order[torch.arange(len(self.counts), device=latents.device) % valid.sum().clamp(min=1)]
        # If there are fewer latents than codes, several codes get the same latent; noise makes them differ.
        replacements = torch.where(valid.any(), latents[picks] + 1e-4 * torch.randn_like(self.codebook), self.codebook)
        if dist.is_initialized():
            dist.broadcast(replacements, src=0)
        dead = self.counts < self.ALIVE
        self.codebook.copy_(torch.where(dead[:, None], replacements, self.codebook))
        self.counts.masked_fill_(dead, self.FRESH)

    def update_(self, latents: Tensor, uses: Tensor, codes: Tensor, weights: Tensor) -> None:
        """Update the code vectors with the latents (N, C) assigned to `codes` (N,); `weights` (N, 1) is 0 for padding.

        `uses` (K,) is the number of latents assigned to each code, over all processes.
        """
        sums = torch.zeros_like(self.codebook).index_add_(0, codes, latents * weights)
        if dist.is_initialized():
            dist.all_reduce(sums)
        # The moving average of the sums equals codebook × counts by construction, so no buffer stores this average.
        sums = self.mu * self.counts[:, None] * self.codebook + (1 - self.mu) * sums
        self.counts.mul_(self.mu).add_(uses, alpha=1 - self.mu)
        self.codebook.copy_(sums / self.counts[:, None])


class ResidualQuantizer(nn.Module):
    """Q codebooks; each codebook quantises the residual that the previous codebooks leave. Q = 1 is plain quantisation.

    `dropout` is the fraction of clips for which a random number of the last layers (codebooks) is dropped in training, so that the
    first layers carry the most information. If `shared` is set, all layers use the same codebook.
    """

    def __init__(self, num_quantizers: int, nb_code: int, code_dim: int, *, mu: float, dropout: float = 0.0, shared: bool = False):
        super().__init__()
        self.num_quantizers = num_quantizers
        self.dropout = dropout
        self.layers = nn.ModuleList(Codebook(nb_code, code_dim, mu) for _ in range(1 if shared else num_quantizers))

    def layer(self, q: int) -> Codebook:
        """The codebook of quantiser `q`, or the codebook that all quantisers share."""
        return self.layers[min(q, len(self.layers) - 1)]

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantised:
        """Quantise latents (B, L, C); `mask` (B, L) is True for valid latents. Updates the codebooks in training mode."""
        B, _, C = latents.shape
        with torch.autocast(latents.device.type, enabled=False):
            flat = rearrange(latents, "b l c -> (b l) c").to(self.layers[0].codebook)
            kept = self._kept(latents, mask)
            codes, sums, uses = self._choose(flat.detach(), kept)
            weights = kept.to(flat).unsqueeze(-1)  # (Q, N, 1)
            commitment = ((flat - sums).square() * weights).sum() / (C * weights.sum()).clamp(min=1)
            vectors = flat + (sums[-1] - flat).detach()  # straight-through estimator: the gradient passes to the latents
        vectors, codes = rearrange(vectors, "(b l) c -> b l c", b=B), rearrange(codes, "q (b l) -> b l q", b=B)
        return Quantised(vectors, codes, commitment, perplexity(uses))

    def vectors(self, codes: Tensor) -> Tensor:
        """The summed code vectors (B, L, C) of codes (B, L, Q') with Q' ≤ Q; the code -1 ("no code") adds nothing."""
        layers = enumerate(codes.unbind(-1))
        return torch.stack([self.layer(q).codebook[ids.clamp(min=0)] * (ids >= 0)[..., None] for q, ids in layers]).sum(0)

    def _kept(self, latents: Tensor, mask: Tensor | None) -> Tensor:
        """Return a mask (Q, B × L) of the latents (B, L, C) that each of the Q layers (quantisers) quantises.

        A layer skips latents where `mask` (B, L) is False, and all latents of the clips for which dropout drops the layer.
        """
        B, L, _ = latents.shape
        layers = torch.arange(self.num_quantizers, device=latents.device)
        depths = torch.full((B,), self.num_quantizers, device=latents.device)
        if self.training and self.dropout > 0:
            dropped = torch.rand(B, device=latents.device) < self.dropout
            depths = torch.where(dropped, torch.randint_like(depths, 1, self.num_quantizers + 1), depths)
        kept = repeat(layers[:, None] < depths, "q b -> q b l", l=L)
        return rearrange(kept if mask is None else kept & mask, "q b l -> q (b l)")

    @torch.no_grad()
    def _choose(self, latents: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes (Q, N) of latents (N, C), cumulative sums of code vectors (Q, N, C), and uses of each code (Q, K).

        `kept` (Q, N) marks the latents that each quantiser quantises. In training mode, these latents update the codebooks.
        """
        total = torch.zeros_like(latents)
        all_codes, sums, all_uses = [], [], []
        for q in range(self.num_quantizers):
            codebook, residual, weights = self.layer(q), latents - total, kept[q, :, None].to(latents)
            if self.training:
                codebook.replace_dead_(residual, kept[q])
            codes = codebook.nearest(residual)
            uses = torch.zeros_like(codebook.counts).index_add_(0, codes, weights[:, 0])
            total = total + codebook.codebook[codes] * weights
            if self.training:
                if dist.is_initialized():
                    dist.all_reduce(uses)
                codebook.update_(residual, uses, codes, weights)
            all_codes.append(codes.masked_fill(~kept[q], -1))
            sums.append(total)
            all_uses.append(uses)
        return torch.stack(all_codes), torch.stack(sums), torch.stack(all_uses)


def perplexity(uses: Tensor) -> Tensor:
    """Effective number of codes in use: exp of the entropy of counts (..., K), between 1 and K."""
    fraction = uses / uses.sum(-1, keepdim=True).clamp(min=1)
    return torch.exp(-torch.xlogy(fraction, fraction).sum(-1))
