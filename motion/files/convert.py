"""Motion from anywhere, to any format that is written here: python -m motion.files.convert IN OUT.

    python -m motion.files.convert walk.bvh walk.mp4                          # any skeleton that a joint map knows (mocap.py)
    python -m motion.files.convert 07_01.amc walk.glb --fps 30                # CMU; the skeleton 07.asf lies beside it
    python -m motion.files.convert new_joint_vecs/000001.npy walk.bvh         # HumanML3D's features or joints
    python -m motion.files.convert dance.bvh dance.npy --features             # features for the models: 20 fps, uniform skeleton

Read: .npy, .bvh, .amc with its .asf. Every motion becomes joints (T, 22 or 21, 3) in metres, Y up, at its own frame rate.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from motion.clip import Motion
from motion.features import bone_lengths, features_to_joints, joints_to_features, skeleton_for
from motion.files.bvh import Bvh, read_bvh
from motion.files.mocap import JOINT_MAPS, map_joints, read_asf_amc, resample
from motion.ik import check_joints
from motion.skeleton import HUMANML3D, KIT
from motion.spec import SPECS
from utils.checkpoint import atomic_path
from utils.errors import UserError, script

UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "CMU's unit of 5.6 cm": 0.0254 / 0.45}
BODY = 1.6  # metres along the bones from a foot to the head; who is told in another unit is far from it
BODIES = (0.6, 3.0)  # children and giants
CMU_FPS = 120
MODEL_FPS = 20
NAMESPACE = re.compile(r"^(.*:|mixamorig\d*_?)")


@dataclass(frozen=True, eq=False)
class FileMotion(Motion):
    """A motion as it was read, in metres with Y up, and the unit and the up axis of its file."""

    unit: str = "metres"
    up: str = "Y"


def read_motion(path: str | Path, fps: float | None = None, asf: str | Path | None = None) -> tuple[np.ndarray, float]:
    """Joints and frame rate of a motion file.

    A `.npy` holds joints (T, 22 or 21, 3) or features (T, 263 or 251) that are not normalised; a `.bvh` any skeleton that one of
    `JOINT_MAPS` fits, the first that does, with or without Mixamo's prefix. Metres, centimetres and millimetres are told apart by
    the size of the body.

    Args:
        path: .npy, .bvh or .amc.
        fps: frame rate of a file that does not tell it; default: 20 for 22 joints, 12.5 for 21, 120 for .amc.
        asf: skeleton of an .amc; default: the one of its subject beside it, 07.asf for 07_01.amc.

    Returns:
        joints (T, J, 3) float32 in metres, Y up, with J = 22 or 21; frames a second.

    Raises:
        UserError: the file is missing, damaged, of another kind, or of a skeleton that no map fits.
    """
    motion = read(Path(path), fps, asf)
    return motion.joints, motion.fps


def read(path: Path, fps: float | None = None, asf: str | Path | None = None) -> FileMotion:
    """As `read_motion`, and what the file counted in."""
    match path.suffix.lower():
        case ".npy":
            motion = from_array(path)
        case ".bvh":
            return from_bvh(path)
        case ".amc":
            names, landmarks = read_asf_amc(asf or skeleton_beside(path), path)
            motion = FileMotion(map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path)).astype(np.float32), CMU_FPS)
        case suffix:
            raise UserError(f"{path}: motions are read from .npy, .bvh and .amc files, not from '{suffix}'")
    return motion if fps is None else replace(motion, fps=checked_rate(fps))


def checked_rate(fps: float) -> float:
    """Frames a second, as given. Raises `UserError` for what no motion runs at."""
    if not 1 <= fps <= 1000:
        raise UserError(f"{fps:g} frames a second: must be from 1 to 1000")
    return fps


def at_rate(joints: np.ndarray, fps: float, target: float) -> np.ndarray:
    """Joints (T, J, 3) at `fps` frames a second, told at `target`, float32. Raises `UserError` for a rate of no motion."""
    checked_rate(target)
    if len(joints) < 2 or fps == target:
        return joints
    return np.ascontiguousarray(resample(joints, checked_rate(fps), target), dtype=np.float32)


def from_array(path: Path) -> FileMotion:
    """The motion of a `.npy` file: joints, or the features of a dataset."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    shapes = {spec.dim: spec for spec in SPECS.values()}  # by width of the features
    rates = {spec.num_joints: spec.fps for spec in SPECS.values()}
    if array.dtype.kind != "f" or not array.size:
        raise UserError(f"{path}: holds {array.dtype} of shape {array.shape}; expected a motion in floating point")
    if array.ndim == 2 and array.shape[1] in shapes:
        if not np.isfinite(array).all():
            raise UserError(f"{path}: holds NaN or infinite numbers; it is damaged")
        spec = shapes[array.shape[1]]
        joints = features_to_joints(torch.from_numpy(array).double(), spec.num_joints) * spec.unit_scale
        return FileMotion(joints.float().numpy(), spec.fps)
    if array.ndim != 3 or array.shape[1] not in rates or array.shape[2] != 3:
        widths = " or ".join(map(str, shapes))
        counts = " or ".join(map(str, rates))
        raise UserError(f"{path}: of shape {array.shape}; expected joints (T, {counts}, 3) or features (T, {widths})")
    check_joints(array, name=str(path))
    unit = unit_of(array, str(path))
    return FileMotion((array * UNITS[unit]).astype(np.float32), rates[array.shape[1]], unit=unit)


