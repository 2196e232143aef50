"""Schedules, guidance, and noise that belongs to a sample and not to its batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sampling import cosine_schedule, guide, sample, uniforms


def test_cosine_schedule_begins_with_everything_hidden_and_ends_with_nothing():
    fraction = cosine_schedule(torch.linspace(0, 1, 11))
    assert fraction[0] == 1
    assert fraction[-1].abs() < 1e-6
    assert (fraction.diff() < 0).all()


def test_guidance():
    cond, uncond = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(guide(cond, uncond, 1), cond)
    torch.testing.assert_close(guide(cond, uncond, 0), uncond)
    torch.testing.assert_close(guide(cond, uncond, 4), 4 * cond - 3 * uncond)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 1000), st.integers(-6, 20), st.integers(1, 60))
def test_uniforms_depend_on_seed_sample_step_and_position_alone(seed, first, step, size):
    together = uniforms(seed, first + torch.arange(5), step, 60)
    alone = uniforms(seed, torch.tensor([first + 3]), step, size)
    assert torch.equal(alone[0], together[3, :size])
    assert ((together >= 0) & (together < 1)).all()
    steps = uniforms(seed, torch.tensor([first + 3]), torch.tensor([step - 1, step])[:, None, None], size)
    assert torch.equal(steps[1], alone)


def test_uniforms_are_uniform_and_independent():
    draws = torch.stack([uniforms(seed, torch.arange(100), step, 200) for seed in (0, 1) for step in (-1, 0, 1)])  # (6, 100, 200)
    assert draws.unique().numel() == draws.numel()
    fraction = torch.histc(draws.flatten(), 20, 0, 1) / draws.numel()
    assert (fraction - 0.05).abs().max() < 0.003
    assert torch.corrcoef(draws.flatten(1)).triu(1).abs().max() < 0.03
    for axis in (1, 2):
        ahead, behind = draws.narrow(axis, 1, draws.shape[axis] - 1), draws.narrow(axis, 0, draws.shape[axis] - 1)
        assert torch.corrcoef(torch.stack((ahead.flatten(), behind.flatten())))[0, 1].abs() < 0.02


def test_seed_and_sample_do_not_stand_for_each_other():
    assert not torch.equal(uniforms(1, torch.tensor([0]), 0, 8), uniforms(0, torch.tensor([1]), 0, 8))


def test_sampling_follows_the_distribution():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    for temperature in (1.0, 2.0):
        grid = (torch.arange(10_000) + 0.5) / 10_000
        ids = sample(logits.expand(10_000, -1), grid, temperature, topkr=0.0)
        fraction = torch.bincount(ids, minlength=4) / 10_000
        torch.testing.assert_close(fraction, (logits / temperature).softmax(-1), rtol=0, atol=2e-4)


@pytest.mark.parametrize(("topkr", "kept"), [(0.0, 40), (0.9, 4), (0.94, 3), (1.0, 1)])
def test_sampling_stays_within_the_largest(topkr, kept):
    torch.manual_seed(0)
    logits = torch.randn(40)
    ids = sample(logits.expand(5000, -1), torch.rand(5000), 3.0, topkr)
    assert set(ids.tolist()) == set(logits.topk(kept).indices.tolist())


def test_sampling_at_the_ends_of_the_interval():
    logits = torch.tensor([[0.0, 5.0, -torch.inf]]).repeat(2, 1)
    assert sample(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.double), topkr=0.0).tolist() == [1, 0]
