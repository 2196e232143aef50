"""Foot locking by least squares and two-bone inverse kinematics, without loops over frames.

First, the body is given constant bone lengths (ik.py). Three steps follow:

1. find standing feet: toes and heels that are low and slow and, if contacts are given, marked as contacts;
2. compute the smallest corrections that keep standing feet still and fade out in other frames, by solving a banded linear system;
no foot goes below the floor;
3. apply the corrections to the legs: hips stay, feet move, heels rise if a leg would overstretch, and knees move such that the
lengths of thighs and shanks stay the same (see `bent`).

If a leg is too short to reach the corrected position of its foot, step 2 is repeated with a higher penalty on corrections of that
foot. A stance is a span of frames in which a foot stands. If a foot still slides during a stance, for example because the person
glides, the stance is released: steps 2 and 3 are repeated without locking the foot in these frames, until no locked foot slides.

Input and output: joints (T, J, 3), metres, Y up, the floor at 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy import ndarray
from scipy.linalg import solveh_banded
from scipy.ndimage import binary_closing

from motion.features import skeleton_for
from motion.ik import check_joints, dot, fit_pose, norm
from motion.rest import unit
from motion.skeleton import Skeleton

HEIGHTS = np.array([0.15, 0.05])  # m; maximum height of a standing heel and of a standing toe
SPEEDS = np.array([0.25, 0.5])  # m/s; maximum horizontal speed of a standing heel and of a standing toe
RISING = 0.1  # m/s; a foot that moves up or down faster is being lifted or set down, so only its horizontal position is held
SLIP = 0.05  # s; a stance is not interrupted if a low foot slips for a shorter time
BLEND = 0.1  # s; time in which a correction fades out
DECAY = 5.0  # s; time constant with which the correction of a standing foot decays, so that the foot follows a long drift
HEEL = 0.01  # weight of a standing heel relative to a standing toe
FAR = 0.12  # m; `strain` counts the part of a correction beyond this length
EXTENSION = 0.995  # fraction of a leg's length to which a correction may stretch the leg
PENALTY_GROWTH = 1000.0  # relative increase of the penalty on a foot's corrections in each round, per metre of `strain`
ROUNDS = 4  # how often step 2 is solved; each time, the penalties on strained legs grow
REMAINING = 0.5  # a stance is released if more than this fraction of its slide remains
TOLERATED = 0.01  # m; a stance with a shorter slide is not released


class Locked(NamedTuple):
    """Joints (T, J, 3) after foot locking; `sliding` (T - 1, 2): where the left or right foot stands but could not be locked."""

    joints: ndarray
    sliding: ndarray


def lock_feet(joints: ndarray, fps: float, contacts: ndarray | None = None, rest: ndarray | None = None) -> ndarray:
    """Make bone lengths constant and keep standing feet from sliding; returns joints (T, J, 3). Arguments are those of `lock`."""
    return lock(joints, fps, contacts, rest).joints


def lock(joints: ndarray, fps: float, contacts: ndarray | None = None, rest: ndarray | None = None) -> Locked:
    """Lock the feet of a motion (T, J, 3): make bone lengths constant and, where possible, keep standing feet from sliding.

    Args:
        joints: metres, Y up, the floor at 0; J is 22 or 21.
        contacts: (T or T - 1, 4), with one column each for left heel, left toe, right heel and right toe, such as the last four
        features of a motion. A value above 0.5 means that the heel or toe of this column may touch the floor. Default: heels and
        toes may touch the floor in every frame.
        rest: (J, 3) rest pose, as offsets from parents, whose bone lengths are used. Default: the clip's median bone lengths.

    Raises `UserError` if joints are not finite, or if their number is not 22 or 21.
    """
    check_joints(joints)
    skeleton = skeleton_for(joints.shape[1])
    stands = standing(joints, skeleton, fps, contacts)
    body = fit_pose(torch.as_tensor(joints).double(), skeleton, rest).joints(skeleton).numpy()
    sliding = np.zeros((len(stands), 2), bool)
    while True:  # this loop ends, because each round except the last releases at least one stance
        penalty = np.ones((len(joints), 2))  # weight of each foot's corrections
        for _ in range(ROUNDS):
            heels, toes = corrections(body[:, skeleton.feet], stands, penalty, fps)
            penalty = penalty * (1 + PENALTY_GROWTH * strain(body, heels, skeleton))
        locked = follow(body, heels, toes, skeleton)
        still_sliding = sliding_stances(locked, joints, stands, skeleton)
        if not still_sliding.any():
            return Locked(locked.astype(joints.dtype), sliding)
        sliding |= still_sliding
        stands = stands & ~still_sliding.repeat(2, axis=1)


def standing(joints: ndarray, skeleton: Skeleton, fps: float, contacts: ndarray | None = None) -> ndarray:
    """Which heels and toes, in the order of `Skeleton.feet`, stand between each frame and the next: (T - 1, 4) bool.

    If foot `contacts` (T or T - 1, 4) are given, heels and toes stand only where their contact exceeds 0.5, or in short gaps.
    """
    feet = joints[:, skeleton.feet]
    low = feet[:-1, :, 1] < np.tile(HEIGHTS, 2)
    stands = low & (over_ground(feet) * fps < np.tile(SPEEDS, 2))
    if contacts is not None:
        stands &= np.asarray(contacts)[: len(stands)] > 0.5
    window = np.ones((1 + round(SLIP * fps), 1), bool)
    return low & binary_closing(stands, window, border_value=0) | stands


def spans(mask: ndarray) -> ndarray:
    """First and end frame (exclusive) of each run of True values in a mask (T,): (N, 2)."""
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)


def over_ground(points: ndarray) -> ndarray:
    """Horizontal distance (T - 1, N) that points (T, N, 3) move between frames."""
    return norm(np.diff(points, axis=0) * (1, 0, 1))


def sliding_stances(locked: ndarray, joints: ndarray, stands: ndarray, skeleton: Skeleton) -> ndarray:
    """Mask (T - 1, 2) of the stances in which the left or right foot still slides in `locked` (T, J, 3).

    A stance is a span of frames in which a foot stands, according to `stands` (T - 1, 4). A foot still slides if it moves by more
    than 1 cm and by more than half of its movement in `joints` (T, J, 3), the motion before foot locking.
    """
    before, after = slides(joints, stands, skeleton), slides(locked, stands, skeleton)
    result = np.zeros(before.shape, bool)
    for foot, stood in enumerate(stands.reshape(-1, 2, 2).any(axis=-1).T):
        for start, stop in spans(stood):
            original, remaining = before[start:stop, foot].sum(), after[start:stop, foot].sum()
            result[start:stop, foot] = remaining > max(REMAINING * original, TOLERATED)
    return result


def slides(joints: ndarray, stands: ndarray, skeleton: Skeleton) -> ndarray:
    """Horizontal distance (T - 1, 2), in metres, that the left and the right foot move between frames while standing; 0 for other
    frames. `stands` (T - 1, 4) marks the standing heels and toes.

    The distance is measured at the toes while the toes stand, and otherwise at the heel while the heel stands.
    """
    heels, toes = rearrange(over_ground(joints[:, skeleton.feet]) * stands, "t (side part) -> part t side", part=2)
    return np.where(stands[:, 1::2], toes, heels)


def corrections(feet: ndarray, stands: ndarray, penalty: ndarray, fps: float) -> tuple[ndarray, ndarray]:
    """Displacements of heels and of toes, (T, 2, 3) each, that keep `feet` (T, 4, 3) still where `stands` (T - 1, 4) is true.

    `penalty` (T, 2) weights the size of each foot's displacements. While the toes of a foot stand, they determine the displacement
    of the whole foot; while the toes do not stand, the heel determines it. In a second step, the heel is displaced further, to keep
    it still while it stands. No foot goes below the floor.
    """
    feet, stands = (rearrange(part, "t (side part) ... -> part side t ...", part=2) for part in (feet, stands))
    steps = np.diff(feet, axis=2)  # (2, 2, T - 1, 3): of heels and of toes

    def solve(steps: ndarray, ties: ndarray) -> ndarray:
        """Return corrections (2, T, 3) of both feet. `steps` (P, 2, T - 1, 3) are the displacements of P parts per foot.
        Displacements whose weight in `ties` (P, 2, T - 1) is above 0 are cancelled."""
        level = np.abs(steps[..., 1]) * fps < RISING
        ties, smooth = ties * (DECAY * fps) ** 2, (BLEND * fps) ** 4
        horizontal = standstill(steps[..., ::2], ties, penalty.T, smooth)
        vertical = standstill(steps[..., 1:2], ties * level, penalty.T, smooth)
        return np.concatenate((horizontal[..., :1], vertical, horizontal[..., 1:]), axis=-1)

    toes = solve(steps, stands * np.array([HEEL, 1])[:, None, None])
    toes[..., 1] = np.maximum(toes[..., 1], -feet[1, ..., 1])
    heels = toes + solve((steps[0] + np.diff(toes, axis=1))[None], stands[:1])
    heels[..., 1] = np.maximum(heels[..., 1], -feet[0, ..., 1])
    return heels.swapaxes(0, 1), toes.swapaxes(0, 1)


def standstill(steps: ndarray, ties: ndarray, penalty: ndarray, smooth: float) -> ndarray:
    """Corrections c (N, T, D) of N feet that minimise  penalty |c|² + smooth |c''|² + sum over a foot's parts of ties |step + c'|².

    `steps` (P, N, T - 1, D) are the displacements of P parts per foot; `ties` (P, N, T - 1) weight the displacements that remain;
    `penalty` has shape (N, T). One pentadiagonal system is solved for all feet.
    """
    N, T = penalty.shape
    tie, pulled = ties.sum(axis=0), (ties[..., None] * steps).sum(axis=0)  # (N, T - 1, ...)
    bands = np.zeros((3, N, T))  # the second diagonal above the main one, the first above, and the main one
    bands[2] = penalty
    bands[2, :, :-1] += tie
    bands[2, :, 1:] += tie
    bands[1, :, 1:] -= tie
    for part, weight in ((np.s_[:-2], 1), (np.s_[1:-1], 4), (np.s_[2:], 1)):
        bands[2, :, part] += weight * smooth
    for part in (np.s_[1:-1], np.s_[2:]):
        bands[1, :, part] -= 2 * smooth
    bands[0, :, 2:] += smooth
    force = np.zeros((N, T, steps.shape[-1]))
    force[:, :-1] += pulled
    force[:, 1:] -= pulled
    return solveh_banded(bands.reshape(3, N * T), force.reshape(N * T, -1)).reshape(force.shape)


def legs_of(joints: ndarray, skeleton: Skeleton) -> list[ndarray]:
    """Positions of hips, knees, ankles, midfeet (if the skeleton has them) and toes: (T, 2, 3) each, left and right."""
    return [joints[:, column] for column in leg_columns(skeleton)]


def leg_columns(skeleton: Skeleton) -> list[list[int]]:
    """Joint indices [left, right] of the hips, knees, ankles, midfeet (if the skeleton has them) and toes, in this order."""
    left, right = (next(chain for chain in skeleton.chains if toe in chain)[1:] for toe in skeleton.feet[1::2])
    return [list(pair) for pair in zip(left, right)]


def strain(body: ndarray, heels: ndarray, skeleton: Skeleton) -> ndarray:
    """Strain (T, 2), in metres, of the legs of `body` (T, J, 3) if the heels are displaced by `heels` (T, 2, 3): the length by
    which a displacement exceeds 0.12 m (`FAR`), plus the length by which the displaced ankle is out of the leg's reach."""
    hips, knees, ankles, *_ = legs_of(body, skeleton)
    limit = np.maximum(EXTENSION * (norm(knees - hips) + norm(ankles - knees)), norm(ankles - hips))
    return np.maximum(norm(heels) - FAR, 0) + np.maximum(norm(ankles + heels - hips) - limit, 0)


