"""Travel, steps and turns of one clip."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from motion.facts.frames import ANKLES, FPS, PELVIS, TOES, peaks, smooth, to_body, velocity

DIRECTIONS = (  # sectors of 45°: the first is straight ahead, the next ones follow towards the left
    "forward", "forward left", "left", "backward left", "backward", "backward right", "right", "forward right",
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A turn to one side: its angle in `degrees`, left positive, and `when` half of it is done, as a fraction of the clip."""

    degrees: float  # left positive
    when: float  # time at which half of the turn is done, as a fraction of the clip


def travel(joints: np.ndarray, yaw: np.ndarray) -> tuple[str, float, float]:
    """Direction of travel, distance in metres, and speed in m/s of the pelvis; `yaw` (T,) is the facing direction in radians.

    The direction is one of `DIRECTIONS`, such as "forward left", or "in place", or "" if unclear.

    Displacements are summed relative to the facing direction, so that walking forward through a turn counts as "forward".
    """
    moving = to_body(velocity(smooth(joints[:, PELVIS], 2)), (yaw[1:] + yaw[:-1]) / 2)
    left, _, forward = moving.sum(axis=0) / FPS
    pace = smooth(np.hypot(moving[:, 0], moving[:, 2]), 3)
    distance, path_length = float(np.hypot(left, forward)), pace.sum() / FPS
    speed = float(pace[pace >= 0.5 * np.percentile(pace, 90)].mean())
    if distance < 0.4:
        return ("in place" if path_length < 0.8 else ""), distance, speed
    if distance < 0.5 * path_length:
        return "", distance, speed
    sector = round(np.degrees(np.arctan2(left, forward)) / 45)
    return DIRECTIONS[sector % 8], distance, speed


def count_steps(joints: np.ndarray) -> int:
    """Number of steps in joints (T, 22, 3): the peaks of the horizontal speed of the feet.

    Such peaks also occur in running, in which no foot rests.
    """
    steps = 0
    for ankle, toe in zip(ANKLES, TOES):
        moving = velocity(smooth((joints[:, ankle] + joints[:, toe])[:, [0, 2]] / 2, 1))
        speed = np.hypot(moving[:, 0], moving[:, 1])
        fastest = max(0.8, float(speed.max()))
        steps += len(peaks(speed, 0.3 * fastest, 0.25 * fastest))
    return steps


def find_turns(yaw: np.ndarray) -> tuple[Turn, ...]:
    """Find turns of at least 35°. The yaw (T,) of the body is given in radians.

    The yaw is smoothed to remove the sway of the gait. A turn is the change between two extrema of the smoothed yaw.
    """
    course = np.degrees(smooth(yaw, 6))
    corners = [peaks(side, -np.inf, 35) for side in (course, -course)]
    corners = np.sort(np.concatenate([[0], *corners, [len(course) - 1]]))
    turns = []
    for start, end in pairwise(corners):
        degrees = float(course[end] - course[start])
        if abs(degrees) >= 35:
            halfway = start + np.argmax(np.abs(course[start : end + 1] - course[start]) >= abs(degrees) / 2)
            turns.append(Turn(degrees, float(halfway / len(course))))
    return tuple(turns)
