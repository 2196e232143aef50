"""Judges of locomotion: walking, running, turning, climbing, crawling. Body → spans in which it happens."""

from __future__ import annotations

import numpy as np

from benchmarks.obedience.measures import (
    ANKLES,
    FPS,
    HEAD,
    LEFT,
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

WALK, RUN = 0.3, 1.9  # m/s: below WALK a person stands, between the two walks, above RUN runs


def steps(body: Body, span: Span) -> int:
    """How often one foot passes the other."""
    lead = smooth(body.in_body_axes(body.joints[:, ANKLES[0]] - body.joints[:, ANKLES[1]]), 1)[span.start : span.stop]
    return max(len(swings(lead[:, axis], 0.15)) for axis in (0, 2))


def goes(body: Body, low: float, high: float, toward: tuple[float, float] | None = None, within: float = 45.0) -> list[Span]:
    """Spans of upright stepping at a mean speed of low … high m/s, `toward` a direction (left, forward) of the body if given."""
    pace = smooth(body.speed, 6)
    mask = (pace > min(low, WALK)) & (body.height[:, PELVIS] > 0.75 * body.leg) & (body.trunk < 50)
    if toward is not None:
        along = smooth(body.travel[:, 0], 6) * toward[0] + smooth(body.travel[:, 2], 6) * toward[1]
        mask &= along > np.cos(np.radians(within)) * pace
    spans = [span for span in runs(mask, 0.8, 0.3) if steps(body, span) >= 2]
    return [span for span in spans if low <= np.percentile(pace[span.start : span.stop], 60) < high]


def walks(body: Body) -> list[Span]:
    """Walking forward."""
    return goes(body, WALK, RUN, (0, 1))


def walks_backward(body: Body) -> list[Span]:
    """Walking backward."""
    return goes(body, WALK, RUN, (0, -1))


def runs_forward(body: Body) -> list[Span]:
    """Faster than walking, or as fast as a quick walk with the shins swinging up behind, as in slow jogging."""
    fast, slow = goes(body, RUN, 9.0, (0, 1)), goes(body, 1.5, RUN, (0, 1))
    bent = body.knees.max(1)
    return sorted(fast + [span for span in slow if np.percentile(bent[span.start : span.stop], 85) > 76])


def turns(body: Body, side: int, least: float = 40.0) -> list[Span]:
    """The facing direction, smoothed over the sway of the gait, changes to one side by `least` degrees or more."""
    sign = 1 if side == LEFT else -1
    course = sign * smooth(body.yaw, 6)
    turning = runs(rate(course) > 8, 0.2, 0.4)
    return [span for span in turning if course[span.stop - 1] - course[span.start] >= least]


def spins(body: Body) -> list[Span]:
    """A whole turn, 300° or more to one side, within four seconds."""
    return [span for side in (LEFT, RIGHT) for span in turns(body, side, 300.0) if span.seconds < 6]


def stands(body: Body) -> list[Span]:
    """Upright, with head, hands and feet nearly at rest for a second or more."""
    low = (body.thighs.max(1) < 35) & (body.feet.min(1) < 0.06) & (body.reach[..., 1].max(1) < -0.14) & (body.trunk < 20)
    return runs(body.upright & low & (smooth(body.limbs, 4) < 0.22), 1.0, 0.3)


def sneaks(body: Body) -> list[Span]:
    """Slow steps on bent legs and with a bent back."""
    bent = (smooth(body.knees.min(1), 6) > 30) & (smooth(body.trunk, 6) > 15)
    return [span for span in goes(body, 0.15, 1.2) if bent[span.start : span.stop].mean() > 0.6]  # any way: sneaks look about


def walks_like_a_zombie(body: Body) -> list[Span]:
    """Walks with both hands held out in front, between waist and head."""
    out = (body.reach[..., 2] > 0.25) & (np.abs(body.reach[..., 1]) < 0.3)
    held = smooth(out.all(1).astype(float), 6) > 0.6
    return [span for span in goes(body, 0.15, RUN, (0, 1)) if held[span.start : span.stop].mean() > 0.6]


def climbs_steps(body: Body) -> list[Span]:
    """Climbing with free hands."""
    return [span for span in climbs(body) if gripping(body)[span.start : span.stop].mean() < 0.5]


def climbs_a_ladder(body: Body) -> list[Span]:
    """Climbing with the hands in front of the chest or higher."""
    return [span for span in climbs(body) if gripping(body)[span.start : span.stop].mean() >= 0.5]


def climbs(body: Body) -> list[Span]:
    """Spans in which the pelvis is 0.2 m above leg height and a still foot 0.25 m above the floor, with 2 s before them."""
    pelvis = smooth(body.height[:, PELVIS], 3)
    still = length(rate(smooth(body.joints[:, ANKLES], 1))) < 0.3
    standing = (still & (body.feet > 0.25) & (body.knees < 100)).any(1)
    up = runs((pelvis > body.leg + 0.2) & (body.trunk < 50), 0.5, 0.5)
    held = [span for span in up if standing[span.start : span.stop].mean() > 0.4]
    return [Span(max(0, span.start - 2 * FPS), span.stop) for span in held]


def gripping(body: Body) -> np.ndarray:
    """Whether a hand is out in front, above the waist: (T,)."""
    return ((body.reach[..., 2] > 0.15) & (body.reach[..., 1] > -0.33)).any(1)


def crawls(body: Body) -> list[Span]:
    """Moving on hands and knees or lower: hips and head low, hands on the floor in turn."""
    low = (body.height[:, PELVIS] < 0.65) & (body.height[:, HEAD] < 0.85) & (body.trunk > 50)
    hands = smooth((body.height[:, WRISTS].min(1) < 0.25).astype(float), 4) > 0.5
    spans = runs(low & hands, 1.2, 0.4)
    return [span for span in spans if length(np.diff(smooth(body.joints[span.start : span.stop, PELVIS], 3), axis=0)).sum() > 0.4]


def ducks(body: Body) -> list[Span]:
    """While walking, the head goes down by more than a quarter and comes up again."""
    low = runs((body.feet.min(1) < 0.1) & (body.height[:, HEAD] < 0.72 * (body.leg + 0.75)), 0.15, 0.2)
    moving = [span for span in low if body.speed[span.start : span.stop].min() > 0.8]
    up = body.height[:, HEAD] > 0.8 * (body.leg + 0.75)
    return [span for span in moving if up[: span.start].any() and up[span.stop :].any()]


def circles(body: Body, side: int) -> list[Span]:
    """Walks a path that curves to one side by 55° or more."""
    bends = turns(body, side, 55.0)
    return [span for span in bends if body.speed[span.start : span.stop].mean() > 0.6 and span.seconds > 0.8]