def follow(body: ndarray, heels: ndarray, toes: ndarray, skeleton: Skeleton) -> ndarray:
    """Move heels and toes of `body` (T, J, 3) by `heels` and `toes` (T, 2, 3), and adjust the legs; returns new joints."""
    hips, knees, ankles, *middles, tips = legs_of(body, skeleton)
    thigh, shank, foot, reach = norm(knees - hips), norm(ankles - knees), norm(tips - ankles), norm(ankles - hips)
    target = tips + toes + foot[..., None] * unit(ankles + heels - tips - toes)
    excess = np.maximum(norm(target - hips) - reach, 0)
    room = np.maximum(EXTENSION * (thigh + shank) - reach, 1e-4)
    # Beyond its original reach, a leg approaches its maximum length smoothly.
    reached = np.where(excess > 0, reach + room * np.tanh(excess / room), norm(target - hips))
    new_ankles = between(hips, tips + toes, reached, foot, target)  # the heel rises where the leg is too short
    new_tips = new_ankles + foot[..., None] * unit(tips + toes - new_ankles)
    new_knees = bent(hips, knees, ankles, new_ankles, new_tips)
    new_middles = [between(new_ankles, new_tips, norm(m - ankles), norm(tips - m), m + heels) for m in middles]
    joints = body.copy()
    for column, part in zip(leg_columns(skeleton)[1:], (new_knees, new_ankles, *new_middles, new_tips)):
        joints[:, column] = part
    return joints


