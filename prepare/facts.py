"""What the joints of a clip prove: travel, steps, turns, hands, bows, kicks, punches, jumps.

`prepare/captions.py` says in English only what is found here, so thresholds lean to silence: what is not plain to see is not
a fact. In: joints (T, 22, 3), HumanML3D order, metres, Y up, floor 0, 20 frames a second. Out: one frozen `Facts`.
Left is the person's own left (+X when they face +Z); angles are degrees, left positive; pairs are (left, right).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from utils.errors import UserError

FPS = 20
PELVIS, NECK, HEAD = 0, 12, 15
HIPS, ANKLES, TOES = (1, 2), (7, 8), (10, 11)
SHOULDERS, WRISTS = (16, 17), (20, 21)
DIRECTIONS = (  # sectors of 45° from straight ahead, towards the left
    "forward", "forward left", "left", "backward left", "backward", "backward right", "right", "forward right",
)  # fmt: skip
DOWN, WAIST, CHEST, SHOULDER, AT_HEAD, OVERHEAD = range(6)  # how high a hand is held


@dataclass(frozen=True)
class Hand:
    """One hand over the clip."""

    level: int  # where it is held while up: DOWN … OVERHEAD
    raises: int  # how often it goes up from below
    lowered: bool  # down again at the end, after having been up
    waves: int  # full swings to and fro while up
    held: float  # seconds up
    rise: float  # seconds it takes to go up, the first time; 0 if it never does


@dataclass(frozen=True)
class Turn:
    """A turn to one side."""

    degrees: float  # left positive
    when: float  # half of it is done, as a fraction of the clip


@dataclass(frozen=True)
class Facts:
    """One clip. `direction` is one of DIRECTIONS, 'in place', or '' where the body wanders."""

    direction: str  # of travel, relative to where the body faces
    distance: float  # m, between start and end along the body's own path
    speed: float  # m/s, while moving
    steps: int
    turns: tuple[Turn, ...]  # of 35° or more, one after the other
    lean: float  # degrees of the trunk from upright, forward positive, median
    bows: int
    bow_depth: float  # degrees from upright
    hands: tuple[Hand, Hand]
    punches: tuple[int, int]
    kicks: tuple[int, int]
    jumps: int
    motion: float  # m/s, mean speed of head, hands and feet


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(x, sigma, axis=0, mode="nearest")


def velocity(x: np.ndarray) -> np.ndarray:
    """Change a second from frame to frame, (T, ...) → (T - 1, ...)."""
    return FPS * np.diff(x, axis=0)


def peaks(x: np.ndarray, height: float, prominence: float) -> np.ndarray:
    """Indices of the peaks of x (T,) that reach `height` and stand out by `prominence`; most clips have none, seen at a glance."""
    if x.max() < height or x.max() - x.min() < prominence:
        return np.empty(0, int)
    return find_peaks(x, height=height, prominence=prominence)[0]


def facing(joints: np.ndarray) -> np.ndarray:
    """Yaw of the body in radians, unwrapped, left positive, 0 along +Z: (T, J, 3) → (T,)."""
    across = joints[:, HIPS[1]] - joints[:, HIPS[0]] + joints[:, SHOULDERS[1]] - joints[:, SHOULDERS[0]]
    return smooth(np.unwrap(np.arctan2(across[:, 2], -across[:, 0])), 3)


def to_body(vectors: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """World vectors (T, ..., 3) → components (left, up, forward) of a body that faces `yaw` (T,)."""
    shape = (len(yaw),) + (1,) * (vectors.ndim - 2)
    cos, sin = np.cos(yaw).reshape(shape), np.sin(yaw).reshape(shape)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=-1)


def travel(joints: np.ndarray, yaw: np.ndarray) -> tuple[str, float, float]:
    """Direction, distance and speed of the pelvis, its path unrolled along the facing so that a turn does not bend it."""
    moving = to_body(velocity(smooth(joints[:, PELVIS], 2)), (yaw[1:] + yaw[:-1]) / 2)
    left, _, forward = moving.sum(axis=0) / FPS
    pace = smooth(np.hypot(moving[:, 0], moving[:, 2]), 3)
    distance, way = float(np.hypot(left, forward)), pace.sum() / FPS
    speed = float(pace[pace >= 0.5 * np.percentile(pace, 90)].mean())
    if distance < 0.4:
        return ("in place" if way < 0.8 else ""), distance, speed
    if distance < 0.5 * way:
        return "", distance, speed
    sector = round(np.degrees(np.arctan2(left, forward)) / 45)
    return DIRECTIONS[sector % 8], distance, speed


def count_steps(joints: np.ndarray) -> int:
    """Swings of the feet: peaks of a foot's horizontal speed well above its stance. Holds in runs, where no foot stands still."""
    steps = 0
    for ankle, toe in zip(ANKLES, TOES):
        moving = velocity(smooth((joints[:, ankle] + joints[:, toe])[:, [0, 2]] / 2, 1))
        speed = np.hypot(moving[:, 0], moving[:, 1])
        fastest = max(0.8, float(speed.max()))
        steps += len(peaks(speed, 0.3 * fastest, 0.25 * fastest))
    return steps


