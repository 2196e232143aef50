"""Running models over a split, for validation and for the evaluation scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from data.store import Clips, Normaliser
from evaluation.metrics.motion import mpjpe
from evaluation.metrics.physical import physical_metrics, toe_contacts
from models.layers import valid_mask
from models.quantize import perplexity
from models.vqvae import MotionTokeniser, frame_mask
from motion.features import features_to_joints
from motion.spec import DatasetSpec
from utils.errors import UserError


class Reconstruction(NamedTuple):
    """A batch of clips and what a tokeniser makes of them, cut to whole tokens; zero or -1 beyond `lengths`."""

    motion: Tensor  # (B, T, D), normalised
    codes: Tensor  # (B, L, Q)
    decoded: Tensor  # (B, T, D), normalised
    lengths: Tensor  # (B,) frames


@torch.no_grad()
def reconstructions(tokeniser: MotionTokeniser, clips: Clips, normaliser: Normaliser) -> Iterator[Reconstruction]:
    """Every clip of at least one token through the tokeniser, in padded batches on the tokeniser's device."""
    device = next(tokeniser.parameters()).device
    for batch in clips.batches(normaliser):
        lengths = batch["lengths"] // tokeniser.stride * tokeniser.stride
        usable = lengths > 0
        if not usable.any():
            continue
        motion, lengths = batch["motion"][usable].to(device), lengths[usable].to(device)
        motion = motion[:, : lengths.max()]
        motion = motion * frame_mask(lengths, motion.shape[1])
        codes = tokeniser.encode(motion, lengths)
        yield Reconstruction(motion, codes, tokeniser.decode(codes, lengths), lengths)


def to_joints(motion: Tensor, normaliser: Normaliser, spec: DatasetSpec) -> Tensor:
    """Normalised motion (B, T, D) to joints (B, T, J, 3) in metres."""
    return spec.unit_scale * features_to_joints(normaliser.denormalise(motion), spec.num_joints)


def pose_errors(joints: Tensor, truth: Tensor, lengths: Tensor) -> Tensor:
    """Pelvis-aligned joint error, in mm, of each valid pose of joints (B, T, J, 3) in metres: (poses,)."""
    return 1000 * mpjpe(joints, truth)[valid_mask(lengths, truth.shape[1])]


def row_errors(decoded: Tensor, motion: Tensor, lengths: Tensor) -> Tensor:
    """Smooth-L1 error of each valid row of normalised motions (B, T, D): (rows, D)."""
    return F.smooth_l1_loss(decoded, motion, reduction="none")[valid_mask(lengths, motion.shape[1])]


@torch.no_grad()
def evaluate_tokeniser(tokeniser: MotionTokeniser, clips: Clips, normaliser: Normaliser, spec: DatasetSpec) -> dict[str, Any]:
    """Everything we ask of a tokeniser, over all clips.

    `mpjpe_mm` and `mpjpe_mm_by_layers` (the first 1, 2, … codebooks only), means over poses; `reconstruction` by group of
    dimensions; `codebooks`: share of codes used and perplexity of each layer; `physical`: each metric's mean over clips, of the
    real clips and of the reconstructed ones, whose feet are judged where the real feet stand.
    """
    Q = tokeniser.num_quantizers
    layer_errors: list[list[Tensor]] = [[] for _ in range(Q)]
    errors, real, ours = [], [], []
    uses = torch.zeros(Q, tokeniser.nb_code)
    for motion, codes, decoded, lengths in reconstructions(tokeniser, clips, normaliser):
        truth, joints = (to_joints(rows, normaliser, spec) for rows in (motion, decoded))
        for layers in range(1, Q):
            partial = to_joints(tokeniser.decode(codes[..., :layers], lengths), normaliser, spec)
            layer_errors[layers - 1].append(pose_errors(partial, truth, lengths))
        layer_errors[-1].append(pose_errors(joints, truth, lengths))
        errors.append(row_errors(decoded, motion, lengths).sum(0))
        for layer, chosen in enumerate(codes.unbind(-1)):
            uses[layer] += torch.bincount(chosen[chosen >= 0], minlength=tokeniser.nb_code).cpu()
        real.append(physical_metrics(truth, spec.fps, lengths))
        ours.append(physical_metrics(joints, spec.fps, lengths, toe_contacts(truth, spec.fps)))
    if not errors:
        raise UserError(f"{spec.root}: no clip of this split has the {tokeniser.stride} frames of a token; choose another --split")
    by_layers = [torch.cat(of_layer).mean().item() for of_layer in layer_errors]
    poses = sum(len(of_batch) for of_batch in layer_errors[-1])
    mean_error = torch.stack(errors).sum(0) / poses  # (D,)
    return {
        "clips": sum(len(of_batch["jerk_m_s3"]) for of_batch in real),
        "poses": poses,
        "mpjpe_mm": by_layers[-1],
        "mpjpe_mm_by_layers": by_layers,
        "reconstruction": {name: mean_error[part].mean().item() for name, part in spec.slices.items()},
        "codebooks": [
            {"used_percent": 100 * (counts > 0).float().mean().item(), "perplexity": perplexity(counts).item()} for counts in uses
        ],
        "physical": {name: {"real": _mean(name, real), "reconstructed": _mean(name, ours)} for name in real[0]},
    }


def _mean(name: str, batches: list[dict[str, Tensor]]) -> float | None:
    """Mean of a metric over the clips that have it; None if none has."""
    value = torch.cat([batch[name] for batch in batches]).nanmean().item()
    return None if math.isnan(value) else value
