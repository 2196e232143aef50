"""Judges of arms and legs: waving, raising, punching, kicking, throwing, drinking, washing. Body → spans in which it happens."""

from __future__ import annotations

import numpy as np

from benchmarks.obedience.measures import (
    ANKLES,
    FPS,
    HEAD,
    HIPS,
    LEFT,
    NECK,
    PELVIS,
    RIGHT,
    WRISTS,
    Body,
    Span,
    length,
    rate,
    runs,
    smooth,
    swings,
)  # fmt: skip

SIDES = (LEFT, RIGHT)


def lifted(body: Body, side: int) -> np.ndarray:
    """Whether a hand is up, (T,): at the height of the shoulder or higher."""
    return smooth(body.reach[:, side, 1], 1) > -0.12


def raises(body: Body, side: int) -> list[Span]:
    """A hand goes from below the chest to above the shoulder and stays for a third of a second."""
    height = smooth(body.reach[:, side, 1], 1)
    spans = runs((height > -0.05) & (body.trunk < 50), 0.3, 0.15)
    return [span for span in spans if (height[max(0, span.start - 2 * FPS) : span.start] < -0.25).any()]


def waves(body: Body, side: int) -> list[Span]:
    """A raised hand swings to and fro, twice or more, 8 cm or wider, the hand above the shoulder for most of it."""
    spans = []
    for span in runs(lifted(body, side), 0.8, 0.1):
        path = smooth(body.reach[span.start : span.stop, side], 1)
        path = path[3:-3]
        if len(path) < 10:
            continue
        clock = np.linspace(-1, 1, len(path))[:, None]
        path = path - path.mean(0) - clock * (clock * path).sum(0) / (clock**2).sum()  # no offset, no drift
        swing = path @ np.linalg.eigh(path.T @ path)[1][:, -1]
        if len(swings(swing, max(0.07, 0.35 * np.ptp(swing)))) >= 4:
            spans.append(span)
    return spans


def kicks(body: Body, side: int, least: float = 0.5) -> list[Span]:
    """A foot swings up above `least` metres on a stretched leg while the other stands; head over hips."""
    relative = body.joints[:, ANKLES[side]] - body.joints[:, PELVIS]
    fast = smooth(length(rate(smooth(relative, 0.7))), 0.5)
    straight = length(body.joints[:, ANKLES[side]] - body.joints[:, HIPS[side]]) / (body.leg - 0.12)
    high = (body.height[:, ANKLES[side]] > least) & (body.height[:, ANKLES[side]] > body.height[:, ANKLES[1 - side]] + 0.25)
    ahead = body.local[:, ANKLES[side], 2] > np.minimum(-0.15, -0.5 * np.abs(body.local[:, ANKLES[side], 0]))
    high &= ahead & (body.height[:, NECK] > body.height[:, PELVIS] + 0.15)
    spans = []
    for span in runs(high, 0.05, 0.1):
        around = slice(max(0, span.start - 4), span.stop + 2)
        if (
            span.seconds < 1.2
            and fast[around].max() > 2.2
            and straight[around].max() > 0.8
            and straight[span.start : span.stop].max() > 0.75
        ):
            spans.append(span)
    return spans


def kicks_a_ball(body: Body, side: int) -> list[Span]:
    """A foot swings forward past the hips much faster than in a step, half a metre ahead and at least 30 cm up."""
    foot = smooth(body.local[:, ANKLES[side], 2], 0.5)
    spans = []
    for span in runs(rate(foot) > 4.5, 0.0, 0.1):
        part = slice(max(0, span.start - 3), span.stop + 5)
        if foot[part].max() > 0.45 and body.feet[part, side].max() > 0.28:
            spans.append(Span(max(0, span.start - 3), min(len(body), span.stop + 5)))
    return spans


def punches(body: Body, side: int) -> list[Span]:
    """An arm thrust out to nearly its length within a few frames, level with the chest or the head."""
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
    """A two-handed throw: both hands are in front of the face, close together, and an arm stretches quickly."""
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
    """One hand moves up to the mouth and stays for half a second; the other does not."""
    gap = length(body.joints[:, WRISTS] - body.joints[:, HEAD, None])
    ahead = body.local[:, WRISTS[side], 2] > body.local[:, NECK, 2] + 0.1
    level = (np.abs(body.height[:, WRISTS[side]] - body.height[:, NECK]) < 0.25) & (np.abs(body.local[:, WRISTS[side], 0]) < 0.22)
    near = (gap[:, side] < 0.45) & (gap[:, 1 - side] > 0.46) & ahead & level
    still = smooth(length(rate(smooth(body.reach[:, side], 1))), 2) < 0.7
    spans = runs(near & still, 0.5, 0.2)
    return [span for span in spans if (gap[: span.start, side] > 0.45).any() and body.speed[span.start : span.stop].mean() < 0.6]


