"""Constraints and loss terms on the body behind motion rows: what they keep, what they see, what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.metrics.physical import bone_deviation
from models.body import BodyConstraints, BodyLoss, measured_bones
from motion.features import bone_lengths, features_to_joints, joints_to_features
from motion.skeleton import HUMANML3D
from motion.spec import get_spec
from prepare.synthetic import walker
from utils.errors import UserError

D, SPEC = 263, get_spec("synthetic")
MEAN, STD = np.linspace(-0.2, 0.2, D), np.linspace(0.5, 1.5, D)
ROOT_SPEED = slice(1, 3)


def walk(clips: int = 2, frames: int = 33) -> torch.Tensor:
    """Unnormalised rows (B, T, D) of walkers, in float64, with the skeleton's own bones."""
    joints = torch.stack([torch.as_tensor(walker(turn=90.0 * clip)[:frames]) for clip in range(clips)])
    return joints_to_features(joints.double(), HUMANML3D)[0]


def normalised(rows: torch.Tensor) -> torch.Tensor:
    return (rows - torch.as_tensor(MEAN)) / torch.as_tensor(STD)


def constraints() -> BodyConstraints:
    body = BodyConstraints(D).double()
    body.fit_(MEAN, STD, np.array(HUMANML3D.lengths))
    return body


def joints_of(rows: torch.Tensor) -> torch.Tensor:
    """Joints of normalised rows."""
    return features_to_joints(rows * torch.as_tensor(STD) + torch.as_tensor(MEAN), 22)


def terms(rows: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, float]:
    loss = BodyLoss(MEAN, STD, SPEC)
    return {name: value.item() for name, value in loss(normalised(rows), normalised(target), mask).items()}


def test_every_bone_gets_its_length():
    rows = torch.randn(2, 12, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lengths = bone_lengths(joints_of(constraints()(rows)), HUMANML3D)
    assert torch.allclose(lengths[..., 1:], torch.tensor(HUMANML3D.lengths, dtype=torch.float64)[1:].expand(2, 12, 21), atol=1e-6)


def test_rows_with_those_bones_stay_as_they_are():
    rows = normalised(walk())
    assert torch.allclose(constraints()(rows), rows, atol=1e-6)
    closed = torch.full((*rows.shape[:2], 2), -50.0, dtype=torch.float64)
    assert torch.allclose(constraints()(rows, closed), rows, atol=1e-6)


@pytest.mark.parametrize(("gates", "joint"), [((50.0, -50.0), 10), ((-50.0, 50.0), 11)])
def test_a_toe_whose_gate_is_open_rests_in_the_world(gates, joint):
    rows = normalised(walk() + 0.05 * torch.randn(2, 32, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    gates = torch.tensor(gates, dtype=torch.float64).expand(*rows.shape[:2], 2)
    toe, planted = (joints_of(values)[:, :, joint][..., [0, 2]] for values in (rows, constraints()(rows, gates)))
    assert toe.diff(dim=1).abs().max() > 0.02
    assert planted.diff(dim=1).abs().max() < 1e-9


def test_gates_change_the_roots_velocity_alone():
    rows = normalised(walk())
    change = constraints()(rows, torch.zeros(*rows.shape[:2], 2)) - constraints()(rows)
    assert change[:, :-1, ROOT_SPEED].abs().max() > 1e-3
    change[..., ROOT_SPEED] = 0
    assert change.abs().max() < 1e-12


def test_constraints_have_finite_gradients_even_where_joints_coincide():
    rows, gates = torch.zeros(1, 8, D, dtype=torch.float64, requires_grad=True), torch.zeros(1, 8, 2, requires_grad=True)
    body = BodyConstraints(D).double()
    body.fit_(np.zeros(D), np.ones(D), np.array(HUMANML3D.lengths))
    body(rows, gates).square().sum().backward()
    assert rows.grad.isfinite().all() and gates.grad.isfinite().all()


def test_equal_motions_have_no_loss():
    assert max(terms(walk(), walk()).values()) < 0.01


def test_a_root_that_drifts_is_seen_in_its_path_and_its_velocity():
    target = walk()
    drifting = target.clone()
    drifting[..., 1] += 0.01  # metres a frame, in the person's heading: 0.2 m/s
    losses = terms(drifting, target)
    assert losses["velocity"] == pytest.approx(0.2, rel=1e-3)
    assert losses["feet"] == pytest.approx(0.2, rel=1e-3)
    assert losses["path"] > 0.1
    assert losses["positions"] < 1e-4 and losses["bones"] < 1e-4


def test_a_wrong_turn_is_seen_in_the_positions():
    target = walk()
    turning = target.clone()
    turning[..., 0] += 0.01
    assert terms(turning, target)["positions"] > 0.01
    assert terms(turning, target)["bones"] < 1e-4


def test_longer_bones_and_trembling_are_seen():
    target = walk()
    longer, trembling = target.clone(), target.clone()
    longer[..., 4:67] *= 1.1
    trembling[..., 4:67] += 0.01 * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(16)[:32, None]
    lengths = np.array(HUMANML3D.lengths)[1:]
    assert terms(longer, target)["bones"] > 0.05 * lengths.mean()
    assert terms(trembling, target)["acceleration"] > 0.9 * 400 * 0.04 * 3**0.5 * 21 / 22
    assert terms(longer, target)["acceleration"] < terms(trembling, target)["acceleration"]


def test_feet_that_do_not_stand_may_move():
    target = walk()
    target[..., 3] += 1
    target[..., 5:67:3] += 1  # a metre above the floor
    drifting = target.clone()
    drifting[..., 1] += 0.01
    assert terms(drifting, target)["feet"] == 0


def test_padding_counts_in_no_term():
    target, rows = walk(), walk() + 0.01
    mask = torch.arange(32)[None, :, None] < torch.tensor([32, 20])[:, None, None]
    noisy = rows.clone()
    noisy[1, 20:] += 100
    assert terms(rows, target, mask) == terms(noisy, target, mask)
    assert terms(rows, target, mask) != terms(rows, target)


def test_bones_are_measured_and_must_be_one_skeletons():
    clips = [row.numpy() for row in walk(3)]
    assert np.allclose(measured_bones(clips, SPEC), HUMANML3D.lengths, atol=1e-5)
    taller = clips[0].copy()
    taller[:, 3:67] *= 1.2
    with pytest.raises(UserError, match="--rigid_bones"):
        measured_bones([*clips, taller], SPEC)


def test_constrained_motion_has_bones_that_never_stretch():
    rows = torch.randn(1, 20, D, dtype=torch.float64)
    assert bone_deviation(joints_of(constraints()(rows))).item() < 1e-3
