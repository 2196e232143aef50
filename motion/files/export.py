"""Writing of motion files, in the format given by the suffix.

Joints: .npy. Animated skeletons: .bvh, .glb, and .fbx (converted by Blender). SMPL rotations in AMASS's layout: .npz. Videos: .mp4
and .gif. Contact sheet: .png. 3D viewer in a web page: .html.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from motion.clip import Motion
from motion.drawing.html import write_html
from motion.drawing.render import contact_sheet, write_video
from motion.files.animation import RigOptions, animate, z_up
from motion.files.bvh import write_bvh
from motion.files.fbx import write_fbx
from motion.files.gltf import write_glb
from motion.files.raw import UNITS
from motion.files.read import at_rate
from motion.files.smpl_writer import write_smpl
from motion.footlock import lock_feet
from motion.ik import check_joints
from options.files import Convert, WrittenFiles
from utils.checkpoint import atomic_path
from utils.errors import UserError

ANIMATED = (".bvh", ".glb", ".npz", ".fbx")  # formats with rotations; their writers resample the rotations
SUFFIXES = (".npy", ".bvh", ".glb", ".npz", ".fbx", ".mp4", ".gif", ".png", ".html")


@dataclass(frozen=True)
class OutputOptions:
    """Options for writing motion files.

    Attributes:
        unit: unit of length in .npy and .bvh files, such as "cm" (`UNITS`); None: metres in .npy, centimetres in .bvh.
        up: up axis of .npy and .bvh files, "y" or "z".
        rig: options of animated skeletons (rest pose, bone names, root); their frame rate `rig.fps` applies to every format.
        smpl: SMPL model file of the body in .npz files; None: the body is the skeleton that `rig` selects.
    """

    unit: str | None = None
    up: str = "y"
    rig: RigOptions = field(default_factory=RigOptions)
    smpl: str | Path | None = None

    @classmethod
    def of(cls, config: WrittenFiles | Convert, body: np.ndarray | None = None) -> OutputOptions:
        """The options given by the command-line flags in `config`; `body` (J, 3) is the rest pose of --skeleton standard."""
        loop = getattr(config, "loop", False)
        rig = RigOptions(config.skeleton, body, config.fps, config.bone_names, config.root, loop)
        return cls(config.unit, config.up, rig, config.smpl or None)


DEFAULT_OUTPUT = OutputOptions()


def export(path: str | Path, joints: np.ndarray, caption: str, fps: float, options: OutputOptions = DEFAULT_OUTPUT) -> None:
    """Write joints (T, J, 3), metres, Y up, in the format given by the suffix of `path`; creates missing folders.

    Raises `UserError` if the suffix is unknown, if joints are not finite, if their number is not 22 or 21, or if the file cannot be
    written.
    """
    check_joints(joints, name=Path(path).name)
    suffix = Path(path).suffix.lower()
    if suffix not in ANIMATED and options.rig.fps is not None:
        joints, fps = at_rate(joints, fps, options.rig.fps), options.rig.fps
    match suffix:
        case ".bvh":
            animation = animate(joints, fps, options.rig)
            animation = z_up(animation) if options.up == "z" else animation
            scale = 1 / UNITS[options.unit or "cm"]
            moving = None if animation.moving is None else scale * animation.moving
            offsets, root = scale * animation.offsets, scale * animation.root
            write_bvh(path, animation.names, animation.parents, offsets, root, animation.rotations, animation.fps, moving=moving)
        case ".glb":
            write_glb(path, joints, caption, fps, options.rig)
        case ".npz":
            write_smpl(path, joints, fps, options.smpl, options.rig)
        case ".fbx":
            write_fbx(path, joints, caption, fps, options.rig)
        case ".npy":
            joints = joints[..., [0, 2, 1]] * np.float32([1, -1, 1]) if options.up == "z" else joints
            joints = joints if options.unit is None else joints / np.float32(UNITS[options.unit])
            with atomic_path(path) as temporary:
                np.save(temporary, joints)
        case ".mp4" | ".gif":
            write_video(path, [(caption, joints)], fps)
        case ".png":
            contact_sheet(path, [(caption, joints)], fps)
        case ".html":
            write_html(path, [Motion(joints, fps, caption, lock_feet(joints, fps))])
        case _:
            raise UserError(f"{path}: unknown format '{suffix}'; choose {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
