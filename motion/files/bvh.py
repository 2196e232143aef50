"""BVH files: read any, write ours.

A BVH file is a tree of joints with offsets, then one line of numbers a frame: for each joint, depth first, its channels.
`Bvh` holds it as arrays: J joints over T frames, in the file's own unit, parents before children.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from motion.rotation import euler_to_matrix, matrix_to_euler
from utils.checkpoint import atomic_path
from utils.errors import UserError

MOTION_HEADER = re.compile(r"\s*Frames:\s*(\d+)\s+Frame Time:\s*(\S+)\s*", re.IGNORECASE)


@dataclass
class Bvh:
    """A motion as its BVH file tells it.

    Attributes:
        names: J joint names, parents before children.
        parents: parent of each joint, -1 for the root.
        offsets: (J, 3) each joint from its parent in the rest pose.
        positions: (T, J, 3) each joint from its parent in each frame: its position channels, or else its offset.
        rotations: (T, J, 3, 3) rotation of each joint in its parent's frame.
        frame_time: seconds between frames.
        end_sites: by joint, the offset (3,) of the End Site that closes its chain.
    """

    names: list[str]
    parents: list[int]
    offsets: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray
    frame_time: float
    end_sites: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        return 1 / self.frame_time

    def joints(self) -> np.ndarray:
        """Global positions (T, J, 3) of the joints, in the file's unit."""
        return self.landmarks()[1][:, : len(self.names)]

    def landmarks(self) -> tuple[list[str], np.ndarray]:
        """Names and global positions (T, J + E, 3) of the joints and, after them, the E End Sites, named "<joint>_end"."""
        turned, placed = [], []
        for joint, parent in enumerate(self.parents):
            step, turn = self.positions[:, joint], self.rotations[:, joint]
            turned.append(turn if parent < 0 else turned[parent] @ turn)
            placed.append(step if parent < 0 else placed[parent] + np.einsum("tij,tj->ti", turned[parent], step))
        for joint, offset in self.end_sites.items():
            placed.append(placed[joint] + turned[joint] @ offset)
        return self.names + [f"{self.names[joint]}_end" for joint in self.end_sites], np.stack(placed, axis=1)


def read_bvh(source: str | Path | TextIO) -> Bvh:
    """Read a BVH file, or an open text stream.

    Joints may have 3 rotation channels, 3 position channels or both, in any order; positions take the place of the offset.

    Raises:
        UserError: the file is missing, is no BVH, is cut short, or holds numbers that are not finite.
    """
    name, text = read_text(source)
    hierarchy, found, motion = text.partition("MOTION")
    header = MOTION_HEADER.match(motion)
    if not hierarchy.lstrip().startswith("HIERARCHY") or not found or not header:
        raise UserError(f"{name}: not a BVH file (HIERARCHY, MOTION, Frames and Frame Time expected)")
    try:
        bvh, channels = parse_hierarchy(hierarchy.split()[1:])
        bvh.frame_time = float(header[2])
    except (IndexError, ValueError) as error:
        raise UserError(f"{name}: its HIERARCHY or Frame Time cannot be understood ({error})") from None
    if not 0 < bvh.frame_time < np.inf:
        raise UserError(f"{name}: Frame Time is {header[2]}, not a positive number of seconds")
    pose(bvh, channels, motion_block(motion[header.end() :], int(header[1]), sum(map(len, channels)), name))
    return bvh


def read_text(source: str | Path | TextIO) -> tuple[str, str]:
    """What to call a file or an open text stream, and its text. Raises `UserError` for a file that cannot be read."""
    if not isinstance(source, (str, Path)):
        return str(getattr(source, "name", "stream")), source.read()
    try:
        return str(source), Path(source).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from None


