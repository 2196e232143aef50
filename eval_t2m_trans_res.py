"""Evaluate text to motion by the published protocol: FID, R-precision, MM-Dist, Diversity, MultiModality and physical metrics.

    python eval_t2m_trans_res.py --name mtrans --res_name rtrans --dataset_name t2m --cond_scale 4 --time_steps 10 --ext evaluation

The script prints the metrics of generated and of real motion, and writes the metrics to `eval/<ext>.log` and `eval/<ext>.json` in
the run's folder. With `--table`, the script also prints and writes a table that contains these metrics and published results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from options.cli import check_ext, parse
from options.evaluate import EvalT2M
from utils.errors import UserError, note, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from data.text import CaptionedClips
    from evaluation.judges import Judge
    from evaluation.protocol import SplitEvaluation
    from models.loading import Loader
    from pipelines.runs import Generator
    from pipelines.sampling import SamplingSettings
    from pipelines.text2motion import TextToMotion


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalT2M, argv)
    from utils.runtime import Distributed, resolve_device

    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        run(config)


def run(config: EvalT2M) -> None:
    """Evaluate the weights. Under torchrun, the batches are distributed over the processes, and rank 0 writes the report."""
    from dataclasses import asdict

    from evaluation import tables
    from evaluation.judges import load_judge
    from evaluation.protocol import evaluate, released_lines, results_table
    from evaluation.report import write_report
    from models.loading import Loader
    from pipelines.runs import resolve_generator, weights_files
    from utils.provenance import provenance
    from utils.runtime import Distributed, resolve_device

    check_ext(config.ext)
    runs = resolve_generator(config.checkpoints_dir, config.dataset_name, config.name, config.res_name)
    loader = Loader(resolve_device(config.gpu_id))
    tags = [config.which_epoch] if config.which_epoch else [path.stem for path in weights_files(runs.masked.folder)]
    judge = load_judge(config.evaluator, config.checkpoints_dir, config.dataset_name, config.evaluator_name, loader)
    is_main = Distributed.from_environment().main
    log = print if is_main else lambda line: None
    settings = {"published": config.protocol, "batches": config.num_batch, "seed": config.seed}
    protocol = open_split(config, judge, loader, settings)
    results, text = {}, []
    for tag in tags:
        model = load_generator(config, runs, tag, loader)
        described = f"{config.protocol} protocol, {config.split}, evaluator {judge.name}, {config.repeat_times} passes"
        title = f"{runs.masked}, {tag}: {described}"
        log(title)
        results[tag] = evaluate(protocol, *makers(protocol, model, config), repeats=config.repeat_times, log=log)
        log(results_table(results[tag]))
        text += [title, results_table(results[tag]), f"{tag} final result", *released_lines(results[tag]), ""]
        sampling = {**asdict(settings_of(model, config)), "precision": config.precision}
        report = {**settings, "judge": judge.name, **sampling, "results": results}
        if is_main:
            made_by = provenance(config, loader.device, loader.files)
            write_report(runs.masked.results(config.checkpoints_dir), config.ext, "\n".join(text), report, made_by)
    if is_main:
        facts = tables.Protocol(config.dataset_name, config.split, config.repeat_times, config.num_batch, judge, config.protocol)
        table = tables.generation(facts, {f"{runs.masked.name}, {tag}": result for tag, result in results.items()})
        tables.write_table(runs.masked.results(config.checkpoints_dir), config.ext, config.table, table)


def open_split(config: EvalT2M, judge: Judge, loader: Loader, settings: dict[str, Any]) -> SplitEvaluation:
    """The evaluation protocol on a split of the dataset, with the evaluator `judge`.

    If the dataset folder does not exist, the split that is stored with the evaluator is used (evaluation/stored.py).
    """
    from data.store import MotionStore
    from data.text import CaptionedClips
    from evaluation.protocol import SplitEvaluation
    from evaluation.stored import StoredEvaluation, StoredSplit, find_split
    from motion.spec import get_spec
    from utils.runtime import Distributed

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    if stored := find_split(spec, config.split, judge):
        if config.lamp_bertscore:
            raise UserError(f"--lamp_bertscore: needs the real motions, but {spec.root} does not exist; leave the flag out")
        note(f"{spec.root} does not exist; real motions come from {stored}, which has no physical metrics")
        return StoredEvaluation(StoredSplit.load(stored, spec), judge, **settings)
    with Distributed.from_environment().first_on_node():
        clips = CaptionedClips(spec, config.split, MotionStore(spec))
    return SplitEvaluation(clips, judge, **settings, **(lamp_bertscore(config, clips, loader) if config.lamp_bertscore else {}))


def lamp_bertscore(config: EvalT2M, clips: CaptionedClips, loader: Loader) -> dict[str, Any]:
    """The arguments of `SplitEvaluation` for LaMP-BertScore: a function that captions motions, and one that scores the captions."""
    from evaluation.captions import BertScores, batched_captioner, lamp_bertscore, load_scorer
    from models.decoding import Search
    from pipelines.motion2text import MotionToText

    captioner = MotionToText.load(config.checkpoints_dir, config.dataset_name, config.captioner, loader=loader)
    captions = [[caption.text for caption in clips.captions_of(index)] for index in range(len(clips))]
    bert = BertScores(load_scorer(config.bert_score, config.bert_score_layer, loader.device), captions)
    print(bert.setting)
    return {"captioner": batched_captioner(captioner, Search(), config.batch_size), "text_scorer": lamp_bertscore(bert)}


def makers(protocol: SplitEvaluation, model: TextToMotion, config: EvalT2M) -> tuple[Callable, Callable]:
    """Return two functions for `evaluation.protocol.evaluate`.

    The first function generates the motions of an evaluation pass, and the second function computes MultiModality.
    """
    options = {"size": config.batch_size, "sampling": settings_of(model, config)}

    def make(real, repeat: int):
        return protocol.generated(model, real, repeat, **options)

    def multimodality(real, repeat: int) -> dict[str, float]:
        if not config.mm_batches:
            return {}
        return {"MultiModality": float(protocol.multimodality(model, real, repeat, config.mm_batches, **options))}

    return make, multimodality


def settings_of(model: TextToMotion, config: EvalT2M) -> SamplingSettings:
    """The sampling settings. In the published protocol, each motion is generated as a whole, without a choice among candidates."""
    from dataclasses import replace

    return replace(model.sampling.changed(config), stepwise=False, layered=False, candidates=1)


def load_generator(config: EvalT2M, runs: Generator, tag: str, loader: Loader) -> TextToMotion:
    """Load the masked transformer's weights named `tag`, with the tokeniser, the text encoder and the residual transformer."""
    from pipelines.text2motion import TextToMotion

    model = TextToMotion.load(*runs.masked.address, runs.res_name or None, tag=tag, loader=loader, precision=config.precision)
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        note("no --res_name: only the base tokens are decoded, so motion is coarser than with residual tokens")
    return model


if __name__ == "__main__":
    main()
