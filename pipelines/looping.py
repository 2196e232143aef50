"""Loops: motions whose end leads into their start without a visible seam.

The token sequence is rotated by half its length, so that the end and the start of the motion meet at a seam in the middle. A
transformer that attends to both sides of the seam generates the tokens around the seam again, or generates additional tokens at the
seam (MoMask section 3.5; `TextToMotion.filling`). Three cycles of codes are decoded, and the middle cycle is used, because the
decoder pads the ends of its input. During a cycle, the person may travel and turn.

Shapes: codes (B, L, Q) → features (B, T, D) of one cycle in the dataset's own units; the last frame is followed by the first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from motion.spec import DatasetSpec
from pipelines.editing import spans_of, windows_around
from pipelines.outputs import to_joints
from pipelines.sampling import SamplingSettings
from pipelines.seams import Window, fill, nearness
from pipelines.text2motion import TextToMotion

SEAM = 0.25  # fraction of a cycle's tokens that are regenerated around the seam
SHORTEST, LONGEST = 2, 8  # minimum and maximum number of regenerated tokens
ADDED = 6  # number of tokens added between the end and the start of a motion whose own tokens are kept
APART = 0.25  # mean distance (m) of corresponding joints above which two poses count as different
CYCLES = 3  # number of cycles that are decoded


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
    """Make loops from motions: codes (B, L, Q) → codes (B, L + added, Q) of one cycle.

    Args:
        codes: codes of the motions, L at least 4.
        condition: (1, C) encoded text.
        added: number of tokens to add between end and start; 0: tokens around the seam, where end and start meet, are regenerated.
        longest: maximum number of tokens in a window of the transformers.
        sampling: sampling settings; None: the defaults for the weights (`model.sampling`).
        first_sample: sample number of the first motion; it and the seed determine the motion. The others get the next numbers.
    """
    sampling = sampling or model.sampling
    B, L, _ = codes.shape
    seam = L - L // 2  # index of the motion's first token in the rolled sequence
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
    missing = (rolled[0, :, 0] < 0).tolist()
    edges = windows_around(spans_of(missing, longest), len(missing), longest, longest)
    windows = [Window(start, stop, condition) for start, stop in edges]
    reseeded = replace(sampling, seed=(sampling.seed + 1) % 2**63)  # the original motion used the random numbers of `seed`
    filled = fill(model, rolled, windows, sampling=reseeded, first_sample=first_sample)
    return filled.roll(-(seam + added), dims=1)


def decode_cycle(model: TextToMotion, codes: Tensor) -> Tensor:
    """Decode the codes (B, L, Q) of one cycle of a loop to features (B, T, D).

    Three consecutive cycles are decoded, and the middle one is returned.
    """
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
    """Make B loops from a motion with features `source` (T, D). Returns features (B, T', D) of one cycle of each loop.

    A loop is the motion, cut to whole tokens, followed by a generated transition back to the start of the motion. `takes` is the
    number of loops, B. For the other arguments see `loop_codes`.
    """
    stride, source = model.tokeniser.stride, source.to(model.mean)
    codes = model.tokeniser.encode(((source - model.mean) / model.std)[None])
    whole = codes.shape[1] * stride
    condition = model.encoder([prompt]) if prompt else source.new_zeros(1, model.encoder.dim)
    settings = {"added": ADDED, "longest": longest, "sampling": sampling, "first_sample": first_sample}
    generated = decode_cycle(model, loop_codes(model, codes.repeat(takes, 1, 1), condition, **settings))
    weight = torch.ones(generated.shape[1])
    weight[:whole] = nearness(generated.shape[1], [0, whole, generated.shape[1]])[:whole]
    kept = torch.cat((source[:whole], generated[0, whole:]))  # frames from `whole` on have weight 1, so `kept` is not used there
    return torch.lerp(kept.expand_as(generated), generated, weight[:, None].to(generated))


def cycle_joints(features: Tensor, spec: DatasetSpec, cycles: int = CYCLES) -> np.ndarray:
    """Joints (B, cycles * T, J, 3), in metres, of loops with features (B, T, D) that are played `cycles` times."""
    return to_joints(features.repeat(1, cycles, 1), spec).numpy()


def ends_elsewhere(features: Tensor, spec: DatasetSpec) -> bool:
    """Whether a motion with features (T, D) ends in a different pose than it starts in, such as sitting after standing."""
    local = features[[0, -1]].clone()
    local[:, :3] = 0  # poses at the origin with the same heading
    first, last = to_joints(local, spec)
    return bool((first - last).norm(dim=-1).mean() > APART)


def seam_sizes(joints: np.ndarray, fps: float) -> dict[str, tuple[float, float]]:
    """Compare the change between two cycles of a loop, with joints (2T, J, 3), to changes within the cycles.

    Returns {"position": …, "velocity": …}, each as (change at the seam between the cycles, largest change elsewhere). Changes are
    means over joints. `position` is the displacement from frame to frame, in m; `velocity` is the change of velocity, in m/s.
    """
    T = len(joints) // 2
    steps = np.diff(joints, axis=0)  # steps[T - 1] crosses the seam
    position = np.linalg.norm(steps, axis=-1).mean(axis=1)
    velocity = np.linalg.norm(np.diff(steps, axis=0), axis=-1).mean(axis=1) * fps
    at_seam = {"position": position[T - 1], "velocity": velocity[T - 2 : T].max()}
    elsewhere = {"position": np.delete(position, T - 1).max(), "velocity": np.delete(velocity, [T - 2, T - 1]).max()}
    return {name: (float(at_seam[name]), float(elsewhere[name])) for name in at_seam}
