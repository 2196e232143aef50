"""Airborne and inverted actions: jumps, hops, jumping jacks, kicks, flips, cartwheels, rolls."""

from __future__ import annotations

import numpy as np

from motion.facts.arms import SIDES
from motion.facts.frames import ANKLES, FPS, HIPS, NECK, PELVIS, SHOULDERS, TOES, WRISTS, Event, Frames, peaks, runs, smooth, unit


def clearance(frames: Frames) -> np.ndarray:
    """Height (T, 2), in metres, of each foot above its height when standing in the clip.

    For a foot that never stands, the standing height of the other foot plus 6 cm is used.
    """
    heights = []
    for feet in (frames.joints[:, ANKLES, 1], frames.joints[:, TOES, 1]):
        ground = np.percentile(feet, 10, axis=0)
        heights.append(feet - np.minimum(ground, ground.min() + 0.06))
    return np.minimum(*heights)


def flights(frames: Frames) -> list[tuple[int, int, float, str, str]]:
    """Spans with both feet off the floor: (start, end, clearance in metres, foot that pushes off, foot that lands).

    The feet are "left", "right", "both", or "" if unknown.
    """
    clear = clearance(frames)
    spans = []
    for start, end in runs(clear.min(axis=1) > 0.03, minimum=2, gap=1):
        height = float(clear[start:end].min(axis=1).max())
        feet = []
        for step in (range(start - 1, start - 5, -1), range(end, end + 4)):
            down = [clear[frame] < 0.035 for frame in step if 0 <= frame < len(frames)]
            touched = np.any(down[:2], axis=0) if down else np.zeros(2, bool)
            feet.append("both" if touched.all() else "left" if touched[0] else "right" if touched[1] else "")
        spans.append((start, end, height, *feet))
    return spans


def ballistic(frames: Frames, start: int, end: int) -> bool:
    """Whether the pelvis rises and falls between the frames `start` and `end`, as in a jump."""
    before, after = frames.pelvis[max(0, start - 1)], frames.pelvis[min(len(frames) - 1, end)]
    top = frames.pelvis[start:end].max()
    return top > 0.8 * frames.standing and top > min(before, after) + 0.01 and top > max(before, after) - 0.02


def jumps_and_hops(frames: Frames) -> list[Event]:
    """Detect jumps and hops.

    In a flight, both feet are off the floor. A flight from one foot to the same foot is a hop. Any other flight is a jump if the
    feet rise by more than 9 cm after a take-off from both feet, or by more than 18 cm after any other take-off. A lower flight from
    both feet to both feet is a hop.
    """
    events = []
    for start, end, height, off, on in flights(frames):
        tilted = frames.upright[start:end].min() < 0.4 or not ballistic(frames, start, end)
        run = frames.pace[start:end].mean() > 1.8 and off != "both" and height < 0.25
        if tilted or run or end - start > 25:
            continue
        span = max(0, start - 8), min(len(frames), end + 8)
        if off == on and off in SIDES and height > 0.03:
            events.append(Event("hop", *span, off, height))
        elif height > (0.09 if off == "both" else 0.18):
            events.append(Event("jump", *span, off, height))
        elif off == on == "both":
            events.append(Event("hop", *span, "both", height))
    return events


def jumping_jacks(frames: Frames) -> list[Event]:
    """Detect jumping jacks: the feet move apart and back while both hands go up and down."""
    apart = smooth(frames.body[:, ANKLES[0], 0] - frames.body[:, ANKLES[1], 0], 1)
    high = smooth(frames.joints[:, WRISTS, 1].min(axis=1) - frames.joints[:, SHOULDERS, 1].mean(axis=1), 1)
    wide = np.abs(frames.body[:, WRISTS[0], 0] - frames.body[:, WRISTS[1], 0])
    events = []
    for peak in peaks(apart, 0.4, 0.2).tolist():
        near = slice(max(0, peak - 4), peak + 5)
        window = slice(max(0, peak - 14), peak + 14)
        moved = np.linalg.norm(np.ptp(frames.joints[window, PELVIS][:, [0, 2]], axis=0))
        in_place = moved < 0.3 and frames.erect[near].mean() > 0.5
        if in_place and high[near].max() > 0.1 and high[window].min() < -0.15 and wide[window].max() > 0.9:
            events.append(Event("jumping jacks", max(0, peak - 10), min(len(frames), peak + 11)))
    return events


def kicks(frames: Frames) -> list[Event]:
    """Detect kicks: a nearly straight leg swings forward or sideways, over 50° from the vertical, with the foot in the air."""
    events = []
    for side, ankle, hip in zip(SIDES, ANKLES, HIPS):
        leg = frames.body[:, ankle] - frames.body[:, hip]
        length = np.linalg.norm(leg, axis=-1)
        angle = np.degrees(np.arccos(np.clip(-unit(leg)[:, 1], -1, 1)))
        angle = np.where(leg[:, 2] > -np.abs(leg[:, 0]), angle, 0)
        fast = np.linalg.norm(FPS * np.gradient(leg, axis=0), axis=-1)
        for peak in peaks(angle, 50, 30).tolist():
            straight = length[max(0, peak - 3) : peak + 4].max() > 0.88 * length.max()
            height = float(frames.joints[max(0, peak - 2) : peak + 3, ankle, 1].max())
            upright = frames.upright[peak] > 0.0 and frames.pelvis[peak] > 0.7 * frames.standing
            if straight and height > 0.35 and upright and fast[max(0, peak - 8) : peak + 1].max() > 2.0:
                started = frames.last(angle < 15, peak) or 0
                ended = frames.first(angle < 15, peak) or len(frames)
                events.append(Event("kick", max(0, started - 4, peak - 24), min(len(frames), ended + 4, peak + 24), side, height))
    return sorted(events, key=lambda event: event.start)


def tumbles(frames: Frames) -> list[Event]:
    """Detect flips in the air, cartwheels and handsprings over the hands, and rolls on the floor: the trunk turns upside down."""
    spine = unit(smooth(frames.joints[:, NECK] - frames.joints[:, PELVIS], 0.7))
    across = unit(frames.joints[:, HIPS[0]] - frames.joints[:, HIPS[1]])  # to the left
    front = unit(np.cross(across, spine))
    turning = np.cross(spine[:-1], spine[1:])  # (T - 1, 3), along the axis of rotation
    hands = frames.joints[:, WRISTS, 1].min(axis=1)
    events = []
    for start, end in runs(frames.upright < -0.3, minimum=2, gap=3):
        window = slice(max(0, start - 10), min(len(frames) - 1, end + 10))
        forward = float((turning[window] * across[window]).sum())
        side = float((turning[window] * front[window]).sum())
        if np.linalg.norm(turning[window].sum(axis=0)) < 2.2:  # radians; a smaller angle is not a full turn
            continue
        if frames.feet[start:end].min(axis=1).max() < 0.2:
            continue  # the person only bends down deeply
        sideways = abs(side) > 1.2 * abs(forward)
        if frames.joints[start : end + 3, NECK, 1].min() < 0.35:
            action, manner = "roll", "forward" if forward > 0 else "backward"
        elif hands[start:end].min() < 0.2:
            action, manner = ("cartwheel", "") if sideways else ("flip", "handspring")
        else:
            action, manner = "flip", "sideways" if sideways else "forward" if forward > 0 else "backward"
        before, after = frames.last(frames.erect, start), frames.first(frames.erect, end)
        before, after = before if before is not None else 0, after if after is not None else len(frames)
        events.append(Event(action, max(0, before - 4, start - 30), min(len(frames), after + 6, end + 30), "", 0.0, manner))
    return events
