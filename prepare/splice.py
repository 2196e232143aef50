"""Join two motions in sequence, or combine the arms of one motion with the legs of another. Bone lengths stay constant.

All joints are (T, 22, 3) on HumanML3D's uniform skeleton: metres, Y up, floor at 0, 20 frames per second.

`join` inserts a short transition between two motions. In the transition, the root and the bone directions follow cubic Hermite
curves that match positions and velocities at both ends, so that bones keep their lengths. A foot that stands before and after the
transition takes a step if it must move, and is locked otherwise (motion/footlock.py). `layer` applies motion/layering.py to a part
of a motion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d, label

from motion import layering
from motion.footlock import corrections, follow, standing, strain
from motion.ik import norm
from motion.layering import to_bones, to_joints
from motion.skeleton import HUMANML3D

FPS = 20
FEET = ((7, 10), (8, 11))  # left, right: ankle, toe
GAPS = (4, 6, 8, 10, 12, 15, 18)  # possible lengths of a transition in frames; the shortest transition that is slow enough is used
FASTER = 1.35  # before foot locking: maximum speed in a transition divided by the maximum speed in the two motions
GENTLE = 25.0  # m/s²; maximum acceleration in a transition, unless one of the two motions accelerates more
# m/s; maximum speed of each joint in a transition (higher for the legs), unless the joint moves faster at the ends of the motions
BRISK = np.where(np.isin(np.arange(22), (4, 5, 7, 8, 10, 11)), 3.2, 2.0)
STEP = 0.06  # m; a foot that moves farther than this during a transition is lifted
LIFT, HIGHEST = 0.3, 0.1  # height of a step as a fraction of its length, and maximum height of a step in metres
NEAR = 0.12  # m; maximum shift of the second motion to align its standing feet with the standing feet of the first motion
ENDS = 12  # number of frames at the end of a motion from which the heading at this end is computed
FADE = 6  # number of frames over which the arms are blended
VELOCITY = 0.15  # s; weight of differences in velocity, relative to differences in position


class Seam(NamedTuple):
    """A cut between two motions: the last frame of the first motion, the first frame of the second motion, and the distance between
    the poses in these two frames."""

    leave: int
    enter: int
    distance: float  # m; Euclidean distance between the pose vectors (`pose_vectors`) of the two frames


def speeds(joints: ndarray) -> ndarray:
    """Speed of each joint between frames, (T - 1, 22), in m/s."""
    return FPS * norm(np.diff(joints, axis=0))


def pushes(joints: ndarray) -> ndarray:
    """Acceleration of each joint, (T - 2, 22), in m/s²."""
    return FPS**2 * norm(np.diff(joints, 2, axis=0))


def heading(joints: ndarray) -> ndarray:
    """Unwrapped yaw (T,) of the body in radians: 0 along +Z, positive to the person's left."""
    left = layering.across(joints)
    return gaussian_filter1d(np.unwrap(np.arctan2(-left[:, 2], left[:, 0])), 2, mode="nearest")


