"""Reading and writing of BVH files.

A BVH file contains a tree of joints with offsets, then one line of numbers per frame: the channels of each joint, depth first. The
class `Bvh` contains the tree and the numbers as arrays: J joints over T frames, in the file's own unit, parents before children.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from motion.files.text import read_text
from motion.rotation import euler_to_matrix, matrix_to_euler
from utils.checkpoint import atomic_path
from utils.errors import UserError, note

COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
HIERARCHY = re.compile(r"\s*HIERARCHY\b", re.IGNORECASE)
# Joint names may contain the word MOTION, so the keyword must be on a line of its own or before the number of frames.
MOTION = re.compile(r"^[ \t]*MOTION[ \t]*$|(?<=\s)MOTION(?=\s+Frames\s*:?\s*\d)", re.IGNORECASE | re.MULTILINE)
HEADER = re.compile(r"\s*Frames\s*:?[ \t]*(\S+)[^\n]*?\s+Frame\s*Time\s*:?[ \t]*(\S+)([^\n]*)", re.IGNORECASE)
CHANNEL = re.compile("[xyz](position|rotation|scale)")
CHUNK = 10_000  # frames written at a time
ABSURD = 1e9  # files with larger channel values are damaged
ROTATIONS = 100_000  # rotations converted at a time, to limit memory


@dataclass
class Bvh:
    """The content of a BVH file.

    Attributes:
        names: J joint names, parents before children.
        parents: parent of each joint, -1 for the root.
        offsets: (J, 3) position of each joint relative to its parent in the rest pose.
        positions: (T, J, 3) position of each joint relative to its parent: the values of its position channels or, if the joint has
        no position channels, its offset.
        rotations: (T, J, 3, 3) rotation of each joint in its parent's frame.
        frame_time: seconds between frames.
        end_sites: offsets (3,) of End Sites, which mark the ends of leaf bones, keyed by the index of the joint.
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
        """Frames per second."""
        return 1 / self.frame_time

    def joints(self) -> np.ndarray:
        """Global positions (T, J, 3) of the joints, in the file's unit."""
        return self.landmarks()[1][:, : len(self.names)]

    def landmarks(self) -> tuple[list[str], np.ndarray]:
        """Names and global positions (T, J + E, 3) of the joints, then of the E End Sites, which are named "<joint>_end"."""
        rotations, positions = [], []
        for joint, parent in enumerate(self.parents):
            step, turn = self.positions[:, joint], self.rotations[:, joint]
            rotations.append(turn if parent < 0 else rotations[parent] @ turn)
            positions.append(step if parent < 0 else positions[parent] + np.einsum("tij,tj->ti", rotations[parent], step))
        for joint, offset in self.end_sites.items():
            positions.append(positions[joint] + rotations[joint] @ offset)
        return self.names + [f"{self.names[joint]}_end" for joint in self.end_sites], np.stack(positions, axis=1)


def read_bvh(source: str | Path | TextIO) -> Bvh:
    """Read a BVH file, or an open text stream.

    Joints may have up to 3 rotation channels, up to 3 position channels or both, in any order. Missing rotations are 0.
    Position channels replace the offset. If the file contains several people or motions, only the first one is read, and a note is
    printed. If the header states another number of frames than there are rows, all rows are read, and a note is printed.

    Raises `UserError` for files that are missing, damaged or not BVH, and for numbers that are not finite.
    """
    name, text = read_text(source)
    if "#" in text:
        text = COMMENT.sub("", text)
    start, motion = HIERARCHY.match(text), MOTION.search(text)
    if not start or not motion:
        missing = "MOTION on a line of its own" if start else "HIERARCHY at the start"
        raise UserError(f"{name}: not a BVH file ({missing} expected)")
    header = HEADER.match(text, motion.end())
    if not header:
        line = " ".join(text[motion.end() :].split(maxsplit=6)[:6])
        raise UserError(f"{name}: not a BVH file (Frames and Frame Time expected after MOTION, found '{line}')")
    try:
        bvh, channels = parse_hierarchy(text[start.end() : motion.start()].split())
        frames, bvh.frame_time = number(header[1]), number(header[2])
    except (IndexError, ValueError) as error:
        raise UserError(f"{name}: its HIERARCHY, Frames or Frame Time cannot be parsed ({error})") from None
    if not 0 < bvh.frame_time < np.inf:
        raise UserError(f"{name}: Frame Time is {header[2]}, not a positive number of seconds")
    rows = motion_rows(text, header, sum(map(len, channels)), name)
    del text
    if len(rows) != frames:
        note(f"{name}: its header says {header[1]} frames; all {len(rows)} rows are read")
    channels = first_person(bvh, channels, name)
    pose(bvh, channels, rows)
    return bvh