def parse_hierarchy(tokens: list[str]) -> tuple[Bvh, list[list[str]]]:
    """The rest pose, still without frames, and each joint's channels. Raises `ValueError` or `IndexError` on anything odd."""
    bvh = Bvh([], [], np.empty(0), np.empty(0), np.empty(0), 0.0)
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_joints: list[int] = []  # from the root to the joint being read
    in_end_site, at = False, 0
    while at < len(tokens):
        word = tokens[at].upper()
        if word in ("ROOT", "JOINT"):
            brace = tokens.index("{", at)
            bvh.names.append(" ".join(tokens[at + 1 : brace]))
            bvh.parents.append(open_joints[-1] if open_joints else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            open_joints.append(len(offsets) - 1)
            at = brace + 1
        elif word == "END":  # End Site {
            in_end_site, at = True, tokens.index("{", at) + 1
        elif word == "OFFSET":
            offset = [float(x) for x in tokens[at + 1 : at + 4]]
            if in_end_site:
                bvh.end_sites[open_joints[-1]] = np.array(offset)
            else:
                offsets[open_joints[-1]] = offset
            at += 4
        elif word == "CHANNELS":
            count = int(tokens[at + 1])
            channels[open_joints[-1]] = [channel.lower() for channel in tokens[at + 2 : at + 2 + count]]
            at += 2 + count
        elif word == "}":
            if in_end_site:
                in_end_site = False
            else:
                open_joints.pop()
            at += 1
        else:
            raise ValueError(f"unexpected '{tokens[at]}'")
    if open_joints or not offsets:
        raise ValueError("its braces do not close")
    bvh.offsets = np.array(offsets)
    return bvh, channels


def motion_block(text: str, frames: int, width: int, name: str) -> np.ndarray:
    """The numbers after the header, (T, channels)."""
    try:
        numbers = np.fromstring(text, sep=" ")  # stops early at anything that is no number
    except ValueError:
        numbers = np.empty(0)
    if not frames or len(numbers) != frames * width:
        raise UserError(
            f"{name}: {frames} frames of {width} channels need {frames * width} numbers, {len(numbers)} could be read; "
            "the file is cut short or damaged"
        )
    if not np.isfinite(numbers).all():
        raise UserError(f"{name}: its motion holds NaN or infinite numbers; export it again")
    return numbers.reshape(frames, width)


def pose(bvh: Bvh, channels: list[list[str]], motion: np.ndarray) -> None:
    """Fill in positions (T, J, 3) and rotations (T, J, 3, 3) from the motion block (T, channels)."""
    bvh.positions = np.tile(bvh.offsets, (len(motion), 1, 1))
    bvh.rotations = np.tile(np.eye(3), (len(motion), len(channels), 1, 1))
    turning: dict[str, list[tuple[int, list[int]]]] = {}  # by order of rotation: joints and their three columns
    first = 0
    for joint, names in enumerate(channels):
        columns = range(first, first + len(names))
        first += len(names)
        for column, name in zip(columns, names):
            if name.endswith("position"):
                bvh.positions[:, joint, "xyz".index(name[0])] = motion[:, column]
        turns = [(name[0], column) for column, name in zip(columns, names) if name.endswith("rotation")]
        if turns:
            order, turn_columns = zip(*turns)
            turning.setdefault("".join(order), []).append((joint, list(turn_columns)))
    for order, joints_and_columns in turning.items():  # one conversion for all joints of an order
        joints, columns = map(list, zip(*joints_and_columns))
        angles = torch.from_numpy(np.deg2rad(motion[:, columns]))  # (T, joints, 3)
        bvh.rotations[:, joints] = euler_to_matrix(angles, order).numpy()


def write_bvh(
    path: str | Path,
    names: Sequence[str],
    parents: Sequence[int],
    offsets: np.ndarray,
    root: np.ndarray,
    local_rotations: np.ndarray,
    fps: float,
    order: str = "ZYX",
    moving: np.ndarray | None = None,
) -> None:
    """Write a motion as BVH: 6 channels for the root, 3 for every other joint, an End Site on each leaf.

    A BVH file lists joints depth first, so they may come back in another order than they went in. An End Site carries its
    bone on by half its length, so that viewers draw hands; behind leaf bones named "…_End" by a tenth.

    Args:
        names: J joint names without spaces.
        parents: parent of each joint, -1 for joint 0.
        offsets: (J, 3) each joint from its parent in the rest pose; their unit is the file's.
        root: (T, 3) position of joint 0.
        local_rotations: (T, J, 3, 3) rotation of each joint in its parent's frame.
        fps: frames a second.
        order: axes of the rotation channels, three different ones; "ZYX" writes Zrotation Yrotation Xrotation.
        moving: (T, 3) position of joint 1 from joint 0, which then has 6 channels too.

    Raises:
        UserError: root or rotations are not finite.
    """
    root, local_rotations = np.asarray(root, np.float64), np.asarray(local_rotations, np.float64)
    if not (np.isfinite(root).all() and np.isfinite(local_rotations).all()):
        raise UserError(f"{path}: the motion to write holds NaN or infinite numbers")
    hierarchy, depth_first = hierarchy_lines(names, parents, np.asarray(offsets, np.float64), order, 1 if moving is None else 2)

    angles = matrix_to_euler(torch.from_numpy(local_rotations[:, depth_first]), order).numpy()  # (T, J, 3)
    # A player that interpolates between frames must not spin where an angle passes 180 degrees.
    angles = np.rad2deg(np.unwrap(angles, axis=0))
    places = (root, angles[:, 0]) if moving is None else (root, angles[:, 0], moving, angles[:, 1])
    rows = np.concatenate((*places, angles[:, len(places) // 2 :].reshape(len(root), -1)), axis=1)
    row = " ".join(["%.6f"] * rows.shape[1])
    head = ["HIERARCHY", *hierarchy, "MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    with atomic_path(path) as temporary:
        Path(temporary).write_text("\n".join((*head, "\n".join([row] * len(rows)) % tuple(rows.ravel().tolist()), "")))


def hierarchy_lines(
    names: Sequence[str], parents: Sequence[int], offsets: np.ndarray, order: str, placed: int
) -> tuple[list[str], list[int]]:
    """The lines of the HIERARCHY block, and the joints in the order in which it lists them; the first `placed` have positions."""
    turns = " ".join(f"{axis.upper()}rotation" for axis in order)
    lines: list[str] = []
    listed: list[int] = []

    def add(joint: int, depth: int) -> None:
        pad, inner = "  " * depth, "  " * (depth + 1)
        listed.append(joint)
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {names[joint]}")
        lines.append(pad + "{")
        lines.append(f"{inner}OFFSET {numbers(offsets[joint])}")
        lines.append(f"{inner}CHANNELS " + (f"3 {turns}" if depth >= placed else f"6 Xposition Yposition Zposition {turns}"))
        children = [child for child, parent in enumerate(parents) if parent == joint]
        for child in children:
            add(child, depth + 1)
        if not children:
            end = offsets[joint] / (10 if names[joint].lower().endswith("_end") else 2)
            lines.extend((f"{inner}End Site", inner + "{", f"{inner}  OFFSET {numbers(end)}", inner + "}"))
        lines.append(pad + "}")

    add(0, 0)
    return lines, listed


def numbers(vector: np.ndarray) -> str:
    return " ".join(f"{x:.6f}" for x in vector)
