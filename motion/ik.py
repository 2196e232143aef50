"""Inverse kinematics in closed form: from joints to local rotations of a skeleton with constant bone lengths and a T-pose at rest.

In generated motions, bone lengths vary. In a first step, all joints are therefore moved, as little as possible, so that every bone
has the same length as in the rest pose. One pass over the joints, parents before children, then computes the rotations of all
frames together. A joint with one child gets the rotation that aims its bone at the child; a joint with several children (pelvis,
chest) gets the rotation that fits the directions of its bones best (Kabsch 1976). A bone is aimed from the fitted position of the
joint where it starts, so errors do not accumulate along a limb. Joint positions do not determine the twist about a bone. The twist
is chosen to be small and continuous, even when a limb points opposite to its rest direction for a moment.

Input: joints (..., T, J, 3), metres, Y up. Output: `Pose`, whose forward kinematics reproduce the joints up to changes of bone
lengths. Rotations are relative to the parent, so rotating the whole clip changes only the rotation of the root. The person
may face any direction, lie, or do a handstand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy import ndarray
from scipy.linalg import solveh_banded
from torch import Tensor

from motion.features import uniform_skeleton
from motion.rest import fitted_rest, offsets_of, standard_rest, unit
from motion.skeleton import Skeleton, forward_kinematics
from utils.errors import UserError

STIFFNESS = 0.05  # weight of changes of twist between frames, relative to the weight of the twist itself
CHUNK = 4096  # frames that `settle` solves at a time, to limit memory: each frame needs a 27 × 27 matrix
SOFTNESS = 0.05  # damping of `settle`: keeps displacements small where bones are collinear, and allows small errors in length


@dataclass(frozen=True)
class Pose:
    """A posed skeleton: root position (..., T, 3), local rotations (..., T, J, 3, 3), and the rest pose as offsets (..., J, 3) of
    joints from their parents; metres."""

    root: Tensor
    rotations: Tensor
    offsets: Tensor

    def joints(self, skeleton: Skeleton) -> Tensor:
        """The joints (..., T, J, 3) of this pose."""
        return forward_kinematics(self.rotations, self.root, self.offsets[..., None, :, :], skeleton.parents)


def fit_pose(joints: Tensor, skeleton: Skeleton, rest: ndarray | None = None) -> Pose:
    """Fit a pose (root position and local rotations) to `joints` (..., T, J, 3), in metres.

    `rest` (J, 3) is the body's rest pose, as offsets from parents; by default, a rest pose with the clip's median bone lengths is
    fitted to each clip. Raises `UserError` if joints are not finite, or if their number differs from the skeleton's.
    """
    check_joints(joints.flatten(0, -3) if joints.ndim > 3 else joints, skeleton.num_joints)
    positions = joints.double().numpy()
    if rest is None:
        offsets = fitted_rest(positions, skeleton)  # (..., J, 3)
    else:
        offsets = np.broadcast_to(rest, (*positions.shape[:-3], *rest.shape)).copy()
    goal = settle(positions, offsets, skeleton)  # (..., T, J, 3)
    axes = axes_along(offsets)
    parents, children = [max(parent, 0) for parent in skeleton.parents], skeleton.children
    fitted = goal.copy()
    local = np.broadcast_to(np.eye(3), (*goal.shape, 3)).copy()  # (..., T, J, 3, 3)
    rotations = local.copy()  # global

    def bones(starts: list[int], ends: list[int]) -> ndarray:
        """Return vectors (..., T, C, 3) from the fitted joints `starts` to the target positions of the child joints `ends`. Each
        vector is in the coordinate frame of the parent of its start joint."""
        frames = rotations[..., [parents[start] for start in starts], :, :]
        return rotate(frames.mT, goal[..., ends, :] - fitted[..., starts, :])

    for level in levels(children):
        level_parents = [parents[joint] for joint in level]
        steps = rotate(rotations[..., level_parents, :, :], offsets[..., None, level, :])
        fitted[..., level, :] = fitted[..., level_parents, :] + steps
        pairs = [(joint, children[joint][0]) for joint in level if len(children[joint]) == 1]
        if pairs:
            starts, ends = map(list, zip(*pairs))
            local[..., starts, :, :] = continuous_swing(axes[..., ends, :, :], bones(starts, ends))
        for joint in level:
            if len(ends := children[joint]) > 1:
                local[..., joint, :, :] = best_fit(offsets[..., ends, :], bones([joint] * len(ends), ends))
        rotations[..., level, :, :] = rotations[..., level_parents, :, :] @ local[..., level, :, :]
    return Pose(*(torch.from_numpy(part).to(joints) for part in (goal[..., 0, :], local, offsets)))


def retarget(joints: ndarray, skeleton: Skeleton, offsets: ndarray) -> ndarray:
    """Transfer joints (T, J, 3), metres, to a body with the rest pose `offsets` (J, 3), the offset of each joint from its parent.

    Bone directions are kept, except in pelvis and chest. Pelvis and chest are rigid, and each of them gets the rotation that fits
    its bones best. The path of the root is scaled by the ratio of the leg lengths, to keep the feet on the floor. If the new pelvis
    has another shape, the root is moved so that the midpoint of the hips stays in place. Without this correction, standing feet
    would slide.
    """
    bones = offsets_of(joints, skeleton)
    lengths = norm(offsets)
    steps = unit(bones) * lengths[:, None]
    fitted = steps.copy()
    for children in skeleton.children:
        if len(children) > 1:
            fitted[:, children] = offsets[children] @ best_fit(offsets[children], steps[:, children]).mT
    legs, hips = list(skeleton.legs), list(skeleton.face[:2])
    root = joints[:, :1] * (lengths[legs].sum() / np.median(norm(bones[:, legs]).sum(axis=-1)))
    root = root + (steps - fitted)[:, hips].mean(axis=1, keepdims=True)
    return root + np.array(skeleton.paths)[:, 1:] @ fitted[:, 1:]


def with_standard_hubs(joints: ndarray, skeleton: Skeleton) -> ndarray:
    """Joints (T, J, 3), metres, retargeted to the skeleton's bone lengths and to one anatomy of pelvis and chest (`Skeleton.hubs`).

    The anatomy varies between captures; for example, the hips are 11 cm apart in one capture and 20 cm in another.
    `uniform_skeleton` keeps the directions of bones, so `uniform_skeleton` alone would not remove these differences.
    """
    fitted = retarget(joints, skeleton, standard_rest(skeleton))  # symmetric rest pose: mirrored motions give mirrored results
    return uniform_skeleton(torch.from_numpy(fitted), skeleton).numpy()


def check_joints(joints: Tensor | np.ndarray, num_joints: int | None = None, name: str = "joints") -> None:
    """Raise a `UserError` that mentions `name` unless `joints` are finite, of shape (T, J, 3), and at least one frame long.

    If `num_joints` is given, J must be `num_joints`.
    """
    if joints.ndim != 3 or joints.shape[0] < 1 or joints.shape[2] != 3 or num_joints not in (None, joints.shape[1]):
        raise UserError(f"{name}: of shape {tuple(joints.shape)}, expected (frames, {num_joints or 'joints'}, 3)")
    bad = ~np.isfinite(np.asarray(joints)).all(axis=(1, 2))
    if bad.any():
        count = f"{bad.sum()} of {len(bad)} frames"
        raise UserError(f"{name}: NaN or infinity in {count}, first in frame {bad.argmax()}; the motion is damaged")


def levels(children: Sequence[list[int]]) -> Iterator[list[int]]:
    """Indices of the joints that have children, grouped by their depth below the root: the root, its children, their children, …"""
    level = [0]
    while level:
        yield level
        level = [child for joint in level for child in children[joint] if children[child]]


def settle(joints: ndarray, offsets: ndarray, skeleton: Skeleton) -> ndarray:
    """Joints (..., T, J, 3) moved as little as possible so that bones have the lengths of `offsets` (..., J, 3).

    Distances between children of one joint are fitted too, because pelvis and chest are rigid. One Gauss–Newton step corrects
    all lengths and distances together.
    """
    ends = np.eye(skeleton.num_joints)
    pulls = ends[1:] - ends[list(skeleton.parents[1:])]  # (bones, J)
    siblings = [pair for children in skeleton.children for pair in combinations(children, 2)]
    pulls = np.concatenate((pulls, [ends[first] - ends[second] for first, second in siblings]))
    rest = np.array(skeleton.paths) @ offsets
    lengths = norm(pulls @ rest)[..., None, :]  # (..., 1, bones and pairs)
    bones = pulls @ joints  # (..., T, bones and pairs, 3)
    along, errors = unit(bones), (norm(bones) - lengths)[..., None]
    moved = np.empty_like(joints)
    for first in range(0, joints.shape[-3], CHUNK):
        part = np.s_[..., first : first + CHUNK, :, :]
        coupling = (pulls @ pulls.T) * (along[part] @ along[part].mT) + SOFTNESS * np.eye(len(pulls))
        moved[part] = joints[part] - pulls.T @ (np.linalg.solve(coupling, errors[part]) * along[part])
    return moved


def best_fit(rest: ndarray, bones: ndarray) -> ndarray:
    """Least-squares rotations (..., T, 3, 3) from the offsets `rest` (..., C, 3) to `bones` (..., T, C, 3) (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(bones.mT @ rest[..., None, :, :])
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]  # 1, or −1 where the best orthogonal matrix is a reflection
    return u @ vt


