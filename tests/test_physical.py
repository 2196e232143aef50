"""Physical metrics on motions whose answers are known."""

from __future__ import annotations

import pytest
import torch

from evaluation.metrics.motion import mpjpe
from evaluation.metrics.physical import (
    bone_deviation,
    floating,
    foot_peaks,
    foot_slide,
    jerk,
    path_error,
    penetration,
    physical_metrics,
    toe_contacts,
)
from motion.skeleton import HUMANML3D, SKELETONS

FPS, T = 20, 40
TIME = torch.arange(T, dtype=torch.float64) / FPS
FEET = list(HUMANML3D.feet)


def standing() -> torch.Tensor:
    """A person (T, 22, 3), in float64, who stands still: toes at 2 cm, ankles at 8 cm, the rest above."""
    joints = torch.zeros(T, 22, 3, dtype=torch.float64)
    joints[..., 1] = 1.0
    joints[:, FEET, 1] = torch.tensor([0.08, 0.02, 0.08, 0.02], dtype=torch.float64)
    return joints


def value(metric, joints: torch.Tensor, *arguments) -> float:
    return metric(joints[None], *arguments).item()


def test_standing_still_is_perfect():
    metrics = physical_metrics(standing()[None], FPS)
    assert all(metric.shape == (1,) and metric.item() == 0 for metric in metrics.values())


@pytest.mark.parametrize("speed", [0.05, 0.3])
def test_slide_is_the_speed_of_sliding_toes(speed):
    joints = standing()
    joints[..., 0] += speed * TIME[:, None]
    assert value(foot_slide, joints, FPS) == pytest.approx(100 * speed, rel=1e-4)


def test_fast_or_high_toes_do_not_slide():
    joints = standing()
    joints[:, 10, 2] += 0.9 * TIME  # left: too fast to be standing
    joints[:, 11, 0] += 0.3 * TIME
    joints[:, 11, 1] = 0.06  # right: too high
    assert foot_slide(joints[None], FPS).isnan().all()


def test_given_contacts_decide_where_sliding_is_measured():
    before, after = standing(), standing()
    after[:, 10, 2] += 0.9 * TIME
    contacts = toe_contacts(before[None], FPS)
    assert value(foot_slide, after, FPS) == 0  # the sliding foot no longer counts as standing
    assert value(foot_slide, after, FPS, None, contacts) == pytest.approx(90 / 2, rel=1e-4)


def test_hovering_floats_and_jumping_does_not():
    hover = standing()
    hover[..., 1] += 0.2
    assert value(floating, hover, FPS) == 100
    jump = standing()
    air = slice(10, 20)
    time = torch.arange(-1, 11, dtype=torch.float64) / FPS
    jump[9:21, :, 1] += (0.5 * 9.81 * time * (0.5 - time)).clamp(min=0)[:, None]
    assert (jump[air, FEET, 1] > 0.1).any()
    assert value(floating, jump, FPS) == 0


def test_one_foot_or_a_heel_supports():
    joints = standing()
    joints[:, [7, 10], 1] += 0.5
    assert value(floating, joints, FPS) == 0
    joints[:, 11, 1] = 0.12  # right toes up, the heel still down
    assert value(floating, joints, FPS) == 0


def test_jerk_is_the_third_derivative():
    joints = standing()
    joints[..., 2] += 0.7 * TIME[:, None] ** 3
    assert value(jerk, joints, FPS) == pytest.approx(6 * 0.7)
    steady = standing()
    steady[..., 2] += 3 * TIME[:, None] ** 2
    assert value(jerk, steady, FPS) == pytest.approx(0, abs=1e-6)


def test_slide_depends_on_neither_frame_rate_nor_skeleton():
    """Sliding outside the given contacts does not count."""
    for skeleton in SKELETONS.values():
        for fps in (10, 20, 40):
            frames = 2 * fps
            joints = torch.ones(1, frames, skeleton.num_joints, 3, dtype=torch.float64)
            joints[:, :, list(skeleton.feet), 1] = 0.02
            joints[..., 0] += 0.2 * torch.arange(frames)[:, None] / fps
            contacts = toe_contacts(joints, fps)
            assert contacts.shape == (1, frames - 1, 2) and contacts.all()
            contacts[:, frames // 2 :] = False
            joints[:, frames // 2 + 1 :, :, 2] += 9
            assert foot_slide(joints, fps, None, contacts).item() == pytest.approx(20)


def test_penetration_is_the_depth_of_the_lowest_joint():
    joints = standing()
    joints[: T // 2, 10, 1] = -0.03
    joints[: T // 2, 11, 1] = -0.01
    assert value(penetration, joints) == pytest.approx(15, rel=1e-4)


def test_clip_in_a_padded_batch_equals_the_clip_alone():
    joints = standing() + 0.02 * torch.randn(3, T, 22, 3, generator=torch.Generator().manual_seed(0)).double()
    lengths = torch.tensor([T, 23, 5])
    padded = joints.clone()
    padded[torch.arange(T) >= lengths[:, None]] = float("nan")
    together = physical_metrics(padded, FPS, lengths)
    for clip, length in enumerate(lengths.tolist()):
        for name, alone in physical_metrics(joints[clip : clip + 1, :length], FPS).items():
            assert torch.allclose(together[name][clip], alone[0], equal_nan=True), name


def test_very_short_clips_have_no_value_rather_than_a_crash():
    metrics = physical_metrics(standing()[None, :3], FPS)
    assert metrics["jerk_m_s3"].isnan().all()
    assert metrics["penetration_mm"].item() == 0


def test_mpjpe_ignores_where_the_pelvis_is():
    joints = torch.randn(4, T, 22, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(mpjpe(joints + torch.tensor([1.0, 2, 3]), joints), torch.zeros(4, T), atol=1e-5)
    moved = joints.clone()
    moved[..., 5, 0] += 0.22
    assert torch.allclose(mpjpe(moved, joints), torch.full((4, T), 0.01), atol=1e-6)


def test_bone_deviation_is_that_of_the_worst_hundredth():
    joints = standing()
    joints[:, :, 0] += torch.arange(22)  # bones of some length
    assert value(bone_deviation, joints) == pytest.approx(0, abs=1e-9)
    joints[::2, 20, 0] += 0.2  # the wrist's bone, of 2 m, in every other frame; its hand has none beyond
    assert value(bone_deviation, joints) == pytest.approx(10, rel=0.2)
    once = standing()
    once[:, :, 0] += torch.arange(22)
    once[0, 20, 0] += 0.2  # one bone of 21 × 40
    assert value(bone_deviation, once) == pytest.approx(0, abs=1e-9)


def test_path_error_is_taken_on_the_floor_after_the_seconds():
    drifting = standing()
    drifting[..., 0] += 0.3 * TIME[:, None]
    drifting[..., 1] += 1
    assert path_error(drifting[None], standing()[None], FPS, 1.0).item() == pytest.approx(300)
    assert path_error(drifting[None], standing()[None], FPS, 2.0).isnan().all()  # frame 40 of 40
    assert path_error(drifting[None], standing()[None], FPS, 1.0, torch.tensor([20])).isnan().all()


def test_foot_peaks_are_of_one_toe_and_of_both():
    joints = standing()
    joints[10, 10, 1] = 0.7  # a kick
    joints[20, [10, 11], 1] = torch.tensor([0.2, 0.15], dtype=torch.float64)  # a jump
    joints[39, [10, 11], 1] = 3  # padding
    peaks = foot_peaks(joints[None], torch.tensor([39]))
    assert (peaks["kick_cm"].item(), peaks["jump_cm"].item()) == (pytest.approx(70), pytest.approx(15))
