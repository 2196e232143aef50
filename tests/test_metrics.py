"""Metrics of embeddings: known Gaussians, oracles from SciPy and from loops, properties that must hold."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.motion import (
    diversity,
    draw_pairs,
    fid,
    frechet_distance,
    matching_distance,
    multimodality,
    r_precision,
    statistics,
)
from utils.errors import UserError


def embeddings(samples: int, dim: int, seed: int) -> torch.Tensor:
    """(samples, dim) float32, correlated and off the origin, as embeddings are."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(samples, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5 + rng.normal(size=dim)
    return torch.from_numpy(rows).float()


def scipy_fid(x: torch.Tensor, y: torch.Tensor) -> float:
    x, y = x.double().numpy(), y.double().numpy()
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root)


# FID


@pytest.mark.parametrize(
    ("samples", "dim", "relative"),
    [(200, 64, 1e-6), (129, 64, 1e-6), (700, 256, 1e-6), (100, 64, 1e-4), (64, 64, 1e-4), (40, 64, 1e-4), (5, 64, 1e-4)],
)
def test_fid_equals_scipys_matrix_root(samples, dim, relative):
    x, y = embeddings(samples, dim, 0), embeddings(samples + 7, dim, 1)
    assert fid(x, y).item() == pytest.approx(scipy_fid(x, y), rel=relative)


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 80), dim=st.integers(1, 24), seed=st.integers(0, 99))
def test_fid_of_a_set_with_itself_is_zero_in_any_order(samples, dim, seed):
    x = embeddings(samples, dim, seed)
    shuffled = x[torch.from_numpy(np.random.default_rng(seed).permutation(samples))]
    scale = 1 + statistics(x)[1].trace().item()
    assert abs(fid(x, shuffled).item()) < 1e-5 * scale


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(2, 60), other=st.integers(2, 60), dim=st.integers(1, 24), seed=st.integers(0, 99))
def test_fid_is_symmetric_finite_and_not_negative(samples, other, dim, seed):
    x, y = embeddings(samples, dim, seed), embeddings(other, dim, seed + 100)
    there, back = fid(x, y), fid(y, x)
    assert there.dtype == torch.float64
    assert torch.isfinite(there)
    assert there.item() > -1e-9
    assert there.item() == pytest.approx(back.item(), rel=1e-4, abs=1e-6)


def test_fid_of_known_gaussians():
    """The FID of Gaussians with diagonal covariances is |m₁ − m₂|² + Σ (σ₁ − σ₂)²; in one dimension too."""
    mean1, mean2 = torch.tensor([1.0, 0, 2]).double(), torch.tensor([0.0, 0, 4]).double()
    std1, std2 = torch.tensor([1.0, 2, 3]).double(), torch.tensor([3.0, 2, 0]).double()
    distance = frechet_distance(mean1, std1.square().diag(), mean2, std2.square().diag())
    assert distance.item() == pytest.approx(1 + 4 + 4 + 9)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turned = (rotation @ std.square().diag() @ rotation.T for std in (std1, std2))
    assert frechet_distance(rotation @ mean1, next(turned), rotation @ mean2, next(turned)).item() == pytest.approx(18)


def test_moving_a_set_adds_the_squared_step():
    x = embeddings(100, 8, 0)
    assert fid(x + 3, x).item() == pytest.approx(8 * 9, rel=1e-4)


def test_statistics_are_numpys():
    x = embeddings(50, 6, 0)
    mean, covariance = statistics(x)
    assert np.allclose(mean, x.double().numpy().mean(0))
    assert np.allclose(covariance, np.cov(x.double().numpy(), rowvar=False))
    assert not statistics(x[:1])[1].any()


def test_embeddings_that_are_not_finite_are_named():
    x = embeddings(40, 4, 0)
    broken = x.clone()
    broken[3, 1] = float("nan")
    for metric, bad in ((fid, broken), (r_precision, broken), (matching_distance, broken), (fid, x[:0])):
        with pytest.raises(UserError, match="embeddings"):
            metric(x, bad)