def continuous_swing(axes: ndarray, bones: ndarray) -> ndarray:
    """Rotations (..., T, C, 3, 3) from the rest directions to `bones` (..., T, C, 3) with small and continuous twist.

    The columns of `axes` (..., C, 3, 3) are the rest directions and two perpendicular axes. The shortest rotation has no twist, but
    jumps when a bone passes through the direction opposite to its rest direction. To avoid these jumps, each bone is also twisted
    about its own axis, in frame t by the angle a[t] in radians. Let jump[t] be the twist between the shortest rotations of frames t
    and t+1. The angles are the least-squares solution of
    the tridiagonal system  w a[t] = 0,  a[t+1] + jump[t] = a[t].  The weight w is nearly zero where a bone points opposite to its
    rest direction.
    """
    bones, axes = unit(bones), axes[..., None, :, :, :]  # (..., 1, C, 3, 3)
    rest, across = axes[..., 0], axes[..., 1]
    halfway = rest + bones
    halfway = np.where(np.abs(halfway).max(-1, keepdims=True) < 1e-7, across, halfway)
    turned = half_turn(halfway) @ (axes * (1, -1, -1))  # columns: the bone and the two other axes, after the shortest rotation

    first, second = turned[..., 1], turned[..., 2]
    carried = -rotate(half_turn(bones[..., :-1, :, :] + bones[..., 1:, :, :]), first[..., :-1, :, :])  # parallel transport
    jump = np.arctan2(-dot(carried, second[..., 1:, :, :]), dot(carried, first[..., 1:, :, :]))  # (..., T-1, C)
    weight = np.maximum(((1 + dot(rest, bones)) / 2) ** 2, 1e-6)  # (..., T, C)
    angle = least_twist(jump, weight)
    twist = np.zeros((*angle.shape, 3, 3))
    twist[..., 0, 0] = 1
    twist[..., 1, 1] = twist[..., 2, 2] = np.cos(angle)
    twist[..., 2, 1] = np.sin(angle)
    twist[..., 1, 2] = -twist[..., 2, 1]
    return turned @ twist @ axes.mT


