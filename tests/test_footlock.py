"""Foot locking: planted feet stay in place, steps continue, and the rest of the body hardly changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.metrics.physical import foot_slide, penetration, toe_contacts
from motion import footlock
from motion.footlock import lock, lock_feet
from motion.ik import fit_pose
from motion.skeleton import HUMANML3D, KIT, SKELETONS, Skeleton
from prepare.synthetic import KINDS
from utils.errors import UserError

FPS = 20
WALKS = sorted((Path(__file__).parent.parent / "dataset" / "Open" / "new_joints").glob("B2_walk_*_00*.npy"))[:6]
PEOPLE = {
    "walks": {"kind": "walker"},
    "turns": {"kind": "walker", "turn": 90},
    "walks backwards": {"kind": "walker", "direction": 180},
    "runs": {"kind": "walker", "run": True, "stride": 0.9, "pace": 2.6},
    "waves": {"kind": "waver"},
    "bows": {"kind": "bower"},
}
people = pytest.mark.parametrize("person_known", PEOPLE.values(), ids=PEOPLE)


def small_skeleton(joints: np.ndarray) -> np.ndarray:
    """The 21 joints (T, 21, 3) of KIT-ML for the 22 of HumanML3D."""
    middles = {side: joints[:, [ankle, toe]].mean(axis=1) * (1, 0.3, 1) for side, ankle, toe in (("Left", 7, 10), ("Right", 8, 11))}
    by_name = dict(zip(HUMANML3D.bones, joints.swapaxes(0, 1))) | {f"{side}MidFoot": middle for side, middle in middles.items()}
    return np.stack([by_name[bone] for bone in KIT.bones], axis=1)


def person(num_joints: int = 22, kind: str = "walker", **known) -> np.ndarray:
    """A synthetic person whose planted feet do not move: joints (T, J, 3) in double precision."""
    joints = KINDS[kind](**known).astype(np.float64)
    return joints if num_joints == 22 else small_skeleton(joints)


def skating(joints: np.ndarray, jitter: float = 0.003) -> np.ndarray:
    """`joints` that go 10 % farther than their steps and sway by 2 cm, with noise in the feet: standing feet slide."""
    skeleton = SKELETONS[joints.shape[1]]
    sway = 0.02 * np.sin(2 * np.pi * np.arange(len(joints)) / FPS)[:, None, None] * [1, 0, 0]
    joints = joints + 0.1 * (joints[:, :1] - joints[:1, :1]) * [1, 0, 1] + sway
    joints[:, skeleton.feet] += jitter * np.random.default_rng(0).standard_normal((len(joints), 4, 3))
    return joints


def slides(joints: np.ndarray, locked: np.ndarray) -> tuple[float, float]:
    """Foot slide of both, in cm/s, where toes stand in `joints`."""
    before, after = (torch.as_tensor(motion, dtype=torch.float64)[None] for motion in (joints, locked))
    contacts = toe_contacts(before, FPS)
    return foot_slide(before, FPS, None, contacts).item(), foot_slide(after, FPS, None, contacts).item()


def legs(skeleton: Skeleton) -> list[int]:
    """Indices of the knees and of the joints below them."""
    return [joint for chain in skeleton.chains[:2] for joint in chain[2:]]


def moved(joints: np.ndarray, locked: np.ndarray, which: list[int]) -> np.ndarray:
    return np.linalg.norm(locked - joints, axis=-1)[:, which]


def knee_angles(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Degrees (T, 2) between thighs and shanks; 180 is straight."""
    cosines = []
    for _, hip, knee, ankle, *_ in skeleton.chains[:2]:
        thigh, shank = joints[:, hip] - joints[:, knee], joints[:, ankle] - joints[:, knee]
        cosines.append((thigh * shank).sum(-1) / np.linalg.norm(thigh, axis=-1) / np.linalg.norm(shank, axis=-1))
    return np.degrees(np.arccos(np.clip(np.stack(cosines, axis=1), -1, 1)))


@pytest.mark.parametrize("num_joints", SKELETONS)
@people
def test_sliding_falls_and_the_rest_of_the_body_stays(person_known, num_joints):
    joints = skating(person(num_joints, **person_known))
    locked = lock_feet(joints, FPS)
    before, after = slides(joints, locked)
    assert after < 0.2 * before
    skeleton = SKELETONS[num_joints]
    upper_body = sorted(set(range(num_joints)) - set(legs(skeleton)))
    assert moved(joints, locked, upper_body).mean() < 0.01
    assert moved(joints, locked, upper_body).max() < 0.04  # the pelvis of those who bow is not rigid


