"""Actions of hands and arms: raises, waves, punches, throws, arm circles, elbows to knees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from motion.facts.frames import ELBOWS, FPS, HEAD, HIPS, KNEES, SHOULDERS, WRISTS, Event, Frames, longest, peaks, smooth, velocity

DOWN, WAIST, CHEST, SHOULDER, AT_HEAD, OVERHEAD = range(6)  # levels at which a hand is held
SIDES = ("left", "right")


@dataclass(frozen=True)
class Hand:
    """What one hand does over a clip: how often and how long it is raised, at which level it is held, and how often it waves."""

    level: int  # level at which the hand is held while raised: DOWN … OVERHEAD
    raises: int  # number of times that the hand is raised
    lowered: bool  # whether the hand is lowered at the end
    waves: int  # number of full swings to and fro while the hand is raised
    held: float  # seconds during which the hand is raised
    rise: float  # duration of the first raise in seconds; 0 if the hand is never raised


def hand(body: np.ndarray, wrist: int, shoulder: int) -> Hand:
    """Measure the motion of one hand in joints (T, 22, 3) whose axes are left, up, forward; `wrist` and `shoulder` are indices."""
    reach = body[:, wrist] - body[:, shoulder]
    height = smooth(reach[:, 1], 1)
    low, high = height.min(), height.max()
    if high - low < 0.2 and high < -0.25:
        return Hand(DOWN, 0, False, 0, 0.0, 0.0)
    still = high - low < 0.2  # the hand is held at about the same height in all frames
    up = np.ones(len(height), bool) if still else height > low + 0.6 * (high - low)
    down = np.zeros(len(height), bool) if still else height < low + 0.3 * (high - low)
    state = np.where(up, 1, np.where(down, -1, 0))
    state = state[state != 0]
    neck = float(np.median((body[:, HEAD] - body[:, shoulder])[up, 1]))  # height of the head above the shoulder
    limits = (-0.36, -0.22, -0.09, 0.09, neck + 0.14)
    level = int(np.searchsorted(limits, np.median(height[up])))
    raises = int(((state[1:] > 0) & (state[:-1] < 0)).sum())
    rise = rising(height, low, float(np.median(height[up]))) if raises else 0.0
    return Hand(level, raises, bool(state[-1] < 0), count_waves(reach[longest(up)]), float(up.sum() / FPS), rise)


def rising(height: np.ndarray, low: float, high: float) -> float:
    """Duration in seconds of the first raise of a hand at `height` (T,), from 15 % to 85 % of the way from `low` to `high`."""
    arrives = int(np.argmax(height > low + 0.85 * (high - low)))
    before = np.flatnonzero(height[:arrives] < low + 0.15 * (high - low))
    return (arrives - int(before[-1])) / FPS if len(before) else 0.0


def count_waves(reach: np.ndarray) -> int:
    """Number of swings to and fro of a raised hand, from its path `reach` (T, 3). A single swing is not a wave and gives 0.

    Swings are measured along the principal axis of the path. Swings of less than 6 cm are ignored.
    """
    path = smooth(reach, 1)[3:-3]  # without the end of the raise and the start of the lowering
    if len(path) < 8:
        return 0
    clock = np.linspace(-1, 1, len(path))[:, None]
    path = path - path.mean(axis=0) - clock * (clock * path).sum(axis=0) / (clock**2).sum()  # remove offset and linear drift
    swing = path @ np.linalg.eigh(path.T @ path)[1][:, -1]
    wide = max(0.06, 0.4 * float(np.percentile(swing, 90) - np.percentile(swing, 10)))
    waves = sum(len(peaks(side, -np.inf, wide)) for side in (swing, -swing)) // 2
    return waves if waves > 1 else 0


def around(frames: Frames, peak: int, active: np.ndarray, limit: int = FPS) -> tuple[int, int]:
    """Return the frames [start, end) around frame `peak` in which `active` (T,) is true, up to about `limit` frames per side."""
    inactive = np.flatnonzero(~active)
    before, after = inactive[inactive < peak], inactive[inactive > peak]
    start = max(peak - limit, before[-1] if len(before) else 0)
    end = min(peak + limit, after[0] if len(after) else len(frames))
    return int(max(0, start - 2)), int(min(len(frames), end + 3))


def punches(frames: Frames) -> list[Event]:
    """Detect punches: an arm is stretched out quickly, above the waist."""
    events = []
    for side, wrist, shoulder in zip(SIDES, WRISTS, SHOULDERS):
        reach = frames.body[:, wrist] - frames.body[:, shoulder]
        length = np.linalg.norm(reach, axis=-1)
        level = (reach[:, 1] > -0.25) & (np.hypot(reach[:, 0], reach[:, 2]) > 0.35)
        for peak in peaks(length, 0.42, 0.12).tolist():
            if level[peak] and velocity(length[max(0, peak - 6) : peak + 1]).max(initial=0) > 1.5:
                start, end = around(frames, peak, length > length[peak] - 0.12, limit=8)
                events.append(Event("punch", start, end, side))
    return sorted(events, key=lambda event: event.start)


def throws(frames: Frames) -> list[Event]:
    """Detect overhead throws: both hands are raised together in front of the body, above the shoulders, and drop again."""
    reach = frames.body[:, WRISTS] - frames.body[:, SHOULDERS]  # (T, 2, 3)
    together = np.linalg.norm(frames.body[:, WRISTS[0]] - frames.body[:, WRISTS[1]], axis=-1)
    height = smooth(reach[:, :, 1].min(axis=1), 1)
    events = []
    for top in peaks(height, 0.05, 0.3).tolist():
        before, after = max(0, top - FPS), top + FPS
        lifts = FPS * np.diff(height[before : top + 1]).max(initial=0)
        ahead = reach[before:top, :, 2].mean() > 0.1 and together[before:top].max(initial=0) < 0.5
        if lifts > 0.8 and ahead and height[before:top].min() < -0.2 and height[top:after].min() < -0.1:
            start, end = around(frames, top, height > -0.3)
            events.append(Event("throw", start, end, "both", float(lifts)))
    return events


def merge_sides(events: list[Event]) -> list[Event]:
    """Merge events of the left and the right limb that overlap in time into events with the side "both"."""
    merged = []
    for event in sorted(events, key=lambda event: event.start):
        last = merged[-1] if merged else None
        if last and last.side != event.side and min(last.end, event.end) - event.start > 0.5 * (event.end - event.start):
            merged[-1] = last._replace(side="both", end=max(last.end, event.end), size=max(last.size, event.size))
        else:
            merged.append(event)
    return merged


def arm_circles(frames: Frames) -> list[Event]:
    """Detect arm circles: seen from the side, a stretched arm turns once around the shoulder, forward or backward."""
    events = []
    for side, wrist, shoulder in zip(SIDES, WRISTS, SHOULDERS):
        reach = smooth(frames.body[:, wrist] - frames.body[:, shoulder], 0.7)
        angle = np.degrees(np.unwrap(np.arctan2(reach[:, 2], reach[:, 1])))  # 0 is up; positive is forward
        wide = np.hypot(reach[:, 1], reach[:, 2]) > 0.1
        step = np.diff(angle, prepend=angle[0])
        total = np.cumsum(step * (wide & (np.abs(step) < 100)))  # arms that swing up sideways are ignored
        for direction, turned in (("forward", total), ("backward", -total)):
            start, low = 0, turned[0]
            for frame, value in enumerate(turned):
                if value < low:
                    start, low = frame, value
                elif value - low > 310:
                    height, upright = reach[start : frame + 1, 1], frames.upright[start : frame + 1].min() > 0.5
                    if upright and frame - start < 2 * FPS and height.min() < -0.3 and height.max() > 0.3:
                        events.append(Event("circle the arms", start, frame + 1, side, manner=direction))
                    start, low = frame, value
    return merge_sides(events)


def elbows_to_knees(frames: Frames) -> list[Event]:
    """Detect that an elbow touches the lifted knee of the other side."""
    events = []
    for side, elbow, knee in zip(SIDES, ELBOWS, reversed(KNEES)):
        gap = np.linalg.norm(smooth(frames.joints[:, elbow] - frames.joints[:, knee], 0.7), axis=-1)
        for meeting in peaks(-gap, -0.3, 0.2).tolist():
            hip = frames.joints[meeting, HIPS[0 if side == "right" else 1], 1]
            if frames.joints[meeting, knee, 1] > hip - 0.15 and frames.pelvis[meeting] > 0.75 * frames.standing:
                start, end = around(frames, meeting, gap < 0.55)
                events.append(Event("touch elbow to knee", start, end, side))
    return sorted(events, key=lambda event: event.start)