def find_turns(yaw: np.ndarray) -> tuple[Turn, ...]:
    """The turns of a body that faces `yaw` (T,): what lies between the corners of its course, the sway of a gait smoothed away."""
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


def trunk(body: np.ndarray) -> tuple[float, int, float]:
    """Usual lean, number of bows and the deepest, degrees from upright; `body` (T, 22, 3) in body axes."""
    spine = body[:, NECK] - body[:, PELVIS]
    pitch = smooth(np.degrees(np.arctan2(spine[:, 2], spine[:, 1])), 2)
    return float(np.median(pitch)), len(peaks(pitch, 15, 12)), float(pitch.max())


def hand(body: np.ndarray, wrist: int, shoulder: int) -> Hand:
    """How one hand moves; heights count from the shoulder, levels from shoulder and head."""
    reach = body[:, wrist] - body[:, shoulder]
    height = smooth(reach[:, 1], 1)
    low, high = height.min(), height.max()
    if high - low < 0.2 and high < -0.25:
        return Hand(DOWN, 0, False, 0, 0.0, 0.0)
    still = high - low < 0.2  # held where it is from the first frame to the last
    up = np.ones(len(height), bool) if still else height > low + 0.6 * (high - low)
    down = np.zeros(len(height), bool) if still else height < low + 0.3 * (high - low)
    state = np.where(up, 1, np.where(down, -1, 0))
    state = state[state != 0]
    neck = float(np.median((body[:, HEAD] - body[:, shoulder])[up, 1]))  # from shoulder to head
    limits = (-0.36, -0.22, -0.09, 0.09, neck + 0.14)
    level = int(np.searchsorted(limits, np.median(height[up])))
    raises = int(((state[1:] > 0) & (state[:-1] < 0)).sum())
    rise = rising(height, low, float(np.median(height[up]))) if raises else 0.0
    return Hand(level, raises, bool(state[-1] < 0), count_waves(reach[longest(up)]), float(up.sum() / FPS), rise)


