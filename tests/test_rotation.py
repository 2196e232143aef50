"""Rotations: conversions are inverse to each other, products agree, and directions come out where they should."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.spatial.transform import Rotation

from motion import rotation as R
from tests.posed import matrix_from_6d

ORDERS = ["".join(axes) for axes in itertools.permutations("XYZ")]


def random_quaternions(*shape: int) -> torch.Tensor:
    return R.unit(torch.randn(*shape, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def random_vectors(*shape: int) -> torch.Tensor:
    return R.unit(torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


def test_matrix_equals_scipy():
    q = random_quaternions(50)
    expected = Rotation.from_quat(q.numpy(), scalar_first=True).as_matrix()
    assert torch.allclose(R.qmatrix(q), torch.from_numpy(expected), atol=1e-12)


def test_quaternion_to_matrix_and_back():
    q = random_quaternions(1000)
    q = torch.where(q[:, :1] < 0, -q, q)
    assert torch.allclose(R.matrixq(R.qmatrix(q)), q, atol=1e-7)


@pytest.mark.parametrize("axis", "xyz")
def test_half_turns_survive_the_matrix(axis):
    q = R.qaxis(axis, torch.tensor([torch.pi], dtype=torch.float64))
    assert torch.allclose(R.qmatrix(R.matrixq(R.qmatrix(q))), R.qmatrix(q), atol=1e-12)


def test_product_of_quaternions_is_product_of_matrices():
    a, b = random_quaternions(2, 30)
    assert torch.allclose(R.qmatrix(R.qmul(a, b)), R.qmatrix(a) @ R.qmatrix(b), atol=1e-12)
    assert torch.allclose(R.qmatrix(R.qconj(a)), R.qmatrix(a).mT, atol=1e-12)


def test_rotating_a_vector():
    q, v = random_quaternions(30), random_vectors(30)
    assert torch.allclose(R.qrotate(q, v), (R.qmatrix(q) @ v[..., None])[..., 0], atol=1e-12)


def test_between_turns_one_vector_to_the_other():
    u, v = random_vectors(2, 100)
    assert torch.allclose(R.qrotate(R.qbetween(u, v), u), v, atol=1e-12)


def test_between_opposite_vectors_is_a_half_turn():
    u = torch.eye(3, dtype=torch.float64)
    q = R.qbetween(u, -u)
    assert torch.isfinite(q).all()
    assert torch.allclose(R.qrotate(q, u), -u, atol=1e-12)


def test_yaw_brings_forward_to_front():
    forward = random_vectors(20) * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    forward = R.unit(forward)
    front = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(20, 3)
    v = random_vectors(20)
    assert torch.allclose(R.yaw(forward, forward), front, atol=1e-12)
    assert torch.allclose(R.yaw(v, forward), R.qrotate(R.qbetween(forward, front), v), atol=1e-12)


def test_6d_and_back():
    m = R.qmatrix(random_quaternions(40))
    six = R.quaternion_to_6d(R.matrixq(m))
    assert torch.allclose(six, torch.cat((m[..., 0], m[..., 1]), dim=-1), atol=1e-7), "the first two columns"
    assert torch.allclose(matrix_from_6d(six), m, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
def test_euler_equals_scipy_and_inverts(order):
    angles = (torch.rand(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.5) * 3
    m = R.euler_to_matrix(angles, order)
    assert torch.allclose(m, torch.from_numpy(Rotation.from_euler(order, angles.numpy()).as_matrix()), atol=1e-12)
    assert torch.allclose(R.matrix_to_euler(m, order), angles, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_euler_at_gimbal_lock_still_gives_the_rotation(order, sign):
    angles = torch.tensor([0.4, sign * torch.pi / 2, 0.9], dtype=torch.float64)
    m = R.euler_to_matrix(angles, order)
    assert torch.allclose(R.euler_to_matrix(R.matrix_to_euler(m, order), order), m, atol=1e-6)


def test_gradients_are_finite():
    q = random_quaternions(5).requires_grad_()
    R.quaternion_to_6d(q).sum().backward()
    assert torch.isfinite(q.grad).all()
