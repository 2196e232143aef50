"""Joints to a posed skeleton in closed form: constant bones, a T-pose for rest, local rotations for animation files.

Joints are visited once, parents first, and all frames at a time. A joint with one child takes the swing that aims its bone at
the child; a joint with several (pelvis, chest) takes the best-fit rotation of their directions (Kabsch 1976). Aiming from
where the fitted parent stands, not from where the given one stood, keeps errors from adding up along a limb. What joints
cannot tell, the twist about a bone, is the least there can be, and stays continuous when a limb passes opposite its rest.

In: joints (T, J, 3), metres, Y up. Out: `Pose`, whose `forward_kinematics` gives the joints back. Every rotation is found relative
to its parent, so turning the whole clip turns the root alone: people may face anywhere, lie, or stand on their hands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import solveh_banded
from torch import Tensor

from utils.errors import UserError
from utils.motion.rotation import cross, matrixq, norm, qbetween, qconj, qmatrix, qmul, qrotate, unit
from utils.motion.skeleton import Skeleton, forward_kinematics

STIFFNESS = 0.05  # how much a change of twist between frames counts against twist itself


@dataclass(frozen=True)
class Pose:
    """A skeleton in motion: root (T, 3), local rotations (T, J, 3, 3), and the rest pose as offsets from parents (J, 3)."""

    root: Tensor
    rotations: Tensor
    offsets: Tensor

    def joints(self, skeleton: Skeleton) -> Tensor:
        """The joints (T, J, 3) of this pose."""
        return forward_kinematics(self.rotations, self.root, self.offsets, skeleton.parents)


def fit_pose(joints: Tensor, skeleton: Skeleton) -> Pose:
    """The pose whose joints lie nearest to `joints` (T, J, 3); bones are as long as their median over the clip.

    Raises `UserError` for joints that are not finite or not those of the skeleton.
    """
    check_joints(joints, skeleton.num_joints)
    given = joints.double()
    offsets = rest_offsets(given, skeleton)
    parents, children = [max(parent, 0) for parent in skeleton.parents], children_of(skeleton)
    placed = given[:, :1].repeat(1, skeleton.num_joints, 1)  # (T, J, 3)
    turned = given.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(given), skeleton.num_joints, 1)  # (T, J, 4), global
    local = turned.clone()

    def bones(starts: list[int], ends: list[int]) -> Tensor:
        """Directions (T, C, 3) from where joints were placed to where their children should be, as the joints' parents see them."""
        before = turned[:, [parents[start] for start in starts]]
        return qrotate(qconj(before), given[:, ends] - placed[:, starts])

    for level in levels(children):
        above = [parents[joint] for joint in level]
        placed[:, level] = placed[:, above] + qrotate(turned[:, above], offsets[level])
        pairs = [(joint, children[joint][0]) for joint in level if len(children[joint]) == 1]
        if pairs:
            starts, ends = map(list, zip(*pairs))
            local[:, starts] = continuous_swing(offsets[ends], bones(starts, ends))
        for joint in level:
            if len(ends := children[joint]) > 1:
                local[:, joint] = matrixq(best_fit(offsets[ends], bones([joint] * len(ends), ends)))
        turned[:, level] = qmul(turned[:, above], local[:, level])
    return Pose(joints[:, 0], qmatrix(local).to(joints), offsets.to(joints))


def check_joints(joints: Tensor | np.ndarray, num_joints: int | None = None, name: str = "joints") -> None:
    """Raises `UserError`, naming `name`, unless `joints` are (T, J, 3) with at least one frame and no NaN."""
    if joints.ndim != 3 or joints.shape[0] < 1 or joints.shape[2] != 3 or num_joints not in (None, joints.shape[1]):
        raise UserError(f"{name}: of shape {tuple(joints.shape)}, expected (frames, {num_joints or 'joints'}, 3)")
    bad = ~np.isfinite(np.asarray(joints)).all(axis=(1, 2))
    if bad.any():
        raise UserError(f"{name}: NaN or infinity in {bad.sum()} of {len(bad)} frames, first in {bad.argmax()}; it is damaged")


def children_of(skeleton: Skeleton) -> list[list[int]]:
    """The children of each joint."""
    return [[child for child, parent in enumerate(skeleton.parents) if parent == joint] for joint in range(skeleton.num_joints)]


def levels(children: list[list[int]]) -> Iterator[list[int]]:
    """The joints by their distance from the root: the root, its children, their children, …"""
    level = [0]
    while level:
        yield level
        level = [child for joint in level for child in children[joint]]


def best_fit(rest: Tensor, bones: Tensor) -> Tensor:
    """Rotations (T, 3, 3) that bring rest offsets (C, 3) nearest to bones (T, C, 3) in least squares (Kabsch 1976)."""
    u, _, vt = torch.linalg.svd(torch.einsum("tci,cj->tij", bones, rest))
    mirrored = torch.linalg.det(u @ vt) < 0
    u = torch.cat((u[..., :2], torch.where(mirrored[:, None, None], -u[..., 2:], u[..., 2:])), dim=-1)
    return u @ vt


