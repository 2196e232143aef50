"""Text-to-motion and motion-to-text retrieval: similarity, ranks, and the four protocols of TMR.

See Petrovich et al. (ICCV 2023), section 4. A gallery consists of N motions with one caption each. Scores are (N, N), one row per
query and one column per candidate; higher is better, and candidate i is the correct one for query i.

Ties are averaged: a metric is the mean over all orders of the candidates that have equal scores. This average matters if several
clips have the same caption. In motion-to-text retrieval, equal captions have equal features and tie. In text-to-motion retrieval
there are no ties, but equal captions rank the motions in the same order, so the best possible result (`ceiling`) is the same in
both directions. Each distinct text must be embedded only once, so that the scores of equal captions are bitwise equal.
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
BLOCK = 8  # motions compared at a time, so that their scores fit into the CPU cache


def pooled_similarity(motion: Tensor, text: Tensor, pool: str = "max") -> Tensor:
    """Similarity (N, M) of motions (N, Q, E) and texts (M, E): the maximum or mean over Q query outputs, which are unit vectors."""
    if pool == "mean":
        return F.linear(motion.mean(1), text)
    scores = motion.new_empty(len(motion), len(text))
    for block, out in zip(motion.split(BLOCK), scores.split(BLOCK)):
        torch.amax(F.linear(block.flatten(0, 1), text).unflatten(0, block.shape[:2]), dim=1, out=out)
    return scores


# Ranks


class Ranks(NamedTuple):
    """Rank of the best correct candidate of each query, as numbers (..., N) of better, of tied and of tied correct candidates."""

    better: Tensor  # candidates with a higher score
    tied: Tensor  # candidates with the same score, including the best correct candidate
    correct: Tensor  # correct candidates among `tied`


def rank(scores: Tensor, correct: Tensor | None = None) -> Ranks:
    """Rank of the best correct candidate of each query, by scores (..., N, M).

    `correct` (N, M) bool marks the correct candidates, at least one per row; by default candidate i is correct for query i. Raises
    `UserError` for NaN scores.
    """
    if scores.sum().isnan():
        raise UserError(f"scores {tuple(scores.shape)}: NaN; check the weights of the model")
    if correct is None:
        best = scores.diagonal(dim1=-2, dim2=-1)[..., None]
        tied = scores == best
        count = torch.ones_like(best[..., 0], dtype=torch.int64)
    else:
        best = scores.masked_fill(~correct, -torch.inf).amax(-1, keepdim=True)
        tied = scores == best
        count = (tied & correct).count_nonzero(-1)
    return Ranks((scores > best).count_nonzero(-1), tied.count_nonzero(-1), count)


def hits(ranks: Ranks, k: int) -> Tensor:
    """Probability (..., N) that a correct candidate is among the first k, with ties in random order.

    Let n = k − better be the number of tied candidates among the first k, t the number of all tied candidates, and c the number of
    correct tied candidates. Then all n candidates are wrong with probability (t − c)/t · (t − c − 1)/(t − 1) ··· (n factors).
    """
    slots = k - ranks.better
    missed = torch.ones_like(slots, dtype=torch.float64)
    for drawn in range(k):
        wrong, remaining = (ranks.tied - ranks.correct - drawn).clamp(min=0), (ranks.tied - drawn).clamp(min=1)
        missed = torch.where(drawn < slots, missed * wrong / remaining, missed)
    return 1 - missed


def positions(ranks: Ranks) -> Tensor:
    """Rank (..., N), from 1, of the first correct candidate, averaged over all orders of ties."""
    return ranks.better + (ranks.tied + 1) / (ranks.correct + 1)


def summary(ranks: Ranks) -> dict[str, float]:
    """Return R@1, 2, 3, 5, 10 (fractions) and the median rank (from 1) of N queries, averaged over the galleries of `ranks`."""
    recalls = {f"R@{k}": hits(ranks, k).mean().item() for k in RECALLS}
    return {**recalls, "median_rank": positions(ranks).double().quantile(0.5, dim=-1).mean().item()}


def retrieval_metrics(scores: Tensor, correct: Tensor | None = None) -> dict[str, float]:
    """R@k and median rank of retrieval by similarity scores (..., N, M) of N queries and M candidates; `correct` as for `rank`."""
    return summary(rank(scores, correct))


def ceiling(captions: Sequence) -> dict[str, float]:
    """The best possible R@k and median rank in a gallery in which clips with the same caption are indistinguishable.

    If g clips have the same caption, the correct clip is among the first k with probability min(k, g) / g, in both directions.
    `captions` holds strings, or ids that are equal for equal captions.
    """
    _, group, sizes = np.unique(captions, return_inverse=True, return_counts=True)
    tied = torch.from_numpy(sizes[group])
    return summary(Ranks(torch.zeros_like(tied), tied, torch.ones_like(tied)))


def chance(size: int, correct: Tensor | None = None) -> dict[str, float]:
    """R@k and median rank in a gallery of `size` clips if all scores are equal; `correct` as for `rank`."""
    count = torch.ones(size, dtype=torch.int64) if correct is None else correct.count_nonzero(-1)
    return summary(Ranks(torch.zeros_like(count), torch.full_like(count, size), count))


def reranked(scores: Tensor, best: int, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Replace the `best` highest scores in each row of scores (N, M).

    `score(rows, columns)` returns new scores (P,) for the entries at the indices `rows` (P,) and `columns` (P,). The remaining
    scores are shifted below the new scores and keep their order. All returned scores are float64, so that shifted scores stay
    distinct.
    """
    columns = scores.topk(min(best, scores.shape[1]), dim=1).indices
    rows = torch.arange(len(scores), device=scores.device)[:, None].expand_as(columns)
    new = score(rows.flatten(), columns.flatten()).double().view_as(columns)
    return (scores.double() - scores.max() + new.min() - 1).scatter(1, columns, new)


