"""A motion as read from a file, and estimates of the file's unit and axes from the size and stance of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from motion.features import bone_lengths, skeleton_for
from utils.errors import UserError, note

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048, "cmu": 0.0254 / 0.45}  # metres per unit
NAMES = {
    "m": "metres", "dm": "decimetres", "cm": "centimetres", "mm": "millimetres", "in": "inches", "ft": "feet",
    "cmu": "CMU's unit of 5.6 cm",
}  # fmt: skip
COMMON_UNITS, RARE_UNITS = ("m", "cm", "mm"), ("in", "dm")
ADULTS = (0.9, 2.3)  # `body_size` of adults and older children, metres
BODIES = (0.6, 3.0)  # `body_size` of any person, including toddlers and giants, metres
USUAL = (1.1, 2.1)  # metres; for a `body_size` outside this range, a note is printed
REST = 0.02  # a frame shows the rest pose if no coordinate of a joint differs from it by more than this fraction of `body_size`
LEAP = 5  # frames in rest pose are skipped if the displacement after them exceeds the motion's median displacement by this factor


@dataclass(frozen=True)
class Raw:
    """Joints (T, J, 3) in the file's own unit and axes, with J = 22 or 21, at `fps` frames per second.

    `unit`, `up` and the joints `rest` (1, J, 3) of the rest pose are None if the file does not state them. `features` (T, D)
    are None if the file contains no features. `cmu` is True if the unit of length may be CMU's unit of 5.6 cm.
    """

    joints: np.ndarray
    fps: float
    unit: str | None = None
    up: str | None = None
    rest: np.ndarray | None = None
    features: np.ndarray | None = None
    cmu: bool = False


def unit_of(joints: np.ndarray, name: str, cmu: bool = False) -> str:
    """The unit of length of joints (T, J, 3), such as "cm" (`UNITS`), estimated from the size of the body.

    The result is the first unit with which the body has the size of a person. The units m, cm, mm, inch, decimetre and, if `cmu` is
    set, CMU's unit are tried for an adult or older child; then m, cm and mm for a toddler or giant. Raises `UserError` if no unit
    fits.
    """
    size = body_size(joints)
    adult_units = (*COMMON_UNITS, *RARE_UNITS, "cmu") if cmu else (*COMMON_UNITS, *RARE_UNITS)
    for units, (minimum, maximum) in ((adult_units, ADULTS), (COMMON_UNITS, BODIES)):
        for unit in units:
            if minimum <= size * UNITS[unit] <= maximum:
                return unit
    if not size:
        raise UserError(f"{name}: all joints are at the same position, so the file contains no motion")
    units = "metres, centimetres, millimetres, inches or decimetres"
    raise UserError(f"{name}: {size:.3g} units from foot to head fit no person in {units}; --input_unit sets the unit")


def check_size(joints: np.ndarray, unit: str, name: str) -> None:
    """Print a note if the body of joints (T, J, 3), converted to metres from an estimated unit, is unusually small or large."""
    size = body_size(joints)
    if not USUAL[0] <= size <= USUAL[1]:
        note(f"{name}: {size:.2f} m from foot to head, assuming {NAMES[unit]}; --input_unit sets another unit")


def body_size(joints: np.ndarray) -> float:
    """Length of the path along the bones from the left foot to the head, as a median over the frames of joints (T, J, 3)."""
    skeleton = skeleton_for(joints.shape[1])
    path = np.sum([skeleton.paths[skeleton.bones.index(bone)] for bone in ("LeftFoot", "Head")], axis=0)  # (J,)
    return float(np.median(bone_lengths(torch.from_numpy(joints), skeleton).numpy() @ path))


def rest_frames(joints: np.ndarray, rest: np.ndarray | None) -> int:
    """Number of frames at the start of joints (T, J, 3) that show the rest pose, whose joints are `rest` (1, J, 3).

    The number is 0 if the body does not jump after these frames. Some exporters and CMU's BVH releases add one frame with the rest
    pose, which is not part of the motion.
    """
    if rest is None or len(joints) < 3:
        return 0
    size = max(body_size(joints), 1e-9)
    differs = np.abs((joints - joints[:, :1]) - (rest - rest[:, :1])).max(axis=(1, 2)) > REST * size  # (T,)
    count = int(np.argmax(differs))
    if not count:
        return 0
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(axis=1)  # (T - 1,)
    later = steps[count:]
    jumps = steps[count - 1] > max(LEAP * np.median(later), REST * size) if len(later) else False
    return count if jumps else 0


def lies_down(joints: np.ndarray) -> bool:
    """Whether the body in joints (T, J, 3) extends along Z, from the feet to the head, rather than along Y.

    If `joints` is a rest pose, True means that the file has Z up. If `joints` is a motion, the person may also be lying.
    """
    return bool(stance(joints)[2] > 0.8)


def stance(joints: np.ndarray) -> np.ndarray:
    """The unit vector (3,) from the feet to the head, averaged over the frames of joints (T, J, 3)."""
    bones = skeleton_for(joints.shape[1]).bones
    head, left, right = (joints[:, bones.index(bone)] for bone in ("Head", "LeftFoot", "RightFoot"))
    up = (head - (left + right) / 2).mean(axis=0)
    return up / max(np.linalg.norm(up), 1e-9)