@people
def test_feet_that_stand_still_already_are_left_alone(person_known):
    joints = person(**person_known)
    locked = lock_feet(joints, FPS)
    assert moved(joints, locked, list(range(22))).max() < 0.03
    assert moved(joints, locked, list(range(22))).mean() < 0.004  # of which most is the spine, which the fit makes stiff


@pytest.mark.parametrize("num_joints", SKELETONS)
def test_bones_keep_their_lengths(num_joints):
    joints = skating(person(num_joints, turn=90))
    bones = lock_feet(joints, FPS)
    bones = bones[:, 1:] - bones[:, list(SKELETONS[num_joints].parents[1:])]
    assert np.linalg.norm(bones, axis=-1).std(axis=0).max() < 1e-6


def test_a_skeleton_file_holds_the_locked_feet():
    """Joint rotations fitted to the locked joints give them back, so feet do not slide in a .bvh either."""
    locked = torch.from_numpy(lock_feet(skating(person()), FPS))
    assert (fit_pose(locked, HUMANML3D).joints(HUMANML3D) - locked).abs().max() < 1e-6


def test_no_foot_goes_through_the_floor():
    joints = skating(person())
    joints[..., 1] -= 0.03
    assert penetration(torch.from_numpy(joints)[None]).item() > 5
    locked = lock_feet(joints, FPS)
    assert locked[:, HUMANML3D.feet, 1].min() > -1e-9


@people
def test_knees_bend_as_they_did(person_known):
    """No knee turns to the other side, is stretched out, or jumps."""
    joints = skating(person(**person_known))
    locked = lock_feet(joints, FPS)
    for _, hip, knee, ankle, _ in HUMANML3D.chains[:2]:
        normals = [np.cross(motion[:, knee] - motion[:, hip], motion[:, ankle] - motion[:, hip]) for motion in (joints, locked)]
        clearly = np.linalg.norm(normals[0], axis=-1) > 0.02  # metres squared: not nearly straight
        assert ((normals[0] * normals[1]).sum(-1)[clearly] > 0).all()
    before, after = (knee_angles(motion, HUMANML3D) for motion in (joints, locked))
    assert after.max() <= max(before.max(), 169) + 1  # cos of half: legs of 0.995 of their length
    assert np.abs(np.diff(after, axis=0)).max() < np.abs(np.diff(before, axis=0)).max() + 15
    assert np.abs(after - before).mean() < 6


def test_a_foot_in_the_air_goes_its_own_way():
    """Between two steps, away from any contact, the locked toe flies as high and as fast as it did."""
    joints = skating(person(stride=0.7, pace=1.2))
    locked = lock_feet(joints, FPS)
    for toe in HUMANML3D.feet[1::2]:
        peak = joints[:, toe, 1].argmax()
        assert locked[peak, toe, 1] == pytest.approx(joints[peak, toe, 1], abs=0.01)
    tops = [np.linalg.norm(np.diff(motion[:, HUMANML3D.feet[1::2]], axis=0), axis=-1).max() for motion in (joints, locked)]
    assert tops[1] == pytest.approx(tops[0], rel=0.15)


def test_what_cannot_be_locked_slides_on_with_constant_bones():
    """A person who glides: the feet never leave the floor and move with the body for metres."""
    joints = person(kind="waver", waves=8)
    joints[..., 2] += 0.45 / FPS * np.arange(len(joints))[:, None]
    locked = lock(joints, FPS)
    assert locked.sliding.any(axis=0).all()
    np.testing.assert_allclose(locked.joints, joints, atol=0.02)
    bones = locked.joints[:, 1:] - locked.joints[:, list(HUMANML3D.parents[1:])]
    assert np.linalg.norm(bones, axis=-1).std(axis=0).max() < 1e-6


def test_what_can_be_locked_is_although_another_part_cannot():
    """A walk with sliding feet, followed by gliding."""
    walk, glide = skating(person()), person(kind="waver", waves=6)
    glide[..., 2] += 0.45 / FPS * np.arange(len(glide))[:, None]
    both = np.concatenate((walk, glide - glide[0, 0] * [1, 0, 1] + walk[-1, 0] * [1, 0, 1]))
    locked = lock(both, FPS)
    early = slice(0, len(walk) - FPS)
    assert locked.sliding[len(walk) + FPS :].any() and not locked.sliding[early].any()
    before, after = slides(both[early], locked.joints[early])
    assert after < 0.3 * before


