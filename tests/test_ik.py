"""Joints → posed skeleton: forward kinematics of the fit reproduces the joints in any orientation of the person."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.features import features_to_joints
from motion.files.animation import RigOptions
from motion.files.bvh import read_bvh
from motion.files.export import OutputOptions, export
from motion.files.names import ENDS
from motion.ik import axes_along, continuous_swing, fit_pose, settle
from motion.rest import fitted_rest
from motion.rotation import matrixq, qaxis, qmatrix, qrotate
from motion.skeleton import HUMANML3D, KIT, SKELETONS, Skeleton, forward_kinematics
from utils.errors import UserError

FITTED = OutputOptions(rig=RigOptions(skeleton="fitted"))
GOLDEN = Path(__file__).parent.parent.parent / "shared" / "data" / "golden"
BOWS = sorted((Path(__file__).parent.parent / "dataset" / "Open" / "new_joints").glob("B1_bow_*.npy"))
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="HumanML3D's sample clips are not here")
skeletons = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=["22 joints", "21 joints"])


def random_rotations(*shape: int, spread: float = 4.0, seed: int = 0) -> torch.Tensor:
    """Rotation matrices (*shape, 3, 3), anything from none to a half turn; `spread` 0 gives identities."""
    noise = spread * torch.randn(*shape, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return qmatrix(F.normalize(noise + torch.tensor([1.0, 0, 0, 0]), dim=-1))


def random_clip(skeleton: Skeleton, frames: int = 12, seed: int = 0, spread: float = 4.0) -> torch.Tensor:
    """Joints (T, J, 3) of a body whose bones keep their lengths, and whose pelvis and chest are rigid."""
    numbers = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    offsets = skeleton.offsets(0.1 + 0.3 * torch.rand(skeleton.num_joints, **numbers))
    offsets[1:] += 0.05 * torch.randn(skeleton.num_joints - 1, 3, **numbers)  # so that the several children of a joint span space
    root = torch.randn(frames, 3, **numbers)
    rotations = random_rotations(frames, skeleton.num_joints, spread=spread, seed=seed)
    return forward_kinematics(rotations, root, offsets, skeleton.parents)


def error(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Distance (T, J) between joints and those of their fit."""
    return (fit_pose(joints, skeleton).joints(skeleton) - joints).norm(dim=-1)


def swings(rest: torch.Tensor, bones: torch.Tensor) -> torch.Tensor:
    """`continuous_swing` from directions (C, 3) to bones (T, C, 3), as quaternions (T, C, 4)."""
    return matrixq(torch.from_numpy(continuous_swing(axes_along(rest.numpy()), bones.numpy())))


@skeletons
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 20))
def test_a_body_of_constant_bones_comes_back_exactly(skeleton, seed, frames):
    assert error(random_clip(skeleton, frames, seed), skeleton).max() < 1e-5