def continuous_swing(rest: Tensor, bones: Tensor) -> Tensor:
    """Quaternions (T, C, 4) that turn directions `rest` (C, 3) to `bones` (T, C, 3) with little twist, and that continuous.

    The shortest turn has no twist, but jumps where a bone passes opposite its rest. So twist angles a are added, the least squares
    solution of  w a[t] = 0  and  a[t+1] + jump[t] = a[t],  where w falls to zero opposite the rest: a tridiagonal system.
    """
    rest, bones = unit(rest), unit(bones)
    swing = qbetween(rest, bones)
    if len(bones) == 1:
        return swing
    carried = qmul(qbetween(bones[:-1], bones[1:]), swing[:-1])  # each rotation, carried along with the bone to the next frame
    turn = qmul(qconj(carried), swing[1:])  # a twist about `rest`
    jump = 2 * torch.atan2((turn[..., 1:] * rest).sum(-1), turn[..., 0])  # (T-1, C)
    jump = torch.remainder(jump + torch.pi, 2 * torch.pi) - torch.pi

    weight = ((1 + (rest * bones).sum(-1)) / 2).square().clamp(min=1e-6)  # (T, C)
    after, before = F.pad(jump, (0, 0, 0, 1)), F.pad(jump, (0, 0, 1, 0))
    neighbours = torch.full_like(weight, 2.0)
    neighbours[0] -= 1
    neighbours[-1] -= 1
    diagonal = weight + STIFFNESS * neighbours
    bands = torch.stack((torch.full_like(diagonal, -STIFFNESS), diagonal)).numpy()  # (2, T, C)
    pull = STIFFNESS * (after - before).numpy()
    twist = np.stack([solveh_banded(bands[..., bone], pull[:, bone]) for bone in range(len(rest))], axis=1)
    half = torch.from_numpy(twist)[..., None] / 2
    return qmul(swing, torch.cat((torch.cos(half), torch.sin(half) * rest), dim=-1))


def rest_offsets(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """The T-pose of the person in joints (T, J, 3), as offsets (J, 3) from parents: facing +Z, arms along X."""
    parents = [max(parent, 0) for parent in skeleton.parents]
    bones = joints - joints[:, parents]  # (T, J, 3)
    rest = joints.new_tensor([t_pose(skeleton.bones[parent], bone) for parent, bone in zip(parents, skeleton.bones)])
    for children in children_of(skeleton):
        if len(children) > 1:
            rest[children] = rigid_group(bones[:, children], [skeleton.bones[child] for child in children])
    return unit(rest) * norm(bones).median(dim=0).values[:, None]


def t_pose(parent: str, bone: str) -> tuple[float, float, float]:
    """Where the bone that ends in joint `bone` points in a T-pose."""
    side = 1.0 if bone.startswith("Left") else -1.0
    match bone.removeprefix("Left").removeprefix("Right"):
        case "Leg" | "Foot":
            return (0.0, -1.0, 0.0)
        case "MidFoot" | "Toe":  # the instep slopes, the toes lie flat
            return (0.0, -0.5, 0.75**0.5) if parent.endswith("Foot") and not parent.endswith("MidFoot") else (0.0, 0.0, 1.0)
        case "Shoulder" | "Arm" | "ForeArm" | "Hand":
            return (side, 0.0, 0.0)
    return (0.0, 1.0, 0.0)


def rigid_group(bones: Tensor, names: list[str]) -> Tensor:
    """The one shape (C, 3) that best explains the bones (T, C, 3) of a joint's C children up to rotation, turned to the T-pose.

    A round of generalised Procrustes: a first shape is fitted to each frame, then the frames as that shape sees them are averaged.
    """
    shape = torch.einsum("tji,tcj->tci", body_frame(bones, names), bones).mean(dim=0)
    shape = torch.einsum("tji,tcj->tci", best_fit(shape, bones), bones).mean(dim=0)
    return torch.einsum("ji,cj->ci", body_frame(shape[None], names)[0], shape)


def body_frame(bones: Tensor, names: list[str]) -> Tensor:
    """Axes (T, 3, 3) in columns, left, up and front, of a joint's bones (T, C, 3): up leads from the sides to the middle child."""
    side = bones.new_tensor([name.startswith("Left") - float(name.startswith("Right")) for name in names])
    middle = (side == 0).to(bones)
    left = unit(torch.einsum("tci,c->ti", bones, side))
    up = torch.einsum("tci,c->ti", bones, middle / middle.sum() - side.abs() / side.abs().sum())
    front = unit(cross(left, up))
    return torch.stack((left, cross(front, left), front), dim=-1)
