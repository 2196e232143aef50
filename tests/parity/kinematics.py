"""Outputs of the released motion processing: features of joints, joints of features, inverse kinematics; 22 and 21 joints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from motion.features import (
    bone_lengths,
    features_to_joints,
    joints_to_features,
    local_rotations,
    recover_root,
    root_forward,
    uniform_skeleton,
)
from motion.skeleton import HUMANML3D, KIT, Skeleton
from tests.posed import features_to_posed_joints


def rotations(joints: Tensor, skeleton: Skeleton, smooth: bool = False) -> Tensor:
    return local_rotations(joints, root_forward(joints, skeleton, smooth), skeleton)


def outputs(inputs: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    offsets, kit_offsets = inputs["tgt_offsets"], inputs["kit_tgt_offsets"]
    clips = [name.removeprefix("joints_") for name in inputs if name.startswith("joints_")]
    recompute = {
        f"{output}_{clip}": function
        for clip in clips
        for output, function in of_joints(inputs[f"joints_{clip}"], HUMANML3D, offsets).items()
    }
    kit = of_joints(inputs["kit_joints"], KIT, kit_offsets)
    random, example = inputs["kit_features_random"], inputs["ex000612"]
    return recompute | {
        "kit_features": kit["features"],
        "kit_global": kit["global"],
        "kit_ric": lambda: features_to_joints(random, KIT.num_joints),
        "kit_rot": lambda: features_to_posed_joints(random, KIT, kit_offsets),
        "ex_ric": lambda: features_to_joints(example, HUMANML3D.num_joints),
        "ex_rot": lambda: features_to_posed_joints(example, HUMANML3D, offsets),
        "h3d_ric": lambda: features_to_joints(inputs["h3d_vecs"], HUMANML3D.num_joints),
        "h3d_features": of_joints(inputs["h3d_joints"], HUMANML3D, offsets)["features"],
    }


def of_joints(joints: Tensor, skeleton: Skeleton, offsets: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Everything the fixtures say of one clip's raw joints (T, J, 3), with target bones `offsets` (J, 3)."""
    lengths = offsets.norm(dim=-1)

    def features() -> Tensor:
        return joints_to_features(joints[None], skeleton, bone_lengths=lengths)[0][0]

    return {
        "features": features,
        "global": lambda: joints_to_features(joints[None], skeleton, bone_lengths=lengths)[1][0],
        "uniform": lambda: uniform_skeleton(joints, skeleton, lengths),
        "ric": lambda: features_to_joints(features(), skeleton.num_joints),
        "rot": lambda: features_to_posed_joints(features(), skeleton, offsets),
        "ik_quat": partial(rotations, joints, skeleton),
        "ik_quat_smooth": partial(rotations, joints, skeleton, smooth=True),
        "root_quat": lambda: recover_root(features())[0],
        "root_pos": lambda: recover_root(features())[1],
        "offsets": lambda: skeleton.offsets(bone_lengths(joints[0], skeleton)),
    }
