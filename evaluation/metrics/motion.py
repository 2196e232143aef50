"""Metrics of generated motions, from an evaluator's embeddings of motions and texts, and from joints.

FID: Heusel et al. 2017; R-precision, MM-Dist, Diversity, MultiModality: Guo et al. 2022, section 6. Embeddings of texts and motions
are (N, E), where row i of one matches row i of the other. Results are float64 scalar tensors. Random draws use a NumPy generator,
so that `np.random.RandomState` reproduces the published ones. Embeddings that are not finite raise `UserError`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.retrieval import hits, rank
from utils.errors import UserError

Generator = np.random.Generator | np.random.RandomState
Statistics = tuple[Tensor, Tensor]  # mean (E,), covariance (E, E)


def fid(generated: Tensor, real: Tensor) -> Tensor:
    """Fréchet distance between Gaussians fitted to embeddings (N, E) and (M, E); 0 if these are equal."""
    return frechet_distance(*statistics(generated), *statistics(real))


def statistics(embeddings: Tensor) -> Statistics:
    """Mean (E,) and covariance (E, E) of embeddings (N, E). One sample has the covariance 0."""
    rows = _finite(embeddings).double().cpu().numpy()
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / max(1, len(rows) - 1)  # NumPy sees the symmetry and does half the work; torch does it all
    return torch.from_numpy(mean), torch.from_numpy(covariance)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) (Heusel et al. 2017, equation 6).

    With C₁ = F Fᵀ, the product C₁C₂ has the eigenvalues of the symmetric FᵀC₂F, which are real and negative only by rounding.
    """
    factor = _factor(cov1)
    eigenvalues = torch.linalg.eigvalsh(factor.T @ cov2 @ factor).clamp(min=0)
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * eigenvalues.sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """F (E, E) with F Fᵀ = covariance."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)  # singular: no more samples than dimensions
    return vectors * values.clamp(min=0).sqrt()


def r_precision(text: Tensor, motion: Tensor, batch: int = 32, top: int = 3) -> Tensor:
    """Fraction of texts whose motion is among the 1, 2, …, `top` nearest in batches of consecutive rows: (top,), ties averaged.

    The incomplete last batch is dropped; with fewer rows, all rows are one batch.
    """
    batch = min(batch, len(text))
    texts, motions = (_finite(rows)[: len(text) // batch * batch].unflatten(0, (-1, batch)) for rows in (text, motion))
    ranks = rank(-torch.cdist(texts, motions))
    return torch.stack([hits(ranks, k).mean() for k in range(1, top + 1)])


def matching_distance(text: Tensor, motion: Tensor) -> Tensor:
    """MM-Dist: mean Euclidean distance of each text to its motion."""
    return (_finite(text) - _finite(motion)).norm(dim=-1).double().mean()


def diversity(motion: Tensor, pairs: int = 300, *, generator: Generator) -> Tensor:
    """Mean distance between two random draws of motions, each without replacement; at most N pairs."""
    first, second = draw_pairs(len(motion), pairs, generator)
    return matching_distance(motion[first], motion[second])


def multimodality(motions: Tensor, pairs: int = 10, *, generator: Generator) -> Tensor:
    """Mean distance between motions of the same text: embeddings `motions` (P, S, E), S samples of each of P texts; at most S pairs
    per text."""
    first, second = draw_pairs(motions.shape[1], pairs, generator)
    return matching_distance(motions[:, first], motions[:, second])


def draw_pairs(size: int, pairs: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Two lists of `pairs` indices below `size`, each without repetition; an index may be paired with itself, as in the published
    code."""
    draws = (generator.choice(size, min(pairs, size), replace=False) for _ in range(2))
    return tuple(torch.from_numpy(draw) for draw in draws)


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Mean distance between joints (..., J, 3) and the true ones after aligning the pelvises (joint 0): (...), in the unit of the
    joints."""
    joints, truth = (positions - positions[..., :1, :] for positions in (joints, truth))
    return (joints - truth).norm(dim=-1).mean(-1)


def _finite(embeddings: Tensor) -> Tensor:
    if not embeddings.sum().isfinite():  # one NaN or infinity spoils a sum, which is seven times as fast as asking each
        raise UserError(f"embeddings {tuple(embeddings.shape)}: NaN or infinite values; check the weights they come from")
    if not len(embeddings):
        raise UserError("embeddings: there are none; choose a split with clips in it")
    return embeddings
