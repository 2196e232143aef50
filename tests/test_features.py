"""Features against HumanML3D's own numbers, and by property: inverse, equivariance, batching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from motion import features as features_module
from motion.features import (
    bone_lengths,
    canonicalise,
    facing,
    features_to_joints,
    joints_to_features,
    local_rotations,
    root_forward,
    smoothed,
    uniform_skeleton,
)
from motion.rotation import qaxis, qmatrix, qrotate
from motion.skeleton import HUMANML3D, KIT, forward_kinematics
from tests.posed import features_to_posed_joints
from utils.errors import UserError

SHARED = Path(__file__).resolve().parents[2] / "shared"
golden = pytest.mark.skipif(not SHARED.exists(), reason="the yardstick clips are not here")


def wandering(clips: int = 2, frames: int = 60, seed: int = 0) -> torch.Tensor:
    """Random but smooth joints (B, T, 22, 3) around the rest pose, walking and turning."""
    generator = torch.Generator().manual_seed(seed)
    rest = forward_kinematics(torch.eye(3).expand(22, 3, 3), torch.tensor([0.0, 0.95, 0.0]), HUMANML3D.offsets(), HUMANML3D.parents)
    noise = torch.randn(clips, frames + 20, 22, 3, generator=generator)
    noise = noise.unfold(1, 21, 1).mean(-1) * 0.2
    turn = torch.linspace(0, 2.0, frames)
    path = torch.stack((torch.sin(turn), torch.zeros(frames), turn), dim=-1)
    return (qrotate(qaxis("y", turn)[:, None], rest + noise) + path[:, None]).double()


@pytest.mark.parametrize(("skeleton", "joints"), [(HUMANML3D, 22), (KIT, 21)])
def test_skeleton_is_a_tree_with_a_mirror(skeleton, joints):
    assert skeleton.num_joints == joints == len(skeleton.rest) == len(set(skeleton.bones))
    assert all(parent < joint for joint, parent in enumerate(skeleton.parents))
    assert tuple(skeleton.mirror[j] for j in skeleton.mirror) == tuple(range(joints))
    assert skeleton.mirror[skeleton.feet[0]] == skeleton.feet[2]


def test_forward_kinematics_of_the_rest_pose_adds_offsets():
    joints = forward_kinematics(torch.eye(3).expand(22, 3, 3), torch.zeros(3), HUMANML3D.offsets(), HUMANML3D.parents)
    assert torch.allclose(bone_lengths(joints, HUMANML3D)[1:], torch.tensor(HUMANML3D.lengths)[1:], atol=1e-6)


def test_features_give_their_joints_back():
    rows, joints = joints_to_features(wandering(), HUMANML3D)
    assert rows.shape == (2, 59, 263)
    assert torch.allclose(features_to_joints(rows, 22), joints[:, :-1], atol=1e-5)


def test_positions_and_rotations_tell_the_same_pose():
    rows, joints = joints_to_features(wandering(), HUMANML3D)
    posed = features_to_posed_joints(rows, HUMANML3D, HUMANML3D.offsets().double())
    assert torch.allclose(posed, joints[:, :-1], atol=1e-5)


def test_bones_become_uniform_and_keep_their_direction():
    joints = wandering()
    uniform = uniform_skeleton(joints, HUMANML3D)
    lengths = bone_lengths(uniform, HUMANML3D)
    assert torch.allclose(lengths, torch.tensor(HUMANML3D.lengths, dtype=torch.float64).expand_as(lengths), atol=1e-6)


def test_canonical_clips_stand_on_the_floor_at_the_origin_facing_front():
    joints = canonicalise(wandering(), HUMANML3D)
    assert torch.allclose(joints[..., 1].amin((1, 2)), torch.zeros(2, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(joints[:, 0, 0, [0, 2]], torch.zeros(2, 2, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(facing(joints, HUMANML3D)[:, 0, 2], torch.ones(2, dtype=torch.float64), atol=1e-9)


def test_features_ignore_where_a_clip_stands_and_faces():
    joints = wandering()
    moved = qrotate(qaxis("y", torch.tensor(2.1, dtype=torch.float64)), joints) + torch.tensor([3.0, 1.0, -2.0])
    assert torch.allclose(joints_to_features(moved, HUMANML3D)[0], joints_to_features(joints, HUMANML3D)[0], atol=1e-6)


def test_a_clip_is_the_same_alone_and_padded():
    joints = wandering(frames=60)
    padded = joints.clone()
    padded[1, 35:] = float("nan")
    rows, _ = joints_to_features(padded, HUMANML3D, lengths=torch.tensor([60, 35]))
    alone, _ = joints_to_features(joints[1:, :35], HUMANML3D)
    assert torch.allclose(rows[1, :34], alone[0], atol=1e-9)
    assert torch.allclose(rows[0], joints_to_features(joints[:1], HUMANML3D)[0][0], atol=1e-9)


def test_mirroring_a_clip_mirrors_its_path():
    joints = wandering(clips=1)
    mirrored = joints[:, :, list(HUMANML3D.mirror)] * torch.tensor([-1.0, 1.0, 1.0])
    back = features_to_joints(joints_to_features(mirrored, HUMANML3D)[0], 22)
    there = features_to_joints(joints_to_features(joints, HUMANML3D)[0], 22)
    # bones of the two sides differ by up to 1 cm in the uniform skeleton
    assert (back[:, :, 0, 0] + there[:, :, 0, 0]).abs().max() < 0.02


def test_local_rotations_are_rotations():
    joints = wandering()
    local = local_rotations(joints, root_forward(joints, HUMANML3D), HUMANML3D)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(qmatrix(local) @ qmatrix(local).mT, eye.expand(*local.shape[:-1], 3, 3), atol=1e-9)


def test_an_unknown_skeleton_is_named():
    with pytest.raises(UserError, match="24 joints"):
        features_module.skeleton_for(24)


@pytest.mark.parametrize(("skeleton", "hips", "shoulders"), [(HUMANML3D, 0.12, 0.34), (KIT, 180.0, 300.0)])
def test_root_forward_subtracts_the_hips_from_the_shoulders(skeleton, hips, shoulders):
    """HumanML3D's definition: the line of the hips counts from left to right, that of the shoulders from right to left."""
    turned = np.radians(40)  # of the pelvis, to the left, while the chest faces +Z
    joints = torch.zeros(3, skeleton.num_joints, 3, dtype=torch.float64)
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face
    joints[:, left_shoulder, 0], joints[:, right_shoulder, 0] = shoulders / 2, -shoulders / 2
    to_left = torch.tensor([np.cos(turned), 0.0, -np.sin(turned)])
    joints[:, left_hip], joints[:, right_hip] = hips / 2 * to_left, -hips / 2 * to_left
    expected = np.arctan2(-hips * np.sin(turned), shoulders - hips * np.cos(turned))  # the pelvis turns it to the right
    assert torch.equal(root_forward(joints, skeleton)[0], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    x, _, z = root_forward(joints, skeleton)[2].tolist()
    assert np.arctan2(x, z) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("frames", [70, features_module.DENSE + 100])  # by one matrix product; by a convolution
def test_facing_is_smoothed_with_a_gaussian_of_20_frames(frames):
    values = torch.randn(frames, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter1d(values.numpy(), 20, axis=0, mode="nearest")
    assert np.allclose(smoothed(values), expected, atol=1e-12)


@pytest.mark.parametrize(("skeleton", "threshold"), [(HUMANML3D, 0.002), (KIT, 0.05)])
def test_a_foot_is_in_contact_below_the_published_squared_displacement(skeleton, threshold):
    rest = forward_kinematics(
        torch.eye(3, dtype=torch.float64).expand(skeleton.num_joints, 3, 3), torch.zeros(3, dtype=torch.float64),
        skeleton.offsets(torch.ones(skeleton.num_joints, dtype=torch.float64)), skeleton.parents,
    )  # fmt: skip
    for factor, standing in ((0.98, 1.0), (1.02, 0.0)):
        steps = torch.arange(4)[:, None, None] * torch.tensor([0.0, 0.0, (factor * threshold) ** 0.5], dtype=torch.float64)
        rows, _ = joints_to_features((rest + steps)[None], skeleton, uniform=False)
        assert (rows[..., -4:] == standing).all()


@golden
def test_humanml3d_sample_comes_out_as_published():
    stored = torch.from_numpy(np.load(SHARED / "data/golden/012314_new_joint_vecs.npy"))
    joints = torch.from_numpy(np.load(SHARED / "data/golden/012314_new_joints.npy"))
    assert torch.allclose(features_to_joints(stored, 22), joints, atol=2e-4)
    rows, _ = joints_to_features(joints[None].double(), HUMANML3D)
    difference = (rows[0] - stored[:-1]).abs()
    assert torch.equal(rows[0, :, -4:].float(), stored[:-1, -4:]), "foot contacts"
    assert difference.max() < 0.015, "the stored joints are rounded, which the rotations feel most"
