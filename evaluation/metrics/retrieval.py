"""Text-to-motion and motion-to-text retrieval: similarity, ranks, and the four protocols of TMR.

Petrovich et al. (ICCV 2023), section 4. A gallery is N motions, each with one caption. Scores are (N, N), one row per query and one
column per candidate; higher is better, and candidate i is the correct one for query i.

Ties are averaged: a metric is the mean over all orders of candidates with equal scores. This matters for identical captions, which
have identical features and therefore tie for a motion. For a text there are no ties, but motions with the same caption come in the
same order for each of the equal texts, so both directions have the same `ceiling`. Scores of equal captions must be bitwise equal:
embed each text once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError

PROTOCOLS = ("all", "threshold", "dissimilar", "batches")
RECALLS = (1, 2, 3, 5, 10)
BLOCK = 8  # motions compared at a time: their scores stay in the processor's cache


def pooled_similarity(motion: Tensor, text: Tensor, pool: str = "max") -> Tensor:
    """Similarity (N, M) of motions (N, Q, E), unit vectors of Q queries, and texts (M, E): the maximum or mean over queries."""
    if pool == "mean":
        return F.linear(motion.mean(1), text)
    scores = motion.new_empty(len(motion), len(text))
    for block, out in zip(motion.split(BLOCK), scores.split(BLOCK)):
        torch.amax(F.linear(block.flatten(0, 1), text).unflatten(0, block.shape[:2]), dim=1, out=out)
    return scores


# Ranks


class Ranks(NamedTuple):
    """Rank of the best correct candidate of each query, (..., N) each."""

    better: Tensor  # how many candidates have a higher score
    tied: Tensor  # how many have the same score, itself included
    right: Tensor  # how many of those are right


def rank(scores: Tensor, right: Tensor | None = None) -> Ranks:
    """Ranks of queries by their scores (..., N, M). `right` (N, M) bool marks correct candidates, at least one per row; by default
    candidate i is correct for query i. Raises `UserError` for NaN scores."""
    if scores.sum().isnan():
        raise UserError(f"scores {tuple(scores.shape)}: NaN; check the weights they come from")
    if right is None:
        best = scores.diagonal(dim1=-2, dim2=-1)[..., None]
        tied = scores == best
        found = torch.ones_like(best[..., 0], dtype=torch.int64)
    else:
        best = scores.masked_fill(~right, -torch.inf).amax(-1, keepdim=True)
        tied = scores == best
        found = (tied & right).count_nonzero(-1)
    return Ranks((scores > best).count_nonzero(-1), tied.count_nonzero(-1), found)


def hits(ranks: Ranks, k: int) -> Tensor:
    """Probability (..., N) that a correct candidate is among the first k, with ties in random order.

    If n = k − better of the t tied candidates are among the first k, and c of the t are correct, all n are wrong with probability
    (t − c)/t · (t − c − 1)/(t − 1) ··· (n factors).
    """
    fit = k - ranks.better
    missed = torch.ones_like(fit, dtype=torch.float64)
    for drawn in range(k):
        wrong, left = (ranks.tied - ranks.right - drawn).clamp(min=0), (ranks.tied - drawn).clamp(min=1)
        missed = torch.where(drawn < fit, missed * wrong / left, missed)
    return 1 - missed


def positions(ranks: Ranks) -> Tensor:
    """Mean rank (..., N), from 1, of the first correct candidate over all orders of ties."""
    return ranks.better + (ranks.tied + 1) / (ranks.right + 1)


def summary(ranks: Ranks) -> dict[str, float]:
    """R@1, 2, 3, 5, 10 (fractions) and the median rank (from 1) of a gallery; the mean for several galleries (..., N)."""
    recalls = {f"R@{k}": hits(ranks, k).mean().item() for k in RECALLS}
    return {**recalls, "median_rank": positions(ranks).double().quantile(0.5, dim=-1).mean().item()}


def retrieval_metrics(scores: Tensor, right: Tensor | None = None) -> dict[str, float]:
    """`summary` of scores (..., N, M); see `rank`."""
    return summary(rank(scores, right))


def ceiling(captions: Sequence) -> dict[str, float]:
    """The best possible `summary` of a gallery, because clips with the same caption are indistinguishable.

    With g clips per caption, the correct one is among the first k with probability min(k, g) / g, in both directions. Captions are
    strings, or ids shared by equal captions.
    """
    _, group, sizes = np.unique(captions, return_inverse=True, return_counts=True)
    tied = torch.from_numpy(sizes[group])
    return summary(Ranks(torch.zeros_like(tied), tied, torch.ones_like(tied)))


def chance(size: int, right: Tensor | None = None) -> dict[str, float]:
    """The `summary` of a gallery of this size if all scores are equal; `right` as for `rank`."""
    found = torch.ones(size, dtype=torch.int64) if right is None else right.count_nonzero(-1)
    return summary(Ranks(torch.zeros_like(found), torch.full_like(found, size), found))


def reranked(scores: Tensor, best: int, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Scores (N, M) with the `best` highest of each row re-ranked by `score(rows (P,), columns (P,)) → (P,)`.

    They stay ahead of all others, whose order is unchanged. float64, so that shifted scores remain distinct.
    """
    columns = scores.topk(min(best, scores.shape[1]), dim=1).indices
    rows = torch.arange(len(scores), device=scores.device)[:, None].expand_as(columns)
    new = score(rows.flatten(), columns.flatten()).double().view_as(columns)
    return (scores.double() - scores.max() + new.min() - 1).scatter(1, columns, new)