def turn(vectors: ndarray, angle: ndarray | float) -> ndarray:
    """Vectors (..., 3) rotated about the vertical by `angle` (...)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos + z * sin, y, z * cos - x * sin], axis=-1)


def pose_vectors(joints: ndarray) -> ndarray:
    """Pose and velocity of each frame in body axes, (T, 132), to be compared by Euclidean distance."""
    yaw = heading(joints)[:, None]
    placed = turn(joints - joints[:, :1] * [1, 0, 1], -yaw)
    velocity = turn(np.gradient(joints, axis=0) * FPS, -yaw)
    return np.concatenate([placed, VELOCITY * velocity], axis=1).reshape(len(joints), -1) / np.sqrt(joints.shape[1])


def best_seam(first: ndarray, second: ndarray, leave: tuple[int, int], enter: tuple[int, int]) -> Seam:
    """Find the most similar frames of two motions, given as the results of `pose_vectors`.

    `leave` and `enter` are the ranges [start, stop) of frames to search in the first and in the second motion.
    """
    apart = norm(first[leave[0] : leave[1], None] - second[None, enter[0] : enter[1]])
    row, column = np.unravel_index(apart.argmin(), apart.shape)
    return Seam(leave[0] + int(row), enter[0] + int(column), float(apart[row, column]))


def hermite(start: ndarray, end: ndarray, leaving: ndarray, arriving: ndarray, frames: float, t: ndarray) -> ndarray:
    """Evaluate a cubic curve that moves from `start` to `end` in `frames` frames. Returns N points of the curve, (N, *S).

    `start`, `end`, `leaving` and `arriving` have the same shape S. `leaving` and `arriving` are the velocities at the start and at
    the end, in metres per frame. `t` (N,) are the times of the points as fractions of the duration: 0 is the start, 1 is the end.
    """
    t = t.reshape(-1, *[1] * start.ndim)
    late = t * t * (3 - 2 * t)
    return (1 - late) * start + late * end + frames * (t * (1 - t) ** 2 * leaving - t * t * (1 - t) * arriving)


def mirror(joints: ndarray) -> ndarray:
    """Mirror a motion and put it on the floor. The bone lengths, which differ a little between left and right, stay the same."""
    joints = joints[:, list(HUMANML3D.mirror)] * [-1, 1, 1]
    joints = to_joints(joints[:, 0], to_bones(joints))
    return joints - [0, joints[..., 1].min(), 0]


def stands(joints: ndarray, frame: int) -> ndarray:
    """Which feet (left, right) stand at a frame, (2,)."""
    around = joints[max(0, frame - 1) : frame + 2][-3:]
    return standing(around, HUMANML3D, FPS)[:, 1::2].all(axis=0)


def place(second: ndarray, first: ndarray, gap: int, both: ndarray) -> ndarray:
    """Rotate and move the motion `second` so that it continues the motion `first` after `gap` frames.

    `both` (2,) marks the feet (left, right) that stand at the end of `first` and at the start of `second`. If `second` must be
    moved by less than `NEAR` so that these feet keep their positions, it is moved there.
    """
    second = turn(second, heading(first)[-1] - heading(second)[0])
    leaving, arriving = first[-1, 0] - first[-2, 0], second[1, 0] - second[0, 0]
    target = first[-1, 0] + (gap + 1) / 2 * (leaving + arriving)
    second = second + (target - second[0, 0]) * [1, 0, 1]
    if both.any():
        toes = [toe for _, toe in FEET]
        shift = ((first[-1, toes] - second[0, toes])[both]).mean(axis=0) * [1, 0, 1]
        second = second + shift * (norm(shift) < NEAR)
    return second


def bridge(first: ndarray, second: ndarray, gap: int, before: ndarray, after: ndarray) -> ndarray:
    """Return the `gap` frames of the transition from `first` to `second`. `second` must already be aligned by `place`.

    `before` (2,) marks the feet (left, right) that stand at the end of `first`. `after` (2,) marks the feet that stand at the start
    of `second`.
    """
    t, T = np.arange(1, gap + 1) / (gap + 1), gap + 1
    ends = [first[-2], first[-1], second[0], second[1]]
    bones = [to_bones(pose) for pose in ends]
    directions = hermite(bones[1], bones[2], bones[1] - bones[0], bones[3] - bones[2], T, t)
    root = hermite(ends[1][0], ends[2][0], ends[1][0] - ends[0][0], ends[3][0] - ends[2][0], T, t)
    joints = to_joints(root, directions)
    moves = np.zeros((gap, 2, 2, 3))  # frames, sides, ankle and toe; a foot that stands neither before nor after is not corrected
    for side in np.flatnonzero(before | after):
        moves[:, side] = step(ends, side, before, after, t, T) - joints[:, FEET[side]]
    return follow(joints, moves[:, :, 0], moves[:, :, 1], HUMANML3D)


def step(ends: list[ndarray], side: int, before: ndarray, after: ndarray, t: ndarray, T: int) -> ndarray:
    """Path (N, 2, 3) of ankle and toe of one foot (`side` 0: left, 1: right) through a transition.

    `before` and `after` (2,) mark the feet that stand before and after the transition. `t` (N,) are the times of the points as
    fractions of the transition. If both feet stand before and after the transition, the foot that has to move farther steps first.
    `ends` are the last two poses before the transition and the first two poses after the transition.
    """
    foot = list(FEET[side])
    start, end = ends[1][foot], ends[2][foot]
    apart = [norm((ends[2][toe] - ends[1][toe])[[0, 2]]) for _, toe in FEET]
    early = apart[side] >= apart[1 - side] if before.all() and after.all() else not before[side]
    opens = 0.0 if not before[side] or early else 0.4
    closes = 1.0 if not after[side] or not early else 0.6
    leaving = (start - ends[0][foot]) * (not before[side])
    arriving = (ends[3][foot] - end) * (not after[side])
    u = np.clip((t - opens) / (closes - opens), 0, 1)
    path = hermite(start, end, leaving, arriving, T * (closes - opens), u)
    lift = min(LIFT * apart[side], HIGHEST) * (apart[side] > STEP)
    path[..., 1] += (lift * 16 * u**2 * (1 - u) ** 2)[:, None]
    return path


def lock_seam(joints: ndarray, start: int, stop: int) -> ndarray:
    """Lock each foot in place while it stands, in all stances that overlap the frames from `start` to `stop`."""
    ties = standing(joints, HUMANML3D, FPS)
    kept = np.zeros_like(ties)
    for foot in range(ties.shape[1]):
        runs, _ = label(ties[:, foot])
        reached = np.unique(runs[max(0, start - 2) : stop + 2])
        kept[:, foot] = np.isin(runs, reached[reached > 0])
    firm = np.ones((len(joints), 2))
    for _ in range(3):
        heels, toes = corrections(joints[:, HUMANML3D.feet], kept, firm, FPS)
        firm = firm * (1 + 1000 * strain(joints, heels, HUMANML3D))
    return follow(joints, heels, toes, HUMANML3D)


def join(first: ndarray, second: ndarray, limits: ndarray) -> tuple[ndarray, int] | None:
    """Join two motions by a transition. Returns the joined motion and the number of frames in the transition.

    If no transition is slow enough, returns None. `limits` (22,) are the highest speeds of the joints in the two motions, in m/s.
    """
    before, after = stands(first, len(first) - 1), stands(second, 0)
    tail, head = first[-ENDS:], second[:ENDS]
    max_acceleration = max(GENTLE, pushes(first).max(), pushes(second).max())
    ends = np.maximum(speeds(first[-3:]).max(axis=0), speeds(second[:3]).max(axis=0))
    max_speed = np.minimum(FASTER * limits, np.maximum(BRISK, 1.2 * ends))
    for gap in GAPS:
        placed = place(head, tail, gap, before & after)
        between = bridge(tail, placed, gap, before, after)
        around = np.concatenate([tail[-2:], between, placed[:2]])
        if (speeds(around) <= max_speed).all() and (pushes(around) <= max_acceleration).all():
            placed = place(second, tail, gap, before & after)
            joints = lock_seam(np.concatenate([first, between, placed]), len(first), len(first) + gap)
            return (joints, gap) if (speeds(joints) <= 1.5 * limits).all() else None
    return None


def layer(legs: ndarray, arms: ndarray, sides: tuple[bool, bool], start: int) -> ndarray:
    """Replace the head and arms of the motion `legs` by the head and arms of the motion `arms`, from frame `start` on.

    `sides` (left, right) states which arms are replaced.
    """
    before, after = start, len(legs) - start - len(arms)
    frames = np.arange(len(legs)) - start
    ramp = np.where((frames >= 0) & (frames < len(arms)), 1.0, 0.0)
    if before:
        ramp = np.minimum(ramp, ((frames + 1) / (FADE + 1)).clip(0))
    if after:
        ramp = np.minimum(ramp, ((len(arms) - frames) / (FADE + 1)).clip(0))
    weight = ramp * ramp * (3 - 2 * ramp)
    arms = np.pad(arms, ((before, after), (0, 0), (0, 0)), mode="edge")
    return layering.layer(legs, arms, weight[:, None] * np.array(sides))