def between(starts: ndarray, ends: ndarray, first: ndarray, second: ndarray, towards: ndarray) -> ndarray:
    """The points (..., 3) at distance `first` from `starts` and `second` from `ends`, on the side of the points `towards`.

    Where `starts` and `ends` are too far apart, the points are on the line between them.
    """
    axis = unit(ends - starts)
    along, height = triangle(first, second, norm(ends - starts))
    return starts + along[..., None] * axis + height[..., None] * unit(across(towards - starts, axis))


def bent(hips: ndarray, knees: ndarray, ankles: ndarray, new_ankles: ndarray, new_toes: ndarray) -> ndarray:
    """The knees (..., 3) after the ankles have moved; the lengths of thighs and shanks stay the same.

    A knee keeps the direction of its offset from the line between hip and ankle. However, the more the leg has to bend in addition
    to its original bend, the more this direction turns towards the toes. Otherwise, noise would determine the direction in which a
    nearly straight leg bends.
    """
    thigh, shank = norm(knees - hips), norm(ankles - knees)
    axis = unit(new_ankles - hips)
    along, height = triangle(thigh, shank, norm(new_ankles - hips))
    out = across(knees - hips, unit(ankles - hips))  # original offsets of the knees from the lines between hip and ankle
    further = np.maximum(height - norm(out), 0)[..., None] * across(unit(new_toes - new_ankles), axis)
    side = unit(norm(out)[..., None] * unit(across(out, axis)) + further)
    return hips + along[..., None] * axis + height[..., None] * side


def triangle(first: ndarray, second: ndarray, base: ndarray) -> tuple[ndarray, ndarray]:
    """The apex of a triangle with sides `first`, `second` and `base`: its position along the base, and its height."""
    base = np.maximum(np.minimum(base, first + second), np.abs(first - second) + 1e-6)
    along = (first**2 - second**2 + base**2) / (2 * base)
    return along, np.sqrt(np.maximum(first**2 - along**2, 0))


def across(vectors: ndarray, axis: ndarray) -> ndarray:
    """The component of vectors (..., 3) perpendicular to unit vectors `axis` (..., 3)."""
    return vectors - axis * dot(vectors, axis)[..., None]
