"""Rotations as quaternions, matrices, 6D, Euler angles and rotation vectors, and conversions between them.

Quaternions are `wxyz`, shape (..., 4), unit length unless stated otherwise. Matrices (..., 3, 3) rotate column vectors. 6D is the
first two columns of the matrix, one after the other (HumanML3D; Zhou et al. 2019). Euler orders are read left to right as a
product, "ZYX" = Rz(a0) Ry(a1) Rx(a2), as in the channels of a BVH file. Angles are in radians. Every function is batched over the
leading dimensions, differentiable, and keeps its input's dtype and device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

AXES = {"x": 0, "y": 1, "z": 2}


@functools.cache  # never evicted, because CUDA graphs hold the constants' addresses
def _cached_tensor(values: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def constant(values: Sequence[float], like: Tensor) -> Tensor:
    """A tensor of `values` with the device and dtype of `like`. Callers must not modify the tensor.

    The tensor is cached, because each copy to the GPU would force the CPU to wait for the GPU.
    """
    return _cached_tensor(tuple(values), like.device, like.dtype)


def indices(values: Sequence[int], like: Tensor) -> Tensor:
    """A cached int64 tensor of the indices `values` on the device of `like`. Callers must not modify the tensor."""
    return _cached_tensor(tuple(values), like.device, torch.int64)


def join(*components: Tensor) -> Tensor:
    """Stack tensors, one per vector component, along a new last dimension.

    Each component stays contiguous in memory, so operations on it are fast.
    """
    return torch.stack(torch.broadcast_tensors(*components)).movedim(0, -1)


def norm(v: Tensor) -> Tensor:
    """Lengths (...) of vectors (..., n), several times faster than `torch.norm` for small n."""
    return sum(component * component for component in v.unbind(-1)).sqrt()


def unit(v: Tensor) -> Tensor:
    """Vectors (..., n) scaled to length 1; zero vectors are unchanged."""
    return v / norm(v).clamp_min(1e-12)[..., None]


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Cross product of vectors (..., 3), several times faster than `torch.cross`."""
    ux, uy, uz = u.unbind(-1)
    vx, vy, vz = v.unbind(-1)
    return join(uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)


def qmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of quaternions (..., 4): the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    w = aw * bw - ax * bx - ay * by - az * bz
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by - ax * bz + ay * bw + az * bx
    z = aw * bz + ax * by - ay * bx + az * bw
    return join(w, x, y, z)


def qconj(q: Tensor) -> Tensor:
    """Inverse of unit quaternions (..., 4)."""
    return q * constant((1, -1, -1, -1), q)


def qrotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors v (..., 3) by quaternions q (..., 4)."""
    w, u = q[..., :1], q[..., 1:]
    t = 2 * cross(u, v)
    return v + w * t + cross(u, t)


def qbetween(u: Tensor, v: Tensor) -> Tensor:
    """The shortest rotation (..., 4) from the unit vector u (..., 3) to the unit vector v (..., 3).

    For opposite vectors, which have no unique shortest rotation, the result is a half turn about an axis perpendicular to u.
    """
    w = 1 + (u * v).sum(-1)
    axis = cross(u, v)
    opposite = w < 1e-7
    if opposite.any():
        basis = F.one_hot(u.abs().argmin(-1), 3).to(u)  # the coordinate axis that is most nearly perpendicular to u
        axis = torch.where(opposite[..., None], cross(u, basis), axis)
    return unit(join(w, *axis.unbind(-1)))


def yaw(v: Tensor, forward: Tensor) -> Tensor:
    """Rotate vectors v (..., 3) about the Y axis by the rotation that maps horizontal unit vectors `forward` (..., 3) to +Z."""
    x, y, z = v.unbind(-1)
    fx, _, fz = forward.unbind(-1)
    return join(fz * x - fx * z, y, fx * x + fz * z)


def qaxis(axis: str, angle: Tensor) -> Tensor:
    """Rotation by `angle` (...) about the axis 'x', 'y' or 'z', as quaternions (..., 4)."""
    q = angle.new_zeros((*angle.shape, 4))
    q[..., 0] = torch.cos(angle / 2)
    q[..., 1 + AXES[axis]] = torch.sin(angle / 2)
    return q


def qmatrix(q: Tensor) -> Tensor:
    """Quaternions (..., 4) to matrices (..., 3, 3)."""
    w, x, y, z = q.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return rearrange(torch.stack(rows, dim=-1), "... (i j) -> ... i j", i=3)


def rotation_vectors_to_matrices(vectors: Tensor) -> Tensor:
    """Rotation vectors (..., 3), axis times angle in radians, to matrices (..., 3, 3); differentiable at zero rotation."""
    angle = vectors.norm(dim=-1, keepdim=True)  # unlike `norm`, differentiable at 0
    axis = vectors * torch.sinc(angle / (2 * math.pi)) / 2  # sin(angle / 2) times the unit axis
    return qmatrix(torch.cat((torch.cos(angle / 2), axis), dim=-1))


def matrices_to_rotation_vectors(m: Tensor) -> Tensor:
    """Matrices (..., 3, 3) to rotation vectors (..., 3), axis times angle in radians; the angle is at most pi."""
    q = matrixq(m)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., :1])
    return q[..., 1:] * torch.where(sine > 1e-9, angle / sine.clamp_min(1e-12), torch.full_like(sine, 2.0))


def matrixq(m: Tensor) -> Tensor:
    """Matrices (..., 3, 3) to quaternions (..., 4) with w >= 0 (Shepperd 1978).

    Each row of the 4 x 4 table below is a multiple of the quaternion. The row with the largest diagonal element is used: this row
    is numerically accurate for every rotation.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = rearrange(m, "... i j -> (i j) ...")
    table = torch.stack((
        1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01,
        m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20,
        m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12,
        m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22,
    ), dim=-1)  # fmt: skip
    table = rearrange(table, "... (row q) -> ... row q", q=4)
    best = table.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = unit(torch.take_along_dim(table, best[..., None, None], dim=-2).flatten(-2))
    return torch.where(q[..., :1] < 0, -q, q)


def quaternion_to_6d(q: Tensor) -> Tensor:
    """Quaternions (..., 4) to 6D rotations (..., 6): the first two columns of the rotation matrix, one after the other."""
    w, x, y, z = q.unbind(-1)
    return join(
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
    )  # fmt: skip


def euler_to_matrix(angles: Tensor, order: str) -> Tensor:
    """Euler angles (..., 3) in radians, in the given order of axes, to matrices (..., 3, 3)."""
    a, b, c = (qmatrix(qaxis(axis, angle)) for axis, angle in zip(order.lower(), angles.unbind(-1)))
    return a @ b @ c


def matrix_to_euler(m: Tensor, order: str) -> Tensor:
    """Matrices (..., 3, 3) to Euler angles (..., 3) in radians, for an order of three different axes.

    At gimbal lock (the middle angle is a quarter turn) the third angle is set to 0.
    """
    i, j, k = (AXES[axis] for axis in order.lower())
    sign = 1 if (i, j, k) in ((0, 1, 2), (1, 2, 0), (2, 0, 1)) else -1
    b = torch.asin((sign * m[..., i, k]).clamp(-1, 1))
    locked = m[..., i, k].abs() > 1 - 1e-7
    a = torch.atan2(-sign * m[..., j, k], m[..., k, k])
    c = torch.atan2(-sign * m[..., i, j], m[..., i, i])
    a_locked = torch.atan2(sign * m[..., k, j], m[..., j, j])
    return torch.stack((torch.where(locked, a_locked, a), b, torch.where(locked, torch.zeros_like(c), c)), dim=-1)
