"""Reconstructions of a split by a tokeniser, and their metrics, for validation and for eval_t2m_vq.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from data.balance import read_actions
from data.store import Clips, Normaliser
from evaluation.metrics.motion import mpjpe
from evaluation.metrics.physical import foot_peaks, path_error, physical_metrics, toe_contacts
from models.layers import valid_mask
from models.quantize import perplexity
from models.vqvae import MotionTokeniser, frame_mask
from motion.features import features_to_joints
from motion.spec import DatasetSpec
from utils.errors import UserError

PATH_SECONDS = 5.0  # time at which the error of the root position is measured


class Reconstruction(NamedTuple):
    """A batch of clips and their reconstructions, cut to whole tokens. Beyond `lengths`, motions are 0 and codes are -1."""

    motion: Tensor  # (B, T, D), normalised
    codes: Tensor  # (B, L, Q)
    decoded: Tensor  # (B, T, D), normalised
    lengths: Tensor  # (B,) frames
    index: Tensor  # (B,) index of each clip in the split


@torch.no_grad()
def reconstructions(tokeniser: MotionTokeniser, clips: Clips, normaliser: Normaliser) -> Iterator[Reconstruction]:
    """Reconstruct every clip that has at least one token, in padded batches on the tokeniser's device."""
    device = next(tokeniser.parameters()).device
    for batch in clips.batches(normaliser):
        lengths = batch["lengths"] // tokeniser.stride * tokeniser.stride
        usable = lengths > 0
        if not usable.any():
            continue
        motion, lengths = batch["motion"][usable].to(device), lengths[usable].to(device)
        motion = motion[:, : int(batch["lengths"].max()) // tokeniser.stride * tokeniser.stride]
        motion = motion * frame_mask(lengths, motion.shape[1])
        codes = tokeniser.encode(motion, lengths)
        yield Reconstruction(motion, codes, tokeniser.decode(codes, lengths), lengths, batch["index"][usable])


def reconstructor(tokeniser: MotionTokeniser, normaliser: Normaliser) -> Callable[[Tensor, Tensor, list[str]], Tensor]:
    """Return a function that reconstructs features (B, T, D) in the dataset's units, with lengths (B,). The function returns the
    reconstructions on the CPU.

    The function also takes captions, like other functions that `evaluation.protocol` evaluates, but ignores them.
    """
    device = next(tokeniser.parameters()).device

    @torch.no_grad()
    def reconstruct(features: Tensor, lengths: Tensor, captions: list[str]) -> Tensor:
        motion, lengths = normaliser.normalise(features).to(device), lengths.to(device)
        return normaliser.denormalise(tokeniser.decode(tokeniser.encode(motion, lengths), lengths)).cpu()

    return reconstruct


def to_joints(motion: Tensor, normaliser: Normaliser, spec: DatasetSpec) -> Tensor:
    """Convert normalised motion (B, T, D) to joints (B, T, J, 3) in metres."""
    return spec.unit_scale * features_to_joints(normaliser.denormalise(motion), spec.num_joints)


def pose_errors(joints: Tensor, truth: Tensor, lengths: Tensor) -> Tensor:
    """Pelvis-aligned error (poses,) in mm of each valid pose, from joints and true joints (B, T, J, 3) in metres."""
    return 1000 * mpjpe(joints, truth)[valid_mask(lengths, truth.shape[1])]


def row_errors(decoded: Tensor, motion: Tensor, lengths: Tensor) -> Tensor:
    """Smooth-L1 error (frames, D) of each valid frame of normalised motions (B, T, D)."""
    return F.smooth_l1_loss(decoded, motion, reduction="none")[valid_mask(lengths, motion.shape[1])]


@torch.no_grad()
def evaluate_tokeniser(tokeniser: MotionTokeniser, clips: Clips, normaliser: Normaliser, spec: DatasetSpec) -> dict[str, Any]:
    """All metrics of a tokeniser, over all clips.

    Returns a dictionary with:
        clips, poses: number of clips and of poses.
        mpjpe_mm: mean joint error over all poses.
        mpjpe_mm_by_layers: mpjpe_mm of reconstructions from the first 1, 2, … codebooks.
        reconstruction: smooth-L1 error of each group of feature dimensions.
        codebooks: percentage of codes used, and perplexity, of each codebook.
        physical: mean of each physical metric over real and over reconstructed clips. Foot sliding of real and of reconstructed
            clips is measured in the frames in which the feet of the real clip have contact.
        path_error_mm: horizontal error of the root position after `PATH_SECONDS`.
        by_action, by_source: MPJPE, physical metrics and path error for each action and source in `actions.csv`.
    """
    Q = tokeniser.num_quantizers
    layer_errors: list[list[Tensor]] = [[] for _ in range(Q)]
    errors, rows = [], []
    counts = torch.zeros(Q, tokeniser.nb_code)
    for motion, codes, decoded, lengths, index in reconstructions(tokeniser, clips, normaliser):
        truth, joints = (to_joints(values, normaliser, spec) for values in (motion, decoded))
        for layers in range(1, Q):
            partial = to_joints(tokeniser.decode(codes[..., :layers], lengths), normaliser, spec)
            layer_errors[layers - 1].append(pose_errors(partial, truth, lengths))
        layer_errors[-1].append(pose_errors(joints, truth, lengths))
        errors.append(row_errors(decoded, motion, lengths).sum(0))
        for layer, chosen in enumerate(codes.unbind(-1)):
            counts[layer] += torch.bincount(chosen[chosen >= 0], minlength=tokeniser.nb_code).cpu()
        names = [clips.names[i] for i in index.tolist()]
        rows += _clip_rows(names, joints, truth, lengths, spec.fps, layer_errors[-1][-1])
    if not errors:
        raise UserError(f"{spec.root}: no clip of this split has {tokeniser.stride} frames (one token); choose another --split")
    by_layers = [torch.cat(of_layer).mean().item() for of_layer in layer_errors]
    poses = sum(len(of_batch) for of_batch in layer_errors[-1])
    mean_error = torch.stack(errors).sum(0) / poses  # (D,)
    return {
        "clips": len(rows),
        "poses": poses,
        "mpjpe_mm": by_layers[-1],
        "mpjpe_mm_by_layers": by_layers,
        "reconstruction": {name: mean_error[part].mean().item() for name, part in spec.slices.items()},
        "codebooks": [
            {"used_percent": 100 * (layer > 0).float().mean().item(), "perplexity": perplexity(layer).item()} for layer in counts
        ],
        **_means(rows),
        **{f"by_{column}": _groups(rows, read_actions(spec.root, column)) for column in ("action", "source")},
    }


def _clip_rows(names: list[str], joints: Tensor, truth: Tensor, lengths: Tensor, fps: float, poses: Tensor) -> list[dict[str, Any]]:
    """Metrics of each clip, from decoded and true joints. `poses` contains the errors of all valid poses, clip by clip."""
    sides = {
        "real": {**physical_metrics(truth, fps, lengths), **foot_peaks(truth, lengths)},
        "reconstructed": {**physical_metrics(joints, fps, lengths, toe_contacts(truth, fps)), **foot_peaks(joints, lengths)},
    }
    sides = {side: {metric: values.tolist() for metric, values in metrics.items()} for side, metrics in sides.items()}
    path = path_error(joints, truth, fps, PATH_SECONDS, lengths).tolist()
    of_clip = poses.split(lengths.tolist())
    return [
        {
            "name": name,
            "mpjpe": of_clip[i],
            "path": path[i],
            **{side: {metric: values[i] for metric, values in metrics.items()} for side, metrics in sides.items()},
        }
        for i, name in enumerate(names)
    ]


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean path error, and the means of each physical metric over real and reconstructed clips. A mean of no values is None."""
    sides = ("real", "reconstructed")
    return {
        "path_error_mm": _mean([row["path"] for row in rows]),
        "physical": {metric: {side: _mean([row[side][metric] for row in rows]) for side in sides} for metric in rows[0]["real"]},
    }


def _groups(rows: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, dict[str, Any]]:
    """For each label, the number of clips, the MPJPE over poses and the means of `_means`. Clips without a label are ignored."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["name"] in labels:
            groups.setdefault(labels[row["name"]], []).append(row)
    return {
        label: {"clips": len(members), "mpjpe_mm": torch.cat([row["mpjpe"] for row in members]).mean().item(), **_means(members)}
        for label, members in sorted(groups.items())
    }


def _mean(values: list[float]) -> float | None:
    """The mean of the finite values; None if no value is finite."""
    numbers = [value for value in values if math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else None
