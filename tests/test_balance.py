"""Drawing rare actions more often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.balance import actions_of, read_actions, sampling_weights, weighted_epoch
from utils.errors import UserError


def folder_with(path, actions: dict[str, str]):
    rows = [f"{clip},{action},here" for clip, action in actions.items()]
    (path / "actions.csv").write_text("\n".join(["clip,action,source", *rows]) + "\n", encoding="utf-8")
    return path


def test_actions_are_drawn_by_the_root_of_their_clips(tmp_path):
    actions = {f"w{i}": "walk" for i in range(16)} | {f"k{i}": "kick" for i in range(4)} | {"b": "bow"}
    weights = sampling_weights(list(actions), folder_with(tmp_path, actions))
    totals = Counter()
    for clip, weight in zip(actions, weights):
        totals[actions[clip]] += weight
    assert totals["walk"] / totals["bow"] == pytest.approx(4)
    assert totals["kick"] / totals["bow"] == pytest.approx(2)
    assert weights.mean() == pytest.approx(1)


def test_a_missing_or_padded_action_is_read(tmp_path):
    (tmp_path / "actions.csv").write_text("clip,action\nA,walk \nB\nC, walk\n", encoding="utf-8")
    assert actions_of(["A", "B", "C", "D"], tmp_path) == ["walk", "", "walk", ""]


def test_sizes_make_actions_count_by_frames(tmp_path):
    actions = {"w1": "walk", "w2": "walk", "k": "kick"}
    sizes = [150, 10, 40]
    weights = sampling_weights(list(actions), folder_with(tmp_path, actions), sizes=sizes)
    assert weights[0] == weights[1]  # frames of one action are alike
    assert (weights[0] * 160) / (weights[2] * 40) == pytest.approx((160 / 40) ** 0.5)


def test_without_the_file_all_are_alike_and_unlisted_clips_are_one_action(tmp_path):
    assert sampling_weights(["a", "b"], tmp_path).tolist() == [1, 1]
    assert sampling_weights(["a", "b"], tmp_path, sizes=[100, 3]).tolist() == [1, 1]
    weights = sampling_weights(["a", "x", "y", "z", "v"], folder_with(tmp_path, {"a": "walk"}))
    assert weights[0] == pytest.approx(2 * weights[1])


def test_a_fraction_of_the_samples_are_compositions(tmp_path):
    actions = {"w1": "walk", "w2": "walk", "b": "bow", "C1": "walk", "MC1": "walk", "C2": "bow"}
    folder_with(tmp_path, actions)
    with pytest.raises(UserError, match="has no compositions"):
        sampling_weights(list(actions), tmp_path, compositions=0.4)
    (tmp_path / "composed.txt").write_text("C1\nMC1\nC2\n")
    for balance in (False, True):
        weights = sampling_weights(list(actions), tmp_path, balance, 0.4)
        assert weights.mean() == pytest.approx(1) and weights[3:].sum() / weights.sum() == pytest.approx(0.4)
        assert weights[2] / weights[0] == pytest.approx(2**0.5 if balance else 1)
    sizes = [100, 10, 10, 50, 50, 20]
    weights = sampling_weights(list(actions), tmp_path, True, 0.25, sizes) * sizes
    assert weights[3:].sum() / weights.sum() == pytest.approx(0.25)
    assert not sampling_weights(list(actions), tmp_path, compositions=0.0)[3:].any()
    assert sampling_weights(list(actions), tmp_path, balance=False) is None


def test_columns_are_checked(tmp_path):
    folder_with(tmp_path, {"a": "walk"})
    assert read_actions(tmp_path, "source") == {"a": "here"}
    with pytest.raises(UserError, match="expected clip and mood"):
        read_actions(tmp_path, "mood")


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=50), seed=st.integers(0, 99))
def test_an_epoch_draws_each_by_its_weight(weights, seed):
    weights = np.array(weights)
    drawn = weighted_epoch(weights, np.random.default_rng(seed))
    assert len(drawn) == len(weights)
    expected = weights / weights.mean()
    counts = np.bincount(drawn, minlength=len(weights))
    assert (counts >= np.floor(expected - 1e-9)).all() and (counts <= np.ceil(expected + 1e-9)).all()


def test_equal_weights_give_a_shuffled_permutation():
    drawn = weighted_epoch(np.full(1000, 0.3), np.random.default_rng(0))
    assert sorted(drawn) == list(range(1000)) and list(drawn) != sorted(drawn)
