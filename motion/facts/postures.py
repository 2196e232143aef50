"""Detect sitting, lying, getting up, squatting, crawling, picking up, putting down, balancing and climbing.

Squatting and sitting are distinguished by the centre of mass, which is over the feet in a squat and behind the feet when sitting.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from motion.facts.frames import ANKLES, FPS, HEAD, KNEES, NECK, PELVIS, SOLE, WRISTS, Event, Frames, peaks, runs, smooth, speed

SETTLED = FPS  # an event of sitting (lying) down includes at most this many frames in which the person already sits (lies)


def sitting(frames: Frames) -> list[tuple[int, int]]:
    """Spans in which the person sits: the feet do not carry the body, the thighs are raised and the trunk is upright."""
    carried = (frames.balance < -0.15) | (frames.feet.min(axis=1) > 0.12)
    raised = frames.thighs.min(axis=1) > np.where(frames.balance < -0.15, 42, 55)
    low = (frames.pelvis < 0.95 * frames.standing) & (frames.pelvis > 0.12)
    rests = smooth(frames.pace, 2) < 0.25
    return without_rising(frames, runs(carried & raised & low & rests & (frames.upright > 0.5), minimum=8, gap=12))


def without_rising(frames: Frames, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge consecutive spans if the person does not stand up between them."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and not frames.erect[joined[-1][1] : start].any():
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def lying(frames: Frames) -> list[tuple[int, int]]:
    """Spans in which the person lies: the whole trunk and the head are near the floor."""
    flat = (frames.joints[:, [PELVIS, NECK]].max(axis=1)[:, 1] < 0.42) & (np.abs(frames.upright) < 0.5)
    return without_rising(frames, runs(flat & (frames.joints[:, HEAD, 1] < 0.5), minimum=6, gap=4))


def face(frames: Frames, start: int, end: int) -> str:
    """The position in which the person lies between two frames: "back", "stomach" or "side"."""
    front = float(np.median(frames.front[start:end]))
    return "back" if front > 0.5 else "stomach" if front < -0.5 else "side"


def seats(frames: Frames) -> list[Event]:
    """Detect sitting down, sitting and standing up; the `manner` of the events is the kind of seat, such as "chair"."""
    events = []
    for start, end in sitting(frames):
        height = float(np.median(frames.pelvis[start:end]))
        seat = "floor" if height < 0.3 else "low" if height < 0.42 else "chair" if height < 0.72 else "high"
        before, after = frames.last(frames.erect, start), frames.first(frames.erect, end)
        if before is not None and start - before < 5 * FPS:
            events.append(Event("sit down", max(0, before - 4), min(end, start + SETTLED), "", height, seat))
        events.append(Event("sit", start, end, "", height, seat))
        if after is not None and after - end < 5 * FPS:
            events.append(Event("stand up", max(start, end - 6), min(len(frames), after + 6), "", height, seat))
    return events


def beds(frames: Frames) -> list[Event]:
    """Detect lying down, lying and getting up; the `manner` of the events is the lying position: "back", "stomach" or "side"."""
    events = []
    for start, end in lying(frames):
        before, after = frames.last(frames.erect, start), frames.first(frames.erect, end)
        position = face(frames, start, end)
        if end - start < 10 and before is not None and after is not None:
            continue  # the person rolls over the floor
        if before is not None:
            events.append(Event("lie down", max(0, before - 4), min(end, start + SETTLED), manner=position))
        events.append(Event("lie", start, end, manner=position))
        if after is not None:
            stop = min(len(frames), after + 6)
            events.append(Event("get up from the floor", max(start, end - SETTLED // 2), stop, manner=position))
    return events


def squats(frames: Frames) -> list[Event]:
    """Detect squats: the hips go down and up again, with bent knees and the centre of mass over the feet."""
    depth = smooth(frames.standing - frames.pelvis, 1)
    events = []
    for bottom in peaks(depth, 0.4 * frames.standing, 0.15 * frames.standing).tolist():
        window = slice(max(0, bottom - 3), bottom + 4)
        carried = frames.balance[window].mean() > -0.13 and frames.feet[bottom].min() < 0.15
        knees = frames.thighs[bottom].min() > 50 and frames.joints[bottom, KNEES, 1].min() > 0.13
        if carried and knees and frames.upright[bottom] > 0.35:
            started = frames.last(depth < 0.35 * depth[bottom], bottom)
            ended = frames.first(depth < 0.35 * depth[bottom], bottom)
            if started is not None and ended is not None:
                events.append(Event("squat", max(0, started - 2), min(len(frames), ended + 3), "", float(frames.pelvis[bottom])))
    return events


def crawling(frames: Frames) -> list[Event]:
    """Detect crawling: moving along the floor on hands and knees, or with the body still closer to the floor."""
    hands = frames.joints[:, WRISTS, 1].min(axis=1) < 0.3
    low = (frames.pelvis < 0.7 * frames.standing) & (np.abs(frames.upright) < 0.65) & (frames.front < 0)
    events = []
    for start, end in runs(low & hands, minimum=20, gap=8):
        path = frames.joints[start:end, PELVIS][:, [0, 2]]
        if np.linalg.norm(path[-1] - path[0]) > 0.4 and frames.pace[start:end].max() < 1.5:
            events.append(Event("crawl", start, end))
    return events


def floor_reaches(frames: Frames) -> list[Event]:
    """Detect that a hand goes down to the floor and up again. The joints do not show whether the person picks up or puts down
    something."""
    wrists = smooth(frames.joints[:, WRISTS, 1], 1)  # (T, 2)
    lowest = wrists.min(axis=1)
    rests = np.zeros(len(frames), bool)
    for start, end in (*sitting(frames), *lying(frames)):
        rests[start:end] = True
    events = []
    for bottom in peaks(-lowest, -0.45, 0.25).tolist():
        if rests[bottom] or frames.feet[bottom].min() > 0.2 or not 0.25 * frames.standing < frames.pelvis[bottom]:
            continue
        hands = wrists[bottom] < lowest[bottom] + 0.12
        side = "both" if hands.all() else "left" if hands[0] else "right"
        knees = frames.pelvis[bottom] < 0.7 * frames.standing
        start = frames.last(frames.erect & (lowest > 0.5), bottom)
        end = frames.first(frames.erect & (lowest > 0.5), bottom)
        start, end = max(0, (start or 0) - 2), min(len(frames), (end or len(frames)) + 3)
        if not events or start >= events[-1].end - 5:
            events.append(Event("reach to the floor", start, end, side, float(lowest[bottom]), "knees" if knees else "waist"))
    return events


def balancing(frames: Frames) -> list[Event]:
    """Detect balancing on one leg: one foot is in the air for at least 1.5 s while the other foot stands still."""
    ankles = frames.joints[:, ANKLES, 1] - SOLE
    events = []
    for stands, name in enumerate(("left", "right")):
        still = speed(frames.joints[:, ANKLES[stands]]) < 0.2
        lifted = (ankles[:, 1 - stands] > 0.2) & (ankles[:, stands] < 0.07) & still & (frames.pelvis > 0.65 * frames.standing)
        for start, end in runs(lifted, minimum=30, gap=2):
            events.append(Event("balance on one leg", start, end, name, float(ankles[start:end, 1 - stands].max())))
    return events


def climbing(frames: Frames) -> list[Event]:
    """Detect climbing: the level on which the feet stand rises or falls by at least 25 cm, more slowly than in a jump."""
    level = lowest_stand(frames)
    corners = np.sort(np.concatenate([[0], peaks(level, -np.inf, 0.2), peaks(-level, -np.inf, 0.2), [len(level) - 1]]))
    events = []
    for start, end in pairwise(corners.tolist()):
        change = float(level[end] - level[start])
        if abs(change) >= 0.25 and frames.upright[start:end].min() > 0.3:
            done = np.abs(level[start : end + 1] - level[start]) / abs(change)
            first, last = start + int(np.argmax(done > 0.03)), start + int(np.argmax(done > 0.97))
            if last - first > 12:  # slower than a jump
                manner = "up" if change > 0 else "down"
                events.append(Event("climb", max(0, first - 8), min(len(frames), last + 8), "", abs(change), manner))
    return events


def lowest_stand(frames: Frames) -> np.ndarray:
    """Height (T,) of the lower foot, filtered and smoothed over about a second, so that jumps do not count."""
    lower = frames.feet.min(axis=1)
    return smooth(maximum_filter1d(minimum_filter1d(lower, 15), 15), 5)
