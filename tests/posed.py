"""Joints from the rotations in features: the check that rotations and positions of features agree."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from motion.features import recover_root
from motion.rotation import cross, qmatrix, unit
from motion.skeleton import Skeleton


def matrix_from_6d(x: Tensor) -> Tensor:
    """6D (..., 6), not necessarily orthonormal, to matrices (..., 3, 3) by Gram-Schmidt."""
    first = unit(x[..., :3])
    third = unit(cross(first, x[..., 3:]))
    return torch.stack((first, cross(third, first), third), dim=-1)


def features_to_posed_joints(features: Tensor, skeleton: Skeleton, offsets: Tensor) -> Tensor:
    """Joints (..., T, J, 3) of a skeleton with rest `offsets` (J, 3), posed by the 6D rotations of features (..., T, D)."""
    rotation, position = recover_root(features)
    start = 4 + 3 * (skeleton.num_joints - 1)
    stop = start + 6 * (skeleton.num_joints - 1)
    local = matrix_from_6d(rearrange(features[..., start:stop], "... (j six) -> ... j six", six=6))
    turned, joints = [qmatrix(rotation)], [position]
    for joint in range(1, skeleton.num_joints):
        turned.append(turned[skeleton.chain_parents[joint]] @ local[..., joint - 1, :, :])
        joints.append(joints[skeleton.parents[joint]] + turned[joint] @ offsets[joint])
    return torch.stack(joints, dim=-2)
