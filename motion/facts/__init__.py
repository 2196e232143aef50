"""Facts: what the joints of a clip show about travel, turns, hands, and actions of the body.

For each action, the frames in which the action happens are detected. Thresholds are conservative: a fact is not reported if the
case is unclear. `prove` takes joints (T, 22, 3) in HumanML3D's order, in metres, Y up, with the floor at 0, at 20 frames per
second, and returns `Facts`. Left is the person's left (+X when they face +Z), angles are in degrees and positive to the left, and
pairs are (left, right).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from motion.facts import airborne, arms, postures
from motion.facts.arms import AT_HEAD, CHEST, DOWN, OVERHEAD, SHOULDER, WAIST, Hand, hand
from motion.facts.frames import ANKLES, FPS, HEAD, NECK, PELVIS, SHOULDERS, WRISTS, Event, Frames, peaks, runs, smooth, velocity
from motion.facts.gait import DIRECTIONS, Turn, count_steps, find_turns, travel
from utils.errors import UserError

__all__ = [
    "AT_HEAD", "CHEST", "DIRECTIONS", "DOWN", "FPS", "OVERHEAD", "SHOULDER", "WAIST", "Event", "Facts", "Hand", "Turn", "moving",
    "prove",
]  # fmt: skip
MARGIN = 4  # frames kept before and after the frames in which the body moves
DETECTED_AS = {"pick up": "reach to the floor", "put down": "reach to the floor", "climb steps": "climb", "climb a ladder": "climb"}


@dataclass(frozen=True)
class Facts:
    """What the joints of one clip show: travel, turns, posture, hands, and `events`, the occurrences of actions."""

    direction: str  # direction of travel relative to the facing direction: one of DIRECTIONS, 'in place', or '' if unclear
    distance: float  # metres travelled in that direction
    speed: float  # mean speed of the pelvis in m/s, over the frames in which the person moves
    steps: int
    turns: tuple[Turn, ...]  # turns of 35° or more, in temporal order
    lean: float  # median angle of the trunk from upright in degrees, forward positive
    bows: int
    bow_depth: float  # maximum angle of the trunk from upright in degrees
    hands: tuple[Hand, Hand]
    motion: float  # mean speed of head, hands and feet, m/s
    events: tuple[Event, ...]  # ordered by start
    active: tuple[int, int]  # the frames [start, end) in which the body moves
    frames: int
    ends_still: bool  # whether the body rests in the last frames

    def of(self, action: str) -> tuple[Event, ...]:
        """The events (occurrences) of an action, in temporal order. prepare/actions.py lists the names of actions."""
        return tuple(event for event in self.events if event.action == DETECTED_AS.get(action, action))

    def span(self, action: str) -> tuple[int, int]:
        """The frames [start, end) from the first to the last event of an action; without events, those in which the body moves."""
        events = self.of(action)
        return (min(event.start for event in events), max(event.end for event in events)) if events else self.active

    def pair(self, action: str) -> tuple[int, int]:
        """How often an action is done with the left and with the right limb."""
        return tuple(sum(event.side in (side, "both") for event in self.of(action)) for side in ("left", "right"))

    @property
    def jumps(self) -> int:
        """The number of jumps."""
        return len(self.of("jump"))


def trunk(body: np.ndarray) -> tuple[float, int, float]:
    """Median lean of the trunk, number of bows, and maximum lean; leans in degrees. `body`: (T, 22, 3), axes left, up, forward."""
    spine = body[:, NECK] - body[:, PELVIS]
    pitch = smooth(np.degrees(np.arctan2(spine[:, 2], spine[:, 1])), 2)
    return float(np.median(pitch)), len(peaks(pitch, 15, 12)), float(pitch.max())


def moving(joints: np.ndarray) -> tuple[int, int]:
    """The frames [start, end) in which the body moves: the clip without the still frames at its start and end."""
    tracked = joints[:, [PELVIS, HEAD, *WRISTS, *ANKLES]]
    speed = smooth(np.linalg.norm(FPS * np.gradient(tracked, axis=0), axis=-1).max(axis=1), 2)
    spans = runs(speed > max(0.15, 0.2 * np.percentile(speed, 90)))
    if not spans:
        return 0, len(joints)
    return max(0, spans[0][0] - MARGIN), min(len(joints), spans[-1][1] + MARGIN)


FINDERS = (
    postures.seats, postures.beds, postures.squats, postures.crawling, postures.floor_reaches, postures.balancing,
    postures.climbing,
    airborne.jumps_and_hops, airborne.jumping_jacks, airborne.kicks, airborne.tumbles,
    arms.punches, arms.throws, arms.arm_circles, arms.elbows_to_knees,
)  # fmt: skip


def prove(joints: np.ndarray) -> Facts:
    """Detect what a clip shows in its joints (T, 22, 3), in metres, Y up, floor at 0, at 20 frames per second.

    Raises `UserError` if the joints have another shape, fewer than 12 frames, or values that are not finite.
    """
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) < 12:
        raise UserError(f"joints of shape {joints.shape}: captions need (T, 22, 3) with at least 12 frames")
    if not np.isfinite(joints).all():
        raise UserError("joints contain NaN or infinity; remove the clip")
    return facts_of(Frames.of(joints))


def facts_of(frames: Frames) -> Facts:
    """Detect what a clip shows, as `prove` does, from the measurements of its frames."""
    direction, distance, speed = travel(frames.joints, frames.yaw)
    lean, bows, depth = trunk(frames.body)
    ends = frames.joints[:, [HEAD, *WRISTS, *ANKLES]]
    events = sorted((event for find in FINDERS for event in find(frames)), key=lambda event: (event.start, event.end))
    return Facts(
        direction, distance, speed, count_steps(frames.joints), find_turns(frames.yaw), lean, bows, depth,
        hands=(hand(frames.body, WRISTS[0], SHOULDERS[0]), hand(frames.body, WRISTS[1], SHOULDERS[1])),
        motion=float(np.linalg.norm(velocity(ends), axis=-1).mean()),
        events=tuple(events), active=moving(frames.joints), frames=len(frames), ends_still=bool(frames.pace[-4:].mean() < 0.3),
    )  # fmt: skip
