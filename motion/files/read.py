"""Reading motion files: one entry point for every format, with the same flags for what a file leaves open.

Read: .npy and .npz (arrays.py), .bvh, .amc with its .asf, .glb and .gltf. Every motion becomes joints (T, 22 or 21, 3) in metres,
Y up, at its own frame rate. Each format's reader returns a `Raw`: joints in the file's own unit and axes, and what the file states
about them. `read_motion` then decides, in this order: the flag, what the file states, an estimate from the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motion.clip import Motion
from motion.files.arrays import read_array
from motion.files.gltf_reader import read_gltf
from motion.files.mocap import JOINT_MAPS, cmu_fps, map_joints, read_asf_amc, resample
from motion.files.raw import UNITS, Raw, lies_down, unit_of
from motion.files.trees import read_tree
from utils.errors import UserError

ARRAYS, SCENES = (".npy", ".npz"), (".glb", ".gltf")
SUFFIXES = (*ARRAYS, ".bvh", ".amc", *SCENES)  # of the files that `read_motion` reads
AXES = ("y", "z")


@dataclass(frozen=True)
class InputOptions:
    """What a user says about a motion file; every field wins over the file's header.

    Attributes:
        unit: one of `UNITS`.
        up: the axis that points up, one of `AXES`.
        fps: frames per second.
        skip_frames: frames to leave out at the start, such as a T-pose.
        asf: skeleton of an .amc; default: its subject's, beside it.
        smpl: SMPL model file, or folder of them, that poses SMPL and AMASS motions.
        sample: which motion of a file that holds several.
    """

    unit: str | None = None
    up: str | None = None
    fps: float | None = None
    skip_frames: int = 0
    asf: str | Path | None = None
    smpl: str | Path | None = None
    sample: int = 0


AS_STATED = InputOptions()  # nothing to add to what the file states


@dataclass(frozen=True, eq=False)
class FileMotion(Motion):
    """A motion as it was read, in metres with Y up, and the unit and the up axis of its file.

    `features` (T, D) are those of a file that holds features, in the dataset's own units.
    """

    unit: str = "m"
    up: str = "y"
    features: np.ndarray | None = None


def read_motion(path: str | Path, options: InputOptions = AS_STATED) -> FileMotion:
    """The motion in a file.

    Raises `UserError` if it is missing, damaged, of another kind, or of a skeleton that no joint map fits.
    """
    path = Path(path)
    raw = read_raw(path, options)
    fps = checked_rate(raw.fps if options.fps is None else options.fps)
    joints, features = raw.joints, raw.features
    if options.skip_frames:
        if not 0 < options.skip_frames < len(joints):
            raise UserError(f"--skip_frames {options.skip_frames}: must be from 0 to {len(joints) - 1} for {path}")
        joints = joints[options.skip_frames :]
        features = None if features is None else features[options.skip_frames :]
    unit = checked(options.unit, tuple(UNITS), "--input_unit") or raw.unit or unit_of(joints, str(path))
    up = checked(options.up, AXES, "--input_up") or raw.up or estimated_up(raw)
    if up == "z":
        joints = joints[..., [0, 2, 1]] * [1, 1, -1]
    return FileMotion((joints * UNITS[unit]).astype(np.float32), fps, unit=unit, up=up, features=features)


def read_raw(path: Path, options: InputOptions) -> Raw:
    """The motion in the file's own unit and axes."""
    match path.suffix.lower():
        case ".npy" | ".npz":
            return read_array(path, options.smpl, options.sample)
        case ".bvh":
            return read_tree(path)
        case ".glb" | ".gltf":
            return read_gltf(path)
        case ".amc":
            names, landmarks, fps = read_asf_amc(options.asf or skeleton_beside(path), path)
            joints = map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path))
            return Raw(joints, fps or cmu_fps(path.stem), unit="m", up="y")
        case suffix:
            raise UserError(f"{path}: motions are read from {', '.join(SUFFIXES)} files, not from '{suffix}'")


def estimated_up(raw: Raw) -> str:
    """The axis up of a file that does not state it: Z where both the rest pose and the motion stand along it."""
    return "z" if raw.rest is not None and lies_down(raw.rest) and lies_down(raw.joints) else "y"


def checked(value: str | None, choices: tuple[str, ...], flag: str) -> str | None:
    if value is not None and value not in choices:
        raise UserError(f"{flag} {value}: choose one of {', '.join(choices)}")
    return value


def checked_rate(fps: float) -> float:
    """Frames per second, as given. Raises `UserError` for what no motion runs at."""
    if not 1 <= fps <= 1000:
        raise UserError(f"{fps:g} frames a second: must be from 1 to 1000; --input_fps sets the rate of a file")
    return fps


def at_rate(joints: np.ndarray, fps: float, target: float) -> np.ndarray:
    """Joints (T, J, 3) at `fps` frames per second, resampled to `target`, float32. Raises `UserError` for a rate of no motion."""
    checked_rate(target)
    if len(joints) < 2 or fps == target:
        return joints
    return np.ascontiguousarray(resample(joints, checked_rate(fps), target), dtype=np.float32)


def amc_subject(name: str) -> str:
    """The subject of a capture by its name: "07" of "07_01", "HDM_bd" of "HDM_bd_squat1Reps_004_120"."""
    parts = name.split("_")
    return "_".join(parts[: 2 if parts[0] == "HDM" else 1])


def skeleton_beside(amc: Path) -> Path:
    """The .asf in the folder of an .amc: its subject's, or the only one. Raises `UserError` where that is none."""
    there = sorted(path for path in amc.parent.iterdir() if path.suffix.lower() == ".asf")
    subject = amc.with_name(amc_subject(amc.stem) + ".asf")
    if subject not in there and len(there) != 1:
        raise UserError(f"{amc}: no skeleton {subject.name} beside it; --asf names it")
    return subject if subject in there else there[0]
