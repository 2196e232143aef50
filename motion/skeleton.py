"""The two skeletons: 22 joints (HumanML3D, SMPL's body) and 21 joints (KIT-ML), and forward kinematics.

A skeleton consists of chains of joints. Each chain starts at the root or at a joint of an earlier chain. `HUMANML3D.lengths` are
the bone lengths of every processed HumanML3D clip.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Skeleton:
    """Joints, chains and the constants that HumanML3D's feature definition needs.

    Attributes:
        bones: name of each joint, used in BVH files; the names are Mixamo's where Mixamo has the joint.
        chains: joint indices along each limb, parents before children.
        rest: (J, 3) unit direction of the bone that ends in each joint, zero for the root.
        face: right hip, left hip, right shoulder, left shoulder; these joints determine the facing direction.
        feet: left ankle, left toe, right ankle, right toe, in the order of the contact features; in KIT-ML, midfeet replace ankles.
        legs: knee and ankle of one leg. The bones that end in these joints make up the leg length, which scales the root's path.
        contact: a foot is in contact with the floor if its squared displacement between two frames is below this threshold, in the
        square of the dataset's unit.
        lengths: (J,) bone lengths in metres, or None if the dataset has no fixed bone lengths.
        hubs: T-pose directions of the bones that start at pelvis and chest, keyed by bone name without `Left` or `Right`; None if
        they are not known. The direction of a pair of bones is that of the left bone.
    """

    bones: tuple[str, ...]
    chains: tuple[tuple[int, ...], ...]
    rest: tuple[tuple[float, float, float], ...]
    face: tuple[int, int, int, int]
    feet: tuple[int, int, int, int]
    legs: tuple[int, int]
    contact: float
    lengths: tuple[float, ...] | None = None
    hubs: Mapping[str, tuple[float, float, float]] | None = None

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.bones)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of each joint, -1 for the root; a parent's index is always lower than its child's."""
        parent = {child: joint for chain in self.chains for joint, child in pairwise(chain)}
        return tuple(parent.get(joint, -1) for joint in range(self.num_joints))

    @cached_property
    def children(self) -> tuple[list[int], ...]:
        """The children of each joint."""
        return tuple([child for child, parent in enumerate(self.parents) if parent == joint] for joint in range(self.num_joints))

    @cached_property
    def chain_parents(self) -> tuple[int, ...]:
        """For each joint, the reference joint of HumanML3D's local rotation.

        The reference joint is the previous joint in the chain, or the root for the first joint after the start of a chain. The
        reference joints differ from `parents` at the start of the arms: the chains of the arms start at the chest, but the
        rotations of their first joints are relative to the root.
        """
        starts = {chain[1] for chain in self.chains}
        return tuple(0 if joint in starts else max(parent, 0) for joint, parent in enumerate(self.parents))

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """For each joint, its counterpart on the other side of the body; joints on the midline map to themselves."""
        swapped = [re.sub("^(Left|Right)", lambda side: "Right" if side[0] == "Left" else "Left", bone) for bone in self.bones]
        return tuple(self.bones.index(bone) for bone in swapped)

    @cached_property
    def paths(self) -> tuple[tuple[float, ...], ...]:
        """Matrix (J, J): entry (j, k) is 1 if the bone that ends at joint k is on the path from the root to joint j, and else 0."""
        rows = [[0.0] * self.num_joints for _ in self.bones]
        for joint, parent in enumerate(self.parents[1:], start=1):
            rows[joint] = rows[parent].copy()
            rows[joint][joint] = 1.0
        return tuple(map(tuple, rows))

    def offsets(self, lengths: Tensor | None = None) -> Tensor:
        """Rest pose as offsets (J, 3) of each joint from its parent. `lengths` (J,): bone lengths, by default the skeleton's."""
        assert lengths is not None or self.lengths is not None, "this skeleton has no bone lengths"
        lengths = torch.tensor(self.lengths) if lengths is None else lengths
        return torch.tensor(self.rest, dtype=lengths.dtype, device=lengths.device) * lengths[:, None]


UP, DOWN, LEFT, RIGHT, FRONT, NONE = (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, 1), (0, 0, 0)

HUMANML3D = Skeleton(
    bones=(
        "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
        "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
        "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
    ),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    rest=(
        NONE, LEFT, RIGHT, UP, DOWN, DOWN, UP, DOWN, DOWN, UP, FRONT, FRONT, UP, LEFT, RIGHT, FRONT,
        DOWN, DOWN, DOWN, DOWN, DOWN, DOWN,
    ),
    face=(2, 1, 17, 16),
    feet=(7, 10, 8, 11),
    legs=(5, 8),
    contact=0.002,
    lengths=(
        0.0, 0.103074, 0.109883, 0.131568, 0.393623, 0.390188, 0.143190, 0.432433, 0.425644, 0.057365, 0.143382, 0.149419, 0.219360,
        0.137487, 0.143383, 0.103039, 0.131614, 0.122984, 0.256840, 0.263092, 0.266012, 0.269876,
    ),
    hubs={
        "UpLeg": (0.576, -0.798, -0.175), "Spine": (0.0, 0.99, -0.141), "Neck": (0.0, 0.997, -0.073),
        "Shoulder": (0.535, 0.837, -0.115),
    },
)  # fmt: skip

KIT = Skeleton(
    bones=(
        "Hips", "Spine", "Spine1", "Neck", "Head", "RightArm", "RightForeArm", "RightHand", "LeftArm", "LeftForeArm", "LeftHand",
        "RightUpLeg", "RightLeg", "RightFoot", "RightMidFoot", "RightToeBase",
        "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftMidFoot", "LeftToeBase",
    ),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    rest=(
        NONE, UP, UP, UP, UP, LEFT, DOWN, DOWN, RIGHT, DOWN, DOWN, LEFT, DOWN, DOWN, FRONT, FRONT, RIGHT, DOWN, DOWN, FRONT, FRONT,
    ),
    face=(11, 16, 5, 8),
    feet=(19, 20, 14, 15),
    legs=(17, 18),
    contact=0.05,
)  # fmt: skip

SKELETONS = {skeleton.num_joints: skeleton for skeleton in (HUMANML3D, KIT)}


def forward_kinematics(rotations: Tensor, root: Tensor, offsets: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Joint positions of a posed skeleton. As in BVH, the offset of a joint is rotated by its parent's global rotation.

    Args:
        rotations: local rotations (..., J, 3, 3).
        root: position of joint 0, (..., 3).
        offsets: position of each joint relative to its parent in the rest pose, (J, 3) or (..., J, 3).
        parents: index of the parent of each joint, always lower than the joint's; -1 for joint 0.
    """
    global_rotations, joints = [rotations[..., 0, :, :]], [root]
    for joint, parent in enumerate(parents[1:], start=1):
        step = torch.einsum("...ij,...j->...i", global_rotations[parent], offsets[..., joint, :])
        joints.append(joints[parent] + step)
        global_rotations.append(global_rotations[parent] @ rotations[..., joint, :, :])
    return torch.stack(joints, dim=-2)
