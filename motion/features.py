"""Conversion between joints and HumanML3D's features, batched over clips, without loops over frames.

Features contain differences between consecutive frames, so T frames give T - 1 rows. The columns of a row, with their widths, are:
root angular velocity 1 | root velocity x z 2 | root height 1 | local joints 3(J-1) | local rotations in 6D 6(J-1) | joint
velocities 3J | foot contacts 4 (Guo et al., CVPR 2022, section 5 and the published code).

Clips of different lengths can share a batch. Each clip is padded with copies of its last pose. The padding does not change the
first `lengths - 1` rows of features of a clip; only these rows are valid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from motion.rotation import (
    constant,
    indices,
    join,
    norm,
    qaxis,
    qbetween,
    qconj,
    qmul,
    qrotate,
    quaternion_to_6d,
    unit,
    yaw,
)
from motion.skeleton import SKELETONS, Skeleton
from utils.errors import UserError

FRONT = (0.0, 0.0, 1.0)
SMOOTHING = 20  # frames; standard deviation of the Gaussian that smooths the facing direction
DENSE = 1024  # frames; up to this length, clips are smoothed by a matrix product, which is faster than a convolution


def skeleton_for(num_joints: int) -> Skeleton:
    """The skeleton with `num_joints` joints. Raises `UserError` unless `num_joints` is 22 or 21."""
    if num_joints not in SKELETONS:
        raise UserError(f"a motion with {num_joints} joints: expected {' or '.join(map(str, SKELETONS))}")
    return SKELETONS[num_joints]


def hold_last_pose(joints: Tensor, lengths: Tensor) -> Tensor:
    """Fill the padding of joints (B, T, J, 3) with each clip's last valid frame. `lengths` (B,) are the numbers of valid frames."""
    frames = torch.arange(joints.shape[1], device=joints.device)
    frames = torch.minimum(frames, lengths[:, None].to(frames) - 1)  # (B, T)
    return torch.take_along_dim(joints, frames[:, :, None, None], dim=1)


def bones(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Bone vectors (..., J-1, 3) of joints (..., J, 3): from the parent to the joint, for each joint except the root."""
    ends = torch.eye(skeleton.num_joints, dtype=joints.dtype, device=joints.device)
    return _over_joints(joints, ends[1:] - ends[indices(skeleton.parents[1:], joints)])


def _over_joints(values: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix (K, J) to the joint dimension of values (..., J, 3); returns (..., K, 3). This is faster than indexing."""
    return (values.movedim(-1, 0) @ matrix.T).movedim(0, -1)


def bone_lengths(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Bone lengths (..., J) of joints (..., J, 3), indexed by the joint in which the bone ends; 0 for the root."""
    return F.pad(norm(bones(joints, skeleton)), (1, 0))


def facing(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Facing direction, horizontal unit vectors (..., T, 3), from joints (..., T, J, 3)."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., j, :] for j in skeleton.face)
    return unit(across_to_forward((right_hip - left_hip) + (right_shoulder - left_shoulder)))


def across_to_forward(across: Tensor) -> Tensor:
    """The facing direction (..., 3) of a body whose left-to-right axis is `across` (..., 3): up × unit(across)."""
    across = unit(across)
    return join(across[..., 2], torch.zeros_like(across[..., 0]), -across[..., 0])


def gaussian_smoothing(frames: int, like: Tensor) -> Tensor:
    """The matrix (T, T), with T = `frames`, that smooths values along time by `gaussian_taps`; dtype and device as `like`.

    Beyond the ends, the first or last value is repeated.
    """
    weights = gaussian_taps(like)
    rows = torch.arange(frames, device=like.device)[:, None]
    columns = (rows + torch.arange(len(weights), device=like.device) - len(weights) // 2).clamp(0, frames - 1)  # (T, taps)
    matrix = torch.zeros(frames, frames, device=like.device, dtype=torch.float64)
    return matrix.scatter_add_(1, columns, weights.expand(frames, -1)).to(like)


def smoothed(values: Tensor) -> Tensor:
    """Smooth values (..., T, 3) along time with a Gaussian: short clips by a matrix product, long clips by a convolution."""
    if values.shape[-2] <= DENSE:
        return gaussian_smoothing(values.shape[-2], values) @ values
    weights = gaussian_taps(values)
    rows = rearrange(values.double(), "... t xyz -> ... xyz t").reshape(-1, 1, values.shape[-2])
    rows = F.conv1d(F.pad(rows, (len(weights) // 2,) * 2, mode="replicate"), weights[None, None])
    return rows.reshape(*values.shape[:-2], 3, -1).transpose(-1, -2).to(values)


def gaussian_taps(like: Tensor) -> Tensor:
    """Weights, with sum 1, of the Gaussian that smooths facing directions, from -4 to 4 standard deviations of 20 frames, on the
    device of `like`."""
    taps = torch.arange(-4 * SMOOTHING, 4 * SMOOTHING + 1, device=like.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / SMOOTHING) ** 2)
    return weights / weights.sum()


def root_forward(joints: Tensor, skeleton: Skeleton, smooth: bool = False) -> Tensor:
    """The heading (..., T, 3) that features are relative to: horizontal unit vectors, +Z in the first frame.

    If `smooth` is set, the heading is smoothed along time by a Gaussian.

    `facing` adds the left-right axes of hips and shoulders. The published code of the features subtracts the axis of the hips from
    the axis of the shoulders instead. This function subtracts in the same way, because all published features and statistics depend
    on the subtraction.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., j, :] for j in skeleton.face)
    forward = across_to_forward((left_hip - right_hip) + (right_shoulder - left_shoulder))
    if smooth:
        forward = smoothed(forward)
    forward = unit(forward)
    forward[..., 0, :] = forward.new_tensor(FRONT)
    return forward


