"""Measure whether generated motions follow their prompts. Rules on the joints ("judges") decide whether a motion follows its
prompt; no learned evaluator is used.

    python -m benchmarks.obedience --split test            # generate motions for the prompts of the test split and judge them
    python -m benchmarks.obedience --edits                 # generate edits and joined motions and judge them
    python -m benchmarks.obedience --real DIR [DIR ...]    # check the judges on captured clips

Prompts are in prompts.py, and judges are in gaits.py, postures.py and gestures.py. Results are printed and, with --out, written to
a JSON file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.obedience")

import numpy as np
from tqdm import tqdm

from benchmarks.obedience.measures import Body
from benchmarks.obedience.prompts import PROMPTS, THIN, Prompt
from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from options.cli import parse
from options.common import DATASETS, Prompted, Sampled, option
from pipelines.runs import EMBEDDED, resolve_generator
from pipelines.text2motion import TextToMotion
from utils.errors import script
from utils.provenance import provenance

SHORTEST = 12  # frames; shorter motions count as not following the prompt
BATCH = 128


@dataclass(frozen=True)
class Obedience(Prompted, Sampled):
    """Measure how many generated motions do what their prompt says, by rules on the joints of the motion."""

    samples: int = option(32, "motions per prompt")
    seed: int = option(0, "random seed of the sampling noise")
    split: str = option(
        "all", "prompts to use: val to choose weights and settings, test to report results, or all", choices=("val", "test", "all")
    )
    edits: bool = option(False, "check ten edits and joins instead of the prompts selected by --split")
    real: list[str] = option([], "generate nothing; check the judges on the captured clips <source>/<clip>.npy in these folders")
    out: str = option("", "JSON file for the results")
    time_steps: int = option(18, "sampling steps of the masked transformer")
    checkpoints_dir: str = option("checkpoints", "folder of checkpoint folders")
    dataset_name: str | None = option(None, "dataset of the weights; default: taken from the path of the weights", choices=DATASETS)
    name: str = option(EMBEDDED, "masked transformer")
    res_name: str = option("", "residual transformer that is combined with the masked transformer given by --name")
    length_name: str = option("", "length predictor that is combined with the masked transformer given by --name")
    fill_name: str = option("", "masked transformer trained with --infill, for edits")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Obedience, argv)
    if args.real:
        from benchmarks.obedience.real import check_judges

        results, lines = check_judges([Path(folder) for folder in args.real])
    else:
        names = (args.name, args.res_name, args.length_name, args.fill_name, args.selector_name)
        runs = resolve_generator(args.checkpoints_dir, args.dataset_name, *names, candidates=args.candidates)
        model = TextToMotion.load(*runs.masked.address, **runs.companions, precision=args.precision)
        if args.edits:
            from benchmarks.obedience.edits import check_edits

            results, lines = check_edits(model, args)
        else:
            prompts = [prompt for prompt in PROMPTS if args.split in ("all", prompt.split)]
            results, lines = report(prompts, obedience(model, prompts, args), args)
    print("\n".join(lines))
    if args.out:
        made_by = provenance(args, "cpu", [] if args.real else model.sources)
        Path(args.out).write_text(json.dumps({**results, "provenance": made_by}, indent=1) + "\n", encoding="utf-8")


def obedience(model: TextToMotion, prompts: list[Prompt], args: Obedience) -> list[float]:
    """Return for each prompt the fraction of the motions generated from it (`args.samples` per prompt) that follow it.

    `prompts` must be consecutive in `PROMPTS`, because a prompt's position determines the random numbers of its motions.
    """
    texts = [prompt for prompt in prompts for _ in range(args.samples)]
    offset, sampling = PROMPTS.index(prompts[0]) * args.samples, model.sampling.changed(args)
    obeyed, size = [], max(1, BATCH // sampling.candidates)
    for first in tqdm(range(0, len(texts), size), disable=None):
        batch = texts[first : first + size]
        features, lengths = model.generate([prompt.text for prompt in batch], None, sampling, first_sample=offset + first)
        joints = features_to_joints(features.float().cpu(), HUMANML3D.num_joints).numpy()  # (B, T, 22, 3)
        obeyed += [obeys(prompt, motion[:length]) for prompt, motion, length in zip(batch, joints, lengths.tolist())]
    return np.reshape(obeyed, (len(prompts), args.samples)).mean(1).tolist()


def obeys(prompt: Prompt, joints: np.ndarray) -> bool:
    """Whether a motion, given as joints (T, 22, 3), follows the prompt."""
    return len(joints) >= SHORTEST and bool(prompt.obeys(Body(joints.astype(np.float64))))


def report(prompts: list[Prompt], fractions: list[float], args: Obedience) -> tuple[dict, list[str]]:
    """Return results for JSON, and the lines of a table: one line per prompt, then means by action, kind, split and paraphrase.

    `fractions` are the fractions of motions that follow each prompt.
    """
    pairs = list(zip(prompts, fractions))
    lines = [f"{fraction:6.1%}  {prompt.split:4}  {prompt.action:22}  {prompt.text}" for prompt, fraction in pairs]
    means = {}
    for field in ("action", "kind", "split", "paraphrase"):
        values = sorted({getattr(prompt, field) for prompt in prompts}, key=str)
        groups = {str(value): [fraction for prompt, fraction in pairs if getattr(prompt, field) == value] for value in values}
        means[field] = {value: {"mean": float(np.mean(group)), "prompts": len(group)} for value, group in groups.items()}
    lines += ["", *(f"{part['mean']:6.1%}  {name} ({part['prompts']})" for name, part in means["action"].items()), ""]
    for field in ("kind", "split", "paraphrase"):
        lines.append(f"{field}: " + ", ".join(f"{name} {part['mean']:.1%}" for name, part in means[field].items()))
    thin = [fraction for prompt, fraction in pairs if prompt.action in THIN]
    mean = float(np.mean([fraction for prompt, fraction in pairs if prompt.action not in THIN]))
    if thin:
        lines.append(f"{np.mean(thin):6.1%}  mean of {len(thin)} prompts of actions with little training data ({', '.join(THIN)})")
    others = f"the other {len(prompts) - len(thin)} prompts"
    lines.append(f"{mean:6.1%}  mean of {others}, {args.samples} samples each, seed {args.seed}")
    columns = {"prompt": "text", "action": "action", "split": "split", "kind": "kind"}
    rows = [{**{name: getattr(prompt, field) for name, field in columns.items()}, "obeyed": fraction} for prompt, fraction in pairs]
    return {"mean": mean, "means": means, "prompts": rows}, lines


if __name__ == "__main__":
    main()
