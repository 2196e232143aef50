"""The profile of a motion: facts and further measurements as a vector of bits, which a network can compare with a text.

Each measurement is compared with several thresholds, and each comparison is a bit ("thermometer code"). For example, a motion with
two kicks of the left leg has the bits "kick left > 0" and "kick left > 1", but not "kick left > 2".
"""

from __future__ import annotations

import numpy as np

from motion.facts import DIRECTIONS, Facts, facts_of
from motion.facts.arms import SIDES
from motion.facts.frames import ANKLES, FPS, HEAD, HIPS, NECK, PELVIS, SHOULDERS, WRISTS, Frames, smooth, to_body, velocity

ACTIONS = (
    "sit down", "sit", "stand up", "lie down", "lie", "get up from the floor", "squat", "crawl", "reach to the floor",
    "balance on one leg", "climb", "jump", "hop", "jumping jacks", "kick", "cartwheel", "flip", "roll", "punch", "throw",
    "circle the arms", "touch elbow to knee",
)  # fmt: skip
EDGE = 8  # frames; an action is "at the start" or "at the end" if it begins or ends within this distance of the motion's ends
SWING = 0.05  # metres; smaller movements to and fro are ignored
COUNTS, IS = (0.5, 1.5, 2.5), (0.5,)
# Thresholds of each measurement. Lengths are in metres (heights of the pelvis in leg lengths), speeds in m/s, angles in degrees,
# durations in seconds.
THRESHOLDS: dict[str, tuple[float, ...]] = {
    **{f"travels {direction}": IS for direction in (*DIRECTIONS, "in place")},
    "distance": (0.5, 1, 2, 3, 5), "speed": (0.3, 0.6, 0.9, 1.2, 1.6, 2.2, 3), "steps": (0.5, 2.5, 4.5, 7.5, 11.5),
    "lean": (-10, 8, 15, 25, 40), "bows": COUNTS, "bow depth": (20, 35, 50, 70), "motion": (0.15, 0.3, 0.5, 0.8, 1.2, 1.8),
    "ends still": IS, "duration": (2, 4, 6, 8),
    "forward": (-3, -1, -0.3, 0.5, 1.5, 3), "to the left": (-1, -0.3, 0.3, 1),
    "slowest forward": (-0.4, -0.2), "middle forward": (-0.2, 0, 0.3, 0.6, 1, 1.5, 2.2),
    "lowest pelvis": (0.3, 0.5, 0.7, 0.85), "first pelvis": (0.3, 0.6, 0.85), "last pelvis": (0.3, 0.6, 0.85),
    "pelvis swings": (1, 3, 6), "pace": (0.1, 0.3, 0.6, 1, 1.6), "both feet up": (0.05, 0.1, 0.2),
    "forward trunk": (15, 30, 50, 70), "backward trunk": (5, 15, 30), "trunk swings": (1, 3), "least upright": (-0.5, 0, 0.3, 0.7),
    "hands apart": (0.2, 0.35, 0.5, 0.7), "hands closest": (0.1, 0.2, 0.35),
}  # fmt: skip
for _side in SIDES:
    THRESHOLDS |= {
        f"turn {_side}": (35, 70, 120, 200, 300), f"turns {_side}": (1.5,), f"yaw {_side}": (45, 120, 250),
        f"trunk {_side}": (10, 25), f"{_side} hand level": (0.5, 1.5, 2.5, 3.5, 4.5), f"{_side} hand raises": COUNTS,
        f"{_side} hand lowered": IS, f"{_side} hand waves": (1.5, 2.5, 4.5), f"{_side} hand held": (0.5, 1.5, 3),
        f"{_side} hand to head": (0.15, 0.2, 0.25, 0.3), f"{_side} hand near head": (0.2, 0.25, 0.3, 0.4),
        **{f"{_side} hand swings {way}": (1, 3, 6) for way in ("sideways", "up", "forward")},
        f"{_side} hand speed": (0.5, 1, 2, 3, 4), f"{_side} hand forward": (0.2, 0.35, 0.5), f"{_side} hand back": (0.1, 0.25),
        f"{_side} hand outward": (0.1, 0.3, 0.5), f"{_side} hand across": (0.1, 0.3, 0.5),
        f"{_side} hand highest": (1.0, 1.4, 1.7, 2.0), f"{_side} hand lowest": (0.15, 0.35, 0.6),
        f"{_side} foot below hip": (-0.7, -0.5, -0.3, 0), f"{_side} foot speed": (1, 2.5, 4, 5),
        f"{_side} foot up": (0.1, 0.25, 0.45, 0.7),
    }  # fmt: skip
for _action in ACTIONS:
    THRESHOLDS |= {
        _action: COUNTS, f"{_action} left": IS, f"{_action} right": IS, f"{_action} at the start": IS,
        f"{_action} at the end": IS, f"{_action} takes": (0.5,),
    }  # fmt: skip
BITS = tuple(f"{name} > {threshold:g}" for name, thresholds in THRESHOLDS.items() for threshold in thresholds)
SHORTEST = 12  # frames; a shorter motion is extended by its last pose


def profile(joints: np.ndarray) -> np.ndarray:
    """The profile of a motion with joints (T, 22, 3), in metres, Y up, at 20 frames per second: a bool vector (len(BITS),).

    Each bit states whether a measurement, such as the number of kicks, is above a threshold; `BITS` names the bits.
    """
    if len(joints) < SHORTEST:
        joints = np.concatenate([joints, np.repeat(joints[-1:], SHORTEST - len(joints), axis=0)])
    frames = Frames.of(joints)
    facts = facts_of(frames)
    values = of_facts(facts) | of_body(frames) | of_limbs(facts, frames, 0) | of_limbs(facts, frames, 1)
    return np.concatenate([values[name] > np.array(thresholds) for name, thresholds in THRESHOLDS.items()])


