"""Join clips that are too short for the dataset, such as single hops or strides.

Only clips of the same person, label and split are joined. After each clip, the clip that fits best is appended. If there is no
other clip to append, the same clip is repeated. An appended clip is moved on the floor and rotated about the vertical axis, so that
its first pose fits the last pose of the previous clip. The remaining difference in position and velocity fades out over a few
frames.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from prepare.takes import SHORTEST

if TYPE_CHECKING:
    from prepare.takes import Clip

FADE = 8  # frames over which the difference between two poses fades out


def join_short(clips: list[tuple[str, Clip]]) -> list[Clip]:
    """Join clips of at most `SHORTEST` frames, given as (actor, clip), into longer clips of the same actor, label and split.

    Every given clip is part of at least one joined clip.
    """
    groups = defaultdict(list)
    for actor, clip in sorted(clips, key=lambda pair: pair[1].name):
        groups[clip.source, actor, clip.label, clip.split].append(clip)
    return [joined for group in groups.values() for joined in join_group(group)]


def join_group(group: list[Clip]) -> list[Clip]:
    """Join short clips of one person, label and split into clips of more than `SHORTEST` frames.

    Each step appends the clip whose first pose fits best.
    """
    remaining, results = list(group), []
    while remaining:
        parts = [remaining.pop(0)]
        joints = parts[0].joints
        while len(joints) <= SHORTEST:
            choices = remaining or group
            best = min(choices, key=lambda clip: misfit(joints[-1], clip.joints[0]))
            remaining = [clip for clip in remaining if clip is not best]
            parts.append(best)
            joints = join(joints, best.joints)
        label = count_in(parts[0].label, len(parts))
        results.append(replace(parts[0], name=f"{parts[0].name}_x{len(parts)}", label=label, joints=joints))
    return results


def join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join two motions (T, 22, 3). The first frame of the second motion is moved onto the last frame of the first motion."""
    turn, shift = fit(first[-1], second[0])
    second = second @ turn + shift
    frames = min(FADE, len(second) - 1)
    time = np.linspace(0, 1, frames + 1)[:, None, None]
    offset = first[-1] - second[0]
    drift = ((first[-1] - first[-2]) - (second[1] - second[0])) * frames
    # `fading` is cubic in time. At time 0, its value is `offset` and its slope is `drift`. At time 1, value and slope are 0.
    fading = offset * (1 - time) ** 2 * (1 + 2 * time) + drift * time * (1 - time) ** 2
    second[: frames + 1] += fading
    return np.concatenate((first, second[1:])).astype(np.float32)


def fit(target: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) about the vertical axis and translation (3,) on the floor that best map `pose` (22, 3) to `target`."""
    centre, goal = pose.mean(0) * [1, 0, 1], target.mean(0) * [1, 0, 1]
    source, aim = (pose - centre)[:, [0, 2]], (target - goal)[:, [0, 2]]
    angle = np.arctan2((source[:, 0] * aim[:, 1] - source[:, 1] * aim[:, 0]).sum(), (source * aim).sum())
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])  # for row vectors
    return turn, goal - centre @ turn


def misfit(target: np.ndarray, pose: np.ndarray) -> float:
    """Mean distance in metres between the joints of two poses (22, 3), after `fit` has aligned them."""
    turn, shift = fit(target, pose)
    return float(np.linalg.norm(pose @ turn + shift - target, axis=-1).mean())


def count_in(label: str, count: int) -> str:
    """Adapt the label of one repetition to a clip of `count` ≥ 2 repetitions: "squat, 1 repetition" → "squat, 2 repetitions"."""
    label = re.sub(r"\b1 (hop|repetition)\b", rf"{count} \1s", label)
    label = re.sub(r"\bone cycle\b", f"{count} cycles", label)
    return re.sub(r"\b\d+-degree (left|right) turn\b", r"\1 turns", label)
