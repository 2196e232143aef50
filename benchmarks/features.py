"""Speed of converting joints to features and back: `python -m benchmarks.features [--frames 196] [--batch 32]`.

This module prints the number of clips per second, as the median over --repeats measurements. For comparison, the released code
converted 69 to 83 clips per second from joints to features.
"""

from __future__ import annotations

from dataclasses import dataclass

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.features")

import torch

from benchmarks.timing import median_times
from motion.features import features_to_joints, joints_to_features
from motion.rotation import qaxis, qrotate
from motion.skeleton import HUMANML3D, forward_kinematics
from options.cli import parse
from options.common import option
from utils.errors import script


def walking_batch(clips: int, frames: int) -> torch.Tensor:
    """Return random joints (B, T, 22, 3) in metres: a noisy rest pose that moves along a curved path."""
    rest_pose = forward_kinematics(torch.eye(3).expand(22, 3, 3), torch.zeros(3), HUMANML3D.offsets(), HUMANML3D.parents)
    turn = torch.linspace(0, 3, frames)
    path = torch.stack((turn.sin(), torch.ones(frames), turn), dim=-1)
    noise = 0.01 * torch.randn(clips, frames, 22, 3)
    return qrotate(qaxis("y", turn)[:, None], rest_pose + noise) + path[:, None]


@dataclass(frozen=True)
class Features:
    """Measure how many clips per second are converted from joints to features and back."""

    batch: int = option(32, "clips per batch")
    frames: int = option(196, "frames per clip")
    repeats: int = option(30, "number of measurements; the median is printed")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Features, argv)
    joints = walking_batch(args.batch, args.frames + 1)
    rows, _ = joints_to_features(joints, HUMANML3D)
    forward, _ = median_times(lambda: joints_to_features(joints, HUMANML3D), args.repeats)
    backward, _ = median_times(lambda: features_to_joints(rows, 22), args.repeats)
    print(f"{args.frames} frames, batches of {args.batch}, {torch.get_num_threads()} threads")
    print(f"joints to features  {args.batch / forward:8.0f} clips/s")
    print(f"features to joints  {args.batch / backward:8.0f} clips/s")


if __name__ == "__main__":
    main()
