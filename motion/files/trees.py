"""From the joint trees of BVH files and glTF scenes to 22 or 21 joints, with a joint map from the user or a built-in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from motion.files.bvh import Bvh, read_bvh
from motion.files.maps import CMU, find_map, joints_of, read_map
from motion.files.mocap import map_joints
from motion.files.raw import Raw
from utils.errors import UserError

SHOWN = 12  # number of joints that an error message lists


def read_tree(path: Path, joint_map: str | Path | None = None) -> Raw:
    """Read the motion in a `.bvh` file as 22 or 21 joints. They are defined by the JSON file `joint_map` or by a built-in map."""
    return joints_of_tree(read_bvh(path), str(path), joint_map)


def joints_of_tree(tree: Bvh, name: str, joint_map: str | Path | None = None) -> Raw:
    """Compute 22 or 21 joints from a posed joint tree, by the joint map in the JSON file `joint_map` or a built-in map.

    Raises `UserError` with `name` and a list of the tree's joints if no joint map fits.
    """
    restore_thorax(tree)
    names, landmarks = tree.landmarks()
    if joint_map is not None:
        title, sources = str(joint_map), read_map(joint_map)
        if missing := [joint for joint in joints_of(sources) if joint not in names]:
            raise UserError(f"--joint_map {joint_map}: {name} has no joint {', '.join(missing[:5])}, only {listed(names)}")
    elif match := find_map(names):
        title, sources = match
    else:
        remedy = 'map them with --joint_map FILE.json: {"Hips": "pelvis", "LeftUpLeg": "thigh_l", …}'
        raise UserError(f"{name}: none of the joint maps fits its joints ({listed(names)}); {remedy}")
    rest = map_joints(names, rest_landmarks(tree), sources)
    return Raw(map_joints(names, landmarks, sources, name), tree.fps, rest=rest, cmu=title in CMU)


def listed(names: list[str]) -> str:
    """The first 12 names (`SHOWN`) on one line, each shortened to 32 characters, and the number of further names."""
    shown = ", ".join(name[:32] for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def restore_thorax(tree: Bvh) -> None:
    """Add to `tree` the thorax that is missing in CMU's captures converted for MotionBuilder and 3ds Max.

    In these files, neck and shoulders start at Spine1, the end of the upper back, so the trunk is 12 cm too short. The added thorax
    is as long as the upper back and rotates with the joint Spine1.
    """
    names = [name.rpartition(":")[2] for name in tree.names]
    if not {"Spine1", "Neck", "LeftShoulder", "RightShoulder"} <= set(names):
        return
    chest = names.index("Spine1")
    moved = [names.index(name) for name in ("Neck", "LeftShoulder", "RightShoulder")]
    thorax = tree.offsets[chest].copy()
    tiny = 1e-3 * np.linalg.norm(thorax)
    if all(tree.parents[joint] == chest and np.linalg.norm(tree.offsets[joint]) < tiny for joint in moved):
        tree.offsets[moved] += thorax
        tree.positions[:, moved] += thorax


def rest_landmarks(bvh: Bvh) -> np.ndarray:
    """Positions (1, N, 3) of the joints, then of the End Sites, in the rest pose."""
    turns = np.tile(np.eye(3), (1, len(bvh.names), 1, 1))
    return Bvh(bvh.names, bvh.parents, bvh.offsets, bvh.offsets[None], turns, bvh.frame_time, bvh.end_sites).landmarks()[1]
