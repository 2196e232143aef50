"""Concatenation of motions: the second motion is rotated and moved to the end of the first, and their poses blend.

The difference in pose at the junction is added to the second motion and fades out (inertialisation). In contrast to a cross-fade,
this method loses no frames. Joints (T, J, 3), metres, Y up.
"""

from __future__ import annotations

import numpy as np
import torch

from motion.features import facing
from motion.rotation import yaw
from motion.skeleton import Skeleton

BLEND = 0.4  # seconds in which the difference in pose fades out


def continued(first: np.ndarray, second: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Joints (T1 + T2, J, 3) of the motion `first` (T1, J, 3), then of `second` (T2, J, 3), moved and turned to continue it."""
    before, after = (torch.as_tensor(np.asarray(joints), dtype=torch.float64) for joints in (first, second))
    facing_z = yaw(after - after[0, 0], facing(after[:1], skeleton)[:, None])
    mirrored = facing(before[-1:], skeleton) * before.new_tensor([-1, 1, 1])  # makes `yaw` rotate +Z to the facing direction
    after = yaw(facing_z, mirrored[:, None]) + after[0, 0]
    expected = before[-1] + (before[-1] - before[-2] if len(before) > 1 else 0)  # the first motion, extrapolated by one frame
    ground = (expected - after[0])[0] * before.new_tensor([1, 0, 1])
    after = after + ground
    time = (torch.arange(len(after)) / (BLEND * fps)).clamp(max=1)
    weight = (1 - time) ** 2 * (1 + 2 * time)  # from 1 to 0, with zero slope at both ends
    after = after + weight[:, None, None] * (expected - after[0])
    return torch.cat((before, after)).numpy().astype(np.float32)