def number(word: str) -> float:
    """Parse a number with a decimal point or a decimal comma."""
    return float(word.replace(",", "."))


def parse_hierarchy(tokens: list[str]) -> tuple[Bvh, list[list[str]]]:
    """The skeleton of a HIERARCHY block, as a `Bvh` without frames, and the channels of each joint. Raises `ValueError` or
    `IndexError` for invalid content."""
    bvh = Bvh([], [], np.empty(0), np.empty(0), np.empty(0), 0.0)
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_joints: list[int] = []  # from the root to the joint being read
    in_end_site, index = False, 0
    while index < len(tokens):
        word = tokens[index].upper()
        if word in ("ROOT", "JOINT"):
            brace = tokens.index("{", index)
            bvh.names.append(" ".join(tokens[index + 1 : brace]))
            bvh.parents.append(open_joints[-1] if open_joints else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            open_joints.append(len(offsets) - 1)
            index = brace + 1
        elif word == "END":  # End Site {
            in_end_site, index = True, tokens.index("{", index) + 1
        elif word == "OFFSET":
            offset = [number(x) for x in tokens[index + 1 : index + 4]]
            if len(offset) < 3 or not np.isfinite(offset).all():
                raise ValueError(f"OFFSET {' '.join(tokens[index + 1 : index + 4])}")
            if in_end_site:
                bvh.end_sites[open_joints[-1]] = np.array(offset)
            else:
                offsets[open_joints[-1]] = offset
            index += 4
        elif word == "CHANNELS":
            channels[open_joints[-1]] = checked_channels(tokens[index + 1 :][:10])
            index += 2 + len(channels[open_joints[-1]])
        elif word == "}":
            if in_end_site:
                in_end_site = False
            else:
                open_joints.pop()
            index += 1
        else:
            raise ValueError(f"unexpected '{tokens[index][:40]}'")
    if open_joints or not offsets:
        raise ValueError("its braces do not close")
    bvh.offsets = np.array(offsets)
    return bvh, channels


def checked_channels(words: list[str]) -> list[str]:
    """The channel names in `words`: the number of channels, followed by their names. Raises `ValueError` if `words` are invalid."""
    count = int(number(words[0]))
    names = [word.lower() for word in words[1 : 1 + count]] if 0 <= count <= 9 else []
    if not 0 <= count <= 9 or len(names) < count or not all(CHANNEL.fullmatch(name) for name in names):
        raise ValueError(f"CHANNELS {' '.join(words[: 1 + min(max(count, 0), 9)])[:80]}")
    if sum(name.endswith("rotation") for name in names) > 3:
        raise ValueError("more than 3 rotations of a joint")
    return names


def first_person(bvh: Bvh, channels: list[list[str]], name: str) -> list[list[str]]:
    """Remove all joints from `bvh` except those of the first ROOT, and return the channels of the remaining joints."""
    roots = [joint for joint, parent in enumerate(bvh.parents) if parent < 0]
    if len(roots) > 1:
        note(f"{name}: holds {len(roots)} people ({', '.join(bvh.names[root][:40] for root in roots[:5])}); only the first is read")
        bvh.names, bvh.parents, bvh.offsets = (part[: roots[1]] for part in (bvh.names, bvh.parents, bvh.offsets))
        bvh.end_sites = {joint: offset for joint, offset in bvh.end_sites.items() if joint < roots[1]}
    return channels[: len(bvh.names)]


def motion_rows(text: str, header: re.Match, width: int, name: str) -> np.ndarray:
    """The channel values (T, width) after `header`, the match of Frames and Frame Time in the `text` of a BVH file.

    Raises `UserError` if the motion is truncated or damaged.
    """
    start, stop = header.end(), len(text)
    try:  # numbers that follow the frame time on the same line are the first row
        if len(np.array(header[3].split(), dtype=float)) >= width:
            start = header.start(3)
    except ValueError:
        pass
    if second := re.compile(r"^[ \t]*HIERARCHY\b", re.IGNORECASE | re.MULTILINE).search(text, start):
        note(f"{name}: holds several motions, one after the other; only the first motion is read")
        stop = second.start()
    block = text[start:stop]
    if "," in block:
        block = block.replace(",", " " if "." in block else ".")
    values = parsed(block)
    if not width or values is None or len(values) % width or not len(values):
        values = rows_of_lines(block, width, name)
    if not np.isfinite(values).all():
        raise UserError(f"{name}: its motion holds NaN or infinite numbers; export the motion again")
    if np.abs(values).max() > ABSURD:
        largest = f"{np.abs(values).max():.3g}"
        raise UserError(f"{name}: its motion holds {largest}, which is not a valid position or angle; the file is damaged")
    return values.reshape(-1, width)


def parsed(text: str) -> np.ndarray | None:
    """The numbers in a text; None if the text contains anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # np.fromstring warns and stops at anything but numbers
        try:
            return np.fromstring(text, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


def rows_of_lines(block: str, width: int, name: str) -> np.ndarray:
    """The numbers (T · width,) of T lines with `width` numbers each, parsed line by line; an incomplete last line is dropped.

    Raises `UserError` if a line before the last does not have `width` numbers, if the last line contains anything but numbers, or
    if there are no rows.
    """
    rows: list[np.ndarray] = []
    lines = [line for line in block.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        row = parsed(line)
        if row is not None and len(row) == width and width:
            rows.append(row)
            continue
        if row is None or index < len(lines) - 1 or not rows:
            content = "something other than numbers" if row is None else f"{len(row)} numbers"
            reason = f"row {index + 1} of its motion holds {content} where {width} channels are expected"
            raise UserError(f"{name}: {reason}; the file is truncated or damaged")
    if not rows:
        raise UserError(f"{name}: no frames after its header; the file is truncated or damaged")
    return np.concatenate(rows)


def pose(bvh: Bvh, channels: list[list[str]], motion: np.ndarray) -> None:
    """Set the positions (T, J, 3) and rotations (T, J, 3, 3) of `bvh` from the channel values `motion` (T, channels)."""
    bvh.positions = np.tile(bvh.offsets, (len(motion), 1, 1))
    bvh.rotations = np.tile(np.eye(3), (len(motion), len(channels), 1, 1))
    turning: dict[str, list[tuple[int, list[int]]]] = {}  # joints and their columns, keyed by rotation order
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
    for order, joints_and_columns in turning.items():  # joints with the same rotation order are converted together
        size = max(1, ROTATIONS // len(motion))
        for chunk in (joints_and_columns[first : first + size] for first in range(0, len(joints_and_columns), size)):
            joints, columns = map(list, zip(*chunk))
            angles = torch.zeros(len(motion), len(joints), 3, dtype=torch.float64)
            angles[..., : len(order)] = torch.from_numpy(np.deg2rad(motion[:, columns]))  # (T, joints, 1 to 3 rotations)
            bvh.rotations[:, joints] = euler_to_matrix(angles, order.ljust(3, "x")).numpy()


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
    """Write a motion as BVH: 6 channels for the root, 3 for each of the other joints, an End Site on each leaf.

    A BVH file lists joints depth first, so `read_bvh` may return the joints in another order than `names`. Each End Site extends
    a leaf bone by half of the bone's length, or by a tenth if the bone's name ends in "_End". Because of the End Sites, viewers
    draw hands.

    Args:
        names: J joint names without spaces.
        parents: parent of each joint, -1 for joint 0.
        offsets: (J, 3) position of each joint relative to its parent in the rest pose, in the file's unit.
        root: (T, 3) position of joint 0.
        local_rotations: (T, J, 3, 3) rotation of each joint in its parent's frame.
        fps: frames per second.
        order: order of the rotation channels, three different axes; "ZYX" writes Zrotation Yrotation Xrotation.
        moving: (T, 3) position of joint 1 relative to joint 0; if given, joint 1 has 6 channels too.

    Raises `UserError` if positions or rotations are not finite.
    """
    root, local_rotations = np.asarray(root, np.float64), np.asarray(local_rotations, np.float64)
    if not (np.isfinite(root).all() and np.isfinite(local_rotations).all()):
        raise UserError(f"{path}: the motion to write holds NaN or infinite numbers")
    hierarchy, depth_first = hierarchy_lines(names, parents, np.asarray(offsets, np.float64), order, 1 if moving is None else 2)
    angles = np.empty((len(root), len(depth_first), 3))
    for part in chunks_of(len(root)):
        angles[part] = matrix_to_euler(torch.from_numpy(local_rotations[part][:, depth_first]), order).numpy()
    # Unwrap angles. Otherwise, joints would spin where an angle passes 180 degrees, if a player interpolates between frames.
    for joint in range(angles.shape[1]):
        angles[:, joint] = np.rad2deg(np.unwrap(angles[:, joint], axis=0))
    head = ["HIERARCHY", *hierarchy, "MOTION", f"Frames: {len(root)}", f"Frame Time: {1 / fps:.8f}", ""]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("\n".join(head))
        for part in chunks_of(len(root)):
            channels = [root[part], angles[part, 0]]
            if moving is not None:
                channels += [moving[part], angles[part, 1]]
            turns = angles[part, len(channels) // 2 :]
            rows = np.concatenate((*channels, turns.reshape(len(turns), -1)), axis=1)
            row = " ".join(["%.6f"] * rows.shape[1]) + "\n"
            file.write(row * len(rows) % tuple(rows.ravel().tolist()))


def chunks_of(frames: int) -> list[slice]:
    """Consecutive slices of at most 10,000 frames (`CHUNK`) that together cover a motion of `frames` frames."""
    return [slice(first, first + CHUNK) for first in range(0, frames, CHUNK)]


def hierarchy_lines(
    names: Sequence[str], parents: Sequence[int], offsets: np.ndarray, order: str, positioned: int
) -> tuple[list[str], list[int]]:
    """The lines of the HIERARCHY block, and the joint indices in the order of these lines.

    Joints at a depth below `positioned` in the tree (0 for the root) have position channels.
    """
    turns = " ".join(f"{axis.upper()}rotation" for axis in order)
    lines: list[str] = []
    listed: list[int] = []

    def add(joint: int, depth: int) -> None:
        pad, inner = "  " * depth, "  " * (depth + 1)
        listed.append(joint)
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {names[joint]}")
        lines.append(pad + "{")
        lines.append(f"{inner}OFFSET {numbers(offsets[joint])}")
        lines.append(f"{inner}CHANNELS " + (f"3 {turns}" if depth >= positioned else f"6 Xposition Yposition Zposition {turns}"))
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
    """The numbers of a vector as text, with six decimals, separated by spaces."""
    return " ".join(f"{x:.6f}" for x in vector)
