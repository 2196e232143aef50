"""Judges of the whole body: sitting, lying, squatting, jumping, bowing, bending, turning over. Each returns spans of its action."""

from __future__ import annotations

import numpy as np

from benchmarks.obedience.measures import (
    ANKLES,
    ELBOWS,
    FPS,
    HEAD,
    KNEES,
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
)  # fmt: skip


def seated(body: Body) -> np.ndarray:
    """Whether the person sits on a seat, per frame (T,).

    The pelvis is below 0.65 m, the thighs are about horizontal, the trunk is upright and too far behind the feet for balance.
    """
    low = (body.height[:, PELVIS] < 0.65) & (body.height[:, PELVIS] > 0.25)
    level = np.abs(body.thighs - 90).mean(1) < 32
    return low & level & (body.trunk < 45) & (body.behind_feet > 0.12) & (body.height[:, ANKLES].min(1) < 0.3)


def sits(body: Body) -> list[Span]:
    """Sitting down: the person stands, then sits for at least half a second. Spans start at the last upright frame."""
    return [
        Span(start, span.stop) for span in runs(seated(body), 0.5, 0.3) if (start := last_upright(body, span.start)) is not None
    ]


def last_upright(body: Body, frame: int) -> int | None:
    """The last frame before `frame` at which the person is upright; None if there is none."""
    before = np.flatnonzero(body.upright[:frame])
    return int(before[-1]) if len(before) else None


def stands_up(body: Body) -> list[Span]:
    """Standing up: after sitting, the person is upright within 2.5 seconds, for at least a quarter of a second."""
    up = [span.start for span in runs(body.upright, 0.25)]
    ends = [(span.stop, next((frame for frame in up if frame >= span.stop), None)) for span in runs(seated(body), 0.3, 0.3)]
    return [Span(start, stop) for start, stop in ends if stop is not None and stop - start < 2.5 * FPS]


def lying(body: Body) -> np.ndarray:
    """Whether the trunk is horizontal and on the floor, per frame (T,)."""
    high = np.maximum(body.height[:, NECK], body.height[:, PELVIS])
    return (high < 0.45) & (body.trunk > 60) & (body.height[:, HEAD] < 0.5)


def lies_down(body: Body) -> list[Span]:
    """Lying down: the person stands, then lies for at least half a second."""
    return [Span(start, span.stop) for span in runs(lying(body), 0.5, 0.4) if (start := last_upright(body, span.start)) is not None]


def gets_up(body: Body) -> list[Span]:
    """Getting up: the person lies, or has the hips on the floor, then stands upright."""
    down = runs(lying(body) | (body.height[:, PELVIS] < 0.35), 0.2, 1.0)
    up = [span.start for span in runs(body.upright, 0.2)]
    ends = [(span.stop - 1, next((frame for frame in up if frame >= span.stop), None)) for span in down]
    return [Span(start, stop) for start, stop in ends if stop is not None]


def dips(body: Body, depth: float, limit: float = 6.0) -> list[Span]:
    """An upright person lowers the pelvis to below `depth` times its standing height and rises again within `limit` seconds."""
    low = runs(body.height[:, PELVIS] < depth * body.leg, 0.1, 0.3)
    spans = []
    for span in low:
        start = last_upright(body, span.start)
        after = np.flatnonzero(body.upright[span.stop :])
        if start is not None and len(after) and span.stop + after[0] - start < limit * FPS:
            spans.append(Span(start, span.stop + int(after[0])))
    return list(dict.fromkeys(spans))


def squats(body: Body) -> list[Span]:
    """Squatting: dips of the pelvis that fulfil `is_squat`."""
    return [span for span in dips(body, 0.78) if is_squat(body, span)]


def is_squat(body: Body, span: Span) -> bool:
    """Whether a dip is a squat: feet in place, trunk balanced over the feet, knees bent, hands off the floor, and no jump."""
    part = slice(span.start, span.stop)
    deepest = span.start + int(np.argmin(body.height[part, PELVIS]))
    feet = body.joints[part][:, ANKLES][..., [0, 2]]
    stay = np.median(length(feet - feet[:1])[1:], axis=0).max() < 0.2
    balanced = abs(body.behind_feet[deepest]) < 0.25 and body.trunk[part].max() < 60
    bent = body.knees[deepest].min() > 55 and body.height[part][:, WRISTS].min() > 0.3
    landed = jumped_near(body, span)
    return bool(stay and balanced and bent and not landed)


