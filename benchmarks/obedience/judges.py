"""All judges, keyed by name, and conditions on motions: for example, that an action happens twice or follows another.

A judge is a function that detects one action: it returns the spans of frames of a `Body` in which the action happens. A judge
without a side, such as "kick", combines the judges of both sides, "kick left" and "kick right". A condition is a function that
returns whether the motion of a `Body` satisfies it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.obedience import gaits, gestures, postures
from benchmarks.obedience.joints import FPS, LEFT, RIGHT
from benchmarks.obedience.measures import Body, Span

Judge = Callable[[Body], list[Span]]
Condition = Callable[[Body], bool]

SIDED = {
    "turn": gaits.turns, "circle": gaits.circles, "raise": gestures.raises, "wave": gestures.waves, "kick": gestures.kicks,
    "kick a ball": gestures.kicks_a_ball, "punch": gestures.punches, "drink": gestures.drinks, "reach up": gestures.reaches_up,
    "point": gestures.points, "wash": gestures.wipes, "dribble": gestures.dribbles,
}  # fmt: skip
WHOLE = {
    "walk": gaits.walks, "walk backward": gaits.walks_backward, "run": gaits.runs_forward, "spin": gaits.spins,
    "stand": gaits.stands, "sneak": gaits.sneaks, "zombie": gaits.walks_like_a_zombie, "climb steps": gaits.climbs_steps,
    "climb a ladder": gaits.climbs_a_ladder, "crawl": gaits.crawls, "duck": gaits.ducks, "sit": postures.sits,
    "stand up": postures.stands_up, "lie down": postures.lies_down, "get up": postures.gets_up, "squat": postures.squats,
    "jump": postures.jumps, "jump forward": postures.jumps_forward, "hop": postures.hops, "jumping jacks": postures.jumping_jacks,
    "bow": postures.bows, "reach the floor": postures.reaches_the_floor, "bend down": postures.bends_down,
    "cartwheel": postures.cartwheels, "flip": postures.flips, "roll": postures.rolls, "balance": postures.balances,
    "elbow to knee": postures.elbow_to_knee, "throw": gestures.throws, "mop": gestures.mops,
    "circle the arms": gestures.circles_the_arms, "dance": gestures.dances,
}  # fmt: skip


def either(judge: Callable[[Body, int], list[Span]]) -> Judge:
    """Return a judge (detector of an action) for both sides, made from `judge`, which detects the action on one given side."""
    return lambda body: sorted(judge(body, LEFT) + judge(body, RIGHT))


JUDGES: dict[str, Judge] = WHOLE | {name: either(judge) for name, judge in SIDED.items()}
JUDGES |= {
    f"{name} {side}": partial(judge, side=number) for name, judge in SIDED.items() for number, side in enumerate(("left", "right"))
}
REPEATED = {"hop", "jumping jacks"}  # actions that must happen at least twice; a single hop counts as a jump
EDGE = 8  # number of frames that determine the first and the last posture of a motion
LASTING = {"stand": 0.7}  # actions that must take at least the given fraction of the clip


def shows(name: str, body: Body) -> bool:
    """Whether a clip shows the action `name`, a key of `JUDGES`.

    Actions in `REPEATED`, such as hopping, must happen at least twice. Actions in `LASTING`, such as standing, must take the given
    fraction of the clip. All other actions must happen at least once.
    """
    spans = JUDGES[name](body)
    if name in LASTING:
        return coverage(spans, body) >= LASTING[name]
    return len(spans) > (name in REPEATED)


def coverage(spans: list[Span], body: Body) -> float:
    """Fraction of the frames of a clip that are in `spans`."""
    return sum(span.stop - span.start for span in spans) / len(body)


def does(*names: str) -> Condition:
    """Return a function that checks whether all of the actions `names` happen in a motion."""
    return lambda body: all(shows(name, body) for name in names)


def without(*names: str) -> Condition:
    """Return a function that checks whether none of the actions `names` happens in a motion."""
    return lambda body: not any(shows(name, body) for name in names)


def all_of(*conditions: Condition) -> Condition:
    """Return a function that checks whether a motion satisfies all `conditions`."""
    return lambda body: all(condition(body) for condition in conditions)


def mostly(name: str, minimum: float = 0.5) -> Condition:
    """Return a function that checks whether the action `name` takes at least the fraction `minimum` of a motion."""
    return lambda body: coverage(JUDGES[name](body), body) >= minimum


def times(name: str, count: int) -> Condition:
    """Return a function that checks whether the action `name` happens exactly `count` times in a motion."""
    return lambda body: len(JUDGES[name](body)) == count


def in_order(*names: str) -> Condition:
    """Return a function that checks whether the actions `names` happen one after the other in a motion.

    Each action begins after the middle of the previous one (with a tolerance of two frames) and ends later than the previous one.
    """

    def condition(body: Body) -> bool:
        reached: list[Span | None] = [None]
        for name in names:
            spans = JUDGES[name](body)
            reached = [
                span for span in spans
                if any(last is None or (span.start >= last.middle - 2 and span.stop > last.stop) for last in reached)
            ]  # fmt: skip
        return bool(reached)

    return condition


def together(first: str, second: str, minimum: float = 0.8) -> Condition:
    """Return a function that checks whether both actions happen at the same time for at least `minimum` seconds."""

    def condition(body: Body) -> bool:
        pairs = ((a, b) for a in JUDGES[first](body) for b in JUDGES[second](body))
        return any(min(a.stop, b.stop) - max(a.start, b.start) >= minimum * FPS for a, b in pairs)

    return condition


def ends(state: Callable[[Body], np.ndarray]) -> Condition:
    """Return a function that checks whether a mask (T,), which `state` computes, is true in most of the last 8 frames."""
    return lambda body: bool(state(body)[-EDGE:].mean() > 0.6)


def begins(state: Callable[[Body], np.ndarray]) -> Condition:
    """Return a function that checks whether a mask (T,), which `state` computes, is true in most of the first 8 frames."""
    return lambda body: bool(state(body)[:EDGE].mean() > 0.6)


def upright(body: Body) -> np.ndarray:
    """Whether the body is upright, per frame (T,)."""
    return body.upright


def resting(body: Body) -> np.ndarray:
    """Whether the pelvis is slower than 0.5 m/s, per frame (T,)."""
    return body.speed < 0.5
