"""Do generated people do what the prompt says? No learned evaluator is needed to see which hand is up.

    python -m benchmarks.obedience --split test            # prompts on the embedded weights: a table, and --out FILE.json
    python -m benchmarks.obedience --edits                 # prompted edits and joins
    python -m benchmarks.obedience --real DIR [DIR ...]    # the judges themselves, on captured clips

Prompts are in prompts.py, judges in gaits.py, postures.py and gestures.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.obedience.measures import Body
from benchmarks.obedience.prompts import PROMPTS, THIN, Prompt
from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from pipelines.runs import EMBEDDED, resolve_generator
from pipelines.text2motion import TextToMotion
from utils.provenance import provenance

LEAST = 12  # frames; shorter motions obey nothing
BATCH = 128


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--samples", type=int, default=32, metavar="N", help="motions for each prompt")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampling noise")
    parser.add_argument(
        "--split", choices=("val", "test", "all"), default="all", help="which prompts: weights are chosen on val, reported on test"
    )
    parser.add_argument("--edits", action="store_true", help="check ten prompted edits and joins instead")
    parser.add_argument(
        "--real", nargs="+", metavar="DIR", help="check the judges on captured clips instead: folders with <source>/<clip>.npy"
    )
    parser.add_argument("--out", metavar="FILE", help="write the results to this JSON file too")
    for flag in ("cond_scale", "res_cond_scale"):
        parser.add_argument(f"--{flag}", type=float, metavar="X", help="guidance scale; the default is that of the weights")
    parser.add_argument("--checkpoints_dir", default="checkpoints", metavar="DIR", help="folder of the weights")
    parser.add_argument("--dataset_name", metavar="NAME", help="dataset of the weights")
    parser.add_argument("--name", default=EMBEDDED, metavar="NAME", help="masked transformer")
    for flag in ("res_name", "length_name", "fill_name"):
        parser.add_argument(f"--{flag}", default="", metavar="NAME", help="model that goes with --name")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    if args.real:
        from benchmarks.obedience.real import check_judges

        results, lines = check_judges([Path(folder) for folder in args.real])
    else:
        names = (args.name, args.res_name, args.length_name, args.fill_name)
        runs = resolve_generator(args.checkpoints_dir, args.dataset_name, *names)
        model = TextToMotion.load(*runs.masked.address, runs.res_name or None, runs.length_name or None, runs.fill_name or None)
        if args.edits:
            from benchmarks.obedience.edits import check_edits

            results, lines = check_edits(model, args)
        else:
            prompts = [prompt for prompt in PROMPTS if args.split in ("all", prompt.split)]
            results, lines = report(prompts, obedience(model, prompts, args), args)
    print("\n".join(lines))
    if args.out:
        settings = make_dataclass("Settings", vars(args))(**vars(args))
        made_by = provenance(settings, "cpu", [] if args.real else model.sources)
        Path(args.out).write_text(json.dumps({**results, "provenance": made_by}, indent=1) + "\n", encoding="utf-8")


def obedience(model: TextToMotion, prompts: list[Prompt], args: argparse.Namespace) -> list[float]:
    """For each prompt the share of its samples that obey. `prompts` are consecutive in PROMPTS, whose order numbers the samples."""
    texts = [prompt for prompt in prompts for _ in range(args.samples)]
    number = PROMPTS.index(prompts[0]) * args.samples
    sampling = model.sampling.changed(args)
    obeyed = []
    for first in tqdm(range(0, len(texts), BATCH), disable=None):
        batch = texts[first : first + BATCH]
        features, lengths = model.generate([prompt.text for prompt in batch], None, sampling, first_sample=number + first)
        joints = features_to_joints(features.float().cpu(), HUMANML3D.num_joints).numpy()  # (B, T, 22, 3)
        obeyed += [obeys(prompt, motion[:length]) for prompt, motion, length in zip(batch, joints, lengths.tolist())]
    return np.reshape(obeyed, (len(prompts), args.samples)).mean(1).tolist()


def obeys(prompt: Prompt, joints: np.ndarray) -> bool:
    """Whether joints (T, 22, 3) do what the prompt says."""
    return len(joints) >= LEAST and bool(prompt.obeys(Body(joints.astype(np.float64))))


def report(prompts: list[Prompt], shares: list[float], args: argparse.Namespace) -> tuple[dict, list[str]]:
    """Results for JSON, and a table: one line per prompt, then the means by action, kind and split."""
    lines = [f"{share:6.1%}  {prompt.split:4}  {prompt.action:22}  {prompt.text}" for prompt, share in zip(prompts, shares)]
    means = {}
    for field in ("action", "kind", "split", "paraphrase"):
        values = sorted({getattr(prompt, field) for prompt in prompts}, key=str)
        groups = {
            str(value): [share for prompt, share in zip(prompts, shares) if getattr(prompt, field) == value] for value in values
        }
        means[field] = {value: {"mean": float(np.mean(group)), "prompts": len(group)} for value, group in groups.items()}
    lines += ["", *(f"{part['mean']:6.1%}  {name} ({part['prompts']})" for name, part in means["action"].items()), ""]
    for field in ("kind", "split", "paraphrase"):
        lines.append(f"{field}: " + ", ".join(f"{name} {part['mean']:.1%}" for name, part in means[field].items()))
    thin = [share for prompt, share in zip(prompts, shares) if prompt.action in THIN]
    mean = float(np.mean([share for prompt, share in zip(prompts, shares) if prompt.action not in THIN]))
    if thin:
        lines.append(f"{np.mean(thin):6.1%}  mean of {len(thin)} prompts of actions that training hardly holds ({', '.join(THIN)})")
    lines.append(
        f"{mean:6.1%}  mean of the other {len(prompts) - len(thin)} prompts, {args.samples} samples each, seed {args.seed}"
    )
    rows = [
        {"prompt": prompt.text, "action": prompt.action, "split": prompt.split, "kind": prompt.kind, "obeyed": share}
        for prompt, share in zip(prompts, shares)
    ]
    return {"mean": mean, "means": means, "prompts": rows}, lines


if __name__ == "__main__":
    main()
