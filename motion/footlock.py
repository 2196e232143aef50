"""Foot locking by least squares and two-bone inverse kinematics, without loops over frames.

Three steps, on a body with constant bone lengths (ik.py):

1. find standing feet: toes and heels that are low and slow, unless contacts are given;
2. compute the smallest corrections that keep standing feet still and fade elsewhere, by one banded linear system; no foot goes
below the floor;
3. apply them to the legs: hips stay, feet move, heels rise if a leg would overstretch, and knees bend in their plane. If a leg
cannot follow, the correction of its foot is reduced, in a few rounds of step 2.

A stance that still slides, as in gliding, is released, and the other stances are locked without it.

In and out: joints (T, J, 3), metres, Y up, the floor at 0.
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

HEIGHTS = np.array([0.15, 0.05])  # m; a heel and a toe below these may stand
SPEEDS = np.array([0.25, 0.5])  # m/s over ground; a heel and a toe faster than these do not
RISING = 0.1  # m/s; feet that rise or sink faster are lifted or set down: they are held over ground only
SLIP = 0.05  # s; a foot that stands before and after so short a slip stands all the while
BLEND = 0.1  # s; how long a correction takes to fade
PATIENCE = 5.0  # s; how long a foot must drift to take its place along
HEEL = 0.01  # how much a heel that stands counts against a toe that stands
FAR = 0.12  # m; corrections beyond it are too much
EXTENSION = 0.995  # of a leg's length; no correction straightens a knee beyond
FIRMER = 1000.0  # how much firmer a foot keeps to its own path for each metre that is too much
ROUNDS = 4
ENOUGH = 0.5  # of a stand's slide must go, or it is given up
TRIES = 3  # how often stands may be given up
UNSEEN = 0.01  # m; a stand that slides less is left alone


class Locked(NamedTuple):
    """Joints (T, J, 3) with locked feet, and where a standing foot, left or right, still slides: (T - 1, 2) bool."""

    joints: ndarray
    given_up: ndarray


def lock_feet(joints: ndarray, fps: float, contacts: ndarray | None = None, rest: ndarray | None = None) -> ndarray:
    """The joints of `lock`."""
    return lock(joints, fps, contacts, rest).joints


def lock(joints: ndarray, fps: float, contacts: ndarray | None = None, rest: ndarray | None = None) -> Locked:
    """The motion `joints` (T, J, 3) with constant bone lengths, and feet that do not slide where this is possible.

    Args:
        joints: metres, Y up, the floor at 0; J is 22 or 21.
        fps: frames a second.
        contacts: (T or T - 1, 4), above 0.5 if left heel, left toe, right heel, right toe may be in contact: the last four features
        of a motion. Without it they may be in contact at any frame.
        rest: (J, 3) offsets of the body, which give the bone lengths. Without it, medians over the clip.

    Raises:
        UserError: joints are not finite, or of an unknown skeleton.
    """
    check_joints(joints)
    skeleton = skeleton_for(joints.shape[1])
    stands = standing(joints, skeleton, fps, contacts)
    body = fit_pose(torch.as_tensor(joints).double(), skeleton, rest).joints(skeleton).numpy()
    given_up = np.zeros((len(stands), 2), bool)
    for _ in range(TRIES):
        firm = np.ones((len(joints), 2))  # how much each foot keeps to its own path
        for _ in range(ROUNDS):
            heels, toes = corrections(body[:, skeleton.feet], stands, firm, fps)
            firm = firm * (1 + FIRMER * strain(body, heels, skeleton))
        locked = follow(body, heels, toes, skeleton)
        lost = lost_stands(locked, joints, stands, skeleton)
        if not lost.any():
            break
        given_up |= lost
        stands = stands & ~lost.repeat(2, axis=1)
    return Locked(locked.astype(joints.dtype), given_up)


def standing(joints: ndarray, skeleton: Skeleton, fps: float, contacts: ndarray | None = None) -> ndarray:
    """Which feet, in the order of `Skeleton.feet`, stand from each frame to the next: (T - 1, 4) bool."""
    feet = joints[:, skeleton.feet]
    low = feet[:-1, :, 1] < np.tile(HEIGHTS, 2)
    stands = low & (over_ground(feet) * fps < np.tile(SPEEDS, 2))
    if contacts is not None:
        stands &= np.asarray(contacts)[: len(stands)] > 0.5
    slip = np.ones((1 + round(SLIP * fps), 1), bool)
    return low & binary_closing(stands, slip, border_value=0) | stands


def over_ground(points: ndarray) -> ndarray:
    """Horizontal distance of points (T, N, 3) from each frame to the next: (T - 1, N)."""
    return norm(np.diff(points, axis=0) * (1, 0, 1))


def lost_stands(locked: ndarray, joints: ndarray, stands: ndarray, skeleton: Skeleton) -> ndarray:
    """The stances of each foot (T - 1, 2) that slide nearly as far in `locked` (T, J, 3) as in `joints`."""
    before, after = slides(joints, stands, skeleton), slides(locked, stands, skeleton)
    lost = np.zeros(before.shape, bool)
    for foot, stood in enumerate(stands.reshape(-1, 2, 2).any(axis=-1).T):
        for start, stop in np.flatnonzero(np.diff(stood, prepend=False, append=False)).reshape(-1, 2):
            slid, slides_on = before[start:stop, foot].sum(), after[start:stop, foot].sum()
            lost[start:stop, foot] = slides_on > max(ENOUGH * slid, UNSEEN)
    return lost


def slides(joints: ndarray, stands: ndarray, skeleton: Skeleton) -> ndarray:
    """Horizontal distance of the left and right foot while the toes stand, else while the heels stand: (T - 1, 2) metres."""
    heels, toes = rearrange(over_ground(joints[:, skeleton.feet]) * stands, "t (side part) -> part t side", part=2)
    return np.where(stands[:, 1::2], toes, heels)


def corrections(feet: ndarray, stands: ndarray, firm: ndarray, fps: float) -> tuple[ndarray, ndarray]:
    """Corrections of heels and toes (T, 2, 3), left and right, that keep `feet` (T, 4, 3) still where `stands` (T - 1, 4).

    `firm` (T, 2) weights the distance of each foot from its original position. Toes determine the correction of the whole foot,
    unless only the heel stands; heels are then stabilised relative to the toes. No foot goes below the floor.
    """
    feet, stands = (rearrange(part, "t (side part) ... -> part side t ...", part=2) for part in (feet, stands))
    steps = np.diff(feet, axis=2)  # (2, 2, T - 1, 3): of heels and of toes

    def solve(steps: ndarray, ties: ndarray) -> ndarray:
        """The corrections (2, T, 3) for the displacements of some parts."""
        level = np.abs(steps[..., 1]) * fps < RISING
        ties, smooth = ties * (PATIENCE * fps) ** 2, (BLEND * fps) ** 4
        over_ground = standstill(steps[..., ::2], ties, firm.T, smooth)
        upward = standstill(steps[..., 1:2], ties * level, firm.T, smooth)
        return np.concatenate((over_ground[..., :1], upward, over_ground[..., 1:]), axis=-1)

    toes = solve(steps, stands * np.array([HEEL, 1])[:, None, None])
    toes[..., 1] = np.maximum(toes[..., 1], -feet[1, ..., 1])
    heels = toes + solve((steps[0] + np.diff(toes, axis=1))[None], stands[:1])
    heels[..., 1] = np.maximum(heels[..., 1], -feet[0, ..., 1])
    return heels.swapaxes(0, 1), toes.swapaxes(0, 1)


def standstill(steps: ndarray, ties: ndarray, firm: ndarray, smooth: float) -> ndarray:
    """The corrections c (N, T, D) of N bodies that minimise  firm |c|² + smooth |c''|² + sum over their parts of ties |step + c'|².

    `steps` (P, N, T - 1, D) are the displacements of P parts per body, `ties` (P, N, T - 1) weight where these should vanish;
    `firm` (N, T). One pentadiagonal system for all bodies.
    """
    N, T = firm.shape
    tie, pulled = ties.sum(axis=0), (ties[..., None] * steps).sum(axis=0)  # (N, T - 1, ...)
    bands = np.zeros((3, N, T))  # the second diagonal above the main one, the first above, and the main one
    bands[2] = firm
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
    """Hips, knees, ankles, middles of the feet if they exist, and toes: (T, 2, 3) each, left and right."""
    return [joints[:, column] for column in leg_columns(skeleton)]


def leg_columns(skeleton: Skeleton) -> list[list[int]]:
    """The joint indices of `legs_of`."""
    left, right = (next(chain for chain in skeleton.chains if toe in chain)[1:] for toe in skeleton.feet[1::2])
    return [list(pair) for pair in zip(left, right)]


def strain(body: ndarray, heels: ndarray, skeleton: Skeleton) -> ndarray:
    """How far the corrections of `heels` (T, 2, 3) exceed what the legs allow, in metres (T, 2)."""
    hips, knees, ankles, *_ = legs_of(body, skeleton)
    most = np.maximum(EXTENSION * (norm(knees - hips) + norm(ankles - knees)), norm(ankles - hips))
    return np.maximum(norm(heels) - FAR, 0) + np.maximum(norm(ankles + heels - hips) - most, 0)


def follow(body: ndarray, heels: ndarray, toes: ndarray, skeleton: Skeleton) -> ndarray:
    """Joints (T, J, 3) of `body` with heels and toes moved by (T, 2, 3), and legs that follow."""
    hips, knees, ankles, *middles, tips = legs_of(body, skeleton)
    thigh, shank, foot, reach = norm(knees - hips), norm(ankles - knees), norm(tips - ankles), norm(ankles - hips)
    wanted = tips + toes + foot[..., None] * unit(ankles + heels - tips - toes)
    more = np.maximum(norm(wanted - hips) - reach, 0)
    room = np.maximum(EXTENSION * (thigh + shank) - reach, 1e-4)
    reached = np.where(more > 0, reach + room * np.tanh(more / room), norm(wanted - hips))  # smoothly, and never to the end
    new_ankles = between(hips, tips + toes, reached, foot, wanted)  # heels rise
    new_tips = new_ankles + foot[..., None] * unit(tips + toes - new_ankles)
    new_knees = bent(hips, knees, ankles, new_ankles, new_tips)
    new_middles = [between(new_ankles, new_tips, norm(m - ankles), norm(tips - m), m + heels) for m in middles]
    joints = body.copy()
    for column, part in zip(leg_columns(skeleton)[1:], (new_knees, new_ankles, *new_middles, new_tips)):
        joints[:, column] = part
    return joints


def between(starts: ndarray, ends: ndarray, first: ndarray, second: ndarray, towards: ndarray) -> ndarray:
    """The points (..., 3) at distances `first` from starts and `second` from ends, on the side of the points `towards`.

    If the ends are too far apart, the points are on the line between them.
    """
    axis = unit(ends - starts)
    along, height = triangle(first, second, norm(ends - starts))
    return starts + along[..., None] * axis + height[..., None] * unit(across(towards - starts, axis))


def bent(hips: ndarray, knees: ndarray, ankles: ndarray, new_ankles: ndarray, new_toes: ndarray) -> ndarray:
    """Knees (..., 3) of the same thighs and shanks for other ankles, bent in their original plane towards the toes.

    A straight leg has no plane, which must not be determined by noise.
    """
    thigh, shank = norm(knees - hips), norm(ankles - knees)
    axis = unit(new_ankles - hips)
    along, height = triangle(thigh, shank, norm(new_ankles - hips))
    out = across(knees - hips, unit(ankles - hips))  # how far the knees stuck out, and where to
    further = np.maximum(height - norm(out), 0)[..., None] * across(unit(new_toes - new_ankles), axis)
    side = unit(norm(out)[..., None] * unit(across(out, axis)) + further)
    return hips + along[..., None] * axis + height[..., None] * side


def triangle(first: ndarray, second: ndarray, base: ndarray) -> tuple[ndarray, ndarray]:
    """The tip of a triangle with these three sides: its position along the base, and its height."""
    base = np.maximum(np.minimum(base, first + second), np.abs(first - second) + 1e-6)
    along = (first**2 - second**2 + base**2) / (2 * base)
    return along, np.sqrt(np.maximum(first**2 - along**2, 0))


def across(vectors: ndarray, axis: ndarray) -> ndarray:
    """The component of vectors (..., 3) perpendicular to unit vectors `axis` (..., 3)."""
    return vectors - axis * dot(vectors, axis)[..., None]
