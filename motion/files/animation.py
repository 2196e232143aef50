"""Motions as animated skeletons for .bvh, .glb, .fbx and SMPL files: a rest pose, named bones, and a key at every frame.

Joints (T, J, 3) → `Animation` with B bones, parents before children. Lengths are in metres, Y up. Bone 0 is the hips or, if
`RigOptions.root` is "bone", an additional root bone on the floor, which moves along the path. The last bones are leaf bones, which
are not animated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from scipy.interpolate import CubicSpline

from motion.features import facing, skeleton_for
from motion.files.names import ENDS, renamed
from motion.ik import fit_pose
from motion.rest import KINDS, rest_pose, sideless, standing
from motion.rotation import matrixq, qaxis, qmatrix
from utils.errors import UserError

ROOTS = ("keep", "in_place", "bone")
ROOT = "Root"  # name of the root bone
PATH_SMOOTHING = 0.4  # seconds; standard deviation of the Gaussian that separates the path from the sway of the hips
TIPS = {"Head": (0, 0.19, 0), "ToeBase": (0, 0, 0.07)}  # offsets of leaf bones from their parents, metres


@dataclass(frozen=True)
class RigOptions:
    """Options of animated skeletons.

    Attributes:
        skeleton: kind of the rest pose: "standard", "symmetric" or "fitted" (`motion.rest`).
        body: (J, 3) rest pose for the kind "standard", as offsets from parents; None: `motion.rest.standard_rest`.
        fps: frames per second of the file; None: the frame rate of the motion.
        bone_names: naming style of the bones: "mixamo", "mixamorig", "plain" or "unreal".
        root: the bone that moves along the path of the person: the hips ("keep"), none ("in_place") or a root bone ("bone").
        loop: whether the motion is a cycle whose last frame leads into the first.
    """

    skeleton: str = "symmetric"
    body: ndarray | None = None
    fps: float | None = None
    bone_names: str = "mixamo"
    root: str = "keep"
    loop: bool = False


DEFAULT_RIG = RigOptions()


@dataclass(frozen=True)
class Animation:
    """An animated skeleton: names, parents, rest offsets (B, 3) and motion of the bones. The rest pose is on the floor.

    `root` (T, 3) is the position of bone 0; `rotations` (T, B, 3, 3) are relative to the parents. If bone 0 is an additional root
    bone on the floor, bone 1 is the hips, and `moving` (T, 3) is the position of bone 1 relative to bone 0. Otherwise, bone 0 is
    the hips, and `moving` is None.
    """

    names: list[str]
    parents: list[int]
    offsets: ndarray
    root: ndarray
    rotations: ndarray
    fps: float
    moving: ndarray | None = None

    @property
    def rest(self) -> ndarray:
        """Positions (B, 3) of the bones in the rest pose."""
        positions = self.offsets.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                positions[bone] += positions[parent]
        return positions


def z_up(animation: Animation) -> Animation:
    """Rotate rest pose and motion to Z up. The rest pose then faces -Y."""
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    moving = None if animation.moving is None else animation.moving @ turn.T
    return replace(
        animation, offsets=animation.offsets @ turn.T, root=animation.root @ turn.T, moving=moving,
        rotations=turn @ animation.rotations @ turn.T,
    )  # fmt: skip


def animate(joints: ndarray, fps: float, options: RigOptions) -> Animation:
    """Convert joints (T, J, 3) to an animated skeleton. Raises `UserError` if joints are not finite, or if J is not 22 or 21."""
    assert options.skeleton in KINDS and options.root in ROOTS
    skeleton = skeleton_for(joints.shape[1])
    rest = rest_pose(np.asarray(joints, np.float64), skeleton, options.skeleton, options.body)
    pose = fit_pose(torch.as_tensor(joints), skeleton, rest)
    root, rotations = pose.root.double().numpy(), pose.rotations.double().numpy()
    path, yaw = ground_path(joints, fps, options.loop)
    target = fps if options.fps is None else options.fps
    if target != fps and len(root) > 1:
        times = frame_times(len(root), fps, target)
        root, path, yaw, rotations = (resampled(part, fps, times) for part in (root, path, yaw, rotations))

    names, parents, offsets = list(skeleton.bones), list(skeleton.parents), rest.copy()
    offsets[0] = standing(rest, skeleton)[0]
    for joint, bone in enumerate(skeleton.bones):
        if bone in ENDS:
            names.append(ENDS[bone])
            parents.append(joint)
            offsets = np.vstack((offsets, TIPS[sideless(bone)]))
    rotations = np.concatenate((rotations, np.broadcast_to(np.eye(3), (len(root), len(names) - len(skeleton.bones), 3, 3))), axis=1)
    moving = None
    if options.root == "in_place":
        root = root - path + path[:1]
    elif options.root == "bone":
        turn = qmatrix(qaxis("y", torch.from_numpy(yaw))).numpy()  # (T, 3, 3)
        moving = np.einsum("tji,tj->ti", turn, root - path)
        rotations[:, 0] = turn.transpose(0, 2, 1) @ rotations[:, 0]
        rotations = np.concatenate((turn[:, None], rotations), axis=1)
        names, parents = [ROOT, *names], [-1, *(parent + 1 for parent in parents)]
        root, offsets = path, np.vstack((np.zeros(3), offsets))
    names = [name if name == ROOT else renamed(name, options.bone_names) for name in names]
    return Animation(names, parents, offsets, root, rotations, target, moving)


def frame_times(frames: int, fps: float, target: float) -> ndarray:
    """Fractional frame indices that resample `frames` frames from `fps` to `target`. Raises `UserError` for an invalid `target`."""
    if not 1 <= target <= 1000:
        raise UserError(f"--fps {target:g}: must be from 1 to 1000")
    count = int((frames - 1) * target / fps + 1e-6) + 1
    return np.arange(count) * (fps / target)


def resampled(values: ndarray, fps: float, times: ndarray) -> ndarray:
    """Interpolate values (T, D) or rotations (T, B, 3, 3) at fractional frame indices `times`, by cubic splines.

    Rotations are interpolated as quaternions.
    """
    if values.ndim < 4:
        return CubicSpline(np.arange(len(values)), values)(times)
    quaternions = continuous(matrixq(torch.from_numpy(values)).numpy())
    smooth = CubicSpline(np.arange(len(values)), quaternions)(times)
    return qmatrix(torch.from_numpy(smooth / np.linalg.norm(smooth, axis=-1, keepdims=True))).numpy()


def continuous(quaternions: ndarray) -> ndarray:
    """Flip signs of quaternions (T, ..., 4) so that consecutive ones are close; q and -q are the same rotation."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0).cumprod(axis=0)
    return np.concatenate((quaternions[:1], quaternions[1:] * flips[..., None]))