def least_twist(jump: ndarray, weight: ndarray) -> ndarray:
    """The twist angles (..., T, C) of `continuous_swing`, from jumps (..., T-1, C) and weights (..., T, C); radians."""
    pull = np.zeros_like(weight)
    pull[..., :-1, :] = jump
    pull[..., 1:, :] -= jump
    link = np.full_like(weight, -STIFFNESS)  # couples each frame to the previous one
    link[..., 0, :] = 0
    weight = weight - link
    weight[..., :-1, :] += STIFFNESS
    link, diagonal, pull = (part.swapaxes(-1, -2).ravel() for part in (link, weight, STIFFNESS * pull))
    twist = solveh_banded(np.stack((link, diagonal)), pull)  # the systems of all bones, concatenated
    return twist.reshape(weight.swapaxes(-1, -2).shape).swapaxes(-1, -2)


def axes_along(directions: ndarray) -> ndarray:
    """Orthonormal axes (..., 3, 3) as columns, the first along `directions` (..., 3). Directions may be zero vectors."""
    first = unit(directions + 1e-12)
    second = unit(np.cross(first, np.eye(3)[np.abs(first).argmin(-1)]))
    return np.stack((first, second, np.cross(first, second)), axis=-1)


def half_turn(axis: ndarray) -> ndarray:
    """Rotations (..., 3, 3) by 180 degrees about axes (..., 3) of any length."""
    axis = unit(axis)
    return 2 * axis[..., :, None] * axis[..., None, :] - np.eye(3)


def rotate(rotations: ndarray, vectors: ndarray) -> ndarray:
    """Vectors (..., 3) rotated by matrices (..., 3, 3)."""
    return (rotations @ vectors[..., None])[..., 0]


def dot(u: ndarray, v: ndarray) -> ndarray:
    """Dot products over the last axis."""
    return np.einsum("...i,...i->...", u, v)


def norm(v: ndarray) -> ndarray:
    """Euclidean norms over the last axis."""
    return np.sqrt(dot(v, v))

