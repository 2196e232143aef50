"""Convert motion captures to HumanML3D's 22 joints: read ASF/AMC files, apply joint maps, resample in time.

A joint map defines each of the 22 joints as one joint of the captured skeleton, or as a weighted mean of several. Joint maps do not
change bone lengths; motion/features.py makes the bone lengths uniform later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from motion.files.text import read_text
from motion.rotation import euler_to_matrix
from motion.skeleton import HUMANML3D
from utils.errors import UserError

JointSource = str | Mapping[str, float]  # name of a joint, or weights of several joints by name
INCH = 0.0254  # metres
CMU_FPS, CMU_SLOW_FPS = 120, 60
CMU_SLOW = re.compile(r"(60|61|88)_\d+|90_(08|11)|115_(0[1-9]|10)")  # captures at 60 frames per second

# Entries in the order of HUMANML3D's joints: pelvis, hips, spine1, knees, spine2, ankles, spine3, toes, neck, collars, head,
# shoulders, elbows, wrists; left before right.
JOINT_MAPS: dict[str, tuple[JointSource, ...]] = {
    # Bandai-Namco Research Motiondataset 1 and 2 (BVH, centimetres).
    "bandai": (
        "Hips", "UpperLeg_L", "UpperLeg_R", "Spine", "LowerLeg_L", "LowerLeg_R", {"Spine": 0.4, "Chest": 0.6}, "Foot_L", "Foot_R",
        "Chest", "Toes_L", "Toes_R", "Neck", "Shoulder_L", "Shoulder_R", "Head", "UpperArm_L", "UpperArm_R",
        "LowerArm_L", "LowerArm_R", "Hand_L", "Hand_R",
    ),
    # CMU in ASF/AMC; the name of a bone refers to the joint at the bone's end.
    "cmu_asf": (
        "root", "lhipjoint", "rhipjoint", "lowerback", "lfemur", "rfemur", "upperback", "ltibia", "rtibia",
        {"upperback": 0.4, "thorax": 0.6}, "lfoot", "rfoot", "upperneck", {"thorax": 0.6, "lclavicle": 0.4},
        {"thorax": 0.6, "rclavicle": 0.4}, "head", "lclavicle", "rclavicle", "lhumerus", "rhumerus", "lradius", "rradius",
    ),
    # CMU converted to BVH for Poser's skeleton, whose hip lies below the thighs; landmarks with "_end" are End Sites.
    "cmu_bvh": (
        {"hip": 0.5, "abdomen": 0.5}, "lThigh", "rThigh", "abdomen", "lShin", "rShin", "chest", "lFoot", "rFoot",
        {"chest": 0.75, "neck": 0.25}, "lFoot_end", "rFoot_end", "neck", {"lCollar": 0.6, "lShldr": 0.4},
        {"rCollar": 0.6, "rShldr": 0.4}, "head", "lShldr", "rShldr", "lForeArm", "rForeArm", "lHand", "rHand",
    ),
    # Mixamo's names, which this project also writes. LaFAN1 uses Mixamo's names for all joints except the toes.
    "mixamo": HUMANML3D.bones,
    "lafan1": tuple(bone.replace("ToeBase", "Toe") for bone in HUMANML3D.bones),
    # CMU converted to BVH for MotionBuilder and 3ds Max; each joint lies at the end of the previous bone.
    # Mixamo's characters also have all names of this map, so this map comes after Mixamo's map.
    "cmu_motionbuilder": (
        "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot",
        {"Spine1": 0.4, "Neck": 0.6}, "LeftToeBase", "RightToeBase", "Head", {"Neck": 0.6, "LeftArm": 0.4},
        {"Neck": 0.6, "RightArm": 0.4}, "Head_end", "LeftArm", "RightArm", "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
    ),
}  # fmt: skip


def map_joints(names: Sequence[str], positions: np.ndarray, joint_map: Sequence[JointSource], title: str = "motion") -> np.ndarray:
    """Compute joints (T, 22, 3) from the positions (T, N, 3) of a captured skeleton's landmarks (named points) `names`.

    `joint_map` has one entry per joint: the name of a landmark, or weights of landmarks keyed by name. Raises `UserError`, which
    lists the missing names and calls the motion `title`, if the map needs other landmarks.
    """
    sources = [{source: 1.0} if isinstance(source, str) else source for source in joint_map]
    missing = sorted({name for source in sources for name in source} - set(names))
    if missing:
        raise UserError(f"{title}: no joint called {', '.join(missing)}; its joints are {', '.join(names)}")
    weights = np.zeros((len(sources), len(names)))
    for joint, source in enumerate(sources):
        for name, weight in source.items():
            weights[joint, list(names).index(name)] = weight
    return np.einsum("jn,tnx->tjx", weights, positions)


def resample(positions: np.ndarray, fps: float, target: float = 20.0) -> np.ndarray:
    """Resample positions (T, ..., 3) from `fps` to `target` frames per second.

    If `fps / target` is a whole number n, every n-th frame is taken. Otherwise, a cubic spline interpolates frames, because linear
    interpolation would flatten arcs. For example, CMU's 03_01 is resampled from 30 to 20 frames per second: the spline keeps the
    capture's jerk of 79 m/s³, whereas linear interpolation reduces the jerk to 71 m/s³.
    """
    stride = round(fps / target, 4)  # rounded because BVH headers state 1/30 s as 0.0333333
    if stride.is_integer():
        return positions[:: int(stride)]
    count = int((len(positions) - 1) / stride) + 1
    return CubicSpline(np.arange(len(positions)), positions)(np.arange(count) * stride)


@dataclass
class Bone:
    """A bone of an ASF skeleton: unit rest direction (3,), length, local axes (3, 3), rotation channels, name of the parent."""

    direction: np.ndarray
    length: float
    axes: np.ndarray
    turns: tuple[str, ...]
    parent: str = ""


@dataclass
class Root:
    """The root of an ASF skeleton: the order of its channels, its position (3,), and its orientation (3, 3) at rest."""

    order: tuple[str, ...]
    position: np.ndarray
    axes: np.ndarray


def cmu_fps(name: str) -> int:
    """The frame rate of the CMU capture with this name, such as "90_08"."""
    return CMU_SLOW_FPS if CMU_SLOW.fullmatch(name) else CMU_FPS


def read_asf_amc(asf: str | Path | TextIO, amc: str | Path | TextIO) -> tuple[list[str], np.ndarray, float | None]:
    """Read the landmarks (named points) of a capture from Acclaim's two files, the skeleton `asf` and the motion `amc`.

    Returns:
        names: "root", then the bones. The position of a bone is its far end.
        positions: (T, N, 3) in metres, Y up.
        fps: frames per second if the .amc states the rate; None if it does not, as in CMU's files.

    Raises `UserError` if the files are missing or truncated, contain NaN, or do not belong together.
    """
    name, text = read_text(asf)
    try:
        bones, root, unit = parse_asf(text)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{name}: not an ASF skeleton, or a damaged one ({error})") from None
    name, amc_text = read_text(amc)
    motion = parse_amc(amc_text, name)
    widths = {"root": len(root.order)} | {bone: len(definition.turns) for bone, definition in bones.items() if definition.turns}
    if {bone: values.shape[1] for bone, values in motion.items()} != widths:
        raise UserError(f"{name}: its bones or channels differ from those of the skeleton; give the .asf of the same subject")

    channels = dict(zip(root.order, motion["root"].T))
    rotations = {"root": root.axes @ turns_to_matrices({name: channels[name] for name in root.order if name.startswith("r")})}
    landmarks = {"root": root.position + np.stack([channels[axis] for axis in ("tx", "ty", "tz")], axis=-1)}  # (T, 3)
    for bone, definition in bones.items():
        turn, axes = rotations[definition.parent], definition.axes
        if definition.turns:
            turn = turn @ axes @ turns_to_matrices(dict(zip(definition.turns, motion[bone].T))) @ axes.T
        rotations[bone] = turn
        landmarks[bone] = landmarks[definition.parent] + turn @ (definition.direction * definition.length)
    return list(landmarks), np.stack(list(landmarks.values()), axis=1) * unit, stated_fps(amc_text)


def parse_asf(text: str) -> tuple[dict[str, Bone], Root, float]:
    """Parse an .asf file. Returns the bones, keyed by name, parents first; the root; and the unit of length in metres."""
    parts = re.split("^:", uncommented(text), flags=re.MULTILINE)
    sections = {part.split(None, 1)[0].lower(): part.split("\n", 1)[-1] for part in parts if part.strip()}
    units = {key.lower(): value for key, value in (line.split() for line in sections["units"].splitlines() if line.strip())}
    if units["angle"].lower() != "deg":
        raise ValueError(f"angles in {units['angle']}, expected deg")
    read = {}
    for block in sections["bonedata"].split("begin")[1:]:
        words = keyed_lines(block)
        read[words["name"][0]] = Bone(
            direction=np.array(words["direction"], dtype=float),
            length=float(words["length"][0]),
            axes=rest_axes(words["axis"][:3], words["axis"][3:]),
            turns=tuple(turn.lower() for turn in words.get("dof", [])),
        )
    bones = {}
    if infinite := [name for name, bone in read.items() if not all(map(is_finite, (bone.direction, bone.length, bone.axes)))]:
        raise ValueError(f"bone {infinite[0]} has a number that is infinite or NaN")
    for line in sections["hierarchy"].splitlines():
        parent, *children = line.split() or [""]
        for child in children:
            if parent not in ("root", *bones) or set(read[child].turns) - {"rx", "ry", "rz"}:
                raise ValueError(f"bone {child}")
            bones[child] = read[child]
            bones[child].parent = parent
    scale = float(units["length"])
    if not 0 < scale < np.inf:
        raise ValueError(f"units: length {units['length']}, expected a number above 0")
    return bones, parse_root(sections["root"]), INCH / scale  # CMU's unit of length is 1 inch / `length`


def parse_root(section: str) -> Root:
    """The `:root` section of an .asf file. Raises `ValueError` for wrong channels or numbers that are not finite."""
    words = keyed_lines(section)
    order = tuple(channel.lower() for channel in words["order"])
    if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
        raise ValueError(f"root order {' '.join(order)}")
    position = np.array(words.get("position", (0, 0, 0)), dtype=float)
    axes = rest_axes(words.get("orientation", (0, 0, 0)), words.get("axis", ()))
    if not (is_finite(position) and is_finite(axes)):
        raise ValueError("the root has a number that is infinite or NaN")
    return Root(order, position, axes)


def is_finite(values: np.ndarray | float) -> bool:
    """Whether all values are finite."""
    return bool(np.isfinite(values).all())


def keyed_lines(block: str) -> dict[str, list[str]]:
    """A dictionary with one entry per line of `block`: the first word in lower case → the list of the other words."""
    return {line.split()[0].lower(): line.split()[1:] for line in block.splitlines() if line.strip()}


def rest_axes(angles: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """The rotation matrix (3, 3) of `angles` in degrees about x, y and z, applied in the order of the axes `order`."""
    by_axis = {f"r{axis}": np.array(float(angle)) for axis, angle in zip("xyz", angles, strict=True)}
    letters = "".join(order).lower() or "xyz"
    if sorted(letters) != ["x", "y", "z"]:
        raise ValueError(f"order of axes {letters.upper()}")
    return turns_to_matrices({f"r{axis}": by_axis[f"r{axis}"] for axis in letters})


def uncommented(text: str) -> str:
    """A text without `#` comments and without its byte order mark."""
    return "\n".join(line.partition("#")[0] for line in text.removeprefix("\ufeff").splitlines())


def stated_fps(text: str) -> float | None:
    """The number after `:SAMPLES-PER-SECOND` in an .amc, or None if the .amc has no such line."""
    match = re.search(r"^:SAMPLES-PER-SECOND\s+(\S+)", text, re.MULTILINE | re.IGNORECASE)
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


def parse_amc(text: str, name: str) -> dict[str, np.ndarray]:
    """Parse an .amc file. Returns the channels (T, channels) of each bone, in degrees and units of length.

    Raises a `UserError` with `name` if the file is truncated or damaged.
    """
    lines = [line.split() for line in uncommented(text).splitlines()]
    lines = [words for words in lines if words and not words[0].startswith(":")]
    starts = [index for index, words in enumerate(lines) if len(words) == 1]  # lines that contain only a frame number
    if not starts:
        raise UserError(f"{name}: not an AMC motion (no frames)")
    size = len(lines) - starts[-1] if len(starts) == 1 else starts[1] - starts[0]
    table = np.array([word for words in lines for word in words])
    motion, column = {}, 1
    try:
        table = table.reshape(len(starts), -1)
        for bone, *values in lines[starts[0] + 1 : starts[0] + size]:
            if (table[:, column] != bone).any():
                raise ValueError(f"'{bone}' is not on the same line of each frame")
            motion[bone] = table[:, column + 1 : column + 1 + len(values)].astype(np.float64)
            column += 1 + len(values)
    except ValueError as error:
        raise UserError(f"{name}: its frames do not all have the same layout; the file is truncated or damaged ({error})") from None
    if not all(map(is_finite, motion.values())):
        raise UserError(f"{name}: its motion holds NaN or infinite numbers")
    return motion


def turns_to_matrices(turns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rotations (..., 3, 3) from angles (...) in degrees, keyed by axis (rx, ry or rz) and applied in the order of the keys."""
    example = np.asarray(next(iter(turns.values())))
    order = [*turns, *(turn for turn in ("rx", "ry", "rz") if turn not in turns)]
    angles = np.stack([turns.get(turn, np.zeros_like(example)) for turn in reversed(order)], axis=-1)
    return euler_to_matrix(torch.from_numpy(np.deg2rad(angles)), "".join(turn[1].upper() for turn in reversed(order))).numpy()
