"""A motion to a file, in the format that its suffix names.

.npy joints in metres, .bvh and .glb animated skeletons, .mp4 and .gif videos, .png contact sheet, .html page.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motion.clip import Motion
from motion.drawing.html import write_html
from motion.drawing.render import contact_sheet, write_video
from motion.features import skeleton_for
from motion.files.bvh import write_bvh
from motion.files.gltf import write_glb
from motion.footlock import lock_feet
from motion.ik import check_joints, fit_pose
from utils.checkpoint import atomic_path
from utils.errors import UserError

BVH_UNITS = {"cm": 100.0, "m": 1.0}  # what a metre is in a BVH file


def export(path: str | Path, joints: np.ndarray, caption: str, fps: float, bvh_unit: str = "cm") -> None:
    """Write joints (T, J, 3), metres, Y up, as the suffix of `path` says; folders are made. `bvh_unit` is one of `BVH_UNITS`.

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
            root, offsets = (BVH_UNITS[bvh_unit] * part.numpy() for part in (pose.root, pose.offsets))
            write_bvh(path, skeleton.bones, skeleton.parents, offsets, root, pose.rotations.numpy(), fps)
        case ".glb":
            write_glb(path, joints, caption, fps)
        case ".mp4" | ".gif":
            write_video(path, [(caption, joints)], fps)
        case ".png":
            contact_sheet(path, [(caption, joints)], fps)
        case ".html":
            write_html(path, [Motion(joints, fps, caption, lock_feet(joints, fps))])
        case suffix:
            raise UserError(f"{path}: unknown format '{suffix}'; choose .npy, .bvh, .glb, .mp4, .gif, .png or .html")
