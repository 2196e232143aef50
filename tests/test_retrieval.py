"""Ranks, ties and protocols on matrices whose answers are known, beside a slow implementation that tries every order."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.retrieval import (
    PROTOCOLS,
    RECALLS,
    ceiling,
    chance,
    dissimilar,
    galleries,
    hits,
    pooled_similarity,
    positions,
    rank,
    reranked,
    retrieval_metrics,
    similar,
    small_batches,
)
from utils.errors import UserError


def slow_ranks(scores: list[float], right: list[bool]) -> list[int]:
    """The position, from 1, of the first right candidate in every order of the candidates that sorts the scores."""
    orders = [order for order in permutations(range(len(scores))) if all(scores[a] >= scores[b] for a, b in pairwise(order))]
    return [next(position for position, candidate in enumerate(order, start=1) if right[candidate]) for order in orders]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=st.integers(1, 5))
def test_hits_and_positions_are_means_over_all_orders(data, size):
    scores = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    right = data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    all_positions = slow_ranks(scores, right)
    ranks = rank(torch.tensor([scores]).float(), torch.tensor([right]))
    assert positions(ranks).item() == pytest.approx(np.mean(all_positions))
    for k in range(1, size + 3):
        assert hits(ranks, k).item() == pytest.approx(np.mean([position <= k for position in all_positions]))


def test_ranks_of_a_hand_made_matrix():
    scores = torch.tensor([
        [0.9, 0.1, 0.2, 0.3],  # first
        [0.5, 0.4, 0.4, 0.1],  # second, tied with one other
        [0.7, 0.8, 0.6, 0.9],  # last
        [0.2, 0.2, 0.2, 0.2],  # all tied
    ])  # fmt: skip
    ranks = rank(scores)
    assert ranks.better.tolist() == [0, 1, 3, 0]
    assert ranks.tied.tolist() == [1, 2, 1, 4]
    assert positions(ranks).tolist() == [1, 2.5, 4, 2.5]
    assert hits(ranks, 1).tolist() == [1, 0, 0, 0.25]
    assert hits(ranks, 2).tolist() == [1, 0.5, 0, 0.5]
    metrics = retrieval_metrics(scores)
    assert metrics["R@1"] == pytest.approx(1.25 / 4)
    assert metrics["R@3"] == pytest.approx(2.75 / 4)
    assert metrics["R@5"] == metrics["R@10"] == 1
    assert metrics["median_rank"] == 2.5


def test_several_right_candidates():
    scores = torch.tensor([[3.0, 2, 2, 2], [1, 2, 3, 4]])
    right = torch.tensor([[False, True, True, False], [True, False, True, False]])
    ranks = rank(scores, right)
    assert ranks.better.tolist() == [1, 1]
    assert ranks.tied.tolist() == [3, 1]
    assert hits(ranks, 2).tolist() == pytest.approx([2 / 3, 1])
    assert hits(ranks, 3).tolist() == [1, 1]  # of three tied places two are right, so two draws cannot both be wrong
    assert positions(ranks).tolist() == pytest.approx([1 + 4 / 3, 2])


def test_perfect_and_indifferent_scores():
    assert retrieval_metrics(torch.eye(40)) == {**{f"R@{k}": 1 for k in RECALLS}, "median_rank": 1}
    blind = chance(40)
    assert all(blind[f"R@{k}"] == pytest.approx(k / 40) for k in RECALLS)
    assert blind["median_rank"] == 20.5
    right = torch.rand(40, 40, generator=torch.Generator().manual_seed(0)).fill_diagonal_(1) > 0.9
    for which in (None, right):
        assert chance(40, which) == pytest.approx(retrieval_metrics(torch.zeros(40, 40), which))


def test_several_galleries_give_the_means_over_them():
    scores = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(0))
    each = [retrieval_metrics(gallery) for gallery in scores]
    assert retrieval_metrics(scores) == pytest.approx({name: np.mean([one[name] for one in each]) for name in each[0]})


def test_metrics_do_not_depend_on_the_order_of_the_gallery():
    scores = torch.randint(0, 9, (30, 30), generator=torch.Generator().manual_seed(0)).float()
    order = torch.from_numpy(np.random.default_rng(0).permutation(30))
    assert retrieval_metrics(scores) == pytest.approx(retrieval_metrics(scores[order][:, order]))


def test_nan_scores_are_refused_not_won():
    with pytest.raises(UserError, match="NaN"):
        rank(torch.full((3, 3), float("nan")))


# The ceiling


@pytest.mark.parametrize("captions", [list("aabbbcd"), list("abcdefg"), ["a"] * 7])
def test_ceiling_is_what_a_perfect_model_of_captions_reaches_both_ways(captions):
    """A perfect model knows only which captions a motion could have, so it orders equal motions arbitrarily but consistently."""
    same = torch.tensor([[one == other for other in captions] for one in captions])
    to_text = same.float()
    to_motion = to_text - torch.linspace(0, 0.1, len(captions))  # for equal texts the same order of motions
    best = ceiling(captions)
    for scores in (to_text, to_motion):
        metrics = retrieval_metrics(scores)
        assert all(metrics[f"R@{k}"] == pytest.approx(best[f"R@{k}"]) for k in RECALLS)


def test_ceiling_of_a_caption_that_several_clips_share():
    assert set(ceiling(["walks", "runs", "waves"]).values()) == {1}
    three = ceiling(["walks", "walks", "walks", "runs", "waves"])
    assert [three[f"R@{k}"] for k in (1, 2, 3)] == pytest.approx([3 / 5, 4 / 5, 1])
    assert ceiling([7, 7, 8])["R@1"] == pytest.approx(2 / 3)


# Reranking


def test_reranking_orders_the_best_anew_and_leaves_the_rest_behind_them():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.1, 0.2], [0.0, 0.1, 0.2, 0.4, 0.3]])
    second = torch.tensor([[-7.0, 9, 8, 99, 99], [99, 99, 1, 1, 2]])
    new = reranked(scores, 3, lambda rows, columns: second[rows, columns])
    assert new.argsort(dim=1, descending=True, stable=True).tolist() == [[1, 2, 0, 4, 3], [4, 2, 3, 1, 0]]
    assert new[1, 2] == new[1, 3]  # what the second look cannot tell apart is a tie


def test_reranking_all_is_the_second_score_alone():
    draw = torch.Generator().manual_seed(0)
    scores, second = torch.randn(20, 20, generator=draw), torch.randn(20, 20, generator=draw)
    new = reranked(scores, 50, lambda rows, columns: second[rows, columns])
    assert retrieval_metrics(new) == pytest.approx(retrieval_metrics(second))


def test_distinct_scores_stay_distinct_behind_large_second_scores():
    scores = torch.linspace(0.5, 0.5001, 400)[None]
    new = reranked(scores, 2, lambda rows, columns: torch.full((len(rows),), -1e4))
    assert len(new.unique()) == len(scores.unique()) - 1


# Similarity


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("motions", [1, 8, 21])
def test_similarity_is_pooled_over_queries(pool, motions):
    draw = torch.Generator().manual_seed(0)
    motion, text = torch.randn(motions, 5, 16, generator=draw), torch.randn(7, 16, generator=draw)
    products = torch.einsum("nqe, me -> nqm", motion, text)
    expected = products.amax(1) if pool == "max" else products.mean(1)
    assert torch.allclose(pooled_similarity(motion, text, pool), expected, atol=1e-5)


def texts_at(*degrees: float) -> torch.Tensor:
    """Text features (N, 2) at these angles, of any length."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return 3 * torch.stack((angles.cos(), angles.sin()), dim=-1)