# R-precision and MM-Dist


def slow_r_precision(text: np.ndarray, motion: np.ndarray, batch: int, top: int) -> list[float]:
    counts, seen = [0] * top, 0
    for start in range(0, len(text) - batch + 1, batch):
        for i in range(start, start + batch):
            matching_distance = np.linalg.norm(text[i] - motion[i])
            nearer = sum(np.linalg.norm(text[i] - motion[j]) < matching_distance for j in range(start, start + batch))
            counts = [count + (nearer < k) for k, count in enumerate(counts, start=1)]
            seen += 1
    return [count / seen for count in counts]


@pytest.mark.parametrize(("samples", "batch", "top"), [(70, 32, 3), (64, 32, 10), (20, 32, 3), (33, 8, 1)])
def test_r_precision_counts_nearer_motions_in_each_batch(samples, batch, top):
    text = embeddings(samples, 5, 0)
    motion = text + 0.8 * embeddings(samples, 5, 1)
    precision = r_precision(text, motion, batch, top)
    assert precision.shape == (top,)
    assert precision.tolist() == pytest.approx(slow_r_precision(text.numpy(), motion.numpy(), min(batch, samples), top))
    assert (precision.diff() >= 0).all()


def test_r_precision_of_right_and_of_equal_motions():
    text = embeddings(64, 16, 0)
    assert r_precision(text, text).tolist() == [1, 1, 1]
    alike = torch.zeros_like(text)
    assert r_precision(text, alike).tolist() == pytest.approx([1 / 32, 2 / 32, 3 / 32])  # ties are averaged, not won


def test_r_precision_does_not_depend_on_the_order_within_a_batch():
    text, motion = embeddings(32, 4, 0), embeddings(32, 4, 1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(32))
    assert r_precision(text, motion).tolist() == r_precision(text[order], motion[order]).tolist()


def test_matching_distance_is_the_mean_distance_of_pairs():
    text, motion = torch.zeros(3, 2), torch.tensor([[3.0, 4], [0, 1], [0, 0]])
    assert matching_distance(text, motion).item() == pytest.approx(2)


# Diversity and MultiModality


def test_draws_repeat_the_published_ones():
    """Two choices without replacement, one after the other, from NumPy's older generator."""
    first, second = draw_pairs(50, 20, np.random.RandomState(3))
    np.random.seed(3)
    assert first.tolist() == np.random.choice(50, 20, replace=False).tolist()
    assert second.tolist() == np.random.choice(50, 20, replace=False).tolist()


def test_diversity_is_the_mean_distance_of_the_drawn_pairs():
    motion = embeddings(400, 8, 0)
    first, second = draw_pairs(400, 300, np.random.default_rng(1))
    expected = np.mean([np.linalg.norm(motion[i] - motion[j]) for i, j in zip(first, second)])
    assert diversity(motion, generator=np.random.default_rng(1)).item() == pytest.approx(expected, rel=1e-5)
    assert diversity(motion[:1].expand(400, -1), generator=np.random.default_rng(1)).item() == 0


def test_multimodality_compares_motions_of_one_text_only():
    motions = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 30, -1)
    assert multimodality(motions, generator=np.random.default_rng(0)).item() == 0
    spread = motions + torch.arange(30.0)[:, None]
    first, second = draw_pairs(30, 10, np.random.default_rng(0))
    expected = 2 * (first - second).abs().double().mean()  # a step of s in each of 4 dimensions is 2 s long
    assert multimodality(spread, generator=np.random.default_rng(0)).item() == pytest.approx(expected.item(), rel=1e-4)


def test_few_samples_give_a_number():
    motion = embeddings(7, 4, 0)
    assert torch.isfinite(diversity(motion, generator=np.random.default_rng(0)))
    assert torch.isfinite(multimodality(motion[None], generator=np.random.default_rng(0)))
    assert torch.isfinite(fid(motion[:1], motion))
    assert r_precision(motion[:2], motion[:2]).tolist() == [1, 1, 1]
