"""Measurements of every frame (heights, thighs, balance, feet), and the functions that the detectors of actions share.

Joints are (T, 22, 3) in HumanML3D's order, in metres, Y up, with the floor at 0, at 20 frames per second. Left is the person's left
(+X when they face +Z), angles are in degrees and positive to the left, and pairs are (left, right).
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
MASSES = {0: 3, 3: 2, 6: 2, 9: 3, 12: 1, 15: 1.5, 4: 1.5, 5: 1.5, 7: 0.5, 8: 0.5}  # joint → approximate relative mass at the joint
SOLE = 0.07  # metres from the sole of the foot up to the ankle


class Event(NamedTuple):
    """One occurrence of an action, in the frames [start, end). `manner` is a detail, such as the direction of a roll."""

    action: str
    start: int
    end: int
    side: str = ""  # side of the limb: "left", "right", "both", or "" if unknown
    size: float = 0.0  # height in metres of feet, hand or pelvis; for throws, speed of the hands in m/s
    manner: str = ""


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """Values smoothed over time with a Gaussian of `sigma` frames."""
    return gaussian_filter1d(x, sigma, axis=0, mode="nearest")


def velocity(x: np.ndarray) -> np.ndarray:
    """Change per second between consecutive frames, (T, ...) → (T - 1, ...)."""
    return FPS * np.diff(x, axis=0)


def speed(x: np.ndarray) -> np.ndarray:
    """Smoothed speed in m/s of a path, (T, 3) → (T,)."""
    return smooth(np.linalg.norm(FPS * np.gradient(smooth(x, 1), axis=0), axis=-1), 1)


def peaks(x: np.ndarray, height: float, prominence: float) -> np.ndarray:
    """Indices of the peaks of x (T,) with at least this height and prominence."""
    if x.max() < height or x.max() - x.min() < prominence:
        return np.empty(0, int)
    return find_peaks(x, height=height, prominence=prominence)[0]


def runs(mask: np.ndarray, minimum: int = 1, gap: int = 0) -> list[tuple[int, int]]:
    """Spans [start, end) of at least `minimum` frames in which a mask (T,) is true. Gaps of up to `gap` frames are closed first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    spans = []
    for start, end in zip(edges[::2], edges[1::2]):
        if spans and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], int(end))
        else:
            spans.append((int(start), int(end)))
    return [(start, end) for start, end in spans if end - start >= minimum]


def longest(mask: np.ndarray) -> slice:
    """The longest run of true values in a mask (T,). The mask must have at least one true value."""
    return slice(*max(runs(mask), key=lambda run: run[1] - run[0]))


def facing(joints: np.ndarray) -> np.ndarray:
    """Unwrapped yaw (T,) of the body in radians, from joints (T, J, 3): 0 along +Z, positive to the left."""
    across = joints[:, HIPS[1]] - joints[:, HIPS[0]] + joints[:, SHOULDERS[1]] - joints[:, SHOULDERS[0]]
    return smooth(np.unwrap(np.arctan2(across[:, 2], -across[:, 0])), 3)


def to_body(vectors: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Convert world vectors (T, ..., 3) to the axes (left, up, forward) of a body that faces `yaw` (T,)."""
    shape = (len(yaw),) + (1,) * (vectors.ndim - 2)
    cos, sin = np.cos(yaw).reshape(shape), np.sin(yaw).reshape(shape)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=-1)


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to unit length."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Frames:
    """Measurements of every frame of one clip: joints in the axes of the body, heights, angles, speed, balance."""

    joints: np.ndarray  # (T, 22, 3), world
    yaw: np.ndarray  # (T,) radians
    body: np.ndarray  # (T, 22, 3) in body axes (left, up, forward), with the origin on the floor below the pelvis
    standing: float  # height of the pelvis when standing, metres
    pelvis: np.ndarray  # (T,) height of the pelvis, metres
    pace: np.ndarray  # (T,) speed of the pelvis, m/s
    thighs: np.ndarray  # (T, 2) angle of each thigh from hanging down, degrees
    upright: np.ndarray  # (T,) vertical component of the trunk's direction: 1 upright, 0 horizontal, -1 upside down
    front: np.ndarray  # (T,) vertical component of the chest's facing direction: 1 facing up
    balance: np.ndarray  # (T,) distance of the centre of mass in front of the feet, metres
    feet: np.ndarray  # (T, 2) height of each foot above the floor, metres; about 0 for a foot that stands

    @classmethod
    def of(cls, joints: np.ndarray) -> Frames:
        """Compute the measurements from joints (T, 22, 3)."""
        joints = joints.astype(np.float64)
        yaw = facing(joints)
        body = to_body(joints - joints[:, :1] * [1, 0, 1], yaw)
        thighs = body[:, KNEES] - body[:, HIPS]  # (T, 2, 3)
        shins = body[:, ANKLES] - body[:, KNEES]
        legs = np.median(np.linalg.norm(thighs, axis=-1) + np.linalg.norm(shins, axis=-1))
        spine = unit(joints[:, NECK] - joints[:, PELVIS])
        chest = unit(np.cross(spine, joints[:, SHOULDERS[1]] - joints[:, SHOULDERS[0]]))
        mass = sum(weight * body[:, joint, 2] for joint, weight in MASSES.items()) / sum(MASSES.values())
        feet = np.minimum(joints[:, ANKLES, 1] - SOLE, joints[:, TOES, 1] - 0.02)
        return cls(
            joints, yaw, body, standing=float(legs) + 0.13, pelvis=joints[:, PELVIS, 1], pace=speed(joints[:, PELVIS]),
            thighs=np.degrees(np.arccos(np.clip(-unit(thighs)[..., 1], -1, 1))), upright=spine[:, 1], front=chest[:, 1],
            balance=mass - body[:, [*ANKLES, *TOES], 2].mean(axis=1), feet=feet,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def erect(self) -> np.ndarray:
        """Whether the person stands or walks, per frame (T,): hips high, trunk upright."""
        return (self.pelvis > 0.9 * self.standing) & (self.upright > 0.75) & (self.thighs.min(axis=1) < 40)

    def last(self, mask: np.ndarray, before: int) -> int | None:
        """The last frame before `before` at which the mask is true; None if there is none."""
        indices = np.flatnonzero(mask[:before])
        return int(indices[-1]) if len(indices) else None

    def first(self, mask: np.ndarray, after: int) -> int | None:
        """The first frame from `after` on at which the mask is true; None if there is none."""
        indices = np.flatnonzero(mask[after:])
        return int(indices[0]) + after if len(indices) else None
