"""Reading of motion files: one function for all formats, with options for units, axes and rates that a file does not state.

Formats: .npy and .npz (arrays.py), .bvh, .amc with its .asf, .glb and .gltf. Every motion is converted to joints (T, 22 or 21, 3)
in metres, Y up, at the frame rate of the file. The reader of each format returns a `Raw`: joints in the file's own unit and axes,
with the unit and up axis if the file states them. Options override what the file states. If neither the options nor the file give
the unit, the unit is estimated from the size of the body. If neither the options nor the file give the up axis, the up axis is
estimated from the stance of the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motion.clip import Motion
from motion.files.arrays import read_array
from motion.files.gltf_reader import read_gltf
from motion.files.mocap import JOINT_MAPS, cmu_fps, map_joints, read_asf_amc, resample
from motion.files.raw import UNITS, Raw, check_size, lies_down, rest_frames, stance, unit_of
from motion.files.text import check_regular
from motion.files.trees import read_tree
from options.files import InputFiles
from utils.errors import UserError, note

SUFFIXES = (".npy", ".npz", ".bvh", ".amc", ".glb", ".gltf")  # suffixes of files that `read_motion` can read
AXES = ("y", "z")
RATES = (1, 1000)  # frames per second
FAR = 1e5  # metres; files with positions beyond this are damaged
UPRIGHT = 0.5  # minimum Y component of `stance` for a standing person, if Y is up


@dataclass(frozen=True)
class InputOptions:
    """Options for reading a motion file; every field overrides the file's header.

    Attributes:
        unit: unit of length: "m", "dm", "cm", "mm", "in", "ft", or "cmu" for CMU's unit of 5.6 cm.
        up: the axis that points up, "y" or "z".
        fps: frames per second.
        skip_frames: frames to skip at the start; None: the frames that show the rest pose.
        asf: skeleton of an .amc; default: the subject's .asf in the same folder.
        smpl: SMPL model file, or folder of such files, for SMPL and AMASS motions.
        sample: index of the motion to read from a file that contains several.
        joint_map: JSON file with a joint map (maps.py), for skeletons that no built-in map fits.
    """

    unit: str | None = None
    up: str | None = None
    fps: float | None = None
    skip_frames: int | None = None
    asf: str | Path | None = None
    smpl: str | Path | None = None
    sample: int = 0
    joint_map: str | Path | None = None

    @classmethod
    def of(cls, config: InputFiles) -> InputOptions:
        """The options given by the command-line flags in `config`."""
        header = config.input_unit, config.input_up, config.input_fps, config.skip_frames
        files = (config.asf or None, config.smpl or None)
        return cls(*header, *files, config.input_sample, config.joint_map or None)


AS_STATED = InputOptions()  # no overrides: the header of the file is used


@dataclass(frozen=True, eq=False, repr=False)
class FileMotion(Motion):
    """A motion from a file, in metres with Y up.

    `unit` and `up` are the unit and the up axis of the file; `file_features` (T, D) are the features of a file that contains
    features, else None.
    """

    unit: str = "m"
    up: str = "y"
    file_features: np.ndarray | None = None


def read_motion(path: str | Path, options: InputOptions = AS_STATED) -> FileMotion:
    """Read the motion in a file as joints in metres, Y up. `options` override what the file states.

    Raises `UserError` if the file is missing, damaged or of unknown format, or if no joint map fits its skeleton.
    """
    path = Path(path)
    raw = read_safely(path, options)
    fps = raw.fps if options.fps is None else options.fps
    if not RATES[0] <= fps <= RATES[1]:
        raise UserError(f"{path}: {fps:.3g} frames per second is not a valid rate; set --input_fps to a rate from 1 to 1000")
    first = skipped_frames(raw, options.skip_frames, path)
    joints, features = raw.joints[first:], None if raw.features is None else raw.features[first:]
    unit = checked(options.unit, tuple(UNITS), "--input_unit") or raw.unit
    up = checked(options.up, AXES, "--input_up") or raw.up or estimated_up(raw, str(path))
    if estimated := unit is None:
        unit = unit_of(joints, str(path), raw.cmu)
    if up == "z":
        joints = joints[..., [0, 2, 1]] * [1, 1, -1]
    joints = joints * UNITS[unit]
    if not (np.abs(joints) < FAR).all():
        raise UserError(f"{path}: holds positions of {np.abs(joints).max():.3g} m, which is not plausible; the file is damaged")
    joints = joints.astype(np.float32)
    if estimated:
        check_size(joints, unit, str(path))
    return FileMotion(joints, fps, unit=unit, up=up, file_features=features)


def read_safely(path: Path, options: InputOptions) -> Raw:
    """Read a motion as `read_raw` does, and raise `UserError` for any exception that a damaged or hostile file causes.

    Code that reads all files of a folder can therefore skip damaged files by handling only `UserError`.
    """
    check_regular(path)
    try:
        return read_raw(path, options)
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: cannot be read ({reason}); the file is damaged or of an unknown format") from error


def skipped_frames(raw: Raw, requested: int | None, path: Path) -> int:
    """Number of frames to skip at the start: `requested` or, if None, those that show the rest pose.

    Raises `UserError` if no frames remain.
    """
    if requested is None:
        if count := rest_frames(raw.joints, raw.rest):
            frames = "frame shows the rest pose and is" if count == 1 else f"{count} frames show the rest pose and are"
            note(f"{path}: the first {frames} skipped; --skip_frames 0 keeps all frames")
        return count
    if not 0 <= requested < len(raw.joints):
        raise UserError(f"--skip_frames {requested}: must be from 0 to {len(raw.joints) - 1} for {path}")
    return requested


def read_raw(path: Path, options: InputOptions) -> Raw:
    """Read the joints of a motion in the file's own unit and axes, with the reader for its suffix."""
    match path.suffix.lower():
        case ".npy" | ".npz":
            return read_array(path, options.smpl, options.sample)
        case ".bvh":
            return read_tree(path, options.joint_map)
        case ".glb" | ".gltf":
            return read_gltf(path, options.joint_map)
        case ".amc":
            names, landmarks, fps = read_asf_amc(options.asf or skeleton_beside(path), path)
            joints = map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path))
            return Raw(joints, fps or cmu_fps(path.stem), unit="m", up="y")
        case suffix:
            raise UserError(f"{path}: motions are read from {', '.join(SUFFIXES)} files, not from '{suffix}'")


