"""Judges of arm and leg movements: functions that return the spans of frames in which a person waves, kicks, points …"""

from __future__ import annotations

import numpy as np

from benchmarks.obedience.joints import ANKLES, FPS, HEAD, HIPS, LEFT, NECK, PELVIS, RIGHT, WRISTS
from benchmarks.obedience.measures import Body, Span, length, rate, runs, smooth, swings

SIDES = (LEFT, RIGHT)


def raises(body: Body, side: int) -> list[Span]:
    """Detect raising a hand (0: left, 1: right) from below the chest to about shoulder height or higher, for at least 0.3 s."""
    height = smooth(body.reach[:, side, 1], 1)
    spans = runs((height > -0.05) & (body.trunk < 50), 0.3, 0.15)
    return [span for span in spans if (height[max(0, span.start - 2 * FPS) : span.start] < -0.25).any()]


def waves(body: Body, side: int) -> list[Span]:
    """Detect waving: a hand (0: left, 1: right) at about shoulder height or higher swings to and fro at least twice.

    Each swing is at least 7 cm wide.
    """
    spans = []
    for span in runs(smooth(body.reach[:, side, 1], 1) > -0.12, 0.8, 0.1):
        path = smooth(body.reach[span.frames, side], 1)[3:-3]
        if len(path) < 10:
            continue
        clock = np.linspace(-1, 1, len(path))[:, None]
        path = path - path.mean(0) - clock * (clock * path).sum(0) / (clock**2).sum()  # remove offset and linear drift
        swing = path @ np.linalg.eigh(path.T @ path)[1][:, -1]
        if len(swings(swing, max(0.07, 0.35 * np.ptp(swing)))) >= 4:
            spans.append(span)
    return spans


def kicks(body: Body, side: int) -> list[Span]:
    """Detect kicking: an ankle (0: left, 1: right) swings quickly to more than 0.5 m above the floor and well above the other.

    The kicking leg is nearly straight, and the trunk is upright.
    """
    relative = body.joints[:, ANKLES[side]] - body.joints[:, PELVIS]
    fast = smooth(length(rate(smooth(relative, 0.7))), 0.5)
    straight = length(body.joints[:, ANKLES[side]] - body.joints[:, HIPS[side]]) / (body.leg - 0.12)
    high = (body.height[:, ANKLES[side]] > 0.5) & (body.height[:, ANKLES[side]] > body.height[:, ANKLES[1 - side]] + 0.25)
    ahead = body.local[:, ANKLES[side], 2] > np.minimum(-0.15, -0.5 * np.abs(body.local[:, ANKLES[side], 0]))
    high &= ahead & (body.height[:, NECK] > body.height[:, PELVIS] + 0.15)
    spans = []
    for span in runs(high, 0.05, 0.1):
        around = slice(max(0, span.start - 4), span.stop + 2)
        stretched = straight[around].max() > 0.8 and straight[span.frames].max() > 0.75
        if span.seconds < 1.2 and fast[around].max() > 2.2 and stretched:
            spans.append(span)
    return spans


def kicks_a_ball(body: Body, side: int) -> list[Span]:
    """Detect kicking a ball: a foot (0: left, 1: right) swings forward fast and gets 0.45 m ahead of the pelvis and 0.28 m high."""
    foot = smooth(body.local[:, ANKLES[side], 2], 0.5)
    spans = []
    for span in runs(rate(foot) > 4.5, 0.0, 0.1):
        part = slice(max(0, span.start - 3), span.stop + 5)
        if foot[part].max() > 0.45 and body.feet[part, side].max() > 0.28:
            spans.append(Span(max(0, span.start - 3), min(len(body), span.stop + 5)))
    return spans


def punches(body: Body, side: int) -> list[Span]:
    """Detect punching: an arm (0: left, 1: right) is quickly stretched almost fully, with the fist at chest to head height."""
    out = body.stretched[:, side]
    thrust = rate(smooth(out * body.arm, 0.5))
    level = (body.reach[:, side, 1] > -0.3) & (body.reach[:, side, 1] < 0.3)
    spans = []
    for span in runs((out > 0.82) & level, 0.0, 0.1):
        before = slice(max(0, span.start - 5), span.start + 2)
        if thrust[before].max() > 1.8 and out[before].min() < 0.7:
            spans.append(Span(max(0, span.start - 5), span.stop))
    return spans


def throws(body: Body) -> list[Span]:
    """Detect throwing with both hands: the hands are raised and close together, and then an arm is stretched quickly."""
    gap = length(body.joints[:, WRISTS[0]] - body.joints[:, WRISTS[1]])
    held = (body.reach[..., 1].min(1) > -0.15) & (gap < 0.55)
    spans = []
    for side in SIDES:
        thrust = rate(smooth(body.stretched[:, side], 0.7)) * body.arm
        for span in runs((thrust > 0.5) & (body.reach[:, side, 1] > 0.0), 0.0, 0.1):
            before, after = slice(max(0, span.start - 8), span.start + 1), slice(span.start, span.stop + 4)
            if held[before].any() and body.stretched[before, side].min() < 0.8 and body.stretched[after, side].max() > 0.85:
                spans.append(Span(max(0, span.start - 8), min(len(body), span.stop + 4)))
    return sorted(spans)


def drinks(body: Body, side: int) -> list[Span]:
    """Detect drinking: one hand (0: left, 1: right) moves up to the mouth and stays there for at least half a second.

    The other hand is not near the mouth.
    """
    gap = length(body.joints[:, WRISTS] - body.joints[:, HEAD, None])
    ahead = body.local[:, WRISTS[side], 2] > body.local[:, NECK, 2] + 0.1
    level = (np.abs(body.height[:, WRISTS[side]] - body.height[:, NECK]) < 0.25) & (np.abs(body.local[:, WRISTS[side], 0]) < 0.22)
    near = (gap[:, side] < 0.45) & (gap[:, 1 - side] > 0.46) & ahead & level
    still = smooth(length(rate(smooth(body.reach[:, side], 1))), 2) < 0.7
    spans = runs(near & still, 0.5, 0.2)
    return [span for span in spans if (gap[: span.start, side] > 0.45).any()]