def from_bvh(path: Path) -> FileMotion:
    """The motion of a `.bvh` file."""
    bvh = read_bvh(path)
    names, landmarks = bvh.landmarks()
    names = [NAMESPACE.sub("", name) for name in names]
    maps = (*JOINT_MAPS.values(), KIT.bones)
    joint_map = next((places for places in maps if joints_of(places) <= set(names)), None)
    if joint_map is None:
        known = "JOINT_MAPS in motion/files/mocap.py"
        raise UserError(f"{path}: none of the joint maps fits its joints ({', '.join(names)}); add one to {known}")
    joints = map_joints(names, landmarks, joint_map, str(path))
    unit = unit_of(joints, str(path))
    up = "Z" if lies_down(joints) and lies_down(map_joints(names, rest_landmarks(bvh), joint_map)) else "Y"
    if up == "Z":
        joints = joints[..., [0, 2, 1]] * [1, 1, -1]
    return FileMotion((joints * UNITS[unit]).astype(np.float32), bvh.fps, unit=unit, up=up)


def joints_of(joint_map: tuple) -> set[str]:
    """The names that a joint map needs."""
    return {name for place in joint_map for name in ([place] if isinstance(place, str) else place)}


def rest_landmarks(bvh: Bvh) -> np.ndarray:
    """The landmarks (1, N, 3) of the rest pose."""
    turns = np.tile(np.eye(3), (1, len(bvh.names), 1, 1))
    return Bvh(bvh.names, bvh.parents, bvh.offsets, bvh.offsets[None], turns, bvh.frame_time, bvh.end_sites).landmarks()[1]


def lies_down(joints: np.ndarray) -> bool:
    """Whether joints (T, J, 3) have the head above the feet along Z rather than Y.

    In the rest pose *and* on average over the clip that means a file with Z up, and no person who lies.
    """
    bones = skeleton_for(joints.shape[1]).bones
    head, left, right = (joints[:, bones.index(bone)] for bone in ("Head", "LeftFoot", "RightFoot"))
    up = (head - (left + right) / 2).mean(axis=0)
    return bool(up[2] > 0.8 * np.linalg.norm(up))


def unit_of(joints: np.ndarray, name: str) -> str:
    """Which of `UNITS` joints (T, J, 3) are told in, by the length of the body. Raises `UserError` if none makes it a person's."""
    size = body_size(joints)
    unit = min(UNITS, key=lambda unit: abs(np.log(max(size, 1e-9) * UNITS[unit] / BODY)))
    if not BODIES[0] <= size * UNITS[unit] <= BODIES[1]:
        raise UserError(f"{name}: {size:.3g} units from foot to head are no person in metres, centimetres or millimetres")
    return unit


def body_size(joints: np.ndarray) -> float:
    """Length along the bones from a foot to the head, of joints (T, J, 3): the median over frames."""
    skeleton = skeleton_for(joints.shape[1])
    way = np.sum([skeleton.paths[skeleton.bones.index(bone)] for bone in ("LeftFoot", "Head")], axis=0)  # (J,)
    return float(np.median(bone_lengths(torch.from_numpy(joints), skeleton).numpy() @ way))


def skeleton_beside(amc: Path) -> Path:
    """The .asf in the folder of an .amc: its subject's, or the only one. Raises `UserError` where that is none."""
    there = sorted(amc.parent.glob("*.asf"))
    subject = amc.with_name(amc.stem.partition("_")[0] + ".asf")
    if subject not in there and len(there) != 1:
        raise UserError(f"{amc}: no skeleton {subject.name} beside it; --asf names it")
    return subject if subject in there else there[0]


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
    from motion.files.export import BVH_UNITS, export  # here, for who only reads needs no libraries that draw

    parser = argparse.ArgumentParser(prog="convert", description="A motion file to another format.", allow_abbrev=False)
    parser.add_argument("source", metavar="IN", type=Path, help=".npy (joints or features), .bvh or .amc")
    parser.add_argument("target", metavar="OUT", type=Path, help="file to write; its suffix names the format")
    parser.add_argument("--fps", type=float, help="frames a second of OUT; default: those of IN")
    parser.add_argument("--input_fps", type=float, help="those of an IN that does not tell; default: .npy 20 or 12.5, .amc 120")
    parser.add_argument("--asf", type=Path, help="skeleton of an .amc; default: its subject's, beside it")
    parser.add_argument("--caption", default="", help="text for formats that show one")
    parser.add_argument("--bvh_unit", choices=BVH_UNITS, default="cm", help="unit of a .bvh OUT; default: cm")
    parser.add_argument("--features", action="store_true", help="write features at 20 fps, not joints; OUT is a .npy")
    flags = parser.parse_args(argv)
    if flags.target.resolve() == flags.source.resolve():
        raise UserError(f"{flags.target}: would replace what is being read; give another name")
    motion = read(flags.source, flags.input_fps, flags.asf)
    told = f"{motion.joints.shape[1]} joints, {len(motion.joints)} frames at {motion.fps:g} fps, in {motion.unit}, {motion.up} up"
    print(f"{flags.source}: {told}; {body_size(motion.joints):.2f} m from foot to head")
    if flags.features:
        write_features(flags.target, motion)
    else:
        fps = motion.fps if flags.fps is None else flags.fps
        export(flags.target, at_rate(motion.joints, motion.fps, fps), flags.caption, fps, flags.bvh_unit)
    print(f"written: {flags.target}")


def write_features(path: Path, motion: Motion) -> None:
    """Write a motion's features as `.npy`. Raises `UserError` for another suffix."""
    if path.suffix != ".npy":
        raise UserError(f"{path}: features are written as .npy; give it such a name")
    features = to_features(motion.joints, motion.fps)
    with atomic_path(path) as temporary:
        np.save(temporary, features)


if __name__ == "__main__":
    main()
