"""What the hands do: raises, waves, punches, throws, circles, elbows to knees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prepare.facts.frames import (
    ELBOWS,
    FPS,
    HEAD,
    HIPS,
    KNEES,
    SHOULDERS,
    WRISTS,
    Event,
    Frames,
    longest,
    peaks,
    smooth,
    velocity,
)  # fmt: skip

DOWN, WAIST, CHEST, SHOULDER, AT_HEAD, OVERHEAD = range(6)  # how high a hand is held
SIDES = ("left", "right")


@dataclass(frozen=True)
class Hand:
    """One hand over the clip."""

    level: int  # where it is held while up: DOWN … OVERHEAD
    raises: int  # how often it goes up from below
    lowered: bool  # down again at the end, after having been up
    waves: int  # full swings to and fro while up
    held: float  # seconds up
    rise: float  # seconds it takes to go up, the first time; 0 if it never does


def hand(body: np.ndarray, wrist: int, shoulder: int) -> Hand:
    """Motion of one hand; heights are relative to the shoulder, levels to shoulder and head."""
    reach = body[:, wrist] - body[:, shoulder]
    height = smooth(reach[:, 1], 1)
    low, high = height.min(), height.max()
    if high - low < 0.2 and high < -0.25:
        return Hand(DOWN, 0, False, 0, 0.0, 0.0)
    still = high - low < 0.2  # held where it is from the first frame to the last
    up = np.ones(len(height), bool) if still else height > low + 0.6 * (high - low)
    down = np.zeros(len(height), bool) if still else height < low + 0.3 * (high - low)
    state = np.where(up, 1, np.where(down, -1, 0))
    state = state[state != 0]
    neck = float(np.median((body[:, HEAD] - body[:, shoulder])[up, 1]))  # from shoulder to head
    limits = (-0.36, -0.22, -0.09, 0.09, neck + 0.14)
    level = int(np.searchsorted(limits, np.median(height[up])))
    raises = int(((state[1:] > 0) & (state[:-1] < 0)).sum())
    rise = rising(height, low, float(np.median(height[up]))) if raises else 0.0
    return Hand(level, raises, bool(state[-1] < 0), count_waves(reach[longest(up)]), float(up.sum() / FPS), rise)


def rising(height: np.ndarray, low: float, high: float) -> float:
    """Time from 15 % to 85 % of the height during the first raise, in seconds."""
    arrives = int(np.argmax(height > low + 0.85 * (high - low)))
    before = np.flatnonzero(height[:arrives] < low + 0.15 * (high - low))
    return (arrives - int(before[-1])) / FPS if len(before) else 0.0


def count_waves(reach: np.ndarray) -> int:
    """Swings to and fro of a raised hand, 6 cm or wider, along the line on which it moves most: (T, 3) → count, 0 or from 2."""
    path = smooth(reach, 1)[3:-3]  # without arriving and leaving
    if len(path) < 8:
        return 0
    clock = np.linspace(-1, 1, len(path))[:, None]
    path = path - path.mean(axis=0) - clock * (clock * path).sum(axis=0) / (clock**2).sum()  # no offset, no drift
    swing = path @ np.linalg.eigh(path.T @ path)[1][:, -1]
    wide = max(0.06, 0.4 * float(np.percentile(swing, 90) - np.percentile(swing, 10)))
    waves = sum(len(peaks(side, -np.inf, wide)) for side in (swing, -swing)) // 2
    return waves if waves > 1 else 0


def around(frames: Frames, peak: int, busy: np.ndarray, most: int = FPS) -> tuple[int, int]:
    """[start, end) of the motion around a peak: the frames beside it in which `busy` (T,) is true, up to `most` each way."""
    calm = np.flatnonzero(~busy)
    before, after = calm[calm < peak], calm[calm > peak]
    start = max(peak - most, before[-1] if len(before) else 0)
    end = min(peak + most, after[0] if len(after) else len(frames))
    return int(max(0, start - 2)), int(min(len(frames), end + 3))


def punches(frames: Frames) -> list[Event]:
    """An arm is thrust out quickly to nearly its full length, above the waist."""
    found = []
    for side, wrist, shoulder in zip(SIDES, WRISTS, SHOULDERS):
        reach = frames.body[:, wrist] - frames.body[:, shoulder]
        length = np.linalg.norm(reach, axis=-1)
        level = (reach[:, 1] > -0.25) & (np.hypot(reach[:, 0], reach[:, 2]) > 0.35)
        for peak in peaks(length, 0.42, 0.12).tolist():
            if level[peak] and velocity(length[max(0, peak - 6) : peak + 1]).max(initial=0) > 1.5:
                start, end = around(frames, peak, length > length[peak] - 0.12, most=8)
                found.append(Event("punch", start, end, side))
    return sorted(found, key=lambda event: event.start)


def throws(frames: Frames) -> list[Event]:
    """Both hands rise in front from below the shoulders to the head, close together, and drop: a ball thrown overhead."""
    reach = frames.body[:, WRISTS] - frames.body[:, SHOULDERS]  # (T, 2, 3)
    together = np.linalg.norm(frames.body[:, WRISTS[0]] - frames.body[:, WRISTS[1]], axis=-1)
    height = smooth(reach[:, :, 1].min(axis=1), 1)
    found = []
    for top in peaks(height, 0.05, 0.3).tolist():
        before, after = max(0, top - FPS), top + FPS
        lifts = FPS * np.diff(height[before : top + 1]).max(initial=0)
        ahead = reach[before:top, :, 2].mean() > 0.1 and together[before:top].max(initial=0) < 0.5
        if lifts > 0.8 and ahead and height[before:top].min() < -0.2 and height[top:after].min() < -0.1:
            start, end = around(frames, top, height > -0.3)
            found.append(Event("throw", start, end, "both", float(lifts)))
    return found


def merge_sides(events: list[Event]) -> list[Event]:
    """Merge simultaneous events of left and right into events of both."""
    merged = []
    for event in sorted(events, key=lambda event: event.start):
        last = merged[-1] if merged else None
        if last and last.side != event.side and min(last.end, event.end) - event.start > 0.5 * (event.end - event.start):
            merged[-1] = last._replace(side="both", end=max(last.end, event.end), size=max(last.size, event.size))
        else:
            merged.append(event)
    return merged


def arm_circles(frames: Frames) -> list[Event]:
    """A stretched arm goes once around the shoulder, seen from the side; forward over the top, or backward."""
    found = []
    for side, wrist, shoulder in zip(SIDES, WRISTS, SHOULDERS):
        reach = smooth(frames.body[:, wrist] - frames.body[:, shoulder], 0.7)
        angle = np.degrees(np.unwrap(np.arctan2(reach[:, 2], reach[:, 1])))  # 0 up, grows as the arm goes down in front
        wide = np.hypot(reach[:, 1], reach[:, 2]) > 0.1
        step = np.diff(angle, prepend=angle[0])
        total = np.cumsum(step * (wide & (np.abs(step) < 100)))  # an arm that is swung up sideways is no circle
        for way, turned in (("forward", total), ("backward", -total)):
            start, low = 0, turned[0]
            for frame, value in enumerate(turned):
                if value < low:
                    start, low = frame, value
                elif value - low > 310:
                    upright = frames.upright[start : frame + 1].min() > 0.5
                    if (
                        upright
                        and frame - start < 2 * FPS
                        and -reach[start : frame + 1, 1].min() > 0.3 < reach[start : frame + 1, 1].max()
                    ):
                        found.append(Event("circle the arms", start, frame + 1, side, manner=way))
                    start, low = frame, value
    return merge_sides(found)


def elbows_to_knees(frames: Frames) -> list[Event]:
    """An elbow and the knee of the other side meet, the knee lifted."""
    found = []
    for side, elbow, knee in zip(SIDES, ELBOWS, reversed(KNEES)):
        gap = np.linalg.norm(smooth(frames.joints[:, elbow] - frames.joints[:, knee], 0.7), axis=-1)
        for meeting in peaks(-gap, -0.3, 0.2).tolist():
            hip = frames.joints[meeting, HIPS[0 if side == "right" else 1], 1]
            if frames.joints[meeting, knee, 1] > hip - 0.15 and frames.pelvis[meeting] > 0.75 * frames.standing:
                start, end = around(frames, meeting, gap < 0.55)
                found.append(Event("touch elbow to knee", start, end, side))
    return sorted(found, key=lambda event: event.start)
