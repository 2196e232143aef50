"""How far motions are from each other, in joints."""

from __future__ import annotations

from torch import Tensor


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of joints (..., J, 3) from the true ones, both pelvises (joint 0) moved to the origin: (...), in their unit."""
    joints, truth = (positions - positions[..., :1, :] for positions in (joints, truth))
    return (joints - truth).norm(dim=-1).mean(-1)