def jumped_near(body: Body, span: Span) -> bool:
    """Whether a jump happens during the dip, or less than a third of a second before or after it."""
    margin = FPS // 3
    return any(jump.start < span.stop + margin and jump.stop > span.start - margin for jump in jumps(body))


def airborne(body: Body, clear: float) -> list[Span]:
    """Spans with both feet at least `clear` metres above the floor, between frames with a foot on the floor."""
    spans = runs(body.feet.min(1) > clear, 0.1)
    reach = 3 * FPS // 4
    down = body.feet.min(1) < 0.045
    landed = [
        span for span in spans if down[span.stop : span.stop + reach].any() and down[max(0, span.start - reach) : span.start].any()
    ]
    return [span for span in landed if span.seconds < 1.3]


def jumps(body: Body) -> list[Span]:
    """Jumping: both feet are more than 8 cm above the floor while the trunk is upright and the pelvis rises.

    At running speed, the feet must be more than 20 cm high, because sprinting feet reach 8 cm.
    """
    pelvis, head_up = body.height[:, PELVIS], body.height[:, HEAD] > body.height[:, PELVIS] + 0.2
    spans = []
    for span in airborne(body, 0.08):
        part, before = slice(span.start, span.stop), slice(max(0, span.start - 3 * FPS // 5), span.start + 1)
        leaps = body.speed[part].mean() < 1.7 or body.feet[part].min(1).max() > 0.2
        rises = pelvis[part].max() > 0.88 * body.leg and pelvis[part].max() - pelvis[before].min() > 0.1
        if leaps and rises and head_up[part].all():
            spans.append(span)
    return spans


def jumps_forward(body: Body) -> list[Span]:
    """Jumping forward: jumps that travel more than 0.3 m forward."""
    return [span for span in jumps(body) if ahead(body, span) > 0.3]


def ahead(body: Body, span: Span) -> float:
    """Distance travelled forward during a span, in metres."""
    start, stop = max(0, span.start - 2), min(len(body) - 1, span.stop + 1)
    return float(body.travel[start:stop, 2].sum() / FPS)


def hops(body: Body) -> list[Span]:
    """Hopping: jumps on one leg, with the other foot held higher."""
    spans = []
    for span in airborne(body, 0.03):
        window = slice(max(0, span.start - 3), span.stop + 3)
        lifted = np.abs(body.feet[window, 0] - body.feet[window, 1]).min() > 0.1
        slow = body.speed[window].mean() < 1.5
        spans += [span] * bool(lifted and slow)
    return spans


def jumping_jacks(body: Body) -> list[Span]:
    """Jumping jacks: feet apart with arms up; within a second before and after, feet together with arms down. One span per jack."""
    apart = smooth(length(body.joints[:, ANKLES[0]] - body.joints[:, ANKLES[1]]), 1)
    arms = smooth(body.reach[..., 1].mean(1), 1)
    open_ = runs((apart > 0.4) & (arms > -0.1), 0.1, 0.1)
    closed = (apart < 0.4) & (arms < -0.3)
    window = FPS
    return [
        span
        for span in open_
        if closed[max(0, span.start - window) : span.start].any() and closed[span.stop : span.stop + window].any()
    ]


def bows(body: Body) -> list[Span]:
    """Bowing: a standing person bends forward by more than 25° and straightens up, with straight legs and hands off the floor."""
    spine = body.local[:, NECK] - body.local[:, PELVIS]
    pitch = smooth(np.degrees(np.arctan2(spine[:, 2], spine[:, 1])), 2)
    straight = np.percentile(pitch, 10)
    spans = []
    for span in runs(pitch > straight + 15, 0.3, 0.2):
        part = slice(span.start, span.stop)
        deep = pitch[part].max() > 25 and pitch[part].max() - min(pitch[0 : span.start + 1].min(), 20) > 15
        tall = body.height[part, PELVIS].min() > 0.8 * body.leg and body.knees[part].mean() < 45
        hands = body.height[part][:, WRISTS].min() > 0.5 and body.reach[part, :, 1].max() < 0.15
        stays = body.speed[part].mean() < 0.45
        if deep and tall and hands and stays and span.stop < len(body):
            spans.append(span)
    return spans


def reaches_the_floor(body: Body) -> list[Span]:
    """Reaching to the floor, as in picking up or putting down: an upright person lowers a hand below 0.48 m and rises again."""
    low = body.height[:, WRISTS].min(1) < 0.48
    spans = []
    for span in runs(low, 0.15, 0.5):
        start, after = last_upright(body, span.start), np.flatnonzero(body.upright[span.stop :])
        if start is None or not len(after):
            continue
        part = slice(span.start, span.stop)
        head_up = (body.height[part, HEAD] > 0.3).all() and body.height[part][:, ANKLES].max() < 0.6
        if head_up and not seated(body)[part].any() and body.speed[part].mean() < 0.8:
            spans.append(Span(start, span.stop + int(after[0])))
    return spans


def bends_down(body: Body) -> list[Span]:
    """Bending down: the trunk bends by more than 55° and straightens up again."""
    return [
        span
        for span in runs(body.trunk > 55, 0.2, 0.3)
        if (body.trunk[: span.start] < 30).any() and (body.trunk[span.stop :] < 30).any()
    ]


def turned_over(body: Body) -> np.ndarray:
    """Whether the person is upside down, per frame (T,): pelvis above the neck and a foot above the head."""
    feet = body.height[:, ANKLES].max(1)
    return (body.height[:, NECK] < body.height[:, PELVIS] - 0.05) & (feet > body.height[:, HEAD] + 0.1)


def cartwheels(body: Body) -> list[Span]:
    """Cartwheels and handsprings: upside down with a hand near the floor and high hips, and upright before and after."""
    spans = runs(turned_over(body), 0.1, 0.4)
    hands = body.height[:, WRISTS].min(1) < 0.3
    high = (body.height[:, PELVIS] > 0.6) & (body.height[:, ANKLES].max(1) > 1.0)
    return [span for span in spans if (hands & high)[span.start : span.stop].any() and recovers(body, span)]


def flips(body: Body) -> list[Span]:
    """Flips: upside down with all joints off the floor."""
    free = body.height.min(1) > 0.2
    return [span for span in runs(turned_over(body), 0.1, 0.2) if free[span.start : span.stop].any() and recovers(body, span)]


def rolls(body: Body) -> list[Span]:
    """Rolls: the neck is near the floor and lower than the hips, which stay low."""
    low = (body.height[:, NECK] < 0.45) & (body.height[:, PELVIS] < 0.95)
    over = (body.height[:, NECK] < body.height[:, PELVIS]) & low
    spans = runs(over, 0.15, 0.3)
    return [span for span in spans if recovers(body, span) and body.height[span.start : span.stop + 6, NECK].min() < 0.4]


def recovers(body: Body, span: Span) -> bool:
    """Whether the trunk is upright before the span, and again within two seconds after it."""
    up = body.trunk < 65
    return bool(up[: span.start].any() and up[span.stop : span.stop + 2 * FPS].any())


def balances(body: Body) -> list[Span]:
    """Balancing on one leg for at least 1.2 s: one foot is more than 15 cm high, the other stands still on the floor."""
    spans = []
    for side in (LEFT, RIGHT):
        stands = (body.feet[:, side] < 0.08) & (length(rate(smooth(body.joints[:, ANKLES[side]], 2))) < 0.25)
        spans += runs(stands & (body.feet[:, 1 - side] > 0.15) & (body.trunk < 60), 1.2, 0.2)
    return spans


def elbow_to_knee(body: Body) -> list[Span]:
    """An elbow and the knee of the other side meet while the person stands on the other leg."""
    spans = []
    for side in (LEFT, RIGHT):
        gap = length(body.joints[:, ELBOWS[side]] - body.joints[:, KNEES[1 - side]])
        up = (body.thighs[:, 1 - side] > 60) & (body.thighs[:, side] < 40)
        spans += runs((gap < 0.32) & up, 0.1, 0.2)
    return sorted(spans)
