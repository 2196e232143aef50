"""Spatial composition: legs and trunk of one motion, arms and head of another motion (SINC, Athanasiou et al., ICCV 2023).

Arm directions are expressed in the axes of the trunk, so the arms follow a trunk that leans or turns. All joints are
(..., T, 22, 3) on HumanML3D's skeleton, in metres, Y up. Combined motions have the bone lengths of this skeleton.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from motion.ik import norm, unit
from motion.skeleton import HUMANML3D

LENGTHS = np.array(HUMANML3D.lengths)[1:, None]
PATHS = np.array(HUMANML3D.paths)[:, 1:]
PARENTS = list(HUMANML3D.parents[1:])
HIPS, SHOULDERS, WRISTS, ANKLES, PELVIS, NECK, HEAD = (1, 2), (16, 17), (20, 21), (7, 8), 0, 12, 15
ARMS = ((13, 16, 18, 20), (14, 17, 19, 21))  # left, right: collar, shoulder, elbow, wrist
RAISED = -0.25  # m; an arm is raised if its hand is above this height, measured from its shoulder
TRAVEL, RISE, TURN = 0.5, 0.15, 0.7  # m, m, radians; limits of a gesture: pelvis on the ground plane, pelvis height, body yaw
PLANTED = 0.2  # m; limit of a gesture: difference between the highest and the lowest position of an ankle


def to_joints(root: ndarray, bones: ndarray) -> ndarray:
    """Joints (..., 22, 3) of HumanML3D's skeleton, from the root (..., 3) and the direction of each bone (..., 21, 3)."""
    return root[..., None, :] + PATHS @ (unit(bones) * LENGTHS)


def to_bones(joints: ndarray) -> ndarray:
    """Directions (..., 21, 3) of the bones that end in joints 1 to 21 of `joints` (..., 22, 3)."""
    return unit(joints[..., 1:, :] - joints[..., PARENTS, :])


def across(joints: ndarray) -> ndarray:
    """Vector (..., 3) from the right to the left side of a person with joints (..., 22, 3)."""
    right = joints[..., HIPS[1], :] + joints[..., SHOULDERS[1], :]
    return joints[..., HIPS[0], :] + joints[..., SHOULDERS[0], :] - right


def trunk(joints: ndarray) -> ndarray:
    """Axes (..., 3, 3) of the trunk of joints (..., 22, 3), in columns: left, up, front."""
    up = unit(joints[..., NECK, :] - joints[..., PELVIS, :])
    front = unit(np.cross(across(joints), up))
    return np.stack([np.cross(up, front), up, front], axis=-1)


def layer(legs: ndarray, arms: ndarray, weight: ndarray) -> ndarray:
    """Combine legs and trunk of the motion `legs` with arms and head of the motion `arms`; both are joints (..., T, 22, 3).

    Args:
        weight: (..., T, 2) weights of the motion `arms`, from 0 to 1, for left and right arm; the larger one is used for the head.
    """
    bones = to_bones(legs)
    carried = to_bones(arms) @ trunk(arms) @ trunk(legs).swapaxes(-1, -2)
    weights = np.zeros((*weight.shape[:-1], len(PARENTS), 1))
    for side, joints in enumerate(ARMS):
        weights[..., [joint - 1 for joint in joints], 0] = weight[..., side, None]
    weights[..., HEAD - 1, 0] = weight.max(-1)
    return to_joints(legs[..., 0, :], unit((1 - weights) * bones + weights * carried))


def leg_speed(joints: ndarray) -> float:
    """Mean speed of the ankles of one motion (T, 22, 3), in metres per frame."""
    return float(norm(np.diff(joints[:, ANKLES], axis=0)).mean())


def raised(joints: ndarray) -> ndarray:
    """Mask (2,), left and right, of the arms that are raised for at least a quarter of a motion (T, 22, 3).

    An arm is raised if its hand is above the shoulder, or less than 0.25 m below it.
    """
    height = joints[:, WRISTS, 1] - joints[:, SHOULDERS, 1]
    return np.percentile(height, 75, axis=0) > RAISED


def moving_arms(joints: ndarray) -> ndarray:
    """Mask (2,), left and right, of the arms that make the gesture of a motion (T, 22, 3): the raised arms, or else both arms."""
    mask = raised(joints)
    return mask if mask.any() else np.ones_like(mask)


def is_gesture(joints: ndarray) -> bool:
    """Whether a motion (T, 22, 3) is only a gesture: the person stands on the spot and does not crouch or lift a foot.

    If the person turns and raises no arm, the motion is not a gesture, because its action is the turn. If the person raises an arm,
    for example to point, turns are allowed.
    """
    pelvis, ankles = joints[:, PELVIS], joints[:, ANKLES, 1]
    left = across(joints)
    yaw = np.unwrap(np.arctan2(-left[:, 2], left[:, 0]))
    calm = np.ptp(pelvis[:, [0, 2]], axis=0).max() < TRAVEL and np.ptp(pelvis[:, 1]) < RISE
    turns = np.ptp(yaw) > TURN and not raised(joints).any()
    return bool(calm and not turns and (ankles.max() - ankles.min()) < PLANTED)