def reaches_up(body: Body, side: int) -> list[Span]:
    """Detect reaching up: a hand (0: left, 1: right) is raised above the shoulder with a nearly straight arm."""
    up = (body.reach[:, side, 1] > 0.0) & (body.stretched[:, side] > 0.75) & (body.trunk < 45)
    return [span for span in runs(up, 0.2, 0.2) if (body.reach[max(0, span.start - 2 * FPS) : span.start, side, 1] < -0.15).any()]


def points(body: Body, side: int) -> list[Span]:
    """Detect pointing: an arm (0: left, 1: right) is held out, nearly straight, horizontal and still, for at least 0.4 s."""
    still = smooth(length(rate(smooth(body.reach[:, side], 1))), 1) < 0.7
    out = (np.abs(body.reach[:, side, 1]) < 0.28) & (body.stretched[:, side] > 0.82) & still & (body.trunk < 45)
    return runs(out, 0.4, 0.1)


def wipes(body: Body, side: int) -> list[Span]:
    """Detect washing a window: a hand (0: left, 1: right) in front of the body, above the waist, keeps moving from side to
    side for at least 2 s."""
    front = (body.reach[:, side, 2] > 0.1) & (body.reach[:, side, 1] > -0.45)
    path = length(rate(smooth(body.reach[:, side], 1)))
    at_work = smooth(front.astype(float), 6) > 0.5
    spans = runs(at_work & (smooth(path, 8) > 0.35) & (body.speed < 0.6), 2.0, 0.8)
    return [span for span in spans if len(swings(smooth(body.reach[span.frames, side], 2)[:, 0], 0.12)) >= 3]


def mops(body: Body) -> list[Span]:
    """Detect mopping: both hands are close together below the chest and move to and fro, with the trunk bent forward."""
    hands = body.local[:, WRISTS].mean(1)
    gap = length(body.joints[:, WRISTS[0]] - body.joints[:, WRISTS[1]])
    uneven = np.abs(body.height[:, WRISTS[0]] - body.height[:, WRISTS[1]])
    held = (gap < 0.65) & (body.reach[..., 1].max(1) < -0.05) & (hands[:, 2] > 0.15)
    spans = []
    for span in runs(smooth(held.astype(float), 6) > 0.5, 2.0, 0.5):
        part = smooth(hands[span.frames], 1)
        strokes = max(len(swings(part[:, axis], 0.12)) for axis in (0, 2))
        if strokes >= 3 and body.trunk[span.frames].mean() > 22 and uneven[span.frames].mean() > 0.08:
            spans.append(span)
    return spans


def dribbles(body: Body, side: int) -> list[Span]:
    """Detect dribbling: one hand (0: left, 1: right) below the shoulder moves up and down, reversing direction at least five
    times, 1.5 to 9 times per second.

    The other hand reverses its direction clearly less often.
    """
    height = smooth(body.reach[:, side, 1], 0.7)
    low = (height < -0.05) & (body.reach[:, side, 2] > -0.1)
    reversals = swings(height, 0.07)
    spans = []
    for span in runs(smooth(low.astype(float), 4) > 0.6, 1.2, 0.3):
        beats = reversals[(reversals >= span.start) & (reversals < span.stop)]
        other = len(swings(smooth(body.reach[span.frames, 1 - side, 1], 0.7), 0.07))
        bent = body.stretched[span.frames, side].mean() < 0.9
        if len(beats) >= 5 and 1.5 < len(beats) / span.seconds < 9 and len(beats) > 1.3 * other and bent:
            spans.append(span)
    return spans


def circles_the_arms(body: Body) -> list[Span]:
    """Detect circling the arms: in side view, each hand circles its shoulder by at least 200°, both together by at least 480°."""
    angles = np.degrees(np.unwrap(np.arctan2(body.reach[..., 1], body.reach[..., 2]), axis=0))
    turned = angles[-1] - angles[0]
    return [Span(0, len(body))] if abs(turned.sum()) >= 480 and np.abs(turned).min() >= 200 else []


def dances(body: Body) -> list[Span]:
    """Detect dancing: arms and legs keep moving for at least 2.5 s, and the person turns around, lifts a leg high, or moves raised
    arms on the spot."""
    arms = length(rate(smooth(body.reach, 1))).mean(1)
    legs = length(rate(smooth(body.local[:, ANKLES], 1))).mean(1)
    if len(body) < 2.5 * FPS or legs.mean() < 0.2 or arms.mean() < 0.15:
        return []
    whole = Span(0, len(body))
    up = (body.reach[..., 1] > -0.25).any(1).mean()
    turned, on_the_spot = float(np.ptp(body.yaw)), straightness(body, whole) < 0.35
    expansive = (turned > 300 or body.feet.max() > 0.5) and up > 0.1 and body.speed.mean() < 1.8
    return [whole] if expansive or (on_the_spot and up > 0.55 and arms.mean() > 0.3) else []


def straightness(body: Body, span: Span) -> float:
    """Distance between start and end of the pelvis's path on the floor in the frames `span`, divided by the path's length."""
    path = smooth(body.joints[span.frames, PELVIS], 3)[:, [0, 2]]
    distance = length(np.diff(path, axis=0)).sum()
    return float(length(path[-1] - path[0]) / max(distance, 1e-6))
