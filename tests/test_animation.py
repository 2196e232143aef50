"""Animated skeletons: one symmetric body for all files, names, frame rates, axes and root motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.features import bone_lengths
from motion.files.animation import Animation, RigOptions, animate
from motion.files.export import OutputOptions, export
from motion.files.names import STYLES, known_names, renamed
from motion.files.read import InputOptions, read_motion
from motion.rest import averaged, rest_pose, standard_rest
from motion.skeleton import HUMANML3D
from prepare.synthetic import KINDS, walker

STANDARD = RigOptions(skeleton="standard")
MIRROR = list(HUMANML3D.mirror)


def turned_walk() -> np.ndarray:
    return walker(turn=90).astype(np.float64)


def test_files_of_a_dataset_share_one_symmetric_skeleton():
    people = [KINDS[kind]() * size for kind, size in (("walker", 1.0), ("waver", 1.05), ("bower", 0.96))]
    rests = [animate(joints, 20, STANDARD).offsets for joints in people]
    assert all(np.array_equal(rest, rests[0]) for rest in rests)
    rest = rests[0][:22]
    np.testing.assert_allclose(rest[MIRROR][1:], rest[1:] * (-1, 1, 1), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(rest[1:], axis=1).sum(), sum(HUMANML3D.lengths), rtol=1e-9)


def test_the_mean_pose_shapes_pelvis_and_chest_where_the_skeleton_does_not():
    joints = turned_walk()
    mean = joints.mean(axis=0)
    mean[[1, 2]] = 2 * mean[[1, 2]] - mean[[2, 1]]  # hips that are three times as far apart
    assert np.array_equal(standard_rest(HUMANML3D, mean), standard_rest(HUMANML3D))
    body = standard_rest(replace(HUMANML3D, hubs=None), mean)
    assert not np.allclose(body, standard_rest(HUMANML3D))
    np.testing.assert_allclose(np.linalg.norm(body, axis=1), np.linalg.norm(standard_rest(HUMANML3D), axis=1), atol=1e-9)
    assert np.array_equal(animate(joints, 20, RigOptions("standard", body)).offsets[1:22], body[1:])


def test_other_peoples_bones_are_averaged_over_both_sides():
    tall = walker() * 1.3
    tall[:, 20] += 0.1 * (tall[:, 20] - tall[:, 18])  # a left forearm that is longer
    symmetric, fitted = (rest_pose(tall.astype(np.float64), HUMANML3D, kind) for kind in ("symmetric", "fitted"))
    lengths = np.linalg.norm(fitted, axis=1)
    assert lengths[20] > 1.05 * lengths[21]
    np.testing.assert_allclose(np.linalg.norm(symmetric, axis=1), (lengths + lengths[MIRROR]) / 2, rtol=1e-9)
    np.testing.assert_allclose(averaged(symmetric, HUMANML3D), symmetric, atol=1e-9)


def test_the_rest_pose_stands_on_the_floor():
    animation = animate(turned_walk(), 20, STANDARD)
    assert animation.rest[:22, 1].min() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_rotations_are_resampled_smoothly(fps):
    joints = turned_walk()
    plain, other = (animate(joints, 20, RigOptions(fps=rate)) for rate in (None, fps))
    assert other.fps == fps and len(other.root) == int((len(joints) - 1) * fps / 20) + 1
    np.testing.assert_allclose(bone_lengths_of(other), bone_lengths_of(plain)[:1].repeat(len(other.root), 0), atol=1e-9)
    if fps == 60:
        np.testing.assert_allclose(positions(other)[::3], positions(plain), atol=1e-9)
    speeds = [np.linalg.norm(np.diff(positions(each)[:, 20], axis=0), axis=-1).max() * each.fps for each in (plain, other)]
    assert speeds[1] < 1.2 * speeds[0]


def positions(animation: Animation) -> np.ndarray:
    """Positions (T, B, 3) of the bones in every frame."""
    rotations, bones = [animation.rotations[:, 0]], [animation.root]
    for bone, parent in enumerate(animation.parents[1:], start=1):
        offset = animation.moving if bone == 1 and animation.moving is not None else animation.offsets[[bone]]
        bones.append(bones[parent] + (rotations[parent] @ offset[..., None])[..., 0])
        rotations.append(rotations[parent] @ animation.rotations[:, bone])
    return np.stack(bones, axis=1)


def bone_lengths_of(animation) -> np.ndarray:
    bones = positions(animation)
    return np.linalg.norm(bones[:, 1:] - bones[:, animation.parents[1:]], axis=-1)


def test_a_root_bone_carries_the_path_and_the_joints_stay():
    joints = walker().astype(np.float64)
    plain, bone = (animate(joints, 20, RigOptions(root=root)) for root in ("keep", "bone"))
    assert bone.names[0] == "Root" and bone.parents[:2] == [-1, 0]
    np.testing.assert_allclose(positions(bone)[:, 1:], positions(plain), atol=1e-9)
    assert np.abs(bone.root[:, 1]).max() == 0 and np.linalg.norm(bone.root[-1] - bone.root[0]) > 1
    assert np.abs(bone.moving[:, [0, 2]]).max() < 0.2  # the sway that is left


def test_in_place_only_sway_is_left():
    animation = animate(walker().astype(np.float64), 20, RigOptions(root="in_place"))
    assert np.ptp(animation.root[:, [0, 2]], axis=0).max() < 0.3


@pytest.mark.parametrize("suffix", ["bvh", "glb"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("root", ["keep", "bone"])
def test_every_naming_is_read_back(tmp_path, style, root, suffix):
    joints = turned_walk()
    export(tmp_path / f"walk.{suffix}", joints, "", 20, OutputOptions(rig=RigOptions(bone_names=style, root=root)))
    loaded = read_motion(tmp_path / f"walk.{suffix}")
    assert np.linalg.norm(loaded.joints - joints, axis=-1).mean() < 0.01
    np.testing.assert_allclose(loaded.joints[:, :22], positions(animate(joints, 20, RigOptions()))[:, :22], atol=1e-4)


def test_names_are_mixamos_and_distinct():
    assert renamed("LeftToeBase", "mixamorig") == "mixamorig:LeftToeBase" and renamed("LeftToeBase", "unreal") == "ball_l"
    assert renamed("RightUpLeg", "plain") == "right_hip" and renamed("HeadTop_End", "mixamo") == "HeadTop_End"
    assert all(len(set(names)) == len(names) for names in known_names())


@pytest.mark.parametrize("unit, up", [("m", "z"), ("in", "y"), ("mm", "z")])
@pytest.mark.parametrize("suffix", ["bvh", "npy"])
def test_units_and_axes_come_back_through_the_input_flags(tmp_path, unit, up, suffix):
    joints = turned_walk().astype(np.float32)
    options = OutputOptions(unit, up, RigOptions(skeleton="fitted"))
    export(tmp_path / f"walk.{suffix}", joints, "", 20, options)
    loaded = read_motion(tmp_path / f"walk.{suffix}", InputOptions(unit=unit, up=up, fps=30, skip_frames=5))
    assert loaded.fps == 30 and len(loaded) == len(joints) - 5
    assert np.linalg.norm(loaded.joints - joints[5:], axis=-1).mean() < 0.01


def test_bones_keep_their_lengths_in_every_frame(tmp_path):
    """The input is a motion whose bones stretch."""
    joints = turned_walk()
    joints[:, 20] += 0.1 * np.sin(np.arange(len(joints)))[:, None] * (joints[:, 20] - joints[:, 18])
    export(tmp_path / "walk.bvh", joints, "", 20, OutputOptions(rig=STANDARD))
    lengths = bone_lengths(torch.from_numpy(read_motion(tmp_path / "walk.bvh").joints), HUMANML3D).numpy()
    assert lengths.std(axis=0).max() < 1e-5
    np.testing.assert_allclose(lengths[0], lengths[0][MIRROR], atol=1e-5)
