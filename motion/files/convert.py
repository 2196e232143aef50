"""Convert a motion file to another format: python -m motion.files.convert IN OUT.

    python -m motion.files.convert walk.bvh walk.mp4                          # any skeleton that has a joint map (maps.py)
    python -m motion.files.convert 07_01.amc walk.glb --fps 30                # CMU, with its skeleton 07.asf in the same folder
    python -m motion.files.convert new_joint_vecs/000001.npy walk.bvh         # HumanML3D's features or joints
    python -m motion.files.convert dance.bvh dance.npy --features             # features for the models: 20 fps, uniform skeleton

Input formats: motion/files/read.py; output formats: motion/files/export.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m motion.files.convert")

import numpy as np
import torch

from motion.features import joints_to_features
from motion.files.raw import NAMES, body_size
from motion.files.read import FileMotion, InputOptions, at_rate, read_motion
from motion.ik import check_joints
from motion.skeleton import HUMANML3D
from options.cli import parse
from options.files import Convert
from utils.checkpoint import atomic_path
from utils.errors import UserError, script

MODEL_FPS = 20
DRAWN = (".mp4", ".gif", ".html")
LONGEST_DRAWN = 600  # seconds


def to_features(joints: np.ndarray, fps: float) -> np.ndarray:
    """Convert joints (T, 22, 3) in metres, at any frame rate, to the models' input: features (T', 263), float32, at 20 fps.

    Bone lengths are made uniform; the motion is put on the floor and turned to face +Z at the start. Raises `UserError` if there
    are not 22 joints, if joints are NaN, or if the motion has fewer than two frames at 20 fps.
    """
    check_joints(joints, HUMANML3D.num_joints)
    resampled = at_rate(joints, fps, MODEL_FPS)
    if len(resampled) < 2:
        duration = f"a motion of {len(joints)} frames at {fps:g} fps"
        raise UserError(f"{duration} is too short for features, which need two frames at {MODEL_FPS} fps")
    features, _ = joints_to_features(torch.as_tensor(resampled, dtype=torch.float32)[None], HUMANML3D)
    return features[0].numpy()


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Convert, argv)
    from motion.files.export import OutputOptions, export  # not at the top: `to_features` does not need the drawing libraries

    source, target = Path(config.source), Path(config.target)
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: is the input file itself; give another name")
    motion = part_of(read_motion(source, InputOptions.of(config)), config.start, config.end)
    if target.suffix.lower() in DRAWN and motion.seconds > LONGEST_DRAWN:
        duration = f"the motion lasts {motion.seconds / 60:.0f} minutes, too long to draw"
        raise UserError(f"{target}: {duration}; select at most {LONGEST_DRAWN // 60} minutes with --start and --end (in seconds)")
    summary = f"{len(motion)} frames at {motion.fps:g} fps, in {NAMES[motion.unit]}, {motion.up.upper()} up"
    print(f"{source}: {motion.joints.shape[1]} joints, {summary}; {body_size(motion.joints):.2f} m from foot to head")
    if config.features:
        write_features(target, motion)
    else:
        export(target, motion.joints, config.caption, motion.fps, OutputOptions.of(config))
    print(f"written: {target}")


def part_of(motion: FileMotion, start: float, end: float | None) -> FileMotion:
    """The frames of a motion between two times, in seconds. Raises `UserError` if there are no such frames."""
    first, last = (len(motion) if time is None else time * motion.fps for time in (start, end))
    if not 0 <= first < min(last, len(motion)):
        raise UserError(f"--start {start:g} --end {end}: selects no part of the motion, which lasts {motion.seconds:.1f} seconds")
    frames = slice(round(first), min(len(motion), max(round(last), round(first) + 1)))
    if frames == slice(0, len(motion)):
        return motion
    features = None if motion.file_features is None else motion.file_features[frames]
    return replace(motion, joints=motion.joints[frames], file_features=features)


def write_features(path: Path, motion: FileMotion) -> None:
    """Write a motion's features as `.npy`. Raises `UserError` if the path has another suffix."""
    if path.suffix != ".npy":
        raise UserError(f"{path}: features are written as .npy; change the suffix")
    features = to_features(motion.joints, motion.fps)
    with atomic_path(path) as temporary:
        np.save(temporary, features)


if __name__ == "__main__":
    main()
