"""The judges by name, and conditions for prompts: an action happens, takes most of the time, happens several times, in order, or
together.

A judge is a function Body → spans in which its action happens; "kick" is "kick left" or "kick right". A condition is a function
Body → bool.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.obedience import gaits, gestures, postures
from benchmarks.obedience.measures import FPS, LEFT, RIGHT, Body, Span

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
    """The judge of both sides."""
    return lambda body: sorted(judge(body, LEFT) + judge(body, RIGHT))


JUDGES: dict[str, Judge] = WHOLE | {name: either(judge) for name, judge in SIDED.items()}
JUDGES |= {
    f"{name} {side}": partial(judge, side=number) for name, judge in SIDED.items() for number, side in enumerate(("left", "right"))
}
REPEATED = {"hop", "jumping jacks"}  # once is not enough: a jump is no hopping
LASTING = {"stand": 0.7}  # share of the clip


def shows(name: str, body: Body) -> bool:
    """Whether a clip shows the action, by its judge."""
    spans = JUDGES[name](body)
    if name in LASTING:
        return share(spans, body) >= LASTING[name]
    return len(spans) > (name in REPEATED)


def share(spans: list[Span], body: Body) -> float:
    """Fraction of the clip that the spans cover."""
    return sum(span.stop - span.start for span in spans) / len(body)


def does(*names: str) -> Condition:
    """All of these happen."""
    return lambda body: all(shows(name, body) for name in names)


def without(*names: str) -> Condition:
    """None of these happens."""
    return lambda body: not any(shows(name, body) for name in names)


def all_of(*conditions: Condition) -> Condition:
    """All conditions hold."""
    return lambda body: all(condition(body) for condition in conditions)


def mostly(name: str, least: float = 0.5) -> Condition:
    """It takes at least this fraction of the motion."""
    return lambda body: share(JUDGES[name](body), body) >= least


def times(name: str, count: int) -> Condition:
    """It happens exactly this often."""
    return lambda body: len(JUDGES[name](body)) == count


def in_order(*names: str) -> Condition:
    """One after the other: each begins when the one before is at least half over, and ends later."""

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


def together(first: str, second: str, least: float = 0.8) -> Condition:
    """Both at the same time for `least` seconds."""

    def condition(body: Body) -> bool:
        pairs = ((one, other) for one in JUDGES[first](body) for other in JUDGES[second](body))
        return any(min(one.stop, other.stop) - max(one.start, other.start) >= least * FPS for one, other in pairs)

    return condition


def ends(state: Callable[[Body], np.ndarray], seconds: float = 0.4) -> Condition:
    """The state (T,) holds for most of the last `seconds`."""
    return lambda body: bool(state(body)[-round(seconds * FPS) :].mean() > 0.6)


def begins(state: Callable[[Body], np.ndarray], seconds: float = 0.4) -> Condition:
    """A condition: `state` holds during the first `seconds` of the motion."""
    return lambda body: bool(state(body)[: round(seconds * FPS)].mean() > 0.6)


def upright(body: Body) -> np.ndarray:
    """Whether the body is upright, per frame (T,)."""
    return body.upright


def resting(body: Body) -> np.ndarray:
    """Not going anywhere, (T,)."""
    return body.speed < 0.5
