"""Loops: motions whose end leads into their start, so that they can be repeated without a visible seam.

The token sequence is rolled by half its length, which brings end and start together in its middle. Tokens around the seam, or new
ones between end and start, are filled in by the model that sees both sides (MoMask section 3.5; `TextToMotion.filling`). The cycle
of codes is decoded three times over and the middle one kept, for the decoder pads its ends. Progress and turn of a cycle stay.

Codes (B, L, Q) → features (B, T, D) of one cycle in the dataset's own units; the row after the last is the first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from motion.features import features_to_joints
from motion.spec import DatasetSpec
from pipelines.editing import spans_of, windows_around
from pipelines.long_motion import Window, fill, nearness
from pipelines.text2motion import SamplingSettings, TextToMotion

SEAM = 0.25  # of a cycle's tokens are filled in anew around the seam …
SHORTEST, LONGEST = 2, 8  # … but at least and at most so many
ADDED = 6  # tokens between the end and the start of a motion that is kept whole
APART = 0.25  # m; mean distance of the joints of two poses beyond which they are different states
CYCLES = 3


@torch.no_grad()
def loop_codes(
    model: TextToMotion,
    codes: Tensor,
    condition: Tensor,
    *,
    added: int = 0,
    longest: int,
    sampling: SamplingSettings | None = None,
    first_sample: int = 0,
) -> Tensor:
    """Codes (B, L + added, Q) of a cycle from the codes (B, L, Q) of a motion, L at least 4; `condition` (1, C) says what is done.

    Without `added` tokens after the end, those around the seam are drawn anew. `longest` is how many tokens the transformers see.
    """
    sampling = sampling or model.sampling
    B, L, _ = codes.shape
    seam = L - L // 2  # where the start follows the end in the rolled sequence
    rolled = codes.roll(-(L // 2), dims=1)
    if added:
        gap = codes.new_full((B, added, codes.shape[2]), -1)
        rolled = torch.cat((rolled[:, :seam], gap, rolled[:, seam:]), dim=1)
        first = seam
    else:
        count = min(max(SHORTEST, round(SEAM * L)), LONGEST)
        first = seam - count // 2
        rolled = rolled.clone()
        rolled[:, first : first + count] = -1
    wanted = (rolled[0, :, 0] < 0).tolist()
    windows = [Window(start, stop, condition) for start, stop in windows_around(spans_of(wanted, longest), len(wanted), longest)]
    other = replace(sampling, seed=(sampling.seed + 1) % 2**63)  # noise of its own
    filled = fill(model, rolled, windows, sampling=other, first_sample=first_sample)
    start = seam + added  # the motion's first token in the rolled sequence
    return filled.roll(-start, dims=1)


def decode_cycle(model: TextToMotion, codes: Tensor) -> Tensor:
    """Features (B, T, D) of the cycle of codes (B, L, Q): the middle one of three in a row."""
    B, L, _ = codes.shape
    T = L * model.tokeniser.stride
    lengths = torch.full((B,), CYCLES * L, device=codes.device)
    features, _ = model.features(codes.repeat(1, CYCLES, 1), lengths)
    return features[:, T : 2 * T]


def loop_source(
    model: TextToMotion,
    source: Tensor,
    prompt: str = "",
    *,
    takes: int = 1,
    longest: int,
    sampling: SamplingSettings | None = None,
    first_sample: int = 0,
) -> Tensor:
    """Features (B, T', D) of a cycle that is the motion `source` (T, D), in whole tokens, and a way back to its start."""
    stride, source = model.tokeniser.stride, source.to(model.mean)
    codes = model.tokeniser.encode(((source - model.mean) / model.std)[None])
    whole = codes.shape[1] * stride
    condition = model.encoder([prompt]) if prompt else source.new_zeros(1, model.encoder.dim)
    settings = {"added": ADDED, "longest": longest, "sampling": sampling, "first_sample": first_sample}
    made = decode_cycle(model, loop_codes(model, codes.repeat(takes, 1, 1), condition, **settings))
    weight = torch.ones(made.shape[1])
    weight[:whole] = nearness(made.shape[1], [0, whole, made.shape[1]])[:whole]
    kept = torch.cat((source[:whole], made[0, whole:]))  # what comes after `whole` has a weight of 1
    return torch.lerp(kept.expand_as(made), made, weight[:, None].to(made))


def cycle_joints(features: Tensor, spec: DatasetSpec, cycles: int = CYCLES) -> np.ndarray:
    """Joints (B, cycles * T, J, 3) in metres of features (B, T, D) played several times, one after the other."""
    return (features_to_joints(features.float().cpu().repeat(1, cycles, 1), spec.num_joints) * spec.unit_scale).numpy()


def ends_elsewhere(features: Tensor, spec: DatasetSpec) -> bool:
    """Whether a motion (T, D) ends in another state than it starts in, such as sitting after it stood."""
    local = features[[0, -1]].clone()
    local[:, :3] = 0  # poses at the origin, facing one way
    first, last = features_to_joints(local.float().cpu(), spec.num_joints) * spec.unit_scale
    return bool((first - last).norm(dim=-1).mean() > APART)


def seam_sizes(joints: np.ndarray, fps: float) -> dict[str, tuple[float, float]]:
    """What changes at the seam of two cycles (2T, J, 3), and the largest change between other frames.

    `position`: m from frame to frame; `velocity`: m/s from step to step; both the mean over joints.
    """
    T = len(joints) // 2
    steps = np.diff(joints, axis=0)  # the step T - 1 leads over the seam
    position = np.linalg.norm(steps, axis=-1).mean(axis=1)
    velocity = np.linalg.norm(np.diff(steps, axis=0), axis=-1).mean(axis=1) * fps
    at_seam = {"position": position[T - 1], "velocity": velocity[T - 2 : T].max()}
    elsewhere = {"position": np.delete(position, T - 1).max(), "velocity": np.delete(velocity, [T - 2, T - 1]).max()}
    return {name: (float(at_seam[name]), float(elsewhere[name])) for name in at_seam}
