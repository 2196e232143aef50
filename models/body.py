"""Physical constraints and losses for the tokeniser: bone lengths, standing feet, and joints in metres.

HumanML3D's features contain the position of each joint independently of other joints, and the velocities of the root but not its
path. Small errors in the features therefore stretch bones, make feet slide and let the heading drift. `BodyConstraints`, the
decoder's last layer, keeps bone lengths fixed and standing feet still. `BodyLoss` integrates the root's velocities and compares
decoded joints `(B, T, J, 3)` with the target's joints in world space. A row is the feature vector of one frame; rows `(B, T, D)`
are normalised.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from data.store import Clips
from motion.features import bone_lengths, bones, features_to_joints, skeleton_for
from motion.rotation import constant, indices
from motion.spec import DatasetSpec
from utils.errors import UserError

STANDING = 0.5  # m/s; maximum speed of a standing foot
ANKLE, TOE = 0.10, 0.05  # m; maximum heights of a standing foot's ankle and toe
TINY = 1e-10  # keeps the gradient of a length finite at zero


def joint_count(dim: int) -> int:
    """The number of joints J of a feature vector with width D = 12 J - 1."""
    return (dim + 1) // 12


def lengths_of(vectors: Tensor) -> Tensor:
    """Lengths (...) of vectors (..., n), with a finite gradient at zero."""
    return (vectors.square().sum(-1) + TINY).sqrt()


class BodyConstraints(nn.Module):
    """Projects normalised features (B, T, D) onto motions with fixed bone lengths, whose toes do not slide while they stand.

    Bones: joints are corrected from the root outwards. Each joint is placed on the line from the corrected position of its parent
    to its own predicted position, at the bone's length from the parent, so errors do not accumulate along a limb. Feet: the mean
    world velocity of the toes is subtracted from the root's velocity. In this mean, the weight of a toe is the predicted
    probability that the toe stands. Both corrections, of bones and of feet, are differentiable, and the decoder is trained through
    them. `fit_` sets the bone lengths, and the mean and standard deviation with which features are normalised.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.joints = joint_count(dim)
        self.skeleton = skeleton_for(self.joints)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("lengths", torch.ones(self.joints))

    @torch.no_grad()
    def fit_(self, mean: np.ndarray, std: np.ndarray, lengths: np.ndarray) -> None:
        """Set the mean and standard deviation (D,) of the features, and the bone lengths (J,) in the dataset's unit."""
        for buffer, values in ((self.mean, mean), (self.std, std), (self.lengths, lengths)):
            buffer.copy_(torch.as_tensor(values))

    def forward(self, rows: Tensor, gates: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Apply the constraints to normalised features `rows` (B, T, D).

        `gates` (B, T, 2) are the logits of the probabilities that the left and the right toe stand. If `gates` is None, the root
        stays unchanged. `mask` (B, T, 1) is True for valid frames.
        """
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.to(self.std) * self.std + self.mean
            joints = self._rigid(rows)  # (B, T, J-1, 3)
            root = rows[..., :4]
            if gates is not None:
                weights = torch.sigmoid(gates[:, :-1].to(rows))
                root = self._planted(root, joints, weights if mask is None else weights * mask[:, 1:])
            rows = torch.cat((root, joints.flatten(-2), rows[..., 4 + 3 * (self.joints - 1) :]), dim=-1)
            return (rows - self.mean) / self.std

    def _rigid(self, rows: Tensor) -> Tensor:
        """Joint positions (B, T, J-1, 3) with corrected bone lengths, without the root (joint 0), from unnormalised features
        `rows`. All joints at the same depth (see `_generations`) are corrected in one step."""
        predicted = rows[..., 4 : 4 + 3 * (self.joints - 1)].unflatten(-1, (-1, 3))
        height = rows[..., 3]
        placed = {0: torch.stack((torch.zeros_like(height), height, torch.zeros_like(height)), dim=-1)}
        for generation in self._generations():
            parents = torch.stack([placed[self.skeleton.parents[joint]] for joint in generation], dim=-2)
            direction = predicted[..., indices([joint - 1 for joint in generation], rows), :] - parents
            ends = parents + direction / lengths_of(direction)[..., None] * self.lengths[indices(generation, rows)][:, None]
            placed.update(zip(generation, ends.unbind(-2)))
        return torch.stack([placed[joint] for joint in range(1, self.joints)], dim=-2)

    def _generations(self) -> list[list[int]]:
        """Joints grouped by depth, starting at depth 1. A joint's depth is the number of bones between it and the root."""
        depth = [0] * self.joints
        for joint, parent in enumerate(self.skeleton.parents[1:], start=1):
            depth[joint] = depth[parent] + 1
        return [[joint for joint in range(self.joints) if depth[joint] == d] for d in range(1, max(depth) + 1)]

    def _planted(self, root: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
        """Subtract the mean velocity of the toes from the root's velocity; returns the corrected features of the root (B, T, 4).

        The arguments are the root's features `root` (B, T, 4), the positions `joints` (B, T, J-1, 3) of all other joints, and the
        `weights` (B, T-1, 2) of the left and the right toe in the mean.

        In the features, frame t has the root's velocity in coordinates aligned with the heading of frame t + 1, and half the angle
        between the headings of frames t and t + 1.
        """
        toes = joints[..., indices([joint - 1 for joint in self.skeleton.feet[1::2]], joints), :][..., ::2]  # (B, T, 2 toes, xz)
        cos, sin = torch.cos(2 * root[:, :-1, :1]), torch.sin(2 * root[:, :-1, :1])
        x, z = toes[:, :-1].unbind(-1)
        turned = torch.stack((cos * x + sin * z, cos * z - sin * x), dim=-1)
        slide = root[:, :-1, None, 1:3] + toes[:, 1:] - turned  # (B, T-1, 2 toes, xz) world velocity between rows
        mean = (weights[..., None] * slide).sum(2) / weights.sum(2, keepdim=True).clamp(min=1)
        velocity = torch.cat((root[:, :-1, 1:3] - mean, root[:, -1:, 1:3]), dim=1)
        return torch.cat((root[..., :1], velocity, root[..., 3:]), dim=-1)


def measured_bones(clips: Clips, spec: DatasetSpec, max_clips: int = 200) -> np.ndarray:
    """Measure the bone lengths (J,) of a dataset, in the dataset's unit: medians over the first frames of about `max_clips` clips.

    Raises `UserError` if the length of a bone deviates from its median by more than 1 % in any of these clips, because rigid bones
    need a dataset with a single skeleton.
    """
    chosen = range(0, len(clips), max(1, len(clips) // max_clips))
    joints = features_to_joints(torch.from_numpy(np.stack([clips[i][0] for i in chosen])), spec.num_joints)
    lengths = bone_lengths(joints, skeleton_for(spec.num_joints))  # (clips, J)
    median = lengths.median(0).values
    spread = ((lengths - median).abs()[:, 1:] / median[1:]).max().item()
    if spread > 0.01:
        raise UserError(
            f"--rigid_bones: bone lengths differ by {100 * spread:.0f} % between clips of {spec.root}; leave the flag out"
        )
    return median.numpy()


class BodyLoss(nn.Module):
    """Loss terms on the joint positions of normalised features, after MDM's geometric losses (Tevet et al. 2023, eqs. 3 to 5).

    Each term is a mean of Euclidean distances, as MPJPE is, and not a mean of squared distances. `mean` and `std` (D,) are the mean
    and standard deviation with which the features were normalised. The terms are in metres, m/s or m/s²:

    - `positions`: positions of the joints relative to the root, along world axes (MDM's L_pos), as in MPJPE. The features store
      these positions along the root's axes. Before the comparison, the positions are rotated to world axes by the root's heading,
      which is integrated from angular velocities.
    - `path`: the integrated position of the root.
    - `bones`: bone lengths.
    - `velocity`, `acceleration`: first and second differences of the joints in world space (MDM's L_vel, and the same loss
      for second differences).
    - `feet`: horizontal velocity of ankles and toes in frames where the target's foot stands (MDM's L_foot). The velocity is
      measured relative to the velocity of the target's foot, because captured feet are never perfectly still.
    """

    TERMS = ("positions", "path", "bones", "velocity", "acceleration", "feet")

    def __init__(self, mean: np.ndarray, std: np.ndarray, spec: DatasetSpec):
        super().__init__()
        self.fps, self.scale = spec.fps, spec.unit_scale
        self.skeleton = skeleton_for(spec.num_joints)
        self.register_buffer("mean", torch.as_tensor(mean), persistent=False)
        self.register_buffer("std", torch.as_tensor(std), persistent=False)

    def forward(self, rows: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Loss terms, keyed by name, of predicted features `rows` for the true features `target`, both normalised (B, T, D).

        `mask` (B, T, 1) is False at padding.
        """
        with torch.autocast(rows.device.type, enabled=False):
            joints, truth = self._joints(rows), self._joints(target)
            root, true_root = joints[:, :, :1], truth[:, :, :1]
            velocity, true_velocity = (self.fps * values.diff(dim=1) for values in (joints, truth))  # (B, T-1, J, 3)
            error = velocity - true_velocity
            stands = self._stands(truth, true_velocity)
            lengths, true_lengths = (lengths_of(bones(values, self.skeleton)) for values in (joints, truth))
            values = {
                "positions": lengths_of((joints - root) - (truth - true_root)),
                "path": lengths_of(root - true_root),
                "bones": (lengths - true_lengths).abs(),
                "velocity": lengths_of(error),
                "acceleration": self.fps * lengths_of(error.diff(dim=1)),
            }
            terms = {name: masked_mean(value, mask) for name, value in values.items()}
            slide = lengths_of(error[:, :, indices(self.skeleton.feet, error)][..., ::2])
            return {**terms, "feet": masked_mean(slide, stands if mask is None else stands & mask[:, 1:])}

    def _joints(self, rows: Tensor) -> Tensor:
        """Joint positions (B, T, J, 3) in world space, in metres, from normalised features `rows` (B, T, D)."""
        return self.scale * features_to_joints(rows.to(self.std) * self.std + self.mean, self.skeleton.num_joints)

    def _stands(self, joints: Tensor, velocity: Tensor) -> Tensor:
        """A bool mask (B, T-1, 4): whether left ankle, left toe, right ankle and right toe stand between two successive frames.

        `joints` are positions (B, T, J, 3), and `velocity` their velocities (B, T-1, J, 3).
        """
        feet = indices(self.skeleton.feet, joints)
        low = joints[:, :-1, feet, 1] < constant((ANKLE, TOE, ANKLE, TOE), joints)
        return low & (velocity[:, :, feet][..., ::2].norm(dim=-1) < STANDING)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of values (B, T, N) where mask (B, T, N or 1) is True; 0 if the mask is all False.

    If the values are n-th differences over time (B, T - n, N), the last T - n frames of the mask are used.
    """
    if mask is None:
        return values.mean()
    mask = mask[:, mask.shape[1] - values.shape[1] :].expand_as(values)
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
