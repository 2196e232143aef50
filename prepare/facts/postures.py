"""Sitting, lying, getting up, squatting, crawling, picking up and putting down, balancing, climbing: from the position of the
body's weight.

In a squat the weight is over the feet; when sitting, a seat carries it behind them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from prepare.facts.frames import (
    ANKLE_HEIGHT,
    ANKLES,
    FPS,
    HEAD,
    KNEES,
    NECK,
    PELVIS,
    WRISTS,
    Event,
    Frames,
    peaks,
    runs,
    smooth,
    speed,
)

SETTLED = FPS  # frames of a posture that belong to coming into it


def sitting(frames: Frames) -> list[tuple[int, int]]:
    """Spans in which the body rests on something other than the feet, thighs raised and trunk upright."""
    carried = (frames.balance < -0.15) | (frames.feet.min(axis=1) > 0.12)
    raised = frames.thighs.min(axis=1) > np.where(frames.balance < -0.15, 42, 55)
    low = (frames.pelvis < 0.95 * frames.standing) & (frames.pelvis > 0.12)
    rests = smooth(frames.pace, 2) < 0.25
    return without_rising(frames, runs(carried & raised & low & rests & (frames.upright > 0.5), least=8, gap=12))


def without_rising(frames: Frames, stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge spans between which the person does not stand up."""
    joined: list[tuple[int, int]] = []
    for start, end in stretches:
        if joined and not frames.erect[joined[-1][1] : start].any():
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def lying(frames: Frames) -> list[tuple[int, int]]:
    """Spans with the whole trunk on the floor."""
    flat = (frames.joints[:, [PELVIS, NECK]].max(axis=1)[:, 1] < 0.42) & (np.abs(frames.upright) < 0.5)
    return without_rising(frames, runs(flat & (frames.joints[:, HEAD, 1] < 0.5), least=6, gap=4))


def face(frames: Frames, start: int, end: int) -> str:
    """Lying position: on the back, on the stomach or on a side."""
    front = float(np.median(frames.front[start:end]))
    return "back" if front > 0.5 else "stomach" if front < -0.5 else "side"


def seats(frames: Frames) -> list[Event]:
    """Sitting down, sitting, standing up."""
    found = []
    for start, end in sitting(frames):
        height = float(np.median(frames.pelvis[start:end]))
        seat = "floor" if height < 0.3 else "low" if height < 0.42 else "chair" if height < 0.72 else "high"
        came, left = frames.last(frames.erect, start), frames.first(frames.erect, end)
        if came is not None and start - came < 5 * FPS:
            found.append(Event("sit down", max(0, came - 4), min(end, start + SETTLED), "", height, seat))
        found.append(Event("sit", start, end, "", height, seat))
        if left is not None and left - end < 5 * FPS:
            found.append(Event("stand up", max(start, end - 6), min(len(frames), left + 6), "", height, seat))
    return found


