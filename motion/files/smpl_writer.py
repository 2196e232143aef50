"""A motion as SMPL-H rotations in AMASS's layout: `poses` (T, 156), `trans` (T, 3), `betas` (16,), `gender`, `mocap_framerate`.

Rotations are computed in closed form from the joints, relative to the rest pose of a body model. Without a body model,
the rest pose is the T-pose that `RigOptions.skeleton` selects (`motion.rest`). The motion is retargeted to this rest pose. The
rotations of fingers, wrists, head and toes are zero, because joint positions do not determine them. `trans` is the position of the
pelvis minus its position in the rest pose. AMASS has Z up: (x, y, z) in this project is (-x, z, y) in AMASS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motion.files.animation import DEFAULT_RIG, RigOptions, frame_times, resampled
from motion.files.smpl import NUM_JOINTS, REST, body_model, note_no_model, uniform_body
from motion.ik import fit_pose, retarget
from motion.rest import offsets_of, rest_pose
from motion.rotation import matrices_to_rotation_vectors
from motion.skeleton import HUMANML3D
from utils.checkpoint import atomic_path
from utils.errors import UserError

WIDTH, SHAPES = 156, 16  # rotation vectors of 52 joints; shape coefficients
TO_AMASS = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])  # this matrix is its own inverse


def write_smpl(
    path: str | Path, joints: np.ndarray, fps: float, smpl: str | Path | None = None, rig: RigOptions = DEFAULT_RIG
) -> None:
    """Write joints (T, 22, 3), metres, Y up, as an `.npz` of SMPL rotations, at the frame rate `rig.fps`, by default `fps`.

    `smpl` is the model file of the body to pose. Without `smpl`, the skeleton that `rig` selects is posed, and its rest joints are
    also written, as `rest_joints` (22, 3). Raises `UserError` if the motion does not have 22 joints.
    """
    if joints.shape[1] != NUM_JOINTS:
        raise UserError(f"{path}: SMPL files hold {NUM_JOINTS} joints, but this motion has {joints.shape[1]} (KIT-ML's skeleton)")
    goal = np.asarray(joints, np.float64)
    if smpl is None:
        body = uniform_body(rest_pose(goal, HUMANML3D, rig.skeleton, rig.body))
        if torch.allclose(body.rest, uniform_body().rest, atol=1e-4):  # metres
            note_no_model()
        rest = body.rest.double().numpy()
    else:
        rest = body_model(smpl).rest.double().numpy()
    offsets = offsets_of(rest, HUMANML3D)
    pose = fit_pose(torch.from_numpy(retarget(goal, HUMANML3D, offsets)), HUMANML3D, offsets)
    root, rotations = pose.root.numpy(), pose.rotations.numpy()
    target = fps if rig.fps is None else rig.fps
    if target != fps and len(root) > 1:
        times = frame_times(len(root), fps, target)
        root, rotations = resampled(root, fps, times), resampled(rotations, fps, times)
    rotations[:, 0] = TO_AMASS @ rotations[:, 0]
    vectors = matrices_to_rotation_vectors(torch.from_numpy(rotations)).flatten(1).numpy()  # (T, 66)
    with atomic_path(path) as temporary, Path(temporary).open("wb") as file:
        np.savez(
            file,
            poses=np.pad(vectors, ((0, 0), (0, WIDTH - vectors.shape[1]))),
            trans=root @ TO_AMASS.T - rest[0],
            betas=np.zeros(SHAPES),
            gender=np.array("neutral"),
            mocap_framerate=np.array(float(target)),
            **({REST: rest.astype(np.float32)} if smpl is None else {}),
        )