def local_rotations(joints: Tensor, forward: Tensor, skeleton: Skeleton) -> Tensor:
    """HumanML3D's local rotations as quaternions (..., T, J, 4), from joints (..., T, J, 3) and their `root_forward` (..., T, 3).

    The rotation of joint 0 maps `forward` to +Z. Each other joint is the end of one bone. The global rotation of the joint is the
    shortest rotation from the rest direction to the current direction of this bone. The local rotation of the joint is relative to
    the previous joint in the chain.
    """
    rest = torch.tensor(skeleton.rest, dtype=joints.dtype, device=joints.device)
    root = qbetween(forward, forward.new_tensor(FRONT))[..., None, :]
    global_rotations = qbetween(rest[1:], unit(bones(joints, skeleton)))  # (..., T, J-1, 4)
    global_rotations = torch.cat((root, global_rotations), dim=-2)
    previous = global_rotations[..., list(skeleton.chain_parents[1:]), :]
    return torch.cat((root, qmul(qconj(previous), global_rotations[..., 1:, :])), dim=-2)


def uniform_skeleton(joints: Tensor, skeleton: Skeleton, lengths: Tensor | None = None) -> Tensor:
    """Change the bone lengths of joints (..., T, J, 3) to `lengths` (J,), by default the skeleton's, and keep the bone directions.

    The root's path is scaled by the ratio of the leg lengths. The published code reaches the same result with inverse and forward
    kinematics.
    """
    if lengths is None:
        lengths = torch.tensor(skeleton.lengths, dtype=joints.dtype, device=joints.device)
    legs = list(skeleton.legs)
    source = bone_lengths(joints[..., 0, :, :], skeleton)
    scale = lengths[legs].sum() / source[..., legs].sum(-1)  # (...)
    steps = unit(bones(joints, skeleton)) * lengths[1:, None]
    paths = torch.tensor(skeleton.paths, dtype=joints.dtype, device=joints.device)
    return joints[..., :1, :] * scale[..., None, None, None] + _over_joints(steps, paths[:, 1:])


