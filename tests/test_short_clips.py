"""Joined short clips: long enough, smooth, with counts in captions, of one person and one label, none missing."""

import numpy as np
import torch

from motion.rotation import euler_to_matrix
from motion.skeleton import HUMANML3D
from prepare.short_clips import FADE, count_in, fit, join, join_short, misfit
from prepare.takes import SHORTEST, Clip


def turned(joints: np.ndarray, degrees: float, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    angles = torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=torch.float64)
    return joints @ euler_to_matrix(angles, "ZYX").numpy().T + np.array(shift)


def hop(frames: int, seed: int = 0, degrees: float = 0.0) -> np.ndarray:
    """A body that hops forward once, with swinging arms."""
    rng = np.random.default_rng(seed)
    rest = np.cumsum(rng.uniform(0.05, 0.2, size=(22, 3)), axis=0) / 8
    when = np.linspace(0, 1, frames)
    joints = rest + np.stack((0 * when, 0.2 * np.sin(np.pi * when), 0.5 * when), axis=-1)[:, None]
    joints[:, 20:22, 1] += 0.1 * np.sin(2 * np.pi * when)[:, None]
    return turned(joints, degrees, (3, 0, 1)).astype(np.float32)


def clip(name: str, frames: int, label: str = "hop on both legs, 1 hop", split: str = "train", **about) -> Clip:
    return Clip(name, "", "", "hdm05", split, hop(frames, **about), label, ("hop",))


def test_hops_are_joined_until_they_are_long_enough_and_counted():
    clips = [("bd", clip(f"hop_{n}", 14, degrees=50 * n)) for n in range(4)]
    joined = join_short(clips)
    assert len(joined) == 2
    for part in joined:
        assert len(part.joints) == 27 > SHORTEST and part.label == "hop on both legs, 2 hops" and part.actions == ("hop",)


def test_only_equal_labels_of_one_person_in_one_split_are_joined():
    alone = [
        ("bd", clip("a", 14)), ("tr", clip("b", 14)), ("bd", clip("c", 14, split="test_everyday")), ("bd", clip("d", 14, "run")),
    ]  # fmt: skip
    joined = join_short(alone)
    assert sorted(part.name for part in joined) == ["a_x2", "b_x2", "c_x2", "d_x2"]  # each repeated


def test_a_very_short_clip_is_repeated_more_often():
    (joined,) = join_short([("mass", clip("run", 9, "run, one cycle"))])
    assert joined.name == "run_x3" and joined.label == "run, 3 cycles" and len(joined.joints) == 9 + 2 * 8


def test_the_second_motion_goes_on_where_the_first_ends():
    first, second = hop(20), hop(20, degrees=130)
    joints = join(first, second)
    assert np.array_equal(joints[:20], first)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    assert speed.max() < 1.5 * np.linalg.norm(np.diff(first, axis=0), axis=-1).max()
    ahead = first[-1, 0] - first[0, 0]
    assert (joints[-1, 0] - first[-1, 0]) @ ahead > 0.95 * ahead @ ahead  # in the direction of the first hop
    assert np.abs(np.diff(joints, 3, axis=0)).max() < 0.1  # no step, and no kink in the speed


def test_what_differs_has_faded_when_the_second_motion_is_under_way():
    first, second = hop(20), hop(20)
    bent = first.copy()
    bent[:, 20] += np.linspace(0, 0.2, 20)[:, None] * [1, 0, 0]
    plain, joints = join(first, second), join(bent, second)
    rigid = fit(plain[-1], joints[-1])
    assert misfit(plain[-1], joints[-1]) < 1e-3 and np.isfinite(rigid[0]).all()
    assert misfit(plain[20 + FADE // 2], joints[20 + FADE // 2]) > 1e-3


def test_fit_finds_a_turn_about_the_vertical():
    pose = hop(5)[0].astype(float)
    other = turned(pose, 77, (1, 0, -2))
    turn, shift = fit(other, pose)
    assert np.allclose(pose @ turn + shift, other) and misfit(other, pose) < 1e-6


def test_counts_in_labels():
    assert count_in("squat, 1 repetition", 3) == "squat, 3 repetitions"
    assert count_in("jog, one cycle", 2) == "jog, 2 cycles"
    assert count_in("run, 90-degree left turn", 2) == "run, left turns"
    assert HUMANML3D.num_joints == 22
