"""A motion as its file states it, and what the size and stance of the body say about its unit and axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from motion.features import bone_lengths, skeleton_for
from utils.errors import UserError

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "cmu": 0.0254 / 0.45}  # metres in each
NAMES = {"m": "metres", "cm": "centimetres", "mm": "millimetres", "in": "inches", "cmu": "CMU's unit of 5.6 cm"}
ESTIMATED = ("m", "cm", "mm", "cmu")  # units that the size of a body can tell apart
BODY = 1.6  # metres along the bones from a foot to the head; a body in another unit is far from it
BODIES = (0.6, 3.0)  # children and giants


@dataclass(frozen=True)
class Raw:
    """Joints (T, J, 3) in the file's own unit and axes, J = 22 or 21; frames per second.

    `unit`, `up` and `rest` (1, J, 3), the joints of the rest pose, are None where the file does not state them; `features` (T, D)
    where it holds none.
    """

    joints: np.ndarray
    fps: float
    unit: str | None = None
    up: str | None = None
    rest: np.ndarray | None = None
    features: np.ndarray | None = None


def unit_of(joints: np.ndarray, name: str) -> str:
    """Which of `ESTIMATED` joints (T, J, 3) are in, by the size of the body. Raises `UserError` if none makes it a person's."""
    size = body_size(joints)
    unit = min(ESTIMATED, key=lambda unit: abs(np.log(max(size, 1e-9) * UNITS[unit] / BODY)))
    if not BODIES[0] <= size * UNITS[unit] <= BODIES[1]:
        units = "no person in metres, centimetres or millimetres"
        raise UserError(f"{name}: {size:.3g} units from foot to head are {units}; --input_unit states the unit")
    return unit


def body_size(joints: np.ndarray) -> float:
    """Length along the bones from a foot to the head, of joints (T, J, 3): the median over frames."""
    skeleton = skeleton_for(joints.shape[1])
    way = np.sum([skeleton.paths[skeleton.bones.index(bone)] for bone in ("LeftFoot", "Head")], axis=0)  # (J,)
    return float(np.median(bone_lengths(torch.from_numpy(joints), skeleton).numpy() @ way))


def lies_down(joints: np.ndarray) -> bool:
    """Whether joints (T, J, 3) have the head above the feet along Z rather than Y.

    In the rest pose *and* on average over the clip that means a file with Z up, and no person who lies.
    """
    bones = skeleton_for(joints.shape[1]).bones
    head, left, right = (joints[:, bones.index(bone)] for bone in ("Head", "LeftFoot", "RightFoot"))
    up = (head - (left + right) / 2).mean(axis=0)
    return bool(up[2] > 0.8 * np.linalg.norm(up))
