"""Rest poses. A rest pose is a T-pose that faces +Z, with the arms along X. Rest poses are arrays (J, 3) with the offset of each
joint from its parent, in metres.

There are three kinds. `standard`: one symmetric body for a whole dataset, so that all motion files share one skeleton. `symmetric`:
the bone lengths of the clip, averaged over left and right. `fitted`: the bone lengths of the clip.

A T-pose does not define the directions of the bones that start at the pelvis and at the chest. These directions are taken from
`Skeleton.hubs` (HumanML3D and the datasets that prepare/ builds), from a dataset's mean pose (KIT), or from the clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from motion.skeleton import Skeleton

KINDS = ("standard", "symmetric", "fitted")
SAME_BODY = 0.1  # two bodies count as the same if their bone lengths differ by less than this fraction, summed over the bones


def rest_pose(joints: ndarray, skeleton: Skeleton, kind: str = "standard", body: ndarray | None = None) -> ndarray:
    """The rest pose (J, 3) for joints (T, J, 3): a T-pose, as the offset of each joint from its parent.

    `kind` is "fitted" (bone lengths of the clip), "symmetric" (the same, averaged over left and right) or "standard", the rest pose
    `body` (J, 3), by default `standard_rest`. Datasets without a standard body (KIT) use "symmetric" instead of "standard". If
    symmetric bone lengths differ from the dataset's by less than 10 % in total (`SAME_BODY`), the dataset's are used.
    """
    fitted = fitted_rest(joints, skeleton)
    if kind == "fitted":
        return fitted
    standard = standard_rest(skeleton) if body is None else body
    if kind == "standard" and standard is not None:
        return standard
    symmetric = averaged(fitted, skeleton)
    if skeleton.lengths is None:
        return symmetric
    usual = symmetric_lengths(skeleton)
    similar = np.abs(lengths_of(symmetric) - usual).sum() < SAME_BODY * usual.sum()
    return unit(symmetric) * usual[:, None] if similar else symmetric


def standard_rest(skeleton: Skeleton, mean_pose: ndarray | None = None, lengths: ndarray | None = None) -> ndarray | None:
    """The symmetric rest pose (J, 3) of all files of a dataset; None if bone lengths, or bone directions in pelvis and chest, are
    not known.

    These directions are taken from `Skeleton.hubs` or, if it is None, from `mean_pose` (J, 3), the dataset's mean joints. The bone
    lengths `lengths` (J,) default to the skeleton's.
    """
    if lengths is None and skeleton.lengths is None:
        return None
    lengths = symmetric_lengths(skeleton) if lengths is None else lengths
    if skeleton.hubs:
        directions = hub_directions(skeleton)
    elif mean_pose is not None:
        directions = fitted_rest(np.asarray(mean_pose, np.float64)[None], skeleton)
    else:
        return None
    return unit(averaged(unit(directions), skeleton)) * lengths[:, None]


def hub_directions(skeleton: Skeleton) -> ndarray:
    """Directions (J, 3) of the bones in a T-pose; those that start at pelvis and chest are taken from `Skeleton.hubs`."""
    directions = t_pose(skeleton)
    for joint, bone in enumerate(skeleton.bones):
        if hub := skeleton.hubs.get(sideless(bone)):
            directions[joint] = hub if not bone.startswith("Right") else np.multiply(hub, (-1, 1, 1))
    return directions


def symmetric_lengths(skeleton: Skeleton) -> ndarray:
    """The skeleton's bone lengths (J,), averaged over left and right, which differ by up to 7 mm in HumanML3D."""
    lengths = np.array(skeleton.lengths)
    return (lengths + lengths[list(skeleton.mirror)]) / 2


def averaged(offsets: ndarray, skeleton: Skeleton) -> ndarray:
    """Average offsets (J, 3) with their mirror image. In the result, left and right are equal, and the midline has x = 0."""
    directions, lengths = unit(offsets), lengths_of(offsets)
    mirror = list(skeleton.mirror)
    both = unit(directions + directions[mirror] * (-1, 1, 1))
    return both * ((lengths + lengths[mirror]) / 2)[:, None]


