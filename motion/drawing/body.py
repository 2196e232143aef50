"""The body in videos, pages and glTF files: tapered capsules between points, coloured by part.

Input: a skeleton, and joints (T, J, 3) in metres. Output: points (T, P, 3) and limbs between these points. The points are the
joints and additional points of head, chest, hands and feet. The additional points show the orientation of these body parts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from motion.footlock import across, standing
from motion.rest import sideless, unit
from motion.skeleton import Skeleton

COLOURS = {
    "left": (38, 139, 210), "right": (240, 118, 52), "middle": (92, 104, 122),
    "face": (236, 205, 176), "eye": (46, 52, 64), "chest": (150, 162, 180),
}  # fmt: skip
LEFT, RIGHT = COLOURS["left"], COLOURS["right"]

# Radius of the body at each joint, in metres, keyed by bone name without `Left` or `Right`.
RADII = {
    "Hips": 0.105, "UpLeg": 0.085, "Leg": 0.058, "Foot": 0.042, "MidFoot": 0.036, "ToeBase": 0.031,
    "Spine": 0.110, "Spine1": 0.115, "Spine2": 0.115, "Neck": 0.050, "Head": 0.078,
    "Shoulder": 0.075, "Arm": 0.056, "ForeArm": 0.042, "Hand": 0.030,
}  # fmt: skip
CHEST = (0.100, 0.046)  # metres; radii of the limbs from the chest to the arms: at the chest, and at the arm
TRUNK = ("Hips", "Spine", "Spine1", "Spine2")  # limbs that start at these joints are drawn as one part, without seams


class Limbs(NamedTuple):
    """N tapered capsules that draw a body: ends (N, 2) as indices of the points from `body_points`, radii (N, 2) in metres, and N
    names of body parts, such as "left" or "face", which determine the colour. Capsule i moves with the joint `owners[i]`; `trunk`
    (N,) marks the capsules of the trunk."""

    ends: np.ndarray
    radii: np.ndarray
    parts: list[str]
    owners: np.ndarray
    trunk: np.ndarray

    @property
    def colours(self) -> np.ndarray:
        """The colour of each capsule, (N, 3) RGB from 0 to 255."""
        return np.array([COLOURS[part] for part in self.parts], float)


# Additional points of some bones, in metres along the left, up and front axes of the bone. The up axis points away from the bone's
# parent. The front axis points where the chest faces; the thumbs therefore point forward when the arms hang down.
HEAD = {
    "crown": (0, 0.115, 0.004), "brow": (0, 0.105, 0.022), "chin": (0, 0.035, 0.040), "nose": (0, 0.072, 0.092),
    "nose_tip": (0, 0.060, 0.106), "left_eye": (0.031, 0.092, 0.084), "right_eye": (-0.031, 0.092, 0.084),
}  # fmt: skip
PLATE = {"left_breast": (0.052, 0.075, 0.072), "right_breast": (-0.052, 0.075, 0.072), "navel": (0, -0.06, 0.064)}
HAND = {
    "palm": (0, 0.070, 0), "knuckles": (0, 0.092, 0), "fingers": (0, 0.165, 0), "thumb": (0, 0.028, 0.022),
    "thumb_tip": (0, 0.082, 0.062),
}  # fmt: skip
FOOT = {"heel": (0, 0.052, -0.045)}
TOES = {"big": (0.020, 0.068, 0), "small": (-0.020, 0.056, 0), "big_root": (0.018, 0.005, 0), "small_root": (-0.020, -0.003, 0)}
EXTRAS = {"Head": HEAD, "Spine1": PLATE, "Hand": HAND, "Foot": FOOT, "ToeBase": TOES}


def limbs(skeleton: Skeleton) -> Limbs:
    """Capsules that draw the body of a skeleton.

    A capsule from a joint to its child is never wider at the child than at the joint, so the neck does not widen towards the head.
    """
    point_indices = {name: skeleton.num_joints + index for index, name in enumerate(extra_points(skeleton))}
    rows: list[tuple[int, int, float, float, str, int]] = []  # start, end, radii, part, joint

    def add(start: int, end: int, first: float, last: float, part: str, owner: int) -> None:
        rows.append((start, end, first, last, part, owner))

    for joint, bone in enumerate(skeleton.bones):
        radius, part = RADII[sideless(bone)], side(bone)
        for child in skeleton.children[joint]:
            if sideless(skeleton.bones[child]) not in ("ToeBase", "MidFoot"):  # feet begin at the heel
                add(joint, child, radius, min(radius, RADII[sideless(skeleton.bones[child])]), part, joint)
        point = {name: point_indices[f"{bone}.{name}"] for name in EXTRAS.get(sideless(bone), {})}
        match sideless(bone):
            case "Head":
                add(joint, point["crown"], radius, 0.094, "middle", joint)
                add(point["brow"], point["chin"], 0.079, 0.055, "face", joint)
                add(point["nose"], point["nose_tip"], 0.016, 0.012, "face", joint)
                for eye in ("left_eye", "right_eye"):
                    add(point[eye], point[eye], 0.010, 0.010, "eye", joint)
            case "Spine1":
                add(point["left_breast"], point["right_breast"], 0.052, 0.052, "chest", joint)
                for breast in ("left_breast", "right_breast"):
                    add(point[breast], point["navel"], 0.052, 0.050, "chest", joint)
            case "Hand":
                add(joint, point["palm"], radius, 0.036, part, joint)
                add(point["knuckles"], point["fingers"], 0.026, 0.013, part, joint)
                add(point["thumb"], point["thumb_tip"], 0.017, 0.011, part, joint)
            case "Foot":
                chain = next(chain for chain in skeleton.chains if joint in chain)
                toes = chain[chain.index(joint) + 1 :]
                widths = [0.040, *(RADII[sideless(skeleton.bones[toe])] for toe in toes)]
                add(joint, point["heel"], radius, 0.040, part, joint)
                steps = zip(pairwise((point["heel"], *toes)), pairwise(widths), (joint, *toes))
                for (start, end), (first, last), owner in steps:
                    add(start, end, first, last, part, owner)
                add(joint, toes[0], radius, widths[1], part, joint)
            case "ToeBase":
                for toe in ("big", "small"):
                    add(point[f"{toe}_root"], point[toe], 0.026, 0.018, part, joint)
    chest = skeleton.bones.index("Spine1")
    for arm in ("LeftArm", "RightArm"):  # the chest widens to the shoulders
        add(chest, skeleton.bones.index(arm), *CHEST, "middle", chest)
    starts, ends, first, last, parts, owners = zip(*rows)
    trunk = np.array([part == "middle" and sideless(skeleton.bones[owner]) in TRUNK for part, owner in zip(parts, owners)])
    return Limbs(np.column_stack((starts, ends)), np.column_stack((first, last)), list(parts), np.array(owners), trunk)


def extra_points(skeleton: Skeleton) -> dict[str, tuple[int, tuple[float, float, float]]]:
    """The points of the drawn body that are not joints, keyed by names such as "LeftHand.palm".

    Each value is a joint index and an offset from this joint, in metres, along the axes of `bone_frame`. Toe points are
    defined for the right foot and mirrored for the left foot, because the big toe is on the inside.
    """
    points = {}
    for joint, bone in enumerate(skeleton.bones):
        for name, (x, y, z) in EXTRAS.get(sideless(bone), {}).items():
            inside = -1 if bone == "LeftToeBase" else 1
            points[f"{bone}.{name}"] = (joint, (inside * x, y, z))
    return points


def body_points(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The points of the body, (T, P, 3): joints (T, J, 3), then the points of `extra_points`."""
    extra = list(extra_points(skeleton).values())
    owners = [joint for joint, _ in extra]
    local = np.array([position for _, position in extra])
    frames = {joint: bone_frame(joints, skeleton, joint) for joint in set(owners)}  # (T, 3 axes, 3)
    rows = [joints[:, joint] + np.einsum("a,tax->tx", position, frames[joint]) for joint, position in zip(owners, local)]
    return np.concatenate((joints, np.stack(rows, axis=1)), axis=1)


