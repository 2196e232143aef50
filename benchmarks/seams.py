"""Does a joined motion jump where one prompt takes over? `python -m benchmarks.seams [--checkpoints_dir DIR …]`.

Pairs of prompts are joined. For each: the step of the fastest joint over the seam, in cm from one frame to the next, and how much
it exceeds the fastest step within half a second before or after, which is the motion's own speed. The embedded weights are the
default.
"""

from __future__ import annotations

import argparse

import numpy as np

from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from pipelines.long_motion import join
from pipelines.text2motion import SamplingSettings, TextToMotion

AROUND = 10  # frames
LONGEST = 49  # tokens that the transformers see
PAIRS = (
    ("a person walks forward", "a person waves with both hands"),
    ("a person waves with the right hand", "a person walks forward"),
    ("a person runs forward", "a person walks backward"),
    ("a person bows", "a person raises both hands"),
    ("a person kicks with the right leg", "a person dances happily"),
    ("a person walks forward and turns left", "a person bows"),
    ("a man throws a punch", "a person runs forward fast"),
    ("an old person walks forward", "a person raises the left hand"),
    ("a person dances", "a person walks forward sadly"),
    ("a person raises both hands", "a person walks forward and turns right"),
)


def over_the_seam(joints: np.ndarray, seam: int) -> tuple[float, float]:
    """The step into frame `seam` of joints (T, J, 3), and how much it exceeds those around it, in metres."""
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(1)
    around = np.r_[steps[max(0, seam - 1 - AROUND) : seam - 1], steps[seam : seam + AROUND]]
    return steps[seam - 1], steps[seam - 1] - around.max()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=3407)
    parser.add_argument("--cond_scale", type=float, default=2.0)
    parser.add_argument("--res_cond_scale", type=float, default=2.0)
    for flag, default in (("checkpoints_dir", "assets/demo"), ("dataset_name", "open")):
        parser.add_argument(f"--{flag}", default=default)
    for flag, default in (("name", "masked"), ("res_name", "residual"), ("length_name", "length")):
        parser.add_argument(f"--{flag}", default=default)
    args = parser.parse_args(argv)

    model = TextToMotion.load(args.checkpoints_dir, args.dataset_name, args.name, args.res_name, args.length_name)
    sampling = SamplingSettings(cond_scale=args.cond_scale, res_cond_scale=args.res_cond_scale, seed=args.seed)
    worst = -np.inf
    for number, prompts in enumerate(PAIRS):
        features, (seam, _) = join(model, prompts, longest=LONGEST, sampling=sampling, first_sample=number)
        step, beyond = over_the_seam(features_to_joints(features, HUMANML3D.num_joints).numpy(), seam)
        worst = max(worst, beyond)
        print(f"{100 * step:5.1f} cm, {100 * beyond:+5.1f} beyond its own speed  {' → '.join(prompts)}")
    print(f"worst {100 * worst:+.1f} cm beyond its own speed")


if __name__ == "__main__":
    main()
