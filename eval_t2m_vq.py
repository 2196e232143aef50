"""Evaluate a tokeniser's reconstructions: joint error, error by group of features, codebook use and physical metrics.

    python eval_t2m_vq.py --gpu_id 0 --name rvq --dataset_name open

The script prints a report and writes the report to `eval/<ext>.log` and `eval/<ext>.json` in the run's folder. Each clip is
reconstructed without cropping, except that its length is rounded down to a whole number of tokens. With `--table`, the script also
prints and writes a table that contains these metrics and published results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from options.cli import check_ext, parse
from options.evaluate import EvalVQ
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from data.store import MotionStore, Normaliser
    from evaluation.judges import Judge
    from models.vqvae import MotionTokeniser
    from motion.spec import DatasetSpec


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalVQ, argv)
    if not config.name:
        raise UserError("--name is missing: name the tokeniser to evaluate (train_vq.py --name)")
    evaluate(config)


def evaluate(config: EvalVQ) -> None:
    """Reconstruct the clips of a split, print the metrics and write them to `eval/` in the run's folder."""
    from data.store import MotionStore, Normaliser
    from evaluation import tables
    from evaluation.judges import choose_judge
    from evaluation.protocol import results_table
    from evaluation.report import write_report
    from evaluation.tokeniser import evaluate_tokeniser
    from models.loading import Loader, load_model, require_kind
    from motion.spec import get_spec
    from utils.checkpoint import CheckpointFolder, find_weights
    from utils.provenance import provenance
    from utils.runtime import resolve_device

    check_ext(config.ext)
    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    device = resolve_device(config.gpu_id)
    weights = find_weights(folder.root, config.which_epoch)
    model, metadata = load_model(weights)
    require_kind(metadata, f"--name {config.name}", "tokeniser", remedy="name one trained by train_vq.py")
    if model.config.dim != spec.dim:
        raise UserError(f"--name {config.name}: made for features of width {model.config.dim}, but {spec.name} has {spec.dim}")
    normaliser = Normaliser.load(folder.meta)
    store = MotionStore(spec)
    results = evaluate_tokeniser(model.to(device), store.clips(store.split(config.split)), normaliser, spec)
    results = {"weights": str(weights), "step": metadata.get("step"), "split": config.split, **results}
    text = report(results)
    print(text)
    judge = choose_judge(config, Loader(device))
    if metrics := evaluator_metrics(config, model, normaliser, store, spec, judge):
        results["judged"] = metrics
        print(results_table(metrics))
        text += "\n" + results_table(metrics)
    write_report(folder.eval, config.ext, text, results, provenance(config, device, [weights]))
    protocol = tables.Protocol(config.dataset_name, config.split, config.repeat_times, config.num_batch, judge)
    tables.write_table(folder.eval, config.ext, config.table, tables.reconstruction(protocol, config.name, results))


def evaluator_metrics(
    config: EvalVQ, model: MotionTokeniser, normaliser: Normaliser, store: MotionStore, spec: DatasetSpec, judge: Judge
) -> dict[str, Any] | None:
    """Text-to-motion metrics (FID, R-precision, …) of the reconstructions, by the evaluator `judge`; None if there is none."""
    from data.text import CaptionedClips
    from evaluation.judges import NoJudge
    from evaluation.protocol import SplitEvaluation, evaluate
    from evaluation.tokeniser import reconstructor

    if isinstance(judge, NoJudge):
        return None
    clips = CaptionedClips(spec, config.split, store)
    protocol = SplitEvaluation(clips, judge, batches=config.num_batch, seed=config.seed)
    reconstruct = reconstructor(model, normaliser)

    def generate(real, repeat: int):
        return protocol.reconstructed(reconstruct, repeat)

    return evaluate(protocol, generate, repeats=config.repeat_times, log=lambda line: None)


def report(results: dict[str, Any]) -> str:
    """Format the results of the evaluation as a text."""
    from evaluation.report import FEW

    few = f" (only {results['clips']} clips: the results are uncertain)" if results["clips"] < FEW else ""
    lines = [
        f"{results['weights']}, step {results['step']}; {results['split']}: {results['clips']} clips, {results['poses']} poses",
        f"MPJPE {results['mpjpe_mm']:.2f} mm{few}",
        "  with only the first n quantisers: " + "  ".join(f"{n}: {v:.2f}" for n, v in enumerate(results["mpjpe_mm_by_layers"], 1)),
        "smooth-L1 error, normalised: " + "  ".join(f"{name} {value:.4f}" for name, value in results["reconstruction"].items()),
        f"{'codebook':<20}{'used %':>10}{'perplexity':>12}",
        *(f"{q:<20}{book['used_percent']:>10.1f}{book['perplexity']:>12.1f}" for q, book in enumerate(results["codebooks"])),
        f"error of the root's position after 5 s: {number(results['path_error_mm'], 0)} mm",
        f"{'physical':<24}{'real':>10}{'ours':>12}",
        *(
            f"{name:<24}{number(values['real']):>10}{number(values['reconstructed']):>12}"
            for name, values in results["physical"].items()
        ),
    ]
    for kind in ("source", "action"):
        lines += breakdown(kind, results[f"by_{kind}"])
    return "\n".join(lines)


def number(value: float | None, digits: int = 2) -> str:
    """Format a number; None becomes `-`."""
    return "-" if value is None else f"{value:.{digits}f}"


COLUMNS = ("foot_slide_cm_s", "jerk_m_s3", "bone_deviation_percent", "kick_cm", "jump_cm")


def breakdown(kind: str, groups: dict[str, Any]) -> list[str]:
    """Format a table with one line per group of clips; `kind` is "action" or "source" (of the motion capture).

    Physical metrics are shown as "real → reconstructed".
    """
    if not groups:
        return []
    heads = ("slide cm/s", "jerk m/s³", "bones %", "high toe cm", "low toe cm")
    lines = [f"{kind:<24}{'clips':>6}{'MPJPE':>8}{'5 s':>6}" + "".join(f"{head:>17}" for head in heads)]
    for label, group in groups.items():
        pairs = [group["physical"][column] for column in COLUMNS]
        cells = "".join(f"{number(pair['real'], 1) + ' → ' + number(pair['reconstructed'], 1):>17}" for pair in pairs)
        lines.append(f"{label[:23]:<24}{group['clips']:>6}{group['mpjpe_mm']:>8.1f}{number(group['path_error_mm'], 0):>6}{cells}")
    return lines


if __name__ == "__main__":
    main()
