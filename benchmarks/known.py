"""Separation of known from unknown prompts by their scores: `python -m benchmarks.known [--run DIR | --data_root DIR] [--write]`.

`known_prompts.csv` contains prompts that paraphrase the training data ("inside"), prompts for actions that are not in the training
data ("outside"), and prompts for actions with little training data ("thin"). The calibration is fitted on one half of the prompts
and, with --write, written to `assets/known.json`. The other half is used to report three results: the area under the ROC curve
(AUROC), the fraction of inside prompts that the pipeline reports as unknown, and the fraction of outside prompts that the pipeline
reports as unknown. Two groups are excluded from these results and reported separately: thin prompts, and outside prompts of the
kind "near miss".
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.known")

import numpy as np
from scipy.stats import mannwhitneyu

from motion.spec import get_spec
from options.cli import parse
from options.common import DATASETS, option
from pipelines.caption_index import CaptionIndex, index_of_dataset
from pipelines.conditioner import SentenceEncoder
from pipelines.known import CALIBRATION, FEATURES, KNOWN, Knowledge, language_fault
from pipelines.runs import EMBEDDED_DIR
from utils.errors import script

PROMPTS = Path(__file__).with_name("known_prompts.csv")
RIDGE = 0.02  # L2 penalty of the logistic regression, whose input features are standardised


class Prompt(NamedTuple):
    """A labelled prompt.

    `side` is "inside" (paraphrases the training data), "outside" (an action without training data) or "thin" (an action with
    little training data). `half` is "calibrate" (used to fit) or "report" (used to test). `kind` is a category of outside
    prompts, such as "object", "two people" or "near miss"; it is "motion" for all inside and thin prompts.
    """

    text: str
    side: str
    kind: str
    half: str


def read_prompts() -> list[Prompt]:
    """Read the labelled prompts of `known_prompts.csv`."""
    with PROMPTS.open(newline="", encoding="utf-8") as file:
        return [Prompt(*row) for row in list(csv.reader(file))[1:]]


def fit(features: np.ndarray, known: np.ndarray) -> dict:
    """Fit a logistic regression of the labels `known` (N,) bool on features (N, F), by Newton's method; returns weights and
    bias."""
    mean, std = features.mean(0), features.std(0) + 1e-6
    rows = np.c_[(features - mean) / std, np.ones(len(features))]
    weights = np.zeros(rows.shape[1])
    balance = np.where(known, 0.5 / known.mean(), 0.5 / (1 - known.mean()))
    penalty = RIDGE * len(rows) * np.diag([1.0] * features.shape[1] + [0.0])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (balance * (probability - known)) + penalty @ weights
        hessian = (rows * (balance * probability * (1 - probability))[:, None]).T @ rows + penalty
        weights -= np.linalg.solve(hessian + 1e-9 * np.eye(len(weights)), gradient)
    scaled = weights[:-1] / std
    return {"weights": scaled.tolist(), "bias": float(weights[-1] - scaled @ mean)}


def area_under_curve(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that an inside prompt scores higher than an outside prompt; ties count half."""
    return float(mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside)))


def calibrate(knowledge: Knowledge, prompts: list[Prompt]) -> dict:
    """Return the calibration (weights and bias of a prompt's score), fitted on the half "calibrate" of the prompts.

    Prompts of the side "thin" are not used, and neither are prompts that fail the language check.
    """
    used = [p for p in prompts if p.half == "calibrate" and p.side != "thin" and not language_fault(p.text, knowledge.stems)]
    features = np.array([knowledge.features(prompt.text)[0] for prompt in used])
    return {"features": FEATURES, **fit(features, np.array([prompt.side == "inside" for prompt in used]))}


def measure(knowledge: Knowledge, prompts: list[Prompt]) -> tuple[dict, list[str]]:
    """Score the prompts; return results for JSON, and lines of text that list the misclassified prompts and then a summary."""
    scores, noted, lines = defaultdict(list), defaultdict(list), []
    for prompt in prompts:
        known = knowledge(prompt.text)
        group = prompt.side if prompt.side != "outside" else f"outside, {prompt.kind}"
        scores[group].append(known.score)
        noted[group].append(known.score < KNOWN)
        if (prompt.side == "inside") == (known.score < KNOWN):
            lines.append(f"{known.score:5.2f}  {group:20}  {prompt.text}  |  {known.reason}  |  {'; '.join(known.nearest[:2])}")
    inside = np.array(scores["inside"])
    excluded = ("inside", "thin", "outside, near miss")
    outside = np.concatenate([values for group, values in scores.items() if group not in excluded])
    results = {
        "auroc": area_under_curve(inside, outside),
        "false_notes_inside": float(np.mean(noted["inside"])),
        "outside_noted": float((outside < KNOWN).mean()),
        "noted": {group: {"share": float(np.mean(values)), "prompts": len(values)} for group, values in noted.items()},
    }
    lines += ["", *(f"{part['share']:6.1%} of {part['prompts']:3} get a note  {group}" for group, part in results["noted"].items())]
    fractions = f"a note for {results['false_notes_inside']:.1%} of inside, {results['outside_noted']:.1%} of outside prompts"
    lines.append(f"AUROC {results['auroc']:.3f}; {fractions}")
    return results, lines


@dataclass(frozen=True)
class Separation:
    """Measure how well known prompts are separated from unknown ones."""

    run: str = option(str(EMBEDDED_DIR / "open" / "masked"), "folder of the run whose caption index is used")
    data_root: str = option("", "folder of a dataset; its training captions replace the caption index of the run given by --run")
    dataset_name: str = option("open", "name of the dataset in the folder given by --data_root", choices=DATASETS)
    write: bool = option(
        False, f"fit the calibration and write {CALIBRATION.name}; with --data_root, also write the caption index to --run"
    )
    half: str = option("report", "report results for the prompts of this half", choices=("report", "calibrate"))
    out: str = option("", "JSON file for the results")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Separation, argv)
    encoder, prompts, run = SentenceEncoder(), read_prompts(), Path(args.run)
    index = index_of_dataset(get_spec(args.dataset_name, args.data_root), encoder) if args.data_root else CaptionIndex.load(run)
    calibration = None
    if args.write:
        calibration = calibrate(Knowledge(index, encoder, {}), prompts)
        CALIBRATION.write_text(json.dumps(calibration, indent=1) + "\n", encoding="utf-8")
        if args.data_root:
            index.save(run)
    knowledge = Knowledge(index, encoder, calibration)
    results, lines = measure(knowledge, [prompt for prompt in prompts if prompt.half == args.half])
    print(f"{len(index.captions)} captions, {len(index.words)} words; rare actions: {', '.join(sorted(index.thin)) or 'none'}")
    print("\n".join(lines))
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