# Protocols


def galleries(protocol: str, names: Sequence[str], texts: Tensor | None = None) -> list[Tensor]:
    """The galleries (sets of clips to search) of a protocol, as indices into the clip names `names`.

    The protocol's result is the mean over its galleries. `texts` (N, C) are sentence-encoder features of the captions, which
    `dissimilar` needs. Raises `UserError` for an unknown protocol.
    """
    match protocol:
        case "all" | "threshold":
            return [torch.arange(len(names))]
        case "dissimilar":
            return [dissimilar(texts)]
        case "batches":
            return small_batches(names)
    raise UserError(f"protocol '{protocol}': choose one of {', '.join(PROTOCOLS)}")


def similar(texts: Tensor, threshold: float = 0.95) -> Tensor:
    """Mask (N, N) of pairs of captions that count as equivalent, from sentence-encoder features (N, C).

    As in TMR, two captions are equivalent if (1 + cosine) / 2 exceeds the threshold. Every caption is equivalent to itself.
    """
    texts = F.normalize(texts, dim=-1)
    return (texts @ texts.T > 2 * threshold - 1).fill_diagonal_(True)


def dissimilar(texts: Tensor, size: int = 100) -> Tensor:
    """Ascending indices of up to `size` captions whose sentence-encoder features (N, C) are far apart.

    Farthest-point selection: starts with one of the two captions that are farthest apart, and repeatedly adds the caption that is
    farthest from its nearest selected caption. No two selected captions are equal. (TMR selects 100 captions by another
    approximate method.)
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
    """Shuffle the sorted names into batches of `size`, as in TMR, and drop the incomplete last batch.

    If there are fewer than `size` names, all names form one batch.
    """
    size = min(size, len(names))
    order = np.argsort(np.array(names), kind="stable")
    shuffled = torch.from_numpy(order[np.random.RandomState(seed).permutation(len(names))])
    return list(shuffled[: len(names) // size * size].split(size))
