"""Smoothness of joined motions at the seams between prompts: `python -m benchmarks.seams [--checkpoints_dir DIR …]`.

This module generates one joined motion for each of ten pairs of prompts. For each motion, the module prints the largest
displacement of a joint across the seam, in cm per frame. The module also prints the difference between this displacement and the
largest displacement of a joint within half a second before or after the seam. By default, the embedded weights are used.
"""

from __future__ import annotations

from dataclasses import dataclass

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.seams")

import numpy as np

from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from options.cli import parse
from options.common import option
from pipelines.long_motion import join
from pipelines.runs import EMBEDDED_DIR
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion
from utils.errors import script

AROUND = 10  # frames before and after the seam
LONGEST = 49  # maximum tokens per window of the transformers
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
    """Return the largest displacement of a joint from frame `seam` − 1 to `seam`, and the difference between this displacement and
    the largest displacement of a joint within 10 frames of the seam. Both values are in the unit of `joints` (T, J, 3)."""
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(1)
    neighbours = np.r_[steps[max(0, seam - 1 - AROUND) : seam - 1], steps[seam : seam + AROUND]]
    return steps[seam - 1], steps[seam - 1] - neighbours.max()


@dataclass(frozen=True)
class Seams:
    """Measure the displacement of joints at the seam between two prompts."""

    seed: int = option(3407, "random seed")
    cond_scale: float = option(2.0, "guidance scale of the base tokens")
    res_cond_scale: float = option(2.0, "guidance scale of the residual tokens")
    checkpoints_dir: str = option(str(EMBEDDED_DIR), "folder of checkpoint folders")
    dataset_name: str = option("open", "dataset of the weights")
    name: str = option("masked", "masked transformer")
    res_name: str = option("residual", "residual transformer")
    length_name: str = option("length", "length predictor")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Seams, argv)
    model = TextToMotion.load(args.checkpoints_dir, args.dataset_name, args.name, args.res_name, args.length_name)
    sampling = SamplingSettings(cond_scale=args.cond_scale, res_cond_scale=args.res_cond_scale, seed=args.seed)
    maximum = -np.inf
    for number, prompts in enumerate(PAIRS):
        features, (seam, _) = join(model, prompts, longest=LONGEST, sampling=sampling, first_sample=number)
        step, excess = over_the_seam(features_to_joints(features, HUMANML3D.num_joints).numpy(), seam)
        maximum = max(maximum, excess)
        print(f"{100 * step:5.1f} cm per frame, {100 * excess:+5.1f} compared with frames around the seam  {' → '.join(prompts)}")
    print(f"maximum {100 * maximum:+.1f} cm compared with frames around the seam")


if __name__ == "__main__":
    main()