def beds(frames: Frames) -> list[Event]:
    """Lying down, lying, getting up."""
    found = []
    for start, end in lying(frames):
        came, left, way = frames.last(frames.erect, start), frames.first(frames.erect, end), face(frames, start, end)
        if end - start < 10 and came is not None and left is not None:
            continue  # a roll
        if came is not None:
            found.append(Event("lie down", max(0, came - 4), min(end, start + SETTLED), manner=way))
        found.append(Event("lie", start, end, manner=way))
        if left is not None:
            found.append(Event("get up from the floor", max(start, end - SETTLED // 2), min(len(frames), left + 6), manner=way))
    return found


def squats(frames: Frames) -> list[Event]:
    """Hips go down with bent knees and the weight over the feet, and come up again."""
    depth = smooth(frames.standing - frames.pelvis, 1)
    found = []
    for bottom in peaks(depth, 0.4 * frames.standing, 0.15 * frames.standing).tolist():
        around = slice(max(0, bottom - 3), bottom + 4)
        carried = frames.balance[around].mean() > -0.13 and frames.feet[bottom].min() < 0.15
        knees = frames.thighs[bottom].min() > 50 and frames.joints[bottom, KNEES, 1].min() > 0.13
        if carried and knees and frames.upright[bottom] > 0.35:
            started = frames.last(depth < 0.35 * depth[bottom], bottom)
            ended = frames.first(depth < 0.35 * depth[bottom], bottom)
            if started is not None and ended is not None:
                found.append(Event("squat", max(0, started - 2), min(len(frames), ended + 3), "", float(frames.pelvis[bottom])))
    return found


def crawling(frames: Frames) -> list[Event]:
    """On hands and knees, or lower, and moving along."""
    hands = frames.joints[:, WRISTS, 1].min(axis=1) < 0.3
    low = (frames.pelvis < 0.7 * frames.standing) & (np.abs(frames.upright) < 0.65) & (frames.front < 0)
    found = []
    for start, end in runs(low & hands, least=20, gap=8):
        path = frames.joints[start:end, PELVIS][:, [0, 2]]
        if np.linalg.norm(path[-1] - path[0]) > 0.4 and frames.pace[start:end].max() < 1.5:
            found.append(Event("crawl", start, end))
    return found


def floor_reaches(frames: Frames) -> list[Event]:
    """A hand goes down to the floor and comes up again: picking up or putting down, which joints cannot distinguish."""
    wrists = smooth(frames.joints[:, WRISTS, 1], 1)  # (T, 2)
    lowest = wrists.min(axis=1)
    rests = np.zeros(len(frames), bool)
    for start, end in (*sitting(frames), *lying(frames)):
        rests[start:end] = True
    found = []
    for bottom in peaks(-lowest, -0.45, 0.25).tolist():
        if rests[bottom] or frames.feet[bottom].min() > 0.2 or not 0.25 * frames.standing < frames.pelvis[bottom]:
            continue
        hands = wrists[bottom] < lowest[bottom] + 0.12
        side = "both" if hands.all() else "left" if hands[0] else "right"
        knees = frames.pelvis[bottom] < 0.7 * frames.standing
        start = frames.last(frames.erect & (lowest > 0.5), bottom)
        end = frames.first(frames.erect & (lowest > 0.5), bottom)
        start, end = max(0, (start or 0) - 2), min(len(frames), (end or len(frames)) + 3)
        if not found or start >= found[-1].end - 5:
            found.append(Event("reach to the floor", start, end, side, float(lowest[bottom]), "knees" if knees else "waist"))
    return found


def balancing(frames: Frames) -> list[Event]:
    """One foot in the air for 1.5 s or more while the other stands still."""
    ankles = frames.joints[:, ANKLES, 1] - ANKLE_HEIGHT
    found = []
    for stands, name in enumerate(("left", "right")):
        still = speed(frames.joints[:, ANKLES[stands]]) < 0.2
        lifted = (ankles[:, 1 - stands] > 0.2) & (ankles[:, stands] < 0.07) & still & (frames.pelvis > 0.65 * frames.standing)
        for start, end in runs(lifted, least=30, gap=2):
            found.append(Event("balance on one leg", start, end, name, float(ankles[start:end, 1 - stands].max())))
    return found


def climbing(frames: Frames) -> list[Event]:
    """The height of the standing foot rises or falls by 25 cm or more, step by step."""
    level = lowest_stand(frames)
    corners = np.sort(np.concatenate([[0], peaks(level, -np.inf, 0.2), peaks(-level, -np.inf, 0.2), [len(level) - 1]]))
    found = []
    for start, end in pairwise(corners.tolist()):
        change = float(level[end] - level[start])
        if abs(change) >= 0.25 and frames.upright[start:end].min() > 0.3:
            done = np.abs(level[start : end + 1] - level[start]) / abs(change)
            first, last = start + int(np.argmax(done > 0.03)), start + int(np.argmax(done > 0.97))
            if last - first > 12:  # slower than a jump
                found.append(
                    Event("climb", max(0, first - 8), min(len(frames), last + 8), "", abs(change), "up" if change > 0 else "down")
                )
    return found


def lowest_stand(frames: Frames) -> np.ndarray:
    """Height of the lower foot, smoothed over most of a second so that jumps do not count."""
    lower = frames.feet.min(axis=1)
    return smooth(maximum_filter1d(minimum_filter1d(lower, 15), 15), 5)