def estimated_up(raw: Raw, name: str) -> str:
    """The up axis of a file that does not state it: the axis along which the rest pose stands, or Y if there is no rest pose.

    Prints a note if the person in the motion does not stand along this axis.
    """
    if raw.rest is None:
        if stance(raw.joints)[1] < UPRIGHT:
            note(f"{name}: the head is not above the feet: the person lies, or the file has Z up; if Z is up, set --input_up z")
        return "y"
    up = "z" if lies_down(raw.rest) else "y"
    other = {"y": 2, "z": 1}[up]
    if stance(raw.joints)[other] > 0.8:
        remedy = f"if the person should not lie, set --input_up {AXES[up == 'y']}"
        note(f"{name}: the rest pose stands along {up.upper()}, but the motion does not; {remedy}")
    return up


def checked(value: str | None, choices: tuple[str, ...], flag: str) -> str | None:
    """The value of a flag. Raises `UserError` unless it is one of `choices` or None."""
    if value is not None and value not in choices:
        raise UserError(f"{flag} {value}: choose one of {', '.join(choices)}")
    return value


def checked_rate(fps: float) -> float:
    """The frame rate `fps`. Raises `UserError` unless it is from 1 to 1000."""
    if not RATES[0] <= fps <= RATES[1]:
        raise UserError(f"{fps:g} frames per second: must be from 1 to 1000; --input_fps sets the rate of a file")
    return fps


def at_rate(joints: np.ndarray, fps: float, target: float) -> np.ndarray:
    """Resample joints (T, J, 3) from `fps` to `target` frames per second, in float32. Raises `UserError` for an invalid rate."""
    checked_rate(target)
    if len(joints) < 2 or fps == target:
        return joints
    return np.ascontiguousarray(resample(joints, checked_rate(fps), target), dtype=np.float32)


def skeleton_beside(amc: Path) -> Path:
    """The .asf of the subject in the folder of an .amc, or the only .asf in this folder. Raises `UserError` if there is none."""
    candidates = sorted(path for path in amc.parent.iterdir() if path.suffix.lower() == ".asf")
    words = amc.stem.split("_")  # the first words name the subject: "07" of "07_01", "HDM_bd" of "HDM_bd_squat1Reps_004_120"
    subject = amc.with_name("_".join(words[: 2 if words[0] == "HDM" else 1]) + ".asf")
    if subject not in candidates and len(candidates) != 1:
        raise UserError(f"{amc}: no skeleton {subject.name} in its folder; set --asf FILE")
    return subject if subject in candidates else candidates[0]
