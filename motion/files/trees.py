"""Posed trees of named joints (BVH files, glTF scenes) to the joints of a skeleton: the first joint map that fits decides."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from motion.files.bvh import Bvh, read_bvh
from motion.files.mocap import JOINT_MAPS, map_joints
from motion.files.names import known_names
from motion.files.raw import Raw
from utils.errors import UserError

NAMESPACE = re.compile(r"^(.*:|mixamorig\d*_?)")


def read_tree(path: Path) -> Raw:
    """The motion of a `.bvh` file."""
    return joints_of_tree(read_bvh(path), str(path))


def joints_of_tree(tree: Bvh, name: str) -> Raw:
    """The joints of a posed tree. Raises `UserError`, which lists its joints, if no joint map fits."""
    put_thorax_back(tree)
    names, landmarks = tree.landmarks()
    names = [NAMESPACE.sub("", name) for name in names]
    joint_map = next((places for places in all_maps() if joints_of(places) <= set(names)), None)
    if joint_map is None:
        known = "JOINT_MAPS in motion/files/mocap.py"
        raise UserError(f"{name}: none of the joint maps fits its joints ({', '.join(names)}); add one to {known}")
    rest = map_joints(names, rest_landmarks(tree), joint_map)
    return Raw(map_joints(names, landmarks, joint_map, name), tree.fps, rest=rest)


def all_maps() -> list[tuple]:
    """The joint maps in the order in which they are tried: KIT's names first, for some of the others' are among them."""
    ours = known_names()
    return [*ours[:3], *JOINT_MAPS.values(), *ours[3:]]


def put_thorax_back(tree: Bvh) -> None:
    """Give a tree the thorax bone that CMU's conversions for MotionBuilder and 3ds Max lost.

    In these files neck and shoulders begin where the upper back ends, at Spine1, and the trunk is 12 cm short. The bone is put
    back as long as the upper back, turning with the chest.
    """
    names = [NAMESPACE.sub("", name) for name in tree.names]
    if not {"Spine1", "Neck", "LeftShoulder", "RightShoulder"} <= set(names):
        return
    chest = names.index("Spine1")
    moved = [names.index(name) for name in ("Neck", "LeftShoulder", "RightShoulder")]
    thorax = tree.offsets[chest].copy()
    tiny = 1e-3 * np.linalg.norm(thorax)
    if all(tree.parents[joint] == chest and np.linalg.norm(tree.offsets[joint]) < tiny for joint in moved):
        tree.offsets[moved] += thorax
        tree.positions[:, moved] += thorax


def joints_of(joint_map: tuple) -> set[str]:
    """The names that a joint map needs."""
    return {name for place in joint_map for name in ([place] if isinstance(place, str) else place)}


def rest_landmarks(bvh: Bvh) -> np.ndarray:
    """The landmarks (1, N, 3) of the rest pose."""
    turns = np.tile(np.eye(3), (1, len(bvh.names), 1, 1))
    return Bvh(bvh.names, bvh.parents, bvh.offsets, bvh.offsets[None], turns, bvh.frame_time, bvh.end_sites).landmarks()[1]
