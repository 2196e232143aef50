"""Judges of the whole body: functions that return the spans of frames in which a person sits down, jumps, bows …"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.obedience.joints import ANKLES, ELBOWS, FPS, HEAD, KNEES, LEFT, NECK, PELVIS, RIGHT, WRISTS
from benchmarks.obedience.measures import Body, Span, flanked, length, rate, runs, smooth


def seated(body: Body) -> np.ndarray:
    """Whether the person sits on a seat, per frame (T,).

    The pelvis is below 0.65 m, the thighs are about horizontal, and the trunk is upright, but too far behind the feet for balance.
    """
    low = (body.height[:, PELVIS] < 0.65) & (body.height[:, PELVIS] > 0.25)
    level = np.abs(body.thighs - 90).mean(1) < 32
    return low & level & (body.trunk < 45) & (body.behind_feet > 0.12) & (body.height[:, ANKLES].min(1) < 0.3)


def sits(body: Body) -> list[Span]:
    """Detect sitting down: the person stands, then sits for at least half a second."""
    return from_upright(body, runs(seated(body), 0.5, 0.3))


def from_upright(body: Body, spans: list[Span]) -> list[Span]:
    """Extend each span back to the last upright frame before the span. Drop spans without such a frame."""
    starts = [np.flatnonzero(body.upright[: span.start])[-1:].tolist() for span in spans]
    return [Span(start, span.stop) for span, before in zip(spans, starts) for start in before]


def until(frames: Sequence[int] | np.ndarray, spans: list[Span]) -> list[Span]:
    """Extend each span to the first of the frame indices `frames` that comes after the span. Drop spans without such a frame."""
    stops = [next((int(frame) for frame in frames if frame >= span.stop), None) for span in spans]
    return [Span(span.start, stop) for span, stop in zip(spans, stops) if stop is not None]


def stands_up(body: Body) -> list[Span]:
    """Detect standing up: less than 2.5 s after sitting, the person is upright and stays so for at least a quarter of a second."""
    up = [span.start for span in runs(body.upright, 0.25)]
    ends = [Span(span.stop, span.stop) for span in runs(seated(body), 0.3, 0.3)]
    return [span for span in until(up, ends) if span.seconds < 2.5]


def lying(body: Body) -> np.ndarray:
    """Whether the trunk is horizontal and on the floor, per frame (T,)."""
    high = np.maximum(body.height[:, NECK], body.height[:, PELVIS])
    return (high < 0.45) & (body.trunk > 60) & (body.height[:, HEAD] < 0.5)


def lies_down(body: Body) -> list[Span]:
    """Detect lying down: the person stands, then lies for at least half a second."""
    return from_upright(body, runs(lying(body), 0.5, 0.4))


def gets_up(body: Body) -> list[Span]:
    """Detect getting up: the person lies or has the hips near the floor, and stands upright afterwards."""
    down = runs(lying(body) | (body.height[:, PELVIS] < 0.35), 0.2, 1.0)
    up = [span.start for span in runs(body.upright, 0.2)]
    return until(up, [Span(span.stop - 1, span.stop) for span in down])


def squats(body: Body) -> list[Span]:
    """Detect squatting: an upright person lowers the pelvis to below 78 % of its standing height and rises again within 6 s."""
    low = runs(body.height[:, PELVIS] < 0.78 * body.leg, 0.1, 0.3)
    dips = dict.fromkeys(until(np.flatnonzero(body.upright), from_upright(body, low)))  # without duplicates
    return [span for span in dips if span.seconds < 6 and is_squat(body, span)]


def is_squat(body: Body, span: Span) -> bool:
    """Whether a span with a low pelvis is a squat: feet in place, trunk balanced over the feet, knees bent, hands off the floor.

    No jump may happen during the span, or within a third of a second before or after the span.
    """
    height, margin = body.height[span.frames], FPS // 3
    deepest = span.start + int(np.argmin(height[:, PELVIS]))
    feet = body.joints[span.frames][:, ANKLES][..., [0, 2]]
    in_place = np.median(length(feet - feet[:1])[1:], axis=0).max() < 0.2
    balanced = abs(body.behind_feet[deepest]) < 0.25 and body.trunk[span.frames].max() < 60
    bent = body.knees[deepest].min() > 55 and height[:, WRISTS].min() > 0.3
    jumped = any(jump.start < span.stop + margin and jump.stop > span.start - margin for jump in jumps(body))
    return bool(in_place and balanced and bent and not jumped)


def airborne(body: Body, clear: float) -> list[Span]:
    """Spans in which both feet are more than `clear` metres above the floor, if a foot is on the floor shortly before and after."""
    low, reach = body.feet.min(1), 3 * FPS // 4
    return [span for span in runs(low > clear, 0.1) if span.seconds < 1.3 and flanked(span, low < 0.045, reach, reach)]


def jumps(body: Body) -> list[Span]:
    """Detect jumping: both feet are more than 8 cm above the floor while the trunk is upright and the pelvis rises.

    At running speed, the feet must be more than 20 cm above the floor, because sprinting lifts both feet by 8 cm as well.
    """
    pelvis, head_up = body.height[:, PELVIS], body.height[:, HEAD] > body.height[:, PELVIS] + 0.2
    spans = []
    for span in airborne(body, 0.08):
        highest, lowest = pelvis[span.frames].max(), pelvis[max(0, span.start - 3 * FPS // 5) : span.start + 1].min()
        leaps = body.speed[span.frames].mean() < 1.7 or body.feet[span.frames].min(1).max() > 0.2
        rises = highest > 0.88 * body.leg and highest - lowest > 0.1
        if leaps and rises and head_up[span.frames].all():
            spans.append(span)
    return spans


def jumps_forward(body: Body) -> list[Span]:
    """Detect jumping forward: jumps in which the person travels more than 0.3 m forward."""
    return [span for span in jumps(body) if ahead(body, span) > 0.3]


def ahead(body: Body, span: Span) -> float:
    """Distance, in metres, that the person travels forward during the frames `span`."""
    start, stop = max(0, span.start - 2), min(len(body) - 1, span.stop + 1)
    return float(body.travel[start:stop, 2].sum() / FPS)


def hops(body: Body) -> list[Span]:
    """Detect hopping: jumps on one leg, with the other foot held higher."""
    spans = []
    for span in airborne(body, 0.03):
        window = slice(max(0, span.start - 3), span.stop + 3)
        lifted = np.abs(body.feet[window, 0] - body.feet[window, 1]).min() > 0.1
        if lifted and body.speed[window].mean() < 1.5:
            spans.append(span)
    return spans


def jumping_jacks(body: Body) -> list[Span]:
    """Detect jumping jacks: feet apart with arms up, and within a second before and after, feet together with arms down."""
    apart = smooth(length(body.joints[:, ANKLES[0]] - body.joints[:, ANKLES[1]]), 1)
    arms = smooth(body.reach[..., 1].mean(1), 1)
    closed = (apart < 0.4) & (arms < -0.3)
    return [span for span in runs((apart > 0.4) & (arms > -0.1), 0.1, 0.1) if flanked(span, closed, FPS, FPS)]


def bows(body: Body) -> list[Span]:
    """Detect bowing: a standing person bends forward by more than 25° and rises again. Legs are straight, hands off the floor."""
    spine = body.local[:, NECK] - body.local[:, PELVIS]
    pitch = smooth(np.degrees(np.arctan2(spine[:, 2], spine[:, 1])), 2)
    straight = np.percentile(pitch, 10)
    spans = []
    for span in runs(pitch > straight + 15, 0.3, 0.2):
        height, deepest = body.height[span.frames], pitch[span.frames].max()
        deep = deepest > 25 and deepest - min(pitch[: span.start + 1].min(), 20) > 15
        tall = height[:, PELVIS].min() > 0.8 * body.leg and body.knees[span.frames].mean() < 45
        hands = height[:, WRISTS].min() > 0.5 and body.reach[span.frames, :, 1].max() < 0.15
        if deep and tall and hands and body.speed[span.frames].mean() < 0.45 and span.stop < len(body):
            spans.append(span)
    return spans


def reaches_the_floor(body: Body) -> list[Span]:
    """Detect reaching to the floor, to pick up or put down something: an upright person lowers a hand below 0.48 m and rises."""
    spans = []
    for span in runs(body.height[:, WRISTS].min(1) < 0.48, 0.15, 0.5):
        head_up = body.height[span.frames, HEAD].min() > 0.3 and body.height[span.frames][:, ANKLES].max() < 0.6
        if head_up and not seated(body)[span.frames].any() and body.speed[span.frames].mean() < 0.8:
            spans.append(span)
    return until(np.flatnonzero(body.upright), from_upright(body, spans))


def bends_down(body: Body) -> list[Span]:
    """Detect bending down: the trunk bends by more than 55° and straightens up again."""
    return [span for span in runs(body.trunk > 55, 0.2, 0.3) if flanked(span, body.trunk < 30)]


def turned_over(body: Body) -> np.ndarray:
    """Whether the person is upside down, per frame (T,): pelvis above the neck and a foot above the head."""
    feet = body.height[:, ANKLES].max(1)
    return (body.height[:, NECK] < body.height[:, PELVIS] - 0.05) & (feet > body.height[:, HEAD] + 0.1)


def cartwheels(body: Body) -> list[Span]:
    """Detect cartwheels and handsprings: upside down with a hand near the floor and high hips, and upright before and after."""
    spans = runs(turned_over(body), 0.1, 0.4)
    hands = body.height[:, WRISTS].min(1) < 0.3
    high = (body.height[:, PELVIS] > 0.6) & (body.height[:, ANKLES].max(1) > 1.0)
    return [span for span in spans if (hands & high)[span.frames].any() and recovers(body, span)]


def flips(body: Body) -> list[Span]:
    """Detect flips: upside down with all joints off the floor."""
    free = body.height.min(1) > 0.2
    return [span for span in runs(turned_over(body), 0.1, 0.2) if free[span.frames].any() and recovers(body, span)]


def rolls(body: Body) -> list[Span]:
    """Detect rolls: the neck is near the floor and lower than the hips, and the hips stay low."""
    low = (body.height[:, NECK] < 0.45) & (body.height[:, PELVIS] < 0.95)
    over = (body.height[:, NECK] < body.height[:, PELVIS]) & low
    spans = runs(over, 0.15, 0.3)
    return [span for span in spans if recovers(body, span) and body.height[span.start : span.stop + 6, NECK].min() < 0.4]


def recovers(body: Body, span: Span) -> bool:
    """Whether the trunk is upright before the span, and again within two seconds after the span."""
    return flanked(span, body.trunk < 65, after=2 * FPS)


def balances(body: Body) -> list[Span]:
    """Detect balancing on one leg for at least 1.2 s: one foot is more than 15 cm high, the other stands still on the floor."""
    spans = []
    for side in (LEFT, RIGHT):
        stands = (body.feet[:, side] < 0.08) & (length(rate(smooth(body.joints[:, ANKLES[side]], 2))) < 0.25)
        spans += runs(stands & (body.feet[:, 1 - side] > 0.15) & (body.trunk < 60), 1.2, 0.2)
    return spans


def elbow_to_knee(body: Body) -> list[Span]:
    """Detect that an elbow and the knee of the other side meet while the person stands on the other leg."""
    spans = []
    for side in (LEFT, RIGHT):
        gap = length(body.joints[:, ELBOWS[side]] - body.joints[:, KNEES[1 - side]])
        up = (body.thighs[:, 1 - side] > 60) & (body.thighs[:, side] < 40)
        spans += runs((gap < 0.32) & up, 0.1, 0.2)
    return sorted(spans)
