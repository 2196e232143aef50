"""Facts detected in the joints of a clip: travel, turns, hands, and actions of the body with their frames.

Captions state only these facts, so thresholds are conservative: unclear cases are not facts. In: joints (T, 22, 3), HumanML3D
order, metres, Y up, floor 0, 20 frames a second. Out: one frozen `Facts`.
Left is the person's own left (+X when they face +Z); angles are degrees, left positive; pairs are (left, right).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prepare.facts import airborne, arms, postures
from prepare.facts.arms import AT_HEAD, CHEST, DOWN, OVERHEAD, SHOULDER, WAIST, Hand, hand
from prepare.facts.frames import (
    ANKLES,
    FPS,
    HEAD,
    HIPS,
    NECK,
    PELVIS,
    SHOULDERS,
    TOES,
    WRISTS,
    Event,
    Frames,
    peaks,
    runs,
    smooth,
    velocity,
)  # fmt: skip
from prepare.facts.gait import DIRECTIONS, Turn, count_steps, find_turns, travel
from utils.errors import UserError

__all__ = [
    "ANKLES", "AT_HEAD", "CHEST", "DIRECTIONS", "DOWN", "FPS", "HEAD", "HIPS", "NECK", "OVERHEAD", "PELVIS", "SHOULDER",
    "SHOULDERS", "TOES", "WAIST", "WRISTS", "Event", "Facts", "Hand", "Turn", "prove", "velocity",
]  # fmt: skip
MARGIN = 4  # frames kept around the stretch in which the body moves
PROVEN_BY = {"pick up": "reach to the floor", "put down": "reach to the floor", "climb steps": "climb", "climb a ladder": "climb"}


@dataclass(frozen=True)
class Facts:
    """One clip. `direction` is one of DIRECTIONS, 'in place', or '' if there is no clear direction."""

    direction: str  # of travel, relative to where the body faces
    distance: float  # m, between start and end along the body's own path
    speed: float  # m/s, while moving
    steps: int
    turns: tuple[Turn, ...]  # of 35° or more, one after the other
    lean: float  # degrees of the trunk from upright, forward positive, median
    bows: int
    bow_depth: float  # degrees from upright
    hands: tuple[Hand, Hand]
    motion: float  # m/s, mean speed of head, hands and feet
    events: tuple[Event, ...]  # in the order in which they start
    active: tuple[int, int]  # [start, end) of the frames in which the body moves
    frames: int
    ends_still: bool  # the body stands or rests in the last frames

    def of(self, action: str) -> tuple[Event, ...]:
        """The events of an action of prepare/actions.py."""
        return tuple(event for event in self.events if event.action == PROVEN_BY.get(action, action))

    def span(self, action: str) -> tuple[int, int]:
        """[start, end) of an action, from its first to its last event; for actions without events, the frames in which the body
        moves."""
        events = self.of(action)
        return (min(event.start for event in events), max(event.end for event in events)) if events else self.active

    def pair(self, action: str) -> tuple[int, int]:
        """Number of times an action is done with the left and with the right."""
        return tuple(sum(event.side in (side, "both") for event in self.of(action)) for side in ("left", "right"))

    @property
    def punches(self) -> tuple[int, int]:
        """The number of punches with the left and with the right hand."""
        return self.pair("punch")

    @property
    def kicks(self) -> tuple[int, int]:
        """The number of kicks with the left and with the right foot."""
        return self.pair("kick")

    @property
    def jumps(self) -> int:
        """Number of jumps."""
        return len(self.of("jump"))


def trunk(body: np.ndarray) -> tuple[float, int, float]:
    """Median lean, number of bows and the deepest one, in degrees from upright; `body` (T, 22, 3) in body axes."""
    spine = body[:, NECK] - body[:, PELVIS]
    pitch = smooth(np.degrees(np.arctan2(spine[:, 2], spine[:, 1])), 2)
    return float(np.median(pitch)), len(peaks(pitch, 15, 12)), float(pitch.max())


def moving(joints: np.ndarray) -> tuple[int, int]:
    """[start, end) of the frames in which the body moves, without stillness at both ends."""
    ends = joints[:, [PELVIS, HEAD, *WRISTS, *ANKLES]]
    busy = smooth(np.linalg.norm(FPS * np.gradient(ends, axis=0), axis=-1).max(axis=1), 2)
    stretches = runs(busy > max(0.15, 0.2 * np.percentile(busy, 90)))
    if not stretches:
        return 0, len(joints)
    return max(0, stretches[0][0] - MARGIN), min(len(joints), stretches[-1][1] + MARGIN)


FINDERS = (
    postures.seats, postures.beds, postures.squats, postures.crawling, postures.floor_reaches, postures.balancing,
    postures.climbing,
    airborne.jumps_and_hops, airborne.jumping_jacks, airborne.kicks, airborne.tumbles,
    arms.punches, arms.throws, arms.arm_circles, arms.elbows_to_knees,
)  # fmt: skip


def prove(joints: np.ndarray) -> Facts:
    """The facts of one clip, joints (T, 22, 3). Raises `UserError` for another shape, fewer than 12 frames or NaN."""
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) < 12:
        raise UserError(f"joints of shape {joints.shape}: captions need (T, 22, 3) with at least 12 frames")
    if not np.isfinite(joints).all():
        raise UserError("joints with NaN or infinity: leave the clip out")
    frames = Frames.of(joints)
    direction, distance, speed = travel(frames.joints, frames.yaw)
    lean, bows, depth = trunk(frames.body)
    ends = frames.joints[:, [HEAD, *WRISTS, *ANKLES]]
    events = sorted((event for find in FINDERS for event in find(frames)), key=lambda event: (event.start, event.end))
    return Facts(
        direction, distance, speed, count_steps(frames.joints), find_turns(frames.yaw), lean, bows, depth,
        hands=(hand(frames.body, WRISTS[0], SHOULDERS[0]), hand(frames.body, WRISTS[1], SHOULDERS[1])),
        motion=float(np.linalg.norm(velocity(ends), axis=-1).mean()),
        events=tuple(events), active=moving(frames.joints), frames=len(joints), ends_still=bool(frames.pace[-4:].mean() < 0.3),
    )  # fmt: skip
