"""Measurements for the judges: `Body` measures one person over time, `Span` is a range of frames.

Joints are (T, 22, 3) in HumanML3D's order, in metres, Y up, with the floor at 0, at 20 frames per second. Heights are measured from
the floor. Body axes are (left, up, forward), where forward is the facing direction. An array axis of size 2 holds the left and the
right side. Angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from benchmarks.obedience.joints import ANKLES, ELBOWS, FPS, HEAD, HIPS, KNEES, NECK, PELVIS, SHOULDERS, TOES, TRUNK, WRISTS


class Span(NamedTuple):
    """The frames from `start` to `stop` - 1, in which an action happens."""

    start: int
    stop: int

    @property
    def frames(self) -> slice:
        """The frames as a slice, to index arrays (T, ...)."""
        return slice(self.start, self.stop)

    @property
    def middle(self) -> float:
        """The frame in the middle, which may be fractional."""
        return (self.start + self.stop) / 2

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return (self.stop - self.start) / FPS


def runs(mask: np.ndarray, minimum: float = 0.0, gap: float = 0.0) -> list[Span]:
    """Spans of at least `minimum` seconds in which a mask (T,) is true. Spans at most `gap` seconds apart are merged first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    spans: list[Span] = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist()):
        if spans and start - spans[-1].stop <= gap * FPS:
            start = spans.pop().start
        spans.append(Span(start, stop))
    return [span for span in spans if span.stop - span.start >= minimum * FPS]


def flanked(span: Span, mask: np.ndarray, before: int | None = None, after: int | None = None) -> bool:
    """Whether a mask (T,) is true in at least one frame before a span and in at least one frame after the span.

    Only the last `before` frames before the span and the first `after` frames after the span are examined; None: all frames.
    """
    first = 0 if before is None else max(0, span.start - before)
    last = None if after is None else span.stop + after
    return bool(mask[first : span.start].any() and mask[span.stop : last].any())


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """Values smoothed over time with a Gaussian whose standard deviation is `sigma` frames."""
    return gaussian_filter1d(x, sigma, axis=0, mode="nearest")


def rate(x: np.ndarray) -> np.ndarray:
    """Change per second, (T, ...) → (T, ...)."""
    return FPS * np.gradient(x, axis=0)


def length(vectors: np.ndarray) -> np.ndarray:
    """Euclidean norm over the last axis."""
    return np.linalg.norm(vectors, axis=-1)


def swings(x: np.ndarray, width: float) -> np.ndarray:
    """Frames of the local maxima and minima of x (T,) whose prominence is at least `width`, in temporal order."""
    extrema = [find_peaks(signed, prominence=width)[0] for signed in (x, -x)]
    return np.sort(np.concatenate(extrema))


def angle_to_up(vectors: np.ndarray) -> np.ndarray:
    """Degrees between vectors (..., 3) and the vertical: 0 upwards, 180 downwards."""
    return np.degrees(np.arccos(np.clip(vectors[..., 1] / np.maximum(length(vectors), 1e-9), -1, 1)))


