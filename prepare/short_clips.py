"""Joining of clips that are too short for the dataset, such as single hops or strides.

Only clips of one person with equal labels are joined, in the order in which they fit best; a single clip is repeated. The later
clip is moved and rotated about the vertical so that its first pose fits the last one, and the remaining difference in position and
velocity fades out over a few frames.
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

FADE = 8  # frames over which the difference of two poses fades


def join_short(clips: list[tuple[str, Clip]]) -> list[Clip]:
    """Join clips of at most SHORTEST frames, given with their actor. Every clip is part of one result."""
    groups = defaultdict(list)
    for actor, clip in sorted(clips, key=lambda pair: pair[1].name):
        groups[clip.source, actor, clip.label, clip.split].append(clip)
    return [joined for group in groups.values() for joined in join_group(group)]


def join_group(group: list[Clip]) -> list[Clip]:
    """Clips of one group, joined in the best fitting order until each result has more than `SHORTEST` frames."""
    waiting, results = list(group), []
    while waiting:
        parts = [waiting.pop(0)]
        joints = parts[0].joints
        while len(joints) <= SHORTEST:
            choices = waiting or group
            best = min(choices, key=lambda clip: misfit(joints[-1], clip.joints[0]))
            waiting = [clip for clip in waiting if clip is not best]
            parts.append(best)
            joints = join(joints, best.joints)
        label = count_in(parts[0].label, len(parts))
        results.append(replace(parts[0], name=f"{parts[0].name}_x{len(parts)}", label=label, joints=joints))
    return results


def join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join two motions (T, 22, 3); the first frame of the second coincides with the last of the first."""
    turn, shift = fit(first[-1], second[0])
    second = second @ turn + shift
    frames = min(FADE, len(second) - 1)
    when = np.linspace(0, 1, frames + 1)[:, None, None]
    offset = first[-1] - second[0]
    drift = ((first[-1] - first[-2]) - (second[1] - second[0])) * frames
    # The cubic in time with this value and slope at 0, and 0 for both at 1.
    fading = offset * (1 - when) ** 2 * (1 + 2 * when) + drift * when * (1 - when) ** 2
    second[: frames + 1] += fading
    return np.concatenate((first, second[1:])).astype(np.float32)


def fit(target: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation about the vertical (3, 3) and the translation on the floor (3,) that best map a pose (22, 3) to another."""
    centre, goal = pose.mean(0) * [1, 0, 1], target.mean(0) * [1, 0, 1]
    here, there = (pose - centre)[:, [0, 2]], (target - goal)[:, [0, 2]]
    angle = np.arctan2((here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum(), (here * there).sum())
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])  # for row vectors
    return turn, goal - centre @ turn


def misfit(target: np.ndarray, pose: np.ndarray) -> float:
    """Mean distance between the joints of two poses after `fit`, in metres."""
    turn, shift = fit(target, pose)
    return float(np.linalg.norm(pose @ turn + shift - target, axis=-1).mean())


def count_in(label: str, count: int) -> str:
    """The label of a clip that does what `label` says `count` times: "squat, 1 repetition" -> "squat, 2 repetitions"."""
    if count == 1:
        return label
    label = re.sub(r"\b1 (hop|repetition)\b", rf"{count} \1s", label)
    label = re.sub(r"\bone cycle\b", f"{count} cycles", label)
    return re.sub(r"\b\d+-degree (left|right) turn\b", r"\1 turns", label)
