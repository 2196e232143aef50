"""Do generated people do what the prompt says? `python -m benchmarks.obedience [--samples 32] [--checkpoints_dir DIR …]`.

Each prompt is generated many times and the joints are asked (prepare/facts), as no learned evaluator is needed to see which
hand is up. Prints the share of samples that obey, a line a prompt. The embedded weights are the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tqdm import tqdm

from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from pipelines.text2motion import TextToMotion
from prepare.facts import CHEST, Facts, prove

FASTEST_WALK = 1.9  # m/s


def only(side: int) -> Callable[[Facts], bool]:
    """Whether the hand of that side (0 left, 1 right) is up, and the other is not."""
    return lambda facts: facts.hands[side].level >= CHEST > facts.hands[1 - side].level


def both(facts: Facts) -> bool:
    return all(hand.level >= CHEST for hand in facts.hands)


def forward(facts: Facts) -> bool:
    return facts.direction == "forward" and facts.steps >= 2


def turned(facts: Facts) -> float:
    return sum(turn.degrees for turn in facts.turns)


PROMPTS: tuple[tuple[str, Callable[[Facts], bool]], ...] = (
    ("a person walks forward", lambda facts: forward(facts) and facts.speed < FASTEST_WALK and abs(turned(facts)) < 35),
    ("a person runs forward", lambda facts: forward(facts) and facts.speed > FASTEST_WALK),
    ("a person walks backward", lambda facts: facts.direction.startswith("backward")),
    ("a person walks forward and turns left", lambda facts: turned(facts) > 35),
    ("a person walks forward and turns right", lambda facts: turned(facts) < -35),
    ("a person waves with both hands", both),
    ("a person waves with the left hand", only(0)),
    ("a person waves with the right hand", only(1)),
    ("a person raises both hands", both),
    ("a person raises the left hand", only(0)),
    ("a person raises the right hand", only(1)),
    ("a person bows", lambda facts: facts.bows > 0),
    ("an old person walks forward", lambda facts: forward(facts) and facts.speed < 1.0),
    ("a person walks in an exhausted way", lambda facts: facts.direction.startswith("forward") and facts.speed < 1.2),
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--samples", type=int, default=32, help="motions for each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cond_scale", type=float, default=2.0)
    parser.add_argument("--res_cond_scale", type=float, default=2.0)
    for flag, default in (("checkpoints_dir", "assets/demo"), ("dataset_name", "open")):
        parser.add_argument(f"--{flag}", default=default)
    for flag, default in (("name", "masked"), ("res_name", "residual"), ("length_name", "length")):
        parser.add_argument(f"--{flag}", default=default)
    args = parser.parse_args(argv)

    model = TextToMotion.load(args.checkpoints_dir, args.dataset_name, args.name, args.res_name, args.length_name)
    total = 0.0
    for number, (prompt, obeys) in enumerate(tqdm(PROMPTS, disable=None)):
        draw = {"seed": args.seed, "first_sample": number * args.samples}
        guidance = {"cond_scale": args.cond_scale, "res_cond_scale": args.res_cond_scale}
        features, lengths = model.generate([prompt] * args.samples, **draw, **guidance)
        motions = features_to_joints(features, HUMANML3D.num_joints)  # (B, T, 22, 3)
        clips = [joints[:length] for joints, length in zip(motions.numpy(), lengths.tolist())]
        share = sum(len(clip) >= 12 and obeys(prove(clip)) for clip in clips) / args.samples
        total += share
        print(f"{share:6.1%}  {prompt}")
    print(f"{total / len(PROMPTS):6.1%}  mean of {len(PROMPTS)} prompts, {args.samples} samples each, seed {args.seed}")


if __name__ == "__main__":
    main()