@dataclass(frozen=True, eq=False)
class Body:
    """Measurements of one person over T frames. Lengths are in metres, angles in degrees; body axes are (left, up, forward)."""

    joints: np.ndarray  # (T, 22, 3)

    def __len__(self) -> int:
        return len(self.joints)

    def _limb(self, *joints: tuple[int, int]) -> float:
        """Length of a limb, averaged over both sides: the sum of the median lengths of its bones.

        `joints` are the joints along the limb, each as a pair of indices (left, right).
        """
        bones = (length(self.joints[:, a] - self.joints[:, b]) for ends in pairwise(joints) for a, b in zip(*ends))
        return float(sum(np.median(bone) for bone in bones)) / 2

    @cached_property
    def height(self) -> np.ndarray:
        """Height of each joint above the floor, (T, 22)."""
        return self.joints[..., 1]

    @cached_property
    def leg(self) -> float:
        """Height of the pelvis when standing: the length of a leg plus 0.12 m."""
        return self._limb(HIPS, KNEES, ANKLES) + 0.12

    @cached_property
    def yaw(self) -> np.ndarray:
        """Facing direction (T,): angle to the Z axis, positive to the left, without jumps of 360°."""
        across = sum(self.joints[:, left] - self.joints[:, right] for left, right in (HIPS, SHOULDERS))
        return smooth(np.degrees(np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))), 3)

    def in_body_axes(self, vectors: np.ndarray) -> np.ndarray:
        """Convert vectors (T, ..., 3) from world axes to the axes (left, up, forward) of the body."""
        yaw = np.radians(self.yaw).reshape(-1, *[1] * (vectors.ndim - 2))
        x, y, z = np.moveaxis(vectors, -1, 0)
        return np.stack([x * np.cos(yaw) - z * np.sin(yaw), y, x * np.sin(yaw) + z * np.cos(yaw)], -1)

    @cached_property
    def local(self) -> np.ndarray:
        """Joints (T, 22, 3) in body axes. Horizontal positions are relative to the pelvis, heights to the floor."""
        return self.in_body_axes(self.joints - self.joints[:, :1] * [1, 0, 1])

    @cached_property
    def travel(self) -> np.ndarray:
        """Velocity of the pelvis (T, 3) in body axes, m/s."""
        return self.in_body_axes(rate(smooth(self.joints[:, PELVIS], 3)))

    @cached_property
    def speed(self) -> np.ndarray:
        """Horizontal speed of the pelvis (T,), m/s."""
        return np.hypot(self.travel[:, 0], self.travel[:, 2])

    @cached_property
    def feet(self) -> np.ndarray:
        """Height (T, 2) of the lowest point of each foot above its height when standing."""
        low = np.minimum(self.height[:, ANKLES] - 0.06, self.height[:, TOES])
        return low - np.percentile(low.min(1), 5)

    @cached_property
    def trunk(self) -> np.ndarray:
        """Angle (T,) between the spine and the vertical."""
        return smooth(angle_to_up(self.joints[:, NECK] - self.joints[:, PELVIS]), 1)

    @cached_property
    def thighs(self) -> np.ndarray:
        """Angle (T, 2) between each thigh and the downward vertical: 0 when standing, 90 when the thigh is horizontal."""
        return 180 - angle_to_up(self.joints[:, KNEES] - self.joints[:, HIPS])

    @cached_property
    def knees(self) -> np.ndarray:
        """Flexion (T, 2) of each knee: 0 when straight."""
        thigh, shin = self.joints[:, KNEES] - self.joints[:, HIPS], self.joints[:, ANKLES] - self.joints[:, KNEES]
        cosine = (thigh * shin).sum(-1) / np.maximum(length(thigh) * length(shin), 1e-9)
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    @cached_property
    def reach(self) -> np.ndarray:
        """Vector (T, 2, 3) from each shoulder to its wrist, in body axes."""
        return self.local[:, WRISTS] - self.local[:, SHOULDERS]

    @cached_property
    def arm(self) -> float:
        """Length of an outstretched arm."""
        return self._limb(SHOULDERS, ELBOWS, WRISTS)

    @cached_property
    def stretched(self) -> np.ndarray:
        """Distance (T, 2) of each wrist from its shoulder, as a fraction of the length of the arm."""
        return length(self.reach) / self.arm

    @cached_property
    def behind_feet(self) -> np.ndarray:
        """Distance (T,) by which the trunk is behind the ankles. If the distance is large, the person needs a seat for balance."""
        return self.local[:, ANKLES, 2].mean(1) - self.local[:, TRUNK, 2].mean(1)

    @cached_property
    def upright(self) -> np.ndarray:
        """Whether the person stands or walks, per frame (T,): the pelvis is near standing height, and the trunk is not bent far."""
        return (self.height[:, PELVIS] > 0.82 * self.leg) & (self.trunk < 45)

    @cached_property
    def limbs(self) -> np.ndarray:
        """Mean speed (T,) of head, hands and feet, m/s."""
        return length(rate(smooth(self.joints[:, [HEAD, *WRISTS, *ANKLES]], 1))).mean(1)