def fitted_rest(joints: ndarray, skeleton: Skeleton) -> ndarray:
    """The rest pose (..., J, 3) of the person in joints (..., T, J, 3), with median bone lengths."""
    bones = offsets_of(joints, skeleton)  # (..., T, J, 3)
    rest = t_pose(skeleton)
    rest = np.broadcast_to(rest, (*joints.shape[:-3], *rest.shape)).copy()  # (..., J, 3)
    for children in skeleton.children:
        if len(children) > 1:
            child_bones = bones[..., children, :]  # (..., T, C, 3)
            frames = body_frame(child_bones, [skeleton.bones[child] for child in children])
            rest[..., children, :] = (child_bones @ frames).mean(axis=-3)  # in the frame of the pelvis or chest
    return unit(rest) * np.median(lengths_of(bones), axis=-2)[..., None]


def t_pose(skeleton: Skeleton) -> ndarray:
    """Direction of each bone in a T-pose: (J, 3) unit vectors, up for the root."""
    pairs = zip(skeleton.parents, skeleton.bones)
    return np.array([t_pose_direction(skeleton.bones[max(parent, 0)], bone) for parent, bone in pairs])


def t_pose_direction(parent: str, bone: str) -> tuple[float, float, float]:
    """Direction in a T-pose of a bone, given the names of the joints where it starts (`parent`) and ends (`bone`)."""
    side = 1.0 if bone.startswith("Left") else -1.0
    match sideless(bone):
        case "Leg" | "Foot":
            return (0.0, -1.0, 0.0)
        case "MidFoot" | "ToeBase":  # the instep slopes, the toes lie flat
            return (0.0, -0.5, 0.75**0.5) if parent.endswith("Foot") and not parent.endswith("MidFoot") else (0.0, 0.0, 1.0)
        case "Shoulder" | "Arm" | "ForeArm" | "Hand":
            return (side, 0.0, 0.0)
    return (0.0, 1.0, 0.0)


def body_frame(bones: ndarray, names: list[str]) -> ndarray:
    """The left, up and front axes, as columns (..., 3, 3), of a joint with the child bones `bones` (..., C, 3).

    `names` are the names of the child bones. Up points from the midpoint of the left and right children to the child in the middle.
    """
    side = np.array([name.startswith("Left") - float(name.startswith("Right")) for name in names])
    middle = side == 0
    left = unit(side @ bones)
    up = (middle / middle.sum() - np.abs(side) / np.abs(side).sum()) @ bones
    front = unit(np.cross(left, up))
    return np.stack((left, np.cross(front, left), front), axis=-1)


def offsets_of(joints: Any, skeleton: Skeleton) -> Any:
    """Vectors (..., J, 3) from the parent of each joint to the joint, zero for the root. `joints` is an array or a tensor."""
    return joints - joints[..., [max(parent, 0) for parent in skeleton.parents], :]


def standing(offsets: ndarray, skeleton: Skeleton) -> ndarray:
    """The joints (J, 3) of the rest pose `offsets` (J, 3), standing with the lowest joint on the floor."""
    joints = np.array(skeleton.paths) @ offsets
    return joints - [0, joints[:, 1].min(), 0]


def sideless(bone: str) -> str:
    """A bone's name without `Left` or `Right`."""
    return bone.removeprefix("Left").removeprefix("Right")


def lengths_of(offsets: ndarray) -> ndarray:
    """Lengths of vectors (..., 3)."""
    return np.sqrt((offsets * offsets).sum(-1))


def unit(v: ndarray) -> ndarray:
    """Vectors (..., 3) scaled to length 1; zero vectors are unchanged."""
    return v / np.maximum(lengths_of(v), 1e-12)[..., None]