def of_facts(facts: Facts) -> dict[str, float]:
    """Measurements of travel, turns, trunk and actions, keyed by name."""
    values = {f"travels {direction}": facts.direction == direction for direction in (*DIRECTIONS, "in place")}
    values |= {
        "distance": 0.0 if facts.direction == "in place" else facts.distance, "speed": facts.speed, "steps": facts.steps,
        "lean": facts.lean, "bows": facts.bows, "bow depth": facts.bow_depth, "motion": facts.motion,
        "ends still": facts.ends_still, "duration": facts.frames / FPS,
    }  # fmt: skip
    for sign, side in zip((1, -1), SIDES):
        turns = [sign * turn.degrees for turn in facts.turns if sign * turn.degrees > 0]
        values |= {f"turn {side}": max(turns, default=0.0), f"turns {side}": len(turns)}
    for action in ACTIONS:
        events = [event for event in facts.events if event.action == action]
        values |= {
            action: len(events),
            f"{action} at the start": any(event.start < EDGE for event in events),
            f"{action} at the end": any(event.end > facts.frames - EDGE for event in events),
            f"{action} takes": sum(event.end - event.start for event in events) / facts.frames,
            **{f"{action} {side}": any(event.side in (side, "both") for event in events) for side in SIDES},
        }
    return values


def of_body(frames: Frames) -> dict[str, float]:
    """Measurements of pelvis, trunk and feet, and of both hands together, keyed by name."""
    yaw = np.degrees(frames.yaw)
    moved = to_body(velocity(smooth(frames.joints[:, PELVIS], 2)), (frames.yaw[1:] + frames.yaw[:-1]) / 2)
    spine = frames.body[:, NECK] - frames.body[:, PELVIS]
    pitch, roll = (smooth(np.degrees(np.arctan2(spine[:, axis], spine[:, 1])), 2) for axis in (2, 0))
    height, apart = frames.pelvis / frames.standing, np.linalg.norm(frames.body[:, WRISTS[0]] - frames.body[:, WRISTS[1]], axis=-1)
    slowest, middle = np.percentile(moved[:, 2], (5, 50))
    return {
        "forward": moved[:, 2].sum() / FPS, "to the left": moved[:, 0].sum() / FPS,
        "slowest forward": slowest, "middle forward": middle, "pace": np.percentile(frames.pace, 50),
        "lowest pelvis": height.min(), "first pelvis": height[:5].mean(), "last pelvis": height[-5:].mean(),
        "pelvis swings": swings(frames.pelvis, 0.04), "both feet up": np.percentile(frames.feet.min(axis=1), 99),
        "forward trunk": pitch.max(), "backward trunk": -pitch.min(), "trunk swings": swings(pitch, 6),
        "least upright": frames.upright.min(), "trunk left": roll.max(), "trunk right": -roll.min(),
        "yaw left": yaw.max() - yaw[0], "yaw right": yaw[0] - yaw.min(),
        "hands apart": np.median(apart), "hands closest": np.percentile(apart, 5),
    }  # fmt: skip


def of_limbs(facts: Facts, frames: Frames, number: int) -> dict[str, float]:
    """Measurements, keyed by name, of the hand and the foot of one side; `number` is 0 for left and 1 for right."""
    side, outward, held = SIDES[number], 1 - 2 * number, facts.hands[number]
    wrist, ankle, hip = WRISTS[number], ANKLES[number], HIPS[number]
    reach = smooth(frames.body[:, wrist] - frames.body[:, SHOULDERS[number]], 1)  # (T, 3): left, up, forward
    from_head = smooth(np.linalg.norm(frames.body[:, wrist] - frames.body[:, HEAD], axis=-1), 1)
    sideways, forward = outward * reach[:, 0], reach[:, 2]
    height = frames.joints[:, wrist, 1] / frames.standing
    speeds = [np.linalg.norm(velocity(smooth(path, 1)), axis=-1) for path in (frames.body[:, wrist], frames.joints[:, ankle])]
    values = {
        "hand level": held.level, "hand raises": held.raises, "hand lowered": held.lowered, "hand waves": held.waves,
        "hand held": held.held, "hand to head": np.percentile(from_head, 2), "hand near head": np.percentile(from_head, 25),
        **{f"hand swings {way}": swings(reach[:, axis], SWING) for axis, way in enumerate(("sideways", "up", "forward"))},
        "hand speed": np.percentile(speeds[0], 90), "hand forward": np.percentile(forward, 95),
        "hand back": -np.percentile(forward, 5), "hand outward": np.percentile(sideways, 95),
        "hand across": -np.percentile(sideways, 5), "hand highest": np.percentile(height, 98),
        "hand lowest": np.percentile(height, 2), "foot speed": np.percentile(speeds[1], 90),
        "foot below hip": np.percentile(frames.body[:, ankle, 1] - frames.body[:, hip, 1], 95),
        "foot up": np.percentile(frames.feet[:, number], 99),
    }  # fmt: skip
    return {f"{side} {name}": value for name, value in values.items()}


def swings(x: np.ndarray, size: float) -> int:
    """How often x (T,) changes from at least `size` above its moving average to at least `size` below this average, or back."""
    deviation = x - smooth(x, FPS / 2)
    signs = np.sign(deviation[np.abs(deviation) >= size])
    return int((signs[1:] != signs[:-1]).sum())