@skeletons
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_turning_the_whole_clip_turns_the_root_only(skeleton, seed):
    joints = random_clip(skeleton, seed=seed)
    turn = random_rotations(seed=seed + 9)
    pose, turned = fit_pose(joints, skeleton), fit_pose(joints @ turn.T, skeleton)
    torch.testing.assert_close(turned.rotations[:, 1:], pose.rotations[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(turned.rotations[:, 0], turn @ pose.rotations[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(turned.offsets, pose.offsets, atol=1e-6, rtol=0)


@skeletons
def test_rotations_are_rotations(skeleton):
    rotations = fit_pose(random_clip(skeleton), skeleton).rotations
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(rotations.shape[:2], dtype=torch.float64))


@skeletons
def test_the_rest_pose_is_a_t_pose(skeleton):
    """Upright, facing +Z: left is +X, arms along X, legs down, toes forward."""
    offsets = fit_pose(random_clip(skeleton, spread=0.1), skeleton).offsets
    identity = torch.eye(3, dtype=offsets.dtype).expand(skeleton.num_joints, 3, 3)
    rest = dict(zip(skeleton.bones, forward_kinematics(identity, torch.zeros(3).to(offsets), offsets, skeleton.parents)))
    for side, sign in (("Left", 1), ("Right", -1)):
        hand, elbow, shoulder = rest[side + "Hand"], rest[side + "ForeArm"], rest[side + "Arm"]
        assert sign * shoulder[0] < sign * elbow[0] < sign * hand[0]
        torch.testing.assert_close(hand[1:], shoulder[1:])
        assert rest[side + "ToeBase"][2] > rest[side + "Foot"][2]
        assert rest[side + "Foot"][1] < rest[side + "Leg"][1] < rest[side + "UpLeg"][1]
        assert sign * rest[side + "UpLeg"][0] > 0
    assert rest["Head"][1] > rest["Neck"][1] > rest["Spine"][1] > rest["Hips"][1]


@skeletons
def test_clips_in_a_batch_are_fitted_as_they_are_alone(skeleton):
    clips = torch.stack([random_clip(skeleton, seed=seed) for seed in range(6)]).unflatten(0, (2, 3))  # (2, 3, T, J, 3)
    clips += 0.01 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together, alone = fit_pose(clips, skeleton), fit_pose(clips[1, 2], skeleton)
    for batch, clip in zip((together.root, together.rotations, together.offsets), (alone.root, alone.rotations, alone.offsets)):
        torch.testing.assert_close(batch[1, 2], clip, atol=1e-8, rtol=0)
    torch.testing.assert_close(together.joints(skeleton)[1, 2], alone.joints(skeleton), atol=1e-8, rtol=0)


def test_noise_in_the_joints_does_not_add_up_along_limbs():
    joints = random_clip(HUMANML3D, frames=60)
    noisy = joints + 0.01 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    distance = error(noisy, HUMANML3D).mean(dim=0)
    hips = [1, 2, 3]  # the root stays: they bear its noise and their own
    assert distance[hips].max() < 0.025
    distance[hips] = 0
    assert distance.max() < 0.017  # hands and toes too: no worse than the noise itself


def test_a_stretched_bone_is_shared_among_its_neighbours():
    """One forearm 6 cm too long in one frame: no joint is 6 cm off, as the hand would be if the elbow did not yield."""
    joints = random_clip(HUMANML3D, spread=0.5)
    elbow, hand = (HUMANML3D.bones.index(bone) for bone in ("LeftForeArm", "LeftHand"))
    joints[5, hand] += 0.06 * F.normalize(joints[5, hand] - joints[5, elbow], dim=-1)
    distance = error(joints, HUMANML3D)
    assert distance[5].max() < 0.045
    assert distance[torch.arange(12) != 5].max() < 1e-5


def test_a_bone_that_passes_opposite_its_rest_does_not_spin():
    """With the shortest rotation alone, the bone would flip by 180 degrees within one frame."""
    angle = torch.linspace(2.2, 4.0, 60, dtype=torch.float64)
    bones = torch.stack((torch.sin(angle), torch.cos(angle), torch.full_like(angle, 0.003)), dim=-1)[:, None]
    rest = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    swing = swings(rest, bones)
    torch.testing.assert_close(qrotate(swing, rest), F.normalize(bones, dim=-1), atol=1e-9, rtol=0)
    turned = 2 * torch.acos((swing[1:] * swing[:-1]).sum(-1).abs().clamp(max=1))
    assert turned.max() < 0.4


def test_arms_that_hang_and_swing_are_not_twisted():
    """A bone that is not near the opposite of its rest direction takes the shortest rotation."""
    angle = 0.5 * torch.sin(torch.linspace(0, 12, 80, dtype=torch.float64))
    bones = torch.stack((torch.zeros_like(angle), -torch.cos(angle), torch.sin(angle)), dim=-1)[:, None]
    rest = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    twist = torch.einsum("tci,ci->tc", swings(rest, bones)[..., 1:], rest)
    assert twist.abs().max() < 0.02


def test_coinciding_joints_give_finite_rotations():
    joints = torch.zeros(4, 22, 3)
    pose = fit_pose(joints, HUMANML3D)
    assert torch.isfinite(pose.rotations).all()
    assert torch.isfinite(pose.joints(HUMANML3D)).all()


def test_long_clips_are_settled_in_parts(monkeypatch):
    clip = random_clip(HUMANML3D, frames=40) + 0.02 * torch.randn(40, 22, 3, generator=torch.Generator().manual_seed(1))
    whole = fit_pose(torch.stack((clip, clip.flip(0))), HUMANML3D).rotations
    monkeypatch.setattr("motion.ik.CHUNK", 7)
    assert torch.equal(fit_pose(torch.stack((clip, clip.flip(0))), HUMANML3D).rotations, whole)


def test_a_long_clip_takes_little_memory():
    clip = random_clip(HUMANML3D).repeat(1500, 1, 1).numpy()  # 18,000 frames: 10 minutes
    offsets = fitted_rest(clip, HUMANML3D)
    tracemalloc.start()
    try:
        settle(clip, offsets, HUMANML3D)
        assert tracemalloc.get_traced_memory()[1] < 4 * clip.nbytes + 150e6
    finally:
        tracemalloc.stop()


def test_a_motion_with_nan_is_refused():
    joints = random_clip(HUMANML3D)
    joints[3, 5, 1] = torch.nan
    with pytest.raises(UserError, match="NaN or infinity in 1 of 12 frames, first in frame 3"):
        fit_pose(joints, HUMANML3D)


def test_a_motion_of_another_skeleton_is_refused():
    with pytest.raises(UserError, match="expected"):
        fit_pose(random_clip(KIT), HUMANML3D)


def golden_clips() -> dict[str, torch.Tensor]:
    features = torch.from_numpy(np.load(GOLDEN / "000612_new_joint_vecs.npy")).float()
    return {"012314": torch.from_numpy(np.load(GOLDEN / "012314_new_joints.npy")), "000612": features_to_joints(features, 22)}


@needs_golden
@pytest.mark.parametrize("name", ["012314", "000612"])
def test_real_clips_come_back(name):
    assert error(golden_clips()[name], HUMANML3D).max() < 1e-5


def turns(axis: str, frames: int) -> torch.Tensor:
    """Two full turns about an axis, as rotations (T, 3, 3)."""
    return qmatrix(qaxis(axis, torch.linspace(0, 4 * torch.pi, frames)))


@needs_golden
@pytest.mark.parametrize("axis", ["x", "y", "z"], ids=["somersault", "pirouette", "cartwheel"])
def test_a_clip_that_turns_over_turns_its_root_only(axis):
    """In any orientation, different in each frame: limbs are relative to the body's own frame, so nothing flips."""
    joints = golden_clips()["012314"]
    tumbling = (joints - joints[:, :1]) @ turns(axis, len(joints)).mT + joints[:, :1]
    pose, tumbled = fit_pose(joints, HUMANML3D), fit_pose(tumbling, HUMANML3D)
    torch.testing.assert_close(tumbled.rotations[:, 1:], pose.rotations[:, 1:], atol=1e-4, rtol=0)
    torch.testing.assert_close(tumbled.rotations[:, 0], turns(axis, len(joints)) @ pose.rotations[:, 0], atol=1e-4, rtol=0)
    assert error(tumbling, HUMANML3D).max() < 1e-5


@pytest.mark.skipif(not BOWS, reason="dataset `open` is not here")
def test_bowing_people_come_back():
    for path in BOWS:
        assert error(torch.from_numpy(np.load(path)), HUMANML3D).max() < 5e-4, path.name


@needs_golden
@pytest.mark.parametrize("quarter_turns", range(4))
def test_a_bvh_file_holds_the_joints_whichever_way_the_person_faces(tmp_path, quarter_turns):
    turn = torch.matrix_power(torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), quarter_turns)
    joints = golden_clips()["012314"] @ turn.T
    export(tmp_path / "clip.bvh", joints.numpy(), "", fps=20, options=FITTED)
    bvh = read_bvh(tmp_path / "clip.bvh")
    assert sorted(bvh.names) == sorted([*HUMANML3D.bones, *ENDS.values()])
    assert bvh.frame_time == pytest.approx(1 / 20)
    read = bvh.joints()[:, [bvh.names.index(bone) for bone in HUMANML3D.bones]] / 100
    assert np.linalg.norm(read - joints.numpy(), axis=-1).max() < 1e-4


def test_a_bvh_file_of_the_small_skeleton_holds_the_joints(tmp_path):
    joints = random_clip(KIT, frames=5)
    export(tmp_path / "clip.bvh", joints.numpy(), "", fps=12.5, options=FITTED)
    bvh = read_bvh(tmp_path / "clip.bvh")
    assert bvh.frame_time == pytest.approx(0.08)
    read = bvh.joints()[:, [bvh.names.index(bone) for bone in KIT.bones]] / 100
    np.testing.assert_allclose(read, joints, atol=1e-4)
