"""How good generated motions are: by a judge's embeddings of them and of their texts, and by joints.

FID: Heusel et al. 2017; R-precision, MM-Dist, Diversity, MultiModality: Guo et al. 2022, section 6. Embeddings of texts and motions
are (N, E), row i of one belonging to row i of the other. Results are tensors in float64, scalars (). Draws take a NumPy generator,
so that `np.random.RandomState` repeats the published ones. Embeddings that are not finite raise `UserError`.
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
    """Fréchet distance of the Gaussians that embeddings (N, E) and (M, E) are taken for: 0 where they are the same."""
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

    With C₁ = F Fᵀ, the product C₁C₂ has the eigenvalues of FᵀC₂F, which is symmetric. They are real, and negative only by rounding.
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
    """Share of texts whose motion is among the 1, 2, …, `top` nearest in batches of consecutive rows: (top,), ties averaged.

    A rest too small for a batch is dropped; fewer rows than that make one batch of all.
    """
    batch = min(batch, len(text))
    texts, motions = (_finite(rows)[: len(text) // batch * batch].unflatten(0, (-1, batch)) for rows in (text, motion))
    ranks = rank(-torch.cdist(texts, motions))
    return torch.stack([hits(ranks, k).mean() for k in range(1, top + 1)])


def matching_distance(text: Tensor, motion: Tensor) -> Tensor:
    """MM-Dist: mean Euclidean distance of each text to its motion."""
    return (_finite(text) - _finite(motion)).norm(dim=-1).double().mean()


def diversity(motion: Tensor, pairs: int = 300, *, generator: Generator) -> Tensor:
    """Mean distance of pairs of motions, two draws without replacement put side by side; N pairs at most."""
    first, second = draw_pairs(len(motion), pairs, generator)
    return matching_distance(motion[first], motion[second])


def multimodality(motions: Tensor, pairs: int = 10, *, generator: Generator) -> Tensor:
    """Mean distance of pairs of motions of the same text: motions (P, S, E), S samples of each of P texts; S pairs at most."""
    first, second = draw_pairs(motions.shape[1], pairs, generator)
    return matching_distance(motions[:, first], motions[:, second])


def draw_pairs(size: int, pairs: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Two lists of `pairs` numbers below `size`, each without repetition; a number may meet itself, as in the published code."""
    draws = (generator.choice(size, min(pairs, size), replace=False) for _ in range(2))
    return tuple(torch.from_numpy(draw) for draw in draws)


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of joints (..., J, 3) from the true ones, both pelvises (joint 0) moved to the origin: (...), in their unit."""
    joints, truth = (positions - positions[..., :1, :] for positions in (joints, truth))
    return (joints - truth).norm(dim=-1).mean(-1)


def _finite(embeddings: Tensor) -> Tensor:
    if not embeddings.sum().isfinite():  # one NaN or infinity spoils a sum, which is seven times as fast as asking each
        raise UserError(f"embeddings {tuple(embeddings.shape)}: NaN or infinite values; check the weights they come from")
    if not len(embeddings):
        raise UserError("embeddings: there are none; choose a split with clips in it")
    return embeddings
