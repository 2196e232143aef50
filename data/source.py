"""A user's motion as features for the models, with its original position and heading.

Files: .npy of joints (T, J, 3) or features (T, D), or any format of motion/files/read.py. Features (T, D) are in the dataset's
own units, joints (T, J, 3) in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from motion.clip import Motion
from motion.features import bone_lengths, facing, joints_to_features, skeleton_for
from motion.files.read import AS_STATED, InputOptions, at_rate, read_motion
from motion.ik import with_standard_hubs
from motion.rotation import yaw
from motion.skeleton import Skeleton
from motion.spec import DatasetSpec
from utils.errors import UserError

SHORTEST = 8  # frames
LIKE = 0.1  # how much the bones of a body may differ in sum from the dataset's, and still be taken as they are


@dataclass(frozen=True)
class Source:
    """A motion as features (T, D), and its joints (T, J, 3) if the file has them."""

    features: Tensor
    joints: Tensor

    def place(self, joints: Tensor, frame: int, own: int) -> Tensor:
        """Joints (B, T', J, 3), rotated about the vertical and moved so that `frame` has the position and heading of frame `own` of
        the source."""
        skeleton, ours = skeleton_for(joints.shape[2]), self.joints[own].to(joints)
        ahead = yaw(joints - joints[:, frame, 0][:, None, None], facing(joints[:, frame], skeleton)[:, None, None])
        back = facing(ours, skeleton) * joints.new_tensor([-1, 1, 1])  # the opposite turn
        return yaw(ahead, back) + ours[0]


def read_source(path: str | Path, spec: DatasetSpec, options: InputOptions = AS_STATED) -> Source:
    """The motion in a file, at the dataset's frame rate.

    Features are used unchanged, and so are joints whose bone lengths are about the dataset's. Other bodies are retargeted to the
    dataset's bone lengths, pelvis and chest.
    Raises `UserError`, naming the file, if it is missing, damaged, of another skeleton, holds NaN or is shorter than `SHORTEST`.
    """
    return source_of(read_motion(path, options), spec, str(path))


def source_of(motion: Motion, spec: DatasetSpec, name: str) -> Source:
    """`read_source` for a motion in memory; errors call it `name`."""
    joints, features = motion.joints, getattr(motion, "file_features", None)
    if joints.shape[1] != spec.num_joints:
        count = f"{joints.shape[1]} joints, but the weights are for {spec.num_joints} (dataset {spec.name})"
        raise UserError(f"{name}: {count}; give a motion of that skeleton, or weights of another with --dataset_name and --name")
    joints = torch.from_numpy(at_rate(joints, motion.fps, spec.fps))
    if len(joints) < SHORTEST:
        raise UserError(f"{name}: {len(joints)} frames at {spec.fps:g} a second; {SHORTEST} or more are needed")
    if features is not None and len(joints) == len(features):  # as they are, unless the rate was changed
        return Source(torch.from_numpy(features), joints)
    return from_joints(joints, spec)


def from_joints(joints: Tensor, spec: DatasetSpec) -> Source:
    """The source for joints (T, J, 3) in metres."""
    skeleton = skeleton_for(spec.num_joints)
    alike = skeleton.lengths is None or like_body(joints, skeleton)
    if not alike and skeleton.hubs:
        joints = torch.from_numpy(with_standard_hubs(joints.double().numpy(), skeleton)).to(joints)
    held = torch.cat((joints, joints[-1:])) / spec.unit_scale  # one row of features describes two frames
    features, standard = joints_to_features(held[None], skeleton, uniform=not alike)
    features = features[0]
    for moving in (slice(0, 3), spec.velocities_slice, spec.contacts_slice):
        features[-1, moving] = features[-2, moving]  # it did not halt in the last frame: its file ended
    return Source(features, joints if alike else standard[0, :-1] * spec.unit_scale)


def like_body(joints: Tensor, skeleton: Skeleton) -> bool:
    """Whether the bone lengths of joints (T, J, 3) are about those of the skeleton."""
    usual = torch.tensor(skeleton.lengths)
    return bool((bone_lengths(joints, skeleton).median(0).values - usual).abs().sum() < LIKE * usual.sum())
