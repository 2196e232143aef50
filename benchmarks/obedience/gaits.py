"""Judges of locomotion: functions that return the spans of frames in which a person walks, runs, turns, climbs, crawls …"""

from __future__ import annotations

import numpy as np

from benchmarks.obedience.joints import ANKLES, FPS, HEAD, LEFT, PELVIS, RIGHT, WRISTS
from benchmarks.obedience.measures import Body, Span, flanked, length, rate, runs, smooth, swings

WALK, RUN = 0.3, 1.9  # m/s, the lowest speeds of walking and of running


def steps(body: Body, span: Span) -> int:
    """Count how often one foot passes the other foot during the frames `span`, either lengthwise or sideways."""
    lead = smooth(body.in_body_axes(body.joints[:, ANKLES[0]] - body.joints[:, ANKLES[1]]), 1)[span.frames]
    return max(len(swings(lead[:, axis], 0.15)) for axis in (0, 2))


def goes(body: Body, low: float, high: float, toward: tuple[float, float] | None = None) -> list[Span]:
    """Spans in which the person takes steps in an upright posture, at a speed from `low` to `high` m/s.

    If `toward` is given, a unit vector (left, forward) relative to the body, the direction of travel must be within 45° of it.
    """
    pace = smooth(body.speed, 6)
    mask = (pace > min(low, WALK)) & (body.height[:, PELVIS] > 0.75 * body.leg) & (body.trunk < 50)
    if toward is not None:
        along = smooth(body.travel[:, 0], 6) * toward[0] + smooth(body.travel[:, 2], 6) * toward[1]
        mask &= along > np.cos(np.radians(45)) * pace
    spans = [span for span in runs(mask, 0.8, 0.3) if steps(body, span) >= 2]
    return [span for span in spans if low <= np.percentile(pace[span.frames], 60) < high]


def walks(body: Body) -> list[Span]:
    """Detect walking forward."""
    return goes(body, WALK, RUN, (0, 1))


def walks_backward(body: Body) -> list[Span]:
    """Detect walking backward."""
    return goes(body, WALK, RUN, (0, -1))


def runs_forward(body: Body) -> list[Span]:
    """Detect running forward: at 1.9 m/s or more, or at 1.5 m/s or more if the knees are strongly bent (jogging)."""
    fast, slow = goes(body, RUN, 9.0, (0, 1)), goes(body, 1.5, RUN, (0, 1))
    bent = body.knees.max(1)
    return sorted(fast + [span for span in slow if np.percentile(bent[span.frames], 85) > 76])


def turns(body: Body, side: int, minimum: float = 40.0) -> list[Span]:
    """Detect turning to one side (0: left, 1: right) by at least `minimum` degrees.

    The facing direction is smoothed to remove the sway of the gait.
    """
    sign = 1 if side == LEFT else -1
    course = sign * smooth(body.yaw, 6)
    turning = runs(rate(course) > 8, 0.2, 0.4)
    return [span for span in turning if course[span.stop - 1] - course[span.start] >= minimum]


def spins(body: Body) -> list[Span]:
    """Detect full turns: 300° or more to one side within six seconds."""
    return [span for side in (LEFT, RIGHT) for span in turns(body, side, 300.0) if span.seconds < 6]


def stands(body: Body) -> list[Span]:
    """Detect standing upright, with head, hands and feet nearly at rest, for at least a second."""
    low = (body.thighs.max(1) < 35) & (body.feet.min(1) < 0.06) & (body.reach[..., 1].max(1) < -0.14) & (body.trunk < 20)
    return runs(body.upright & low & (smooth(body.limbs, 4) < 0.22), 1.0, 0.3)


def sneaks(body: Body) -> list[Span]:
    """Detect stepping slowly with bent knees and a bent back."""
    bent = (smooth(body.knees.min(1), 6) > 30) & (smooth(body.trunk, 6) > 15)
    return [span for span in goes(body, 0.15, 1.2) if bent[span.frames].mean() > 0.6]


def walks_like_a_zombie(body: Body) -> list[Span]:
    """Detect walking with both hands held out in front, between waist and head."""
    out = (body.reach[..., 2] > 0.25) & (np.abs(body.reach[..., 1]) < 0.3)
    held = smooth(out.all(1).astype(float), 6) > 0.6
    return [span for span in goes(body, 0.15, RUN, (0, 1)) if held[span.frames].mean() > 0.6]


def climbs_steps(body: Body) -> list[Span]:
    """Detect climbing as on stairs, not as on a ladder: in most frames, no hand is in front of the body above the waist."""
    return [span for span in climbs(body) if gripping(body)[span.frames].mean() < 0.5]


def climbs_a_ladder(body: Body) -> list[Span]:
    """Detect climbing as on a ladder: in at least half of the frames, a hand is in front of the body above the waist."""
    return [span for span in climbs(body) if gripping(body)[span.frames].mean() >= 0.5]


def climbs(body: Body) -> list[Span]:
    """Detect climbing: the pelvis is more than 0.2 m above standing height, and a foot stands still over 0.25 m above the floor.

    Each span starts two seconds before these conditions are met, because the person takes the first steps in this time.
    """
    pelvis = smooth(body.height[:, PELVIS], 3)
    still = length(rate(smooth(body.joints[:, ANKLES], 1))) < 0.3
    standing = (still & (body.feet > 0.25) & (body.knees < 100)).any(1)
    up = runs((pelvis > body.leg + 0.2) & (body.trunk < 50), 0.5, 0.5)
    held = [span for span in up if standing[span.frames].mean() > 0.4]
    return [Span(max(0, span.start - 2 * FPS), span.stop) for span in held]


def gripping(body: Body) -> np.ndarray:
    """Whether a hand is in front of the body, above the waist, per frame (T,)."""
    return ((body.reach[..., 2] > 0.15) & (body.reach[..., 1] > -0.33)).any(1)


def crawls(body: Body) -> list[Span]:
    """Detect crawling: the person moves more than 0.4 m, with low hips, a low head and a hand on the floor."""
    low = (body.height[:, PELVIS] < 0.65) & (body.height[:, HEAD] < 0.85) & (body.trunk > 50)
    hands = smooth((body.height[:, WRISTS].min(1) < 0.25).astype(float), 4) > 0.5
    spans = runs(low & hands, 1.2, 0.4)
    return [span for span in spans if length(np.diff(smooth(body.joints[span.frames, PELVIS], 3), axis=0)).sum() > 0.4]


def ducks(body: Body) -> list[Span]:
    """Detect ducking: the head is lowered by more than a quarter of its height and raised again, while the person moves forward."""
    low = runs((body.feet.min(1) < 0.1) & (body.height[:, HEAD] < 0.72 * (body.leg + 0.75)), 0.15, 0.2)
    moving = [span for span in low if body.speed[span.frames].min() > 0.8]
    return [span for span in moving if flanked(span, body.height[:, HEAD] > 0.8 * (body.leg + 0.75))]


def circles(body: Body, side: int) -> list[Span]:
    """Detect walking or running along a path that curves to one side (0: left, 1: right) by at least 55°."""
    bends = turns(body, side, 55.0)
    return [span for span in bends if body.speed[span.frames].mean() > 0.6 and span.seconds > 0.8]
