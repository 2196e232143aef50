"""The body that pictures, pages and glTF files show: limbs between joints, each a tapered capsule, coloured by side.

In: a skeleton, joints (T, J, 3) in metres. Out: which points the limbs join, their radii in metres, their colours.
"""

from __future__ import annotations

import numpy as np

from motion.footlock import standing
from motion.rest import sideless
from motion.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = (38, 139, 210), (240, 118, 52), (92, 104, 122)

# Thickness (radius, metres) of the body at each joint, by the name of its bone without its side.
RADII = {
    "Hips": 0.105, "UpLeg": 0.085, "Leg": 0.058, "Foot": 0.042, "MidFoot": 0.038, "ToeBase": 0.032,
    "Spine": 0.110, "Spine1": 0.115, "Spine2": 0.115, "Neck": 0.050, "Head": 0.082,
    "Shoulder": 0.075, "Arm": 0.056, "ForeArm": 0.042, "Hand": 0.036,
}  # fmt: skip
CHEST = (0.100, 0.046)  # and of the chest, from the spine to where an arm begins
TIPS = {"Head": (0.115, 0.094), "Hand": (0.11, 0.030), "ToeBase": (0.05, 0.028)}  # beyond a limb's last joint: length, radius
TRUNK = ("Hips", "Spine", "Spine1", "Spine2")  # limbs that start here are drawn as one, without seams


def limbs(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The limbs to draw: their ends (N, 2) as points of `with_tips`, radii at both ends (N, 2), and colours (N, 3).

    A limb belongs to the joint it starts at. None swells towards its end, so that the head sits on a neck.
    """
    ends, radii, colours = [], [], []
    tip = skeleton.num_joints
    for joint, (bone, children) in enumerate(zip(skeleton.bones, skeleton.children)):
        radius = RADII[sideless(bone)]
        for child in children:
            ends.append((joint, child))
            radii.append((radius, min(radius, RADII[sideless(skeleton.bones[child])])))
            colours.append(side_colour(bone))
        if not children:
            ends.append((joint, tip))
            radii.append((radius, TIPS[sideless(bone)][1]))
            colours.append(side_colour(bone))
            tip += 1
    for arm in ("LeftArm", "RightArm"):  # a chest that widens to the shoulders
        ends.append((skeleton.bones.index("Spine1"), skeleton.bones.index(arm)))
        radii.append(CHEST)
        colours.append(MIDDLE)
    return np.array(ends), np.array(radii), np.array(colours, float)


def with_tips(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Joints (T, J, 3) and, after them, the tips of head, hands and feet: (T, J + tips, 3)."""
    leaves = [joint for joint, children in enumerate(skeleton.children) if not children]
    bones = joints[:, leaves] - joints[:, [skeleton.parents[leaf] for leaf in leaves]]
    lengths = np.array([TIPS[sideless(skeleton.bones[leaf])][0] for leaf in leaves])
    directions = bones / np.linalg.norm(bones, axis=-1, keepdims=True).clip(min=1e-6)
    return np.concatenate((joints, joints[:, leaves] + directions * lengths[:, None]), axis=1)


def side_colour(bone: str) -> tuple[int, int, int]:
    return LEFT if bone.startswith("Left") else RIGHT if bone.startswith("Right") else MIDDLE


def standing_feet(joints: np.ndarray, fps: float, skeleton: Skeleton, contacts: np.ndarray | None = None) -> np.ndarray:
    """Which feet, left and right, stand in each frame of joints (T, J, 3), on heel or toe, as `footlock.standing` tells: (T, 2)."""
    if len(joints) == 1:
        return np.zeros((1, 2), bool)
    stands = standing(joints, skeleton, fps, contacts).reshape(-1, 2, 2).any(axis=-1)  # (T - 1, 2)
    return np.concatenate((stands, stands[-1:]))