def longest(mask: np.ndarray) -> slice:
    """The longest run of true values in a mask (T,) that has one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    starts, ends = edges[::2], edges[1::2]
    run = np.argmax(ends - starts)
    return slice(starts[run], ends[run])


def rising(height: np.ndarray, low: float, high: float) -> float:
    """Seconds from 15 % to 85 % of the way up, on the first way up."""
    arrives = int(np.argmax(height > low + 0.85 * (high - low)))
    before = np.flatnonzero(height[:arrives] < low + 0.15 * (high - low))
    return (arrives - int(before[-1])) / FPS if len(before) else 0.0


def count_waves(reach: np.ndarray) -> int:
    """Swings to and fro of a raised hand, 6 cm or wider, along the line on which it moves most: (T, 3) → count, 0 or from 2."""
    path = smooth(reach, 1)[3:-3]  # without arriving and leaving
    if len(path) < 8:
        return 0
    clock = np.linspace(-1, 1, len(path))[:, None]
    path = path - path.mean(axis=0) - clock * (clock * path).sum(axis=0) / (clock**2).sum()  # no offset, no drift
    swing = path @ np.linalg.eigh(path.T @ path)[1][:, -1]
    wide = max(0.06, 0.4 * float(np.percentile(swing, 90) - np.percentile(swing, 10)))
    waves = sum(len(peaks(side, -np.inf, wide)) for side in (swing, -swing)) // 2
    return waves if waves > 1 else 0


def count_punches(body: np.ndarray, wrist: int, shoulder: int) -> int:
    """Times an arm is thrust out quickly to nearly its full length, above the waist."""
    reach = body[:, wrist] - body[:, shoulder]
    length = np.linalg.norm(reach, axis=-1)
    level = (reach[:, 1] > -0.25) & (np.hypot(reach[:, 0], reach[:, 2]) > 0.35)
    found = peaks(length, 0.42, 0.12)
    return sum(bool(level[p] and velocity(length[max(0, p - 6) : p + 1]).max() > 1.5) for p in found)


def count_kicks(body: np.ndarray, ankle: int, hip: int) -> int:
    """Nearly straight leg swung forward or sideways, more than 50° from hanging, off the floor."""
    leg = body[:, ankle] - body[:, hip]
    length = np.linalg.norm(leg, axis=-1)
    angle = np.degrees(np.arccos(np.clip(-leg[:, 1] / length, -1, 1)))
    angle = np.where(leg[:, 2] > -np.abs(leg[:, 0]), angle, 0)
    found = [p for p in peaks(angle, 50, 30) if length[max(0, p - 3) : p + 4].max() > 0.88 * length.max()]
    return sum(bool(body[p, ankle, 1] > 0.35) for p in found)


def count_jumps(joints: np.ndarray) -> int:
    """Both feet 12 cm above where they stand at the same time."""
    ankles = joints[:, ANKLES, 1]
    clear = (ankles - np.percentile(ankles, 20, axis=0)).min(axis=-1)
    return len(peaks(clear, 0.12, 0.1))


def prove(joints: np.ndarray) -> Facts:
    """The facts of one clip, joints (T, 22, 3). Raises `UserError` for another shape, fewer than 12 frames or NaN."""
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) < 12:
        raise UserError(f"joints of shape {joints.shape}: captions need (T, 22, 3) with at least 12 frames")
    if not np.isfinite(joints).all():
        raise UserError("joints with NaN or infinity: leave the clip out")
    joints = joints.astype(np.float64)
    yaw = facing(joints)
    body = to_body(joints - joints[:, :1] * [1, 0, 1], yaw)  # (T, 22, 3), heights kept
    direction, distance, speed = travel(joints, yaw)
    lean, bows, depth = trunk(body)
    ends = joints[:, [HEAD, *WRISTS, *ANKLES]]
    return Facts(
        direction, distance, speed, count_steps(joints), find_turns(yaw), lean, bows, depth,
        hands=(hand(body, WRISTS[0], SHOULDERS[0]), hand(body, WRISTS[1], SHOULDERS[1])),
        punches=(count_punches(body, WRISTS[0], SHOULDERS[0]), count_punches(body, WRISTS[1], SHOULDERS[1])),
        kicks=(count_kicks(body, ANKLES[0], HIPS[0]), count_kicks(body, ANKLES[1], HIPS[1])),
        jumps=count_jumps(joints),
        motion=float(np.linalg.norm(velocity(ends), axis=-1).mean()),
    )  # fmt: skip