def test_every_stance_that_is_found_to_slide_is_released(monkeypatch):
    """Here each round finds one more stance, until none is left."""

    def first_stance(locked, joints, stands, skeleton):
        mask = np.zeros((len(stands), 2), bool)
        for foot, stood in enumerate(stands.reshape(-1, 2, 2).any(axis=-1).T):
            for start, stop in footlock.spans(stood)[: not mask.any()]:
                mask[start:stop, foot] = True
        return mask

    monkeypatch.setattr(footlock, "sliding_stances", first_stance)
    joints = skating(person())
    stands = footlock.standing(joints, HUMANML3D, FPS).reshape(-1, 2, 2).any(axis=-1)
    assert sum(len(footlock.spans(stood)) for stood in stands.T) > 3
    locked, nowhere = lock(joints, FPS), np.zeros((len(joints), 4))
    np.testing.assert_array_equal(locked.sliding, stands)
    np.testing.assert_array_equal(locked.joints, lock_feet(joints, FPS, nowhere))


def test_nobody_stands_in_the_air():
    joints = skating(person())
    joints[..., 1] += 1
    assert moved(joints, lock_feet(joints, FPS), list(HUMANML3D.feet)).max() < 0.02  # what the fit moves


def test_contacts_say_which_feet_may_stand():
    joints = skating(person(), jitter=0)
    nowhere, anywhere = np.zeros((len(joints), 4)), np.ones((len(joints) - 1, 4))
    raised = joints + np.array([0, 9, 0])
    np.testing.assert_allclose(lock_feet(joints, FPS, nowhere), lock_feet(raised, FPS) - np.array([0, 9, 0]), atol=1e-6)
    np.testing.assert_array_equal(lock_feet(joints, FPS, anywhere), lock_feet(joints, FPS))
    locked = lock_feet(joints, FPS, np.tile([0.9, 0.9, 0.1, 0.1], (len(joints), 1)))
    left, right = (moved(joints, locked, [toe]).max() for toe in HUMANML3D.feet[1::2])
    assert left > 0.02 > 0.005 > right


def test_turning_or_mirroring_a_clip_does_the_same_to_what_comes_out():
    joints = skating(person(turn=45))
    locked = lock_feet(joints, FPS)
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    np.testing.assert_allclose(lock_feet(joints @ turn.T, FPS), locked @ turn.T, atol=1e-6)
    mirror = list(HUMANML3D.mirror)
    np.testing.assert_allclose(lock_feet(joints[:, mirror] * [-1, 1, 1], FPS), locked[:, mirror] * [-1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("fps", [30, 60, 120])
def test_any_frame_rate(fps):
    joints = skating(person())
    times = np.linspace(0, len(joints) - 1, len(joints) * fps // FPS)
    finer = np.stack([np.interp(times, np.arange(len(joints)), path) for path in joints.reshape(len(joints), -1).T], axis=1)
    finer = finer.reshape(-1, 22, 3)
    locked = lock_feet(finer, fps)
    contacts = toe_contacts(torch.from_numpy(finer)[None], fps)
    before, after = (foot_slide(torch.from_numpy(motion)[None], fps, None, contacts).item() for motion in (finer, locked))
    assert after < 0.25 * before


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_very_short_clips(frames):
    joints = skating(person())[:frames].astype(np.float32)
    locked = lock_feet(joints, FPS)
    assert locked.shape == joints.shape and locked.dtype == np.float32 and np.isfinite(locked).all()


def test_joints_in_one_place_do_no_harm():
    joints = np.zeros((5, 22, 3))
    np.testing.assert_allclose(lock_feet(joints, FPS), joints, atol=1e-6)


def test_damaged_motions_are_refused():
    joints = person()
    joints[4, 2, 0] = np.nan
    with pytest.raises(UserError, match="NaN or infinity in 1 of"):
        lock_feet(joints, FPS)
    with pytest.raises(UserError, match="5 joints"):
        lock_feet(np.zeros((9, 5, 3)), FPS)


@pytest.mark.skipif(not WALKS, reason="dataset `open` is not here")
def test_real_walks():
    for path in WALKS:
        joints = np.load(path).astype(np.float64)
        locked = lock_feet(joints, FPS)
        before, after = slides(joints, locked)
        assert after < 0.2 * before, path.name
        assert moved(joints, locked, list(range(22))).mean() < 0.01
