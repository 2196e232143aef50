"""Metrics of generated motions, from an evaluator's embeddings of motions and texts, and from joints.

FID: Heusel et al. 2017; R-precision, MM-Dist, Diversity, MultiModality: Guo et al. 2022, section 6. Embeddings of texts and of
motions are (N, E); text i describes motion i. Metrics of embeddings are float64 tensors. Random draws use a NumPy generator, so
that `np.random.RandomState` reproduces the draws of the published code. Embeddings that are not finite raise `UserError`.
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
    """Fréchet distance between Gaussians fitted to embeddings (N, E) and (M, E); 0 if both sets are equal."""
    return frechet_distance(*statistics(generated), *statistics(real))


def statistics(embeddings: Tensor) -> Statistics:
    """Mean (E,) and covariance (E, E) of embeddings (N, E). A single sample has covariance 0."""
    rows = _finite(embeddings).double().cpu().numpy()
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / max(1, len(rows) - 1)  # unlike PyTorch, NumPy computes only half of a symmetric product
    return torch.from_numpy(mean), torch.from_numpy(covariance)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Fréchet distance of two Gaussians: |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) (Heusel et al. 2017, equation 6).

    With C₁ = F Fᵀ, the product C₁C₂ has the same eigenvalues as the symmetric matrix FᵀC₂F. These eigenvalues are real, and only
    rounding errors can make them negative.
    """
    factor = _factor(cov1)
    eigenvalues = torch.linalg.eigvalsh(factor.T @ cov2 @ factor).clamp(min=0)
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * eigenvalues.sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """F (E, E) with F Fᵀ = covariance."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)  # the covariance is singular if there are at most as many samples as dimensions
    return vectors * values.clamp(min=0).sqrt()


def r_precision(text: Tensor, motion: Tensor, batch: int = 32, top: int = 3) -> Tensor:
    """Fraction (top,) of texts whose motion is among the k = 1 … `top` nearest motions of its batch.

    If distances are equal, the fraction is the mean over all orders of the tied motions. Batches are `batch` consecutive rows. The
    incomplete last batch is dropped. If there are fewer than `batch` rows, all rows form one batch.
    """
    batch = min(batch, len(text))
    texts, motions = (_finite(rows)[: len(text) // batch * batch].unflatten(0, (-1, batch)) for rows in (text, motion))
    ranks = rank(-torch.cdist(texts, motions))
    return torch.stack([hits(ranks, k).mean() for k in range(1, top + 1)])


def matching_distance(text: Tensor, motion: Tensor) -> Tensor:
    """MM-Dist: mean Euclidean distance between the embedding of each text and the embedding of its motion."""
    return (_finite(text) - _finite(motion)).norm(dim=-1).double().mean()


def diversity(motion: Tensor, pairs: int = 300, *, generator: Generator) -> Tensor:
    """Mean distance within random pairs of motions (N, E).

    `pairs` is the number of pairs, at most N. The first and the second motions of the pairs are each drawn without replacement.
    """
    first, second = draw_pairs(len(motion), pairs, generator)
    return matching_distance(motion[first], motion[second])


def multimodality(motions: Tensor, pairs: int = 10, *, generator: Generator) -> Tensor:
    """Mean distance between motions of the same text.

    `motions` (P, S, E) are the embeddings of S motions for each of P texts. At most S pairs are drawn per text.
    """
    first, second = draw_pairs(motions.shape[1], pairs, generator)
    return matching_distance(motions[:, first], motions[:, second])


def draw_pairs(size: int, pairs: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw two lists of `pairs` random indices below `size`, each without repetition; at most `size` pairs.

    As in the published code, an index may be paired with itself.
    """
    draws = (generator.choice(size, min(pairs, size), replace=False) for _ in range(2))
    return tuple(torch.from_numpy(draw) for draw in draws)


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Mean distance (...) between joints and true joints, both (..., J, 3), after aligning the pelvises (joint 0).

    The distance has the unit of the joints.
    """
    joints, truth = (positions - positions[..., :1, :] for positions in (joints, truth))
    return (joints - truth).norm(dim=-1).mean(-1)


def _finite(embeddings: Tensor) -> Tensor:
    if not embeddings.sum().isfinite():  # seven times as fast as testing each value
        raise UserError(f"embeddings {tuple(embeddings.shape)}: NaN or infinite values; check the evaluator's weights")
    if not len(embeddings):
        raise UserError("embeddings: none to score; choose a split that has clips")
    return embeddings