def reaches_up(body: Body, side: int) -> list[Span]:
    """A hand goes out and up above the shoulder on a nearly stretched arm."""
    up = (body.reach[:, side, 1] > 0.0) & (body.stretched[:, side] > 0.75) & (body.trunk < 45)
    return [span for span in runs(up, 0.2, 0.2) if (body.reach[max(0, span.start - 2 * FPS) : span.start, side, 1] < -0.15).any()]


def points(body: Body, side: int) -> list[Span]:
    """An arm held out, stretched, about level, for half a second, nearly still."""
    still = smooth(length(rate(smooth(body.reach[:, side], 1))), 1) < 0.7
    out = (np.abs(body.reach[:, side, 1]) < 0.28) & (body.stretched[:, side] > 0.82) & still & (body.trunk < 45)
    return runs(out, 0.4, 0.1)


def wipes(body: Body, side: int) -> list[Span]:
    """A hand out in front, between waist and overhead, keeps moving over a plane: washing windows."""
    front = (body.reach[:, side, 2] > 0.1) & (body.reach[:, side, 1] > -0.45)
    path = length(rate(smooth(body.reach[:, side], 1)))
    at_work = smooth(front.astype(float), 6) > 0.5
    spans = runs(at_work & (smooth(path, 8) > 0.35) & (body.speed < 0.6), 2.0, 0.8)
    return [span for span in spans if len(swings(smooth(body.reach[span.start : span.stop, side], 2)[:, 0], 0.12)) >= 3]


def mops(body: Body) -> list[Span]:
    """Both hands hold a stick below the chest and push it to and fro, the trunk bent over it."""
    hands = body.local[:, WRISTS].mean(1)
    gap = length(body.joints[:, WRISTS[0]] - body.joints[:, WRISTS[1]])
    uneven = np.abs(body.height[:, WRISTS[0]] - body.height[:, WRISTS[1]])
    held = (gap < 0.65) & (body.reach[..., 1].max(1) < -0.05) & (hands[:, 2] > 0.15)
    spans = runs(smooth(held.astype(float), 6) > 0.5, 2.0, 0.5)
    result = []
    for span in spans:
        part = smooth(hands[span.start : span.stop], 1)
        strokes = max(len(swings(part[:, axis], 0.12)) for axis in (0, 2))
        if strokes >= 3 and body.trunk[span.start : span.stop].mean() > 22 and uneven[span.start : span.stop].mean() > 0.08:
            result.append(span)
    return result


def dribbles(body: Body, side: int) -> list[Span]:
    """One hand beats up and down at the height of the waist, three times or more, one to four times a second."""
    height = smooth(body.reach[:, side, 1], 0.7)
    low = (height < -0.05) & (body.reach[:, side, 2] > -0.1)
    ends = swings(height, 0.07)
    spans = []
    for span in runs(smooth(low.astype(float), 4) > 0.6, 1.2, 0.3):
        beats = ends[(ends >= span.start) & (ends < span.stop)]
        other = len(swings(smooth(body.reach[span.start : span.stop, 1 - side, 1], 0.7), 0.07))
        if (
            len(beats) >= 5
            and 1.5 < len(beats) / span.seconds < 9
            and len(beats) > 1.3 * other
            and body.stretched[span.start : span.stop, side].mean() < 0.9
        ):
            spans.append(span)
    return spans


def circles_the_arms(body: Body) -> list[Span]:
    """Both hands move by 300° or more around the shoulders, seen from the side."""
    around = np.degrees(np.unwrap(np.arctan2(body.reach[..., 1], body.reach[..., 2]), axis=0))
    turned = around[-1] - around[0]
    if abs(turned.sum()) < 480 or np.abs(turned).min() < 200:
        return []
    return [Span(0, len(body))]


def dances(body: Body) -> list[Span]:
    """For 2.5 s or more arms and legs keep moving, and the body turns round, lifts a leg high, or stays with its arms up."""
    arms = length(rate(smooth(body.reach, 1))).mean(1)
    legs = length(rate(smooth(body.local[:, ANKLES], 1))).mean(1)
    if len(body) < 2.5 * FPS or legs.mean() < 0.2 or arms.mean() < 0.15:
        return []
    whole = Span(0, len(body))
    up = (body.reach[..., 1] > -0.25).any(1).mean()
    turned, on_the_spot = float(np.ptp(body.yaw)), straightness(body, whole) < 0.35
    showy = (turned > 300 or body.feet.max() > 0.5) and up > 0.1 and body.speed.mean() < 1.8
    return [whole] if showy or (on_the_spot and up > 0.55 and arms.mean() > 0.3) else []


def straightness(body: Body, span: Span) -> float:
    """Distance between the ends of the pelvis's path, as a fraction of its length."""
    path = smooth(body.joints[span.start : span.stop, PELVIS], 3)[:, [0, 2]]
    way = length(np.diff(path, axis=0)).sum()
    return float(length(path[-1] - path[0]) / max(way, 1e-6))