def bone_frame(joints: np.ndarray, skeleton: Skeleton, joint: int) -> np.ndarray:
    """Left, up and front axes, in rows (T, 3, 3), of the bone that ends in `joint`.

    Up points approximately along the bone. Front points where the chest faces, with two exceptions: if the bone ends in an ankle,
    front points to the toes, and if the bone ends in the toes, front points down the leg.
    """
    index = skeleton.bones.index
    left = unit(joints[:, index("LeftArm")] - joints[:, index("RightArm")])
    spine = unit(joints[:, index("Neck")] - joints[:, 0])
    up, forward = unit(joints[:, joint] - joints[:, skeleton.parents[joint]]), np.cross(left, spine)
    bone = skeleton.bones[joint]
    match sideless(bone):
        case "Foot":  # up points down the leg, front to the toes
            forward = joints[:, index(bone.replace("Foot", "ToeBase"))] - joints[:, joint]
        case "ToeBase":  # up points forward, front down the leg
            ankle, knee = (joints[:, index(bone.replace("ToeBase", name))] for name in ("Foot", "Leg"))
            up = unit(unit(across(joints[:, joint] - ankle, unit(ankle - knee))) + 0.5 * up)
            forward = ankle - knee
        case "Head":
            up = unit(0.5 * up + 0.5 * spine)
        case "Spine1":
            up = spine
    front = unit(across(forward, up))
    return np.stack((np.cross(up, front), up, front), axis=1)


def side(bone: str) -> str:
    """The side of the body that a bone is on: left, right or middle."""
    return "left" if bone.startswith("Left") else "right" if bone.startswith("Right") else "middle"


def standing_feet(joints: np.ndarray, fps: float, skeleton: Skeleton, contacts: np.ndarray | None = None) -> np.ndarray:
    """Mask (T, 2) of the frames in which the left and the right foot stand on heel or toe.

    `contacts` (T or T - 1, 4), if given, are foot contacts, as in `footlock.standing`.
    """
    if len(joints) == 1:
        return np.zeros((1, 2), bool)
    stands = standing(joints, skeleton, fps, contacts).reshape(-1, 2, 2).any(axis=-1)  # (T - 1, 2)
    return np.concatenate((stands, stands[-1:]))
