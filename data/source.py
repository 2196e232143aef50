"""Read a user's motion as features for the models, and move generated joints to the position and heading of the user's motion.

All formats of motion/files/read.py can be read. Features (T, D) are in the dataset's own units, joints (T, J, 3) in metres.
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
# Bone lengths are close to the dataset's if the sum of their differences is less than this fraction of the sum of the dataset's.
LIKE = 0.1


@dataclass(frozen=True)
class Source:
    """A user's motion that is to be edited, as features (T, D) in the dataset's units and joints (T, J, 3) in metres."""

    features: Tensor
    joints: Tensor

    def place(self, joints: Tensor, frame: int, source_frame: int) -> Tensor:
        """Rotate joints (B, T', J, 3) about the vertical, and translate them, so that their position and heading in frame `frame`
        equal the position and heading of the user's motion in frame `source_frame`."""
        skeleton, target = skeleton_for(joints.shape[2]), self.joints[source_frame].to(joints)
        forward = yaw(joints - joints[:, frame, 0][:, None, None], facing(joints[:, frame], skeleton)[:, None, None])
        inverse = facing(target, skeleton) * joints.new_tensor([-1, 1, 1])  # the mirrored heading gives the opposite rotation
        return yaw(forward, inverse) + target[0]


def read_source(path: str | Path, spec: DatasetSpec, options: InputOptions = AS_STATED) -> Source:
    """Read the motion in a file as features and joints, at the dataset's frame rate.

    If the file contains features and the motion needs no resampling, these features are used unchanged. Otherwise, features are
    computed from the joints. Joints whose bone lengths are close to the dataset's are used unchanged; other joints are retargeted
    to the dataset's bone lengths and to its directions of the bones at pelvis and chest.

    Raises `UserError` if the file is missing or damaged, or if the motion has another skeleton, contains NaN or has fewer than
    `SHORTEST` frames. The error message names the file.
    """
    return source_of(read_motion(path, options), spec, str(path))


def source_of(motion: Motion, spec: DatasetSpec, name: str) -> Source:
    """Convert a motion in memory to features and joints, as `read_source` does for a file. Error messages begin with `name`."""
    joints, features = motion.joints, getattr(motion, "file_features", None)
    if joints.shape[1] != spec.num_joints:
        count = f"{joints.shape[1]} joints, but the weights are for {spec.num_joints} (dataset {spec.name})"
        raise UserError(f"{name}: {count}; use a motion with this skeleton, or choose other weights with --dataset_name and --name")
    joints = torch.from_numpy(at_rate(joints, motion.fps, spec.fps))
    if len(joints) < SHORTEST:
        raise UserError(f"{name}: {len(joints)} frames at {spec.fps:g} fps; {SHORTEST} or more are needed")
    if features is not None and len(joints) == len(features):  # the motion was not resampled
        return Source(torch.from_numpy(features), joints)
    return from_joints(joints, spec)


def from_joints(joints: Tensor, spec: DatasetSpec) -> Source:
    """Compute features of joints (T, J, 3) in metres. Joints with other bone lengths than the dataset's are retargeted first."""
    skeleton = skeleton_for(spec.num_joints)
    similar = skeleton.lengths is None or like_body(joints, skeleton)
    if not similar and skeleton.hubs:
        joints = torch.from_numpy(with_standard_hubs(joints.double().numpy(), skeleton)).to(joints)
    extended = torch.cat((joints, joints[-1:])) / spec.unit_scale  # features of a frame also depend on the next frame
    features, standard = joints_to_features(extended[None], skeleton, uniform=not similar)
    features = features[0]
    for moving in (slice(0, 3), spec.velocities_slice, spec.contacts_slice):
        features[-1, moving] = features[-2, moving]  # because the last frame was repeated, its velocities would be zero
    return Source(features, joints if similar else standard[0, :-1] * spec.unit_scale)


def like_body(joints: Tensor, skeleton: Skeleton) -> bool:
    """Whether the bone lengths of joints (T, J, 3) are close to the bone lengths of the skeleton."""
    expected = torch.tensor(skeleton.lengths)
    return bool((bone_lengths(joints, skeleton).median(0).values - expected).abs().sum() < LIKE * expected.sum())
