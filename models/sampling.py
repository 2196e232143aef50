"""Sampling of tokens: the cosine schedule, guidance, and random numbers that do not depend on the batch.

The released code draws Gumbel noise for a whole batch, so a motion depends on the other motions in its batch. This module instead
computes a uniform random number for each token, by a hash of the seed, the sample number, the step and the position. The random
number selects a code through the inverse cumulative distribution of the top-k codes. Both methods sample from the same
distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_schedule(time: Tensor) -> Tensor:
    """Fraction of masked tokens at time t in [0, 1]: cos(π t / 2), from 1 to 0 (MaskGIT, section 3.2)."""
    return torch.cos(time * math.pi / 2)


def guide(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Apply classifier-free guidance to logits.

    Scale 0 returns the unconditional logits and scale 1 the conditional logits; larger scales strengthen the condition.

    The result has at least float32 precision, because the scaled difference of two bf16 logits would be imprecise.
    """
    cond, uncond = (logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in (cond, uncond))
    return uncond + scale * (cond - uncond)


def _scramble(x: Tensor) -> Tensor:
    """Hash int64 numbers by a bijection, SplitMix64's finaliser (Steele et al. 2014); every input bit affects every output bit."""

    def shift(x: Tensor, bits: int) -> Tensor:  # logical shift; >> is arithmetic
        return (x >> bits) & ((1 << (64 - bits)) - 1)

    x = (x ^ shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ shift(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ shift(x, 31)


def uniforms(seed: int, samples: Tensor, step: int | Tensor, size: int) -> Tensor:
    """Uniform random numbers in [0, 1) for samples with the numbers `samples` (B,) int64, one per position: (B, size) float64.

    The random numbers of a sample are the same on all devices and in all batches. If `step` is a tensor (T, 1, 1), one call
    computes the numbers of all T steps: (T, B, size).
    """
    state = torch.zeros_like(samples)[:, None]
    for part in (seed, samples[:, None], step, torch.arange(size, device=samples.device)):
        state = _scramble(state - 0x61C8864680B583EB + part)  # (B, 1), in the last iteration (B, size)
    return ((state >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def sample(logits: Tensor, uniform: Tensor, temperature: float = 1.0, topkr: float = 0.9) -> Tensor:
    """Sample ids (...) from the k largest of the logits (..., K), with k = ⌈(1 − `topkr`) K⌉, but at least 1.

    `uniform` (...) are the random numbers in [0, 1) that select the ids. If `topkr` is 1, the id of the largest logit is returned.
    """
    k = max(1, math.ceil((1 - topkr) * logits.shape[-1]))
    values, ids = logits.topk(k, dim=-1)  # descending
    cumulative = torch.softmax(values.double() / temperature, dim=-1).cumsum(-1)
    rank = (cumulative <= uniform[..., None] * cumulative[..., -1:]).sum(-1, keepdim=True).clamp(max=k - 1)
    return ids.gather(-1, rank)[..., 0]
