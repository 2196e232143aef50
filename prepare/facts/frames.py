"""Measurements at every frame (heights, thighs, balance, feet), and helpers of all facts.

Joints (T, 22, 3): HumanML3D order, metres, Y up, floor 0, 20 frames a second. Left is the person's own left (+X when they face
+Z); angles are degrees, left positive; pairs are (left, right).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

FPS = 20
PELVIS, NECK, HEAD = 0, 12, 15
HIPS, KNEES, ANKLES, TOES = (1, 2), (4, 5), (7, 8), (10, 11)
SHOULDERS, ELBOWS, WRISTS = (16, 17), (18, 19), (20, 21)
MASSES = {0: 3, 3: 2, 6: 2, 9: 3, 12: 1, 15: 1.5, 4: 1.5, 5: 1.5, 7: 0.5, 8: 0.5}  # roughly how heavy the body is around a joint
ANKLE_HEIGHT = 0.07  # of a standing foot


class Event(NamedTuple):
    """Something that happens once, in frames [start, end)."""

    action: str  # of prepare/actions.py
    start: int
    end: int
    side: str = ""  # "left", "right" or "both": the leg or hand that does it
    size: float = 0.0  # metres: how high the feet, the foot or the body get
    manner: str = ""


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """Values smoothed over time with a Gaussian of `sigma` frames."""
    return gaussian_filter1d(x, sigma, axis=0, mode="nearest")


def velocity(x: np.ndarray) -> np.ndarray:
    """Change a second from frame to frame, (T, ...) → (T - 1, ...)."""
    return FPS * np.diff(x, axis=0)


def speed(x: np.ndarray) -> np.ndarray:
    """Metres a second at every frame, (T, 3) → (T,)."""
    return smooth(np.linalg.norm(FPS * np.gradient(smooth(x, 1), axis=0), axis=-1), 1)


def peaks(x: np.ndarray, height: float, prominence: float) -> np.ndarray:
    """Indices of the peaks of x (T,) with at least this height and prominence; returns early if there are none."""
    if x.max() < height or x.max() - x.min() < prominence:
        return np.empty(0, int)
    return find_peaks(x, height=height, prominence=prominence)[0]


def runs(mask: np.ndarray, least: int = 1, gap: int = 0) -> list[tuple[int, int]]:
    """[start, end) of the runs of true values in a mask (T,) of a minimum length; gaps of up to `gap` frames are bridged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    found = []
    for start, end in zip(edges[::2], edges[1::2]):
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], int(end))
        else:
            found.append((int(start), int(end)))
    return [(start, end) for start, end in found if end - start >= least]


def longest(mask: np.ndarray) -> slice:
    """The longest run of true values in a mask (T,) that has one."""
    return slice(*max(runs(mask), key=lambda run: run[1] - run[0]))


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


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length one."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Frames:
    """Measures at every frame of one clip, all (T, ...)."""

    joints: np.ndarray  # (T, 22, 3), world
    yaw: np.ndarray  # (T,) radians
    body: np.ndarray  # (T, 22, 3) left, up, forward of the pelvis' place on the floor
    standing: float  # height of the pelvis when this person stands
    pelvis: np.ndarray  # (T,) height
    pace: np.ndarray  # (T,) speed of the pelvis
    thighs: np.ndarray  # (T, 2) degrees from hanging
    upright: np.ndarray  # (T,) vertical part of the trunk's direction: 1 upright, 0 level, -1 upside down
    front: np.ndarray  # (T,) vertical part of where the chest faces: 1 face up
    balance: np.ndarray  # (T,) how far the body's mass is in front of the feet, metres
    feet: np.ndarray  # (T, 2) height of each foot above where it can stand

    @classmethod
    def of(cls, joints: np.ndarray) -> Frames:
        """Measure joints (T, 22, 3)."""
        joints = joints.astype(np.float64)
        yaw = facing(joints)
        body = to_body(joints - joints[:, :1] * [1, 0, 1], yaw)
        thighs = body[:, KNEES] - body[:, HIPS]  # (T, 2, 3)
        shins = body[:, ANKLES] - body[:, KNEES]
        legs = np.median(np.linalg.norm(thighs, axis=-1) + np.linalg.norm(shins, axis=-1))
        spine = unit(joints[:, NECK] - joints[:, PELVIS])
        chest = unit(np.cross(spine, joints[:, SHOULDERS[1]] - joints[:, SHOULDERS[0]]))
        mass = sum(weight * body[:, joint, 2] for joint, weight in MASSES.items()) / sum(MASSES.values())
        feet = np.minimum(joints[:, ANKLES, 1] - ANKLE_HEIGHT, joints[:, TOES, 1] - 0.02)
        return cls(
            joints, yaw, body, standing=float(legs) + 0.13, pelvis=joints[:, PELVIS, 1], pace=speed(joints[:, PELVIS]),
            thighs=np.degrees(np.arccos(np.clip(-unit(thighs)[..., 1], -1, 1))), upright=spine[:, 1], front=chest[:, 1],
            balance=mass - body[:, [*ANKLES, *TOES], 2].mean(axis=1), feet=feet,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def erect(self) -> np.ndarray:
        """Whether the person stands or walks: hips high, trunk upright."""
        return (self.pelvis > 0.9 * self.standing) & (self.upright > 0.75) & (self.thighs.min(axis=1) < 40)

    def last(self, mask: np.ndarray, before: int) -> int | None:
        """The last true frame before `before`."""
        found = np.flatnonzero(mask[:before])
        return int(found[-1]) if len(found) else None

    def first(self, mask: np.ndarray, after: int) -> int | None:
        """The first true frame from `after` on."""
        found = np.flatnonzero(mask[after:])
        return int(found[0]) + after if len(found) else None