def ground_path(joints: ndarray, fps: float, loop: bool) -> tuple[ndarray, ndarray]:
    """The smoothed path (T, 3) of the hips on the floor, and the smoothed heading (T,), radians from +Z about the vertical."""
    skeleton = skeleton_for(joints.shape[1])
    forward = facing(torch.as_tensor(joints).double(), skeleton).numpy()
    yaw = np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))
    path = joints[:, 0].astype(np.float64) * (1, 0, 1)
    return smoothed(path, PATH_SMOOTHING * fps, loop), smoothed(yaw[:, None], PATH_SMOOTHING * fps, loop)[:, 0]


def smoothed(values: ndarray, deviation: float, loop: bool = False) -> ndarray:
    """Smooth values (T, D) along time by a Gaussian with a standard deviation of `deviation` frames.

    Values that change at a constant rate stay the same, even at the ends. If `loop` is set, the values are treated as one cycle of
    a repeating motion.
    """
    reach = int(3 * deviation) + 1
    if len(values) < 2:
        return values
    if loop:  # repeat the cycle, each time displaced by the distance covered in one cycle
        step = values[-1] - values[0] + (values[1] - values[0] + values[-1] - values[-2]) / 2
        cycles = np.arange(-(reach // len(values)) - 1, reach // len(values) + 2)
        padded = np.concatenate([values + cycle * step for cycle in cycles])
        start = -cycles[0] * len(values)
        padded = padded[start - reach : start + len(values) + reach]
    else:
        padded = np.pad(values, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.stack([np.convolve(column, taps / taps.sum(), mode="valid") for column in padded.T], axis=1)
