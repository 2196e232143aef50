"""A motion as read from a file, and estimates of its unit and axes from the size and stance of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from motion.features import bone_lengths, skeleton_for
from utils.errors import UserError, note

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048, "cmu": 0.0254 / 0.45}  # metres in each
NAMES = {
    "m": "metres", "dm": "decimetres", "cm": "centimetres", "mm": "millimetres", "in": "inches", "ft": "feet",
    "cmu": "CMU's unit of 5.6 cm",
}  # fmt: skip
USUAL, OTHERS = ("m", "cm", "mm"), ("in", "dm")
ADULTS = (0.9, 2.3)  # metres along the bones from a foot to the head; sizes outside this range suggest another unit
BODIES = (0.6, 3.0)  # children and giants
PLAIN = (1.1, 2.1)  # bodies that need no note
REST = 0.02  # how far, in sizes of the body, joints may be from the rest pose and still show it
LEAP = 5  # steps as large as the usual ones, by which a body leaves a rest pose that is no part of the motion


@dataclass(frozen=True)
class Raw:
    """Joints (T, J, 3) in the file's own unit and axes, J = 22 or 21; frames per second.

    `unit`, `up` and `rest` (1, J, 3), the joints of the rest pose, are None if the file does not state them; `features` (T, D) is
    None if it has none. `cmu`: the unit may be CMU's.
    """

    joints: np.ndarray
    fps: float
    unit: str | None = None
    up: str | None = None
    rest: np.ndarray | None = None
    features: np.ndarray | None = None
    cmu: bool = False


def unit_of(joints: np.ndarray, name: str, cmu: bool = False) -> str:
    """The unit of joints (T, J, 3), one of `UNITS`, estimated from the size of the body; CMU's unit only with `cmu`.

    Preferred are m, cm and mm if they give the height of an adult or child, then inches and decimetres, then m, cm and mm for a
    toddler or giant. Raises `UserError` if no unit gives the height of a person.
    """
    size = body_size(joints)
    for units, (least, most) in ((USUAL, ADULTS), (OTHERS, ADULTS), (("cmu",) if cmu else (), ADULTS), (USUAL, BODIES)):
        if fitting := [unit for unit in units if least <= size * UNITS[unit] <= most]:
            return fitting[0]
    if not size:
        raise UserError(f"{name}: all joints lie in one place: there is no motion in it")
    units = "no person in metres, centimetres, millimetres, inches or decimetres"
    raise UserError(f"{name}: {size:.3g} units from foot to head are {units}; --input_unit states the unit")


def check_size(joints: np.ndarray, unit: str, name: str) -> None:
    """Print a note if the body of joints (T, J, 3), in metres by an estimated unit, is unusually small or large."""
    size = body_size(joints)
    if not PLAIN[0] <= size <= PLAIN[1]:
        note(f"{name}: {size:.2f} m from foot to head if it is in {NAMES[unit]}; --input_unit states another unit")


def body_size(joints: np.ndarray) -> float:
    """Length along the bones from a foot to the head, of joints (T, J, 3): the median over frames."""
    skeleton = skeleton_for(joints.shape[1])
    way = np.sum([skeleton.paths[skeleton.bones.index(bone)] for bone in ("LeftFoot", "Head")], axis=0)  # (J,)
    return float(np.median(bone_lengths(torch.from_numpy(joints), skeleton).numpy() @ way))


def rest_frames(joints: np.ndarray, rest: np.ndarray | None) -> int:
    """Number of frames at the start of joints (T, J, 3) that show the rest pose (1, J, 3) and are followed by a jump, so that they
    are not part of the motion. Some exporters and CMU's BVH releases add such a frame."""
    if rest is None or len(joints) < 3:
        return 0
    size = max(body_size(joints), 1e-9)
    away = np.abs((joints - joints[:, :1]) - (rest - rest[:, :1])).max(axis=(1, 2)) > REST * size  # (T,)
    count = int(np.argmax(away))
    if not count:
        return 0
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(axis=1)  # (T - 1,)
    later = steps[count:]
    leaps = steps[count - 1] > max(LEAP * np.median(later), REST * size) if len(later) else False
    return count if leaps else 0


def lies_down(joints: np.ndarray) -> bool:
    """Whether joints (T, J, 3) have the head above the feet along Z rather than Y.

    For a rest pose this means a file with Z up; for a motion, that or a lying person.
    """
    return bool(stance(joints)[2] > 0.8)


def stance(joints: np.ndarray) -> np.ndarray:
    """The unit vector (3,) from the feet to the head, on average over joints (T, J, 3)."""
    bones = skeleton_for(joints.shape[1]).bones
    head, left, right = (joints[:, bones.index(bone)] for bone in ("Head", "LeftFoot", "RightFoot"))
    up = (head - (left + right) / 2).mean(axis=0)
    return up / max(np.linalg.norm(up), 1e-9)