def canonicalise(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Move and turn joints (..., T, J, 3): lowest point at y = 0; in the first frame, root above the origin and body facing +Z."""
    floor = joints[..., 1].amin(dim=(-2, -1))  # (...)
    origin = joints[..., 0, 0, :].clone()
    origin[..., 1] = floor
    forward = facing(joints[..., :1, :, :], skeleton)  # (..., 1, 3)
    return yaw(joints - origin[..., None, None, :], forward[..., None, :])


def joints_to_features(
    joints: Tensor, skeleton: Skeleton, lengths: Tensor | None = None, bone_lengths: Tensor | None = None, uniform: bool = True
) -> tuple[Tensor, Tensor]:
    """HumanML3D's features of a batch of clips, and the processed joints that the features describe.

    Args:
        joints: (B, T, J, 3) at the dataset's frame rate, T >= 2, in metres (KIT: millimetres).
        lengths: (B,) number of valid frames of each clip; default: T.
        bone_lengths: (J,) in the unit of `joints`; default: the skeleton's.
        uniform: True changes the bone lengths of `joints` to `bone_lengths`; False keeps the bone lengths of `joints`.

    Returns:
        features (B, T - 1, D) and the processed joints (B, T, J, 3), which are on the floor and face +Z at the start.
    """
    if lengths is not None:
        joints = hold_last_pose(joints, lengths)
    joints = rearrange(joints, "b t j xyz -> xyz b t j").contiguous().movedim(0, -1)  # x, y and z contiguous, as in `join`
    joints = canonicalise(uniform_skeleton(joints, skeleton, bone_lengths) if uniform else joints, skeleton)
    forward = root_forward(joints, skeleton, smooth=True)
    local = local_rotations(joints, forward, skeleton)
    root, rotations = local[..., 0, :], quaternion_to_6d(local[:, :-1, 1:])
    displacements = joints[:, 1:] - joints[:, :-1]
    contacts = sum(step * step for step in displacements[..., list(skeleton.feet), :].unbind(-1)) < skeleton.contact

    spin = torch.asin(qmul(root[:, 1:], qconj(root[:, :-1]))[..., 2:3].clamp(-1, 1))
    velocity = yaw(displacements[:, :, 0], forward[:, 1:])[..., [0, 2]]
    height = joints[:, :-1, 0, 1:2]
    ground = joints[:, :-1, :1] * joints.new_tensor([1, 0, 1])
    local_joints = yaw(joints[:, :-1, 1:] - ground, forward[:, :-1, None])
    velocities = yaw(displacements, forward[:, :-1, None])
    return pack_rows(spin, velocity, height, local_joints, rotations, velocities, contacts), joints


def pack_rows(*parts: Tensor) -> Tensor:
    """Flatten tensors (B, T, ...) frame by frame and concatenate them to rows (B, T, D); each tensor is copied only once."""
    B, T = parts[0].shape[:2]
    widths = [part[0, 0].numel() for part in parts]
    rows = parts[0].new_empty(B, T, sum(widths))
    for part, slot in zip(parts, rows.split(widths, dim=-1)):
        slot.view(part.shape).copy_(part)
    return rows


def recover_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """Root rotations (..., T, 4) from world to body coordinates, and root positions (..., T, 3), from features (..., T, D)."""
    angle = features[..., 0].cumsum(-1).roll(1, -1)
    angle[..., 0] = 0
    rotation = qaxis("y", 2 * angle)  # the feature is half the angle
    step = join(features[..., 1], torch.zeros_like(angle), features[..., 2]).roll(1, -2)
    step[..., 0, :] = 0
    position = qrotate(qconj(rotation), step).cumsum(-2)
    position[..., 1] = features[..., 3]
    return rotation, position


def features_to_joints(features: Tensor, num_joints: int) -> Tensor:
    """Joints (..., T, J, 3) in the dataset's unit, from the root and the local joint positions in features (..., T, D)."""
    rotation, position = recover_root(features)
    local = rearrange(features[..., 4 : 4 + 3 * (num_joints - 1)], "... (j xyz) -> ... j xyz", xyz=3)
    ground = position * constant((1, 0, 1), position)
    joints = qrotate(qconj(rotation)[..., None, :], local) + ground[..., None, :]
    return torch.cat((position[..., None, :], joints), dim=-2)
