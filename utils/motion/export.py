"""A motion to a file, in the format that its suffix names: .npy joints in metres, .bvh skeleton in centimetres, .mp4 video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from utils.checkpoint import atomic_path
from utils.errors import UserError
from utils.motion.bvh import write_bvh
from utils.motion.features import skeleton_for
from utils.motion.ik import check_joints, fit_pose
from utils.motion.render import write_mp4

CENTIMETRES = 100


def export(path: str | Path, joints: np.ndarray, caption: str, fps: float) -> None:
    """Write joints (T, J, 3), metres, Y up, as the suffix of `path` says; folders are made.

    Raises `UserError` for an unknown suffix, for joints that are not finite or of an unknown skeleton, and where nothing can be
    written.
    """
    check_joints(joints, name=Path(path).name)
    match Path(path).suffix:
        case ".npy":
            with atomic_path(path) as temporary:
                np.save(temporary, joints)
        case ".bvh":
            skeleton = skeleton_for(joints.shape[1])
            pose = fit_pose(torch.as_tensor(joints), skeleton)
            root, offsets = (CENTIMETRES * part.numpy() for part in (pose.root, pose.offsets))
            write_bvh(path, skeleton.bones, skeleton.parents, offsets, root, pose.rotations.numpy(), fps)
        case ".mp4":
            write_mp4(path, joints, caption, fps)
        case suffix:
            raise UserError(f"{path}: unknown format '{suffix}'; choose .npy, .bvh or .mp4")
