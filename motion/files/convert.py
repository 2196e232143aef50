"""Motion from anywhere, to any format that is written here: python -m motion.files.convert IN OUT.

    python -m motion.files.convert walk.bvh walk.mp4                          # any skeleton that a joint map knows (mocap.py)
    python -m motion.files.convert 07_01.amc walk.glb --fps 30                # CMU; the skeleton 07.asf lies beside it
    python -m motion.files.convert new_joint_vecs/000001.npy walk.bvh         # HumanML3D's features or joints
    python -m motion.files.convert dance.bvh dance.npy --features             # features for the models: 20 fps, uniform skeleton

What can be read: motion/files/read.py; what can be written: motion/files/export.py.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from motion.features import joints_to_features
from motion.files.animation import ROOTS, RigOptions
from motion.files.names import STYLES
from motion.files.raw import NAMES, UNITS, body_size
from motion.files.read import AXES, SUFFIXES, FileMotion, InputOptions, at_rate, checked_rate, read_motion
from motion.ik import check_joints
from motion.rest import KINDS
from motion.skeleton import HUMANML3D
from utils.checkpoint import atomic_path
from utils.errors import Parser, UserError, script

if TYPE_CHECKING:
    from motion.files.export import OutputOptions

MODEL_FPS = 20
DRAWN = (".mp4", ".gif", ".html")
LONGEST_DRAWN = 600  # seconds


def to_features(joints: np.ndarray, fps: float) -> np.ndarray:
    """HumanML3D's features (T', 263) float32 at 20 fps, of joints (T, 22, 3) in metres at any rate: what the models take.

    The skeleton is made uniform, put on the floor and turned to face +Z at the start. Raises `UserError` for other skeletons, NaN
    and motions shorter than two frames of 1/20 s.
    """
    check_joints(joints, HUMANML3D.num_joints)
    told = at_rate(joints, fps, MODEL_FPS)
    if len(told) < 2:
        raise UserError(f"a motion of {len(joints)} frames at {fps:g} fps is too short for features, which need 1/{MODEL_FPS} s")
    features, _ = joints_to_features(torch.as_tensor(told, dtype=torch.float32)[None], HUMANML3D)
    return features[0].numpy()


@script
def main(argv: list[str] | None = None) -> None:
    from motion.files.export import export  # here, for who only reads needs no libraries that draw

    parser = Parser(prog="convert", description="A motion file to another format.", allow_abbrev=False)
    parser.add_argument("source", metavar="IN", type=Path, help=f"motion file to read: {', '.join(SUFFIXES)}")
    parser.add_argument("target", metavar="OUT", type=Path, help="file to write; its suffix names the format")
    add_input_flags(parser)
    parser.add_argument("--start", type=float, default=0.0, help="second of IN to begin at; default: 0")
    parser.add_argument("--end", type=float, help="second of IN to end at; default: its last")
    parser.add_argument("--caption", default="", help="text for formats that show one")
    add_output_flags(parser)
    parser.add_argument("--features", action="store_true", help="write features at 20 fps, not joints; OUT is a .npy")
    flags = parser.parse_args(argv)
    if flags.target.resolve() == flags.source.resolve():
        raise UserError(f"{flags.target}: would replace what is being read; give another name")
    motion = part_of(read_motion(flags.source, input_options(flags)), flags.start, flags.end)
    if flags.target.suffix.lower() in DRAWN and motion.seconds > LONGEST_DRAWN:
        minutes = f"{motion.seconds / 60:.0f} minutes of motion take long to draw"
        raise UserError(f"{flags.target}: {minutes}; --start and --end, in seconds, choose at most {LONGEST_DRAWN // 60} minutes")
    facts = f"{len(motion)} frames at {motion.fps:g} fps, in {NAMES[motion.unit]}, {motion.up.upper()} up"
    print(f"{flags.source}: {motion.joints.shape[1]} joints, {facts}; {body_size(motion.joints):.2f} m from foot to head")
    if flags.features:
        write_features(flags.target, motion)
    else:
        export(flags.target, motion.joints, flags.caption, motion.fps, output_options(flags))
    print(f"written: {flags.target}")


def part_of(motion: FileMotion, start: float, end: float | None) -> FileMotion:
    """The frames of a motion between two times, in seconds. Raises `UserError` if there are none."""
    first, last = (len(motion) if time is None else time * motion.fps for time in (start, end))
    if not 0 <= first < min(last, len(motion)):
        raise UserError(f"--start {start:g} --end {end}: no part of a motion of {motion.seconds:.1f} seconds")
    frames = slice(round(first), min(len(motion), max(round(last), round(first) + 1)))
    if frames == slice(0, len(motion)):
        return motion
    features = None if motion.features is None else motion.features[frames]
    return replace(motion, joints=motion.joints[frames], features=features)


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that become `InputOptions`."""
    parser.add_argument("--input_unit", choices=UNITS, help="unit of IN; default: as IN states it, else estimated from the body")
    parser.add_argument("--input_up", choices=AXES, help="axis that points up in IN; default: as IN states it, else estimated")
    parser.add_argument("--input_fps", type=float, help="frames per second of IN; default: its header; .npy 20 or 12.5, .amc 120")
    parser.add_argument("--skip_frames", type=int, help="frames to leave out at the start of IN; default: those in the rest pose")
    parser.add_argument("--input_sample", "--sample", type=int, default=0, help="which of several motions in IN; default: 0")
    parser.add_argument("--asf", type=Path, help="skeleton of an .amc; default: its subject's, beside it")
    parser.add_argument("--joint_map", type=Path, help="JSON file that names the joints of an IN whose skeleton is not known")
    parser.add_argument("--smpl", type=Path, help="SMPL model file for SMPL and AMASS motions; default: a uniform T-pose")


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that become `OutputOptions`."""
    parser.add_argument("--fps", type=float, help="frames per second of OUT, such as 24, 30 or 60; default: those of IN")
    parser.add_argument("--unit", "--bvh_unit", choices=UNITS, help="unit of a .bvh or .npy OUT; default: cm in .bvh, m in .npy")
    parser.add_argument("--up", choices=AXES, default="y", help="axis that points up in a .bvh or .npy OUT; default: y")
    parser.add_argument(
        "--skeleton", choices=KINDS, default="symmetric",
        help="bones of an animated OUT: those of HumanML3D, IN's with left and right averaged, or IN's own; default: symmetric",
    )  # fmt: skip
    parser.add_argument("--bone_names", choices=STYLES, default="mixamo", help="names of the bones of OUT; default: mixamo")
    parser.add_argument(
        "--root", choices=ROOTS, default="keep",
        help="what carries the path over the floor: the hips, nothing, or a root bone; default: keep (the hips)",
    )  # fmt: skip


def output_options(flags: argparse.Namespace) -> OutputOptions:
    from motion.files.export import OutputOptions

    if flags.fps is not None:
        checked_rate(flags.fps)
    rig = RigOptions(flags.skeleton, fps=flags.fps, bone_names=flags.bone_names, root=flags.root)
    return OutputOptions(flags.unit, flags.up, rig, flags.smpl)


def input_options(flags: argparse.Namespace) -> InputOptions:
    return InputOptions(
        flags.input_unit, flags.input_up, flags.input_fps, flags.skip_frames, flags.asf, flags.smpl, flags.input_sample,
        flags.joint_map,
    )


def write_features(path: Path, motion: FileMotion) -> None:
    """Write a motion's features as `.npy`. Raises `UserError` for another suffix."""
    if path.suffix != ".npy":
        raise UserError(f"{path}: features are written as .npy; give it such a name")
    features = to_features(motion.joints, motion.fps)
    with atomic_path(path) as temporary:
        np.save(temporary, features)


if __name__ == "__main__":
    main()