def test_texts_are_similar_above_the_threshold_on_tmrs_scale():
    same = similar(texts_at(0, 25, 26, 52))  # cos 25.84° = 0.9, which is 0.95 on the scale of 0 to 1
    assert same.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def test_right_by_threshold_is_never_worse():
    draw = torch.Generator().manual_seed(0)
    scores, texts = torch.randn(50, 50, generator=draw), torch.randn(50, 3, generator=draw)
    strict, lenient = retrieval_metrics(scores), retrieval_metrics(scores, similar(texts))
    assert all(lenient[f"R@{k}"] >= strict[f"R@{k}"] for k in RECALLS)
    assert lenient["median_rank"] <= strict["median_rank"]


# The subsets of the protocols


def test_dissimilar_takes_the_farthest_and_no_caption_twice():
    texts = texts_at(0, 1, 180, 90, 180, 0, 91)
    assert dissimilar(texts, size=2).tolist() in ([0, 2], [0, 4], [2, 5], [4, 5])
    chosen = dissimilar(texts, size=3).tolist()
    assert len({0, 1, 5} & set(chosen)) == len({2, 4} & set(chosen)) == len({3, 6} & set(chosen)) == 1
    everything = dissimilar(texts).tolist()
    assert len(everything) == 5  # as many as there are different ones
    assert everything == sorted(everything)


def test_dissimilar_texts_are_farther_than_any_chosen_by_chance():
    texts = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    texts = texts / texts.norm(dim=-1, keepdim=True)

    def nearest(positions: torch.Tensor) -> float:
        cosine = texts[positions] @ texts[positions].T
        return cosine.fill_diagonal_(-1).max().item()

    chosen = dissimilar(texts, size=20)
    assert len(chosen) == 20
    assert nearest(chosen) < min(nearest(torch.randperm(300, generator=torch.Generator().manual_seed(s))[:20]) for s in range(50))


def test_small_batches_are_tmrs_and_do_not_depend_on_the_order_of_names():
    names = [f"{number:03d}" for number in range(70)]
    batches = small_batches(names)
    order = np.arange(70)
    np.random.seed(0)
    np.random.shuffle(order)
    assert [batch.tolist() for batch in batches] == [order[:32].tolist(), order[32:64].tolist()]
    assert [(69 - batch).tolist() for batch in small_batches(names[::-1])] == [batch.tolist() for batch in batches]
    assert [sorted(batch.tolist()) for batch in small_batches(names[:5])] == [[0, 1, 2, 3, 4]]


def test_every_protocol_names_its_galleries():
    names, texts = [str(number) for number in range(64)], torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    sizes = {protocol: [len(gallery) for gallery in galleries(protocol, names, texts)] for protocol in PROTOCOLS}
    assert sizes == {"all": [64], "threshold": [64], "dissimilar": [64], "batches": [32, 32]}
    with pytest.raises(UserError, match="choose one of all, threshold"):
        galleries("some", names, texts)
