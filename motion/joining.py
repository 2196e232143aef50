"""Concatenation of motions: the second is rotated and moved to the end of the first, and the poses blend.

The second motion's pose starts as the first one's last pose and fades into its own, on top of the second motion's movement
(inertialisation), so neither is shortened. Joints (T, J, 3), metres, Y up.
"""

from __future__ import annotations

import numpy as np
import torch

from motion.features import facing
from motion.rotation import yaw
from motion.skeleton import Skeleton

BLEND = 0.4  # seconds after which the second motion has its own pose


def continued(first: np.ndarray, second: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """The joints of both motions, one after the other: (T1 + T2, J, 3)."""
    before, after = (torch.as_tensor(np.asarray(joints), dtype=torch.float64) for joints in (first, second))
    ahead = yaw(after - after[0, 0], facing(after[:1], skeleton)[:, None])
    back = facing(before[-1:], skeleton) * before.new_tensor([-1, 1, 1])  # the opposite turn
    after = yaw(ahead, back[:, None]) + after[0, 0]
    expected = before[-1] + (before[-1] - before[-2] if len(before) > 1 else 0)  # of the frame after the first motion
    ground = (expected - after[0])[0] * before.new_tensor([1, 0, 1])
    after = after + ground
    time = (torch.arange(len(after)) / (BLEND * fps)).clamp(max=1)
    weight = (1 - time) ** 2 * (1 + 2 * time)  # from 1 down to 0, level at both ends
    after = after + weight[:, None, None] * (expected - after[0])
    return torch.cat((before, after)).numpy().astype(np.float32)
