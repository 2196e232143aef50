"""The body behind a motion row: loss terms on joints in metres, and a decoder's last layer that keeps bones at their lengths.

A row holds joints that nothing ties together and a root that is known only by its velocities, so a small error in each
number stretches bones, lets feet slide and turns the person away within seconds. Here rows `(B, T, D)` are unnormalised,
the root is integrated (HumanML3D's features, read back) and the joints `(B, T, J, 3)` are compared where people see them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from motion.features import bone_lengths, bones, features_to_joints, skeleton_for
from motion.spec import DatasetSpec
from utils.errors import UserError

STANDING = 0.5  # m/s; a foot slower than this, and low, stands
ANKLE, TOE = 0.10, 0.05  # m; heights below which ankles and toes are low
TINY = 1e-10  # keeps the gradient of a length finite at zero


def joint_count(dim: int) -> int:
    """J of a row of D = 12 J - 1 numbers."""
    return (dim + 1) // 12


def lengths_of(vectors: Tensor) -> Tensor:
    """Lengths (...) of vectors (..., n), with a finite gradient at zero."""
    return (vectors.square().sum(-1) + TINY).sqrt()


class BodyConstraints(nn.Module):
    """What a body cannot do is taken out of normalised rows (B, T, D): bones keep their lengths, feet that stand do not slide.

    Bones: from the root outwards, each joint goes to where its bone ends on the line from its parent, already moved, to the
    predicted place; so errors do not add up along a limb. Feet: the root's velocity changes by what makes the toes that
    stand rest in the world; gates say how much each toe stands. Both are differentiable, so that the decoder learns with
    them. Statistics and lengths are buffers that `fit_` fills.
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
        """Take the statistics (D,) of the rows and the lengths (J,) of the bones, in the dataset's unit."""
        for buffer, values in ((self.mean, mean), (self.std, std), (self.lengths, lengths)):
            buffer.copy_(torch.as_tensor(values))

    def forward(self, rows: Tensor, gates: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """`gates` (B, T, 2): logits of the left and the right toe; None lets feet slide. `mask` (B, T, 1): which rows are valid."""
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
        """The joints 1 to J-1 at their bones' lengths, (B, T, J-1, 3); those equally far from the root in one step."""
        predicted = rows[..., 4 : 4 + 3 * (self.joints - 1)].unflatten(-1, (-1, 3))
        height = rows[..., 3]
        placed = {0: torch.stack((torch.zeros_like(height), height, torch.zeros_like(height)), dim=-1)}
        for generation in self._generations():
            parents = torch.stack([placed[self.skeleton.parents[joint]] for joint in generation], dim=-2)
            way = predicted[..., [joint - 1 for joint in generation], :] - parents
            ends = parents + way / lengths_of(way)[..., None] * self.lengths[generation, None]
            placed.update(zip(generation, ends.unbind(-2)))
        return torch.stack([placed[joint] for joint in range(1, self.joints)], dim=-2)

    def _generations(self) -> list[list[int]]:
        """Joints by how many bones part them from the root, from one on."""
        depth = [0] * self.joints
        for joint, parent in enumerate(self.skeleton.parents[1:], start=1):
            depth[joint] = depth[parent] + 1
        return [[joint for joint in range(self.joints) if depth[joint] == d] for d in range(1, max(depth) + 1)]

    def _planted(self, root: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
        """The root's part (B, T, 4) with the mean velocity of the standing toes, weighted by weights (B, T-1, 2), taken off.

        The root's velocity in row t is told in the heading of row t + 1; the feature for the turn between them is half the angle.
        """
        toes = joints[..., [joint - 1 for joint in self.skeleton.feet[1::2]], :][..., [0, 2]]  # (B, T, 2 toes, xz)
        cos, sin = torch.cos(2 * root[:, :-1, :1]), torch.sin(2 * root[:, :-1, :1])
        x, z = toes[:, :-1].unbind(-1)
        turned = torch.stack((cos * x + sin * z, cos * z - sin * x), dim=-1)
        slide = root[:, :-1, None, 1:3] + toes[:, 1:] - turned  # (B, T-1, 2 toes, xz) in the world, from row to row
        mean = (weights[..., None] * slide).sum(2) / weights.sum(2, keepdim=True).clamp(min=1)
        velocity = torch.cat((root[:, :-1, 1:3] - mean, root[:, -1:, 1:3]), dim=1)
        return torch.cat((root[..., :1], velocity, root[..., 3:]), dim=-1)


def measured_bones(clips, spec: DatasetSpec, most: int = 200) -> np.ndarray:
    """Bone lengths (J,) of a dataset, in its unit: medians over the first frames of `most` clips.

    Raises `UserError` if clips differ by more than 1 %: bones can be rigid only where the dataset has one skeleton.
    """
    chosen = range(0, len(clips), max(1, len(clips) // most))
    joints = features_to_joints(torch.from_numpy(np.stack([clips[i][0] for i in chosen])), spec.num_joints)
    lengths = bone_lengths(joints, skeleton_for(spec.num_joints))  # (clips, J)
    median = lengths.median(0).values
    spread = ((lengths - median).abs()[:, 1:] / median[1:]).max().item()
    if spread > 0.01:
        raise UserError(
            f"--rigid_bones: bones of {spec.root} differ by {100 * spread:.0f} % between clips; build it with one skeleton, or leave it"
        )
    return median.numpy()


class BodyLoss(nn.Module):
    """Loss terms on the joints of normalised rows, each a mean length of differences in metres, m/s or m/s².

    Means of lengths and not of squares, as the metrics are. `mean`, `std` (D,) are the rows' statistics. The terms:

    - `positions`: joints less the root, turned by the integrated heading: what MPJPE measures (MDM's L_pos, Tevet et al.
      2023, eq. 3, on integrated features).
    - `path`: the integrated root.
    - `bones`: lengths of bones.
    - `velocity`, `acceleration`: first and second differences of the joints in the world (MDM's L_vel, eq. 5, and its next
      order).
    - `feet`: horizontal velocity of ankles and toes in frames where those of the target stand (MDM's L_foot, eq. 4), less
      the target's own: captured feet are never quite still.
    """

    TERMS = ("positions", "path", "bones", "velocity", "acceleration", "feet")

    def __init__(self, mean: np.ndarray, std: np.ndarray, spec: DatasetSpec):
        super().__init__()
        self.fps, self.scale = spec.fps, spec.unit_scale
        self.skeleton = skeleton_for(spec.num_joints)
        self.register_buffer("mean", torch.as_tensor(mean), persistent=False)
        self.register_buffer("std", torch.as_tensor(std), persistent=False)

    def forward(self, rows: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Terms by name, of rows and target (B, T, D). `mask` (B, T, 1) is False from each clip's end on."""
        with torch.autocast(rows.device.type, enabled=False):
            joints, truth = self._joints(rows), self._joints(target)
            root, true_root = joints[:, :, :1], truth[:, :, :1]
            velocity, true_velocity = (self.fps * values.diff(dim=1) for values in (joints, truth))  # (B, T-1, J, 3)
            off = velocity - true_velocity
            stands = self._stands(truth, true_velocity)
            lengths, true_lengths = (lengths_of(bones(values, self.skeleton)) for values in (joints, truth))
            values = {
                "positions": lengths_of((joints - root) - (truth - true_root)),
                "path": lengths_of(root - true_root),
                "bones": (lengths - true_lengths).abs(),
                "velocity": lengths_of(off),
                "acceleration": self.fps * lengths_of(off.diff(dim=1)),
            }
            terms = {name: _mean(value, _until(mask, value)) for name, value in values.items()}
            slide = lengths_of(off[:, :, list(self.skeleton.feet)][..., [0, 2]])
            within = _until(mask, slide)
            return {**terms, "feet": _mean(slide, stands if within is None else stands & within)}

    def _joints(self, rows: Tensor) -> Tensor:
        """Joints (B, T, J, 3) in metres."""
        return self.scale * features_to_joints(rows.to(self.std) * self.std + self.mean, self.skeleton.num_joints)

    def _stands(self, joints: Tensor, velocity: Tensor) -> Tensor:
        """(B, T-1, 4) bool: which of left ankle, left toe, right ankle, right toe stand from a frame to the next."""
        feet = list(self.skeleton.feet)
        low = joints[:, :-1, feet, 1] < joints.new_tensor([ANKLE, TOE, ANKLE, TOE])
        return low & (velocity[:, :, feet][..., [0, 2]].norm(dim=-1) < STANDING)


def _until(mask: Tensor | None, values: Tensor) -> Tensor | None:
    """Which differences (B, T - n, …) lie within their clips, by a mask (B, T, 1) of frames."""
    return None if mask is None else mask[:, mask.shape[1] - values.shape[1] :]


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of values (B, T, N) where mask (B, T, N or 1) is True; 0 where it nowhere is."""
    if mask is None:
        return values.mean()
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