# Protocols


def galleries(protocol: str, names: Sequence[str], texts: Tensor | None = None) -> list[Tensor]:
    """The galleries of a protocol, as indices into `names`; its result is the mean over them. `dissimilar` needs
    a sentence encoder's features (N, C) of the captions. Raises `UserError` for an unknown protocol."""
    match protocol:
        case "all" | "threshold":
            return [torch.arange(len(names))]
        case "dissimilar":
            return [dissimilar(texts)]
        case "batches":
            return small_batches(names)
    raise UserError(f"protocol '{protocol}': choose one of {', '.join(PROTOCOLS)}")


def similar(texts: Tensor, threshold: float = 0.95) -> Tensor:
    """Which captions are equivalent, (N, N) bool, by their sentence-encoder features (N, C).

    As in TMR, (1 + cosine) / 2 exceeds a threshold. A caption is always similar to itself.
    """
    texts = F.normalize(texts, dim=-1)
    return (texts @ texts.T > 2 * threshold - 1).fill_diagonal_(True)


def dissimilar(texts: Tensor, size: int = 100) -> Tensor:
    """Indices of up to `size` captions that are far from each other, by sentence-encoder features (N, C); ascending.

    Farthest-point selection: starts with the two farthest and repeatedly adds the caption whose nearest selected neighbour is
    farthest. No two selected captions are equal. (TMR selects 100 by another approximation.)
    """
    texts = F.normalize(texts, dim=-1)
    cosine = texts @ texts.T
    chosen = [int(cosine.argmin()) // len(texts)]
    nearest = cosine[chosen[0]].clone()
    while len(chosen) < size and nearest.amin() < 1 - 1e-5:
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, cosine[chosen[-1]])
    return torch.tensor(sorted(chosen))


def small_batches(names: Sequence[str], size: int = 32, seed: int = 0) -> list[Tensor]:
    """Sorted names shuffled into batches of `size`, as in TMR; the rest is dropped. With fewer names, one batch of all."""
    size = min(size, len(names))
    order = np.argsort(np.array(names), kind="stable")
    shuffled = torch.from_numpy(order[np.random.RandomState(seed).permutation(len(names))])
    return list(shuffled[: len(names) // size * size].split(size))
