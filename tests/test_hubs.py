"""One pelvis and one chest for all sources of motion: `motion.ik.with_standard_hubs`, in datasets, a user's motions and exports."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.source import from_joints
from motion.features import bone_lengths, features_to_joints
from motion.ik import fit_pose, with_standard_hubs
from motion.rest import standard_rest, unit
from motion.skeleton import HUMANML3D, forward_kinematics
from motion.spec import get_spec
from prepare.captures import mirror
from prepare.clip_files import write_batch
from prepare.takes import Clip
from tests.test_ik import random_clip, random_rotations
from tests.tiny import walk

HUBS = [children for children in HUMANML3D.children if len(children) > 1]
INSIDE = [pair for children in HUBS for pair in combinations([HUMANML3D.parents[children[0]], *children], 2)]
LIMBS = sorted(set(range(1, 22)) - {joint for children in HUBS for joint in children})
PARENTS = list(HUMANML3D.parents)
REST = standard_rest(HUMANML3D, lengths=np.array(HUMANML3D.lengths))


def distances(joints: np.ndarray) -> np.ndarray:
    """Distances (..., 12) between the joints of the pelvis, and between those of the chest."""
    return np.stack([np.linalg.norm(joints[..., first, :] - joints[..., second, :], axis=-1) for first, second in INSIDE], axis=-1)


def directions(joints: np.ndarray) -> np.ndarray:
    """Directions (T, 22, 3) of the bones that end in each joint; zero for the root."""
    return unit(joints - joints[:, [max(parent, 0) for parent in PARENTS]])


def capture(seed: int, frames: int = 30) -> np.ndarray:
    """A random motion (T, 22, 3) of a random person, with hips and collars anywhere."""
    return random_clip(HUMANML3D, frames, seed, spread=0.3).numpy()


def person_with_wide_hips(frames: int = 40) -> np.ndarray:
    """A walk by someone whose hips point sideways, as in Bandai-Namco's captures."""
    joints = walk(frames).astype(np.float64)
    moved = np.zeros_like(joints)
    across = unit(joints[:, 1] - joints[:, 2])
    moved[:, [1, 4, 7, 10]], moved[:, [2, 5, 8, 11]] = 0.06 * across[:, None], -0.06 * across[:, None]
    return 1.2 * (joints + moved)


seeds = given(seed=st.integers(0, 10**6))


@seeds
@settings(max_examples=20, deadline=None)
def test_every_person_gets_the_same_pelvis_and_chest_and_keeps_the_directions_of_all_limbs(seed):
    joints = capture(seed)
    hubs = with_standard_hubs(joints, HUMANML3D)
    expected = distances(np.array(HUMANML3D.paths) @ REST)
    assert np.abs(distances(hubs) - expected).max() < 1e-4
    lengths = bone_lengths(torch.from_numpy(hubs), HUMANML3D).numpy()
    assert np.abs(lengths - HUMANML3D.lengths).max() < 1e-9
    np.testing.assert_allclose(directions(hubs)[:, LIMBS], directions(joints)[:, LIMBS], atol=1e-9)


@seeds
@settings(max_examples=20, deadline=None)
def test_a_motion_with_these_hubs_is_not_changed(seed):
    rotations = random_rotations(20, 22, spread=0.3, seed=seed)
    root = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    joints = forward_kinematics(rotations, root, torch.from_numpy(REST), HUMANML3D.parents).numpy()
    np.testing.assert_allclose(with_standard_hubs(joints, HUMANML3D), joints, atol=1e-9)


@seeds
@settings(max_examples=20, deadline=None)
def test_the_mirror_image_gets_the_mirrored_directions(seed):
    joints = capture(seed)
    there = directions(with_standard_hubs(mirror(joints), HUMANML3D))
    np.testing.assert_allclose(there, directions(mirror(with_standard_hubs(joints, HUMANML3D))), atol=1e-6)


@seeds
@settings(max_examples=10, deadline=None)
def test_turning_the_whole_motion_turns_the_result(seed):
    joints, turn = capture(seed), random_rotations(1, seed=seed)[0].numpy()
    there = with_standard_hubs(joints @ turn.T, HUMANML3D)
    np.testing.assert_allclose(there, with_standard_hubs(joints, HUMANML3D) @ turn.T, atol=1e-8)


def test_the_middle_between_the_hips_keeps_its_path():
    """Therefore narrower hips only shift the feet of a person who sways without turning by a constant, so the feet do not slide."""
    joints = np.tile(np.array(HUMANML3D.paths) @ REST, (20, 1, 1))
    joints[:, [1, 4, 7, 10]] += [0.05, 0.05, 0]
    joints[:, [2, 5, 8, 11]] += [-0.05, 0.05, 0]
    angle = 0.3 * np.sin(np.arange(20) / 3)  # the pelvis tips forward and back above feet that stand
    tip = np.stack([[[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]] for a in angle])
    hips = joints[:, [1, 2]].mean(axis=1, keepdims=True)
    above = [joint for joint in range(22) if joint not in (1, 4, 7, 10, 2, 5, 8, 11)]
    joints[:, above] = hips + (joints[:, above] - hips) @ tip.mT
    feet = with_standard_hubs(joints, HUMANML3D)[:, HUMANML3D.feet]
    assert np.ptp(feet, axis=0).max() < 0.003  # the pelvis itself moves by 2 cm


def test_all_files_of_a_dataset_have_them_whatever_the_source(tmp_path):
    for folder in ("new_joint_vecs", "new_joints"):
        (tmp_path / folder).mkdir()
    motions = {"wide": person_with_wide_hips(), "narrow": walk(40), "random": capture(1, 40)}
    motions |= {f"M{name}": mirror(joints) for name, joints in motions.items()}
    write_batch([Clip(name, "", "", "", "", joints.astype(np.float32)) for name, joints in motions.items()], tmp_path)
    written = np.stack([np.load(tmp_path / "new_joints" / f"{name}.npy") for name in motions])
    assert np.ptp(distances(written), axis=(0, 1)).max() < 1e-4
    fitted = fit_pose(torch.from_numpy(written), HUMANML3D, standard_rest(HUMANML3D)).joints(HUMANML3D).numpy()
    assert np.linalg.norm(fitted - written, axis=-1).mean() < 0.005  # left and right bones differ by up to 7 mm


def test_a_motion_of_another_body_gets_them_as_input_of_the_models():
    source = from_joints(torch.from_numpy(person_with_wide_hips()).float(), get_spec("open"))
    described = features_to_joints(source.features, 22).numpy()
    for joints in (described, source.joints.numpy()):
        assert np.abs(distances(joints) - distances(np.array(HUMANML3D.paths) @ REST)).max() < 1e-4
