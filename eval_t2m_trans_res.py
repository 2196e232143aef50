"""How good is text to motion? FID, R-precision, MM-Dist, Diversity, MultiModality and physics, by the published protocol.

    python eval_t2m_trans_res.py --name mtrans --res_name rtrans --dataset_name t2m --cond_scale 4 --time_steps 10 --ext evaluation

Prints generated motion beside real motion and writes the run's `eval/<ext>.log` and `eval/<ext>.json`; with `--table` beside
published results too.
"""

from __future__ import annotations

from options.cli import check_ext, parse
from options.evaluate import EvalT2M
from utils.errors import UserError, script


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalT2M, argv)
    if not config.name:
        raise UserError("--name is missing: name the masked transformer to evaluate (train_t2m_transformer.py --name)")
    for flag in ("repeat_times", "batch_size", "time_steps"):
        if getattr(config, flag) < 1:
            raise UserError(f"--{flag} {getattr(config, flag)}: must be 1 or more")
    from utils.runtime import Distributed, resolve_device

    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        run(config)


def run(config: EvalT2M) -> None:
    """Evaluate each weights file that is asked for; under torchrun the processes share the batches, and the first one reports."""
    from dataclasses import asdict

    from data.store import MotionStore
    from data.text import CaptionedClips
    from evaluation import tables
    from evaluation.judges import load_judge
    from evaluation.protocol import SplitEvaluation, evaluate, released_lines, results_table
    from evaluation.report import write_report
    from models.loading import Loader
    from motion.spec import get_spec
    from pipelines.text2motion import SamplingSettings
    from utils.checkpoint import CheckpointFolder
    from utils.provenance import provenance
    from utils.runtime import Distributed, resolve_device

    check_ext(config.ext)
    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    loader = Loader(resolve_device(config.gpu_id))
    tags = [config.which_epoch] if config.which_epoch else weights_of(folder)
    judge = load_judge(config.evaluator, config.checkpoints_dir, config.dataset_name, config.evaluator_name, loader)
    processes = Distributed.from_environment()
    say = print if processes.main else lambda line: None
    with processes.first_on_node():
        clips = CaptionedClips(spec, config.split, MotionStore(spec))
    settings = {"published": config.protocol, "batches": config.num_batch, "seed": config.seed}
    protocol = SplitEvaluation(clips, judge, **settings, **(lamp_bertscore(config, clips, loader) if config.lamp_bertscore else {}))
    results, text = {}, []
    for tag in tags:
        model = load_generator(config, tag, loader)
        title = f"{folder.root}, {tag}: {config.protocol} protocol, {config.split}, judge {judge.name}, {config.repeat_times} times"
        say(title)
        results[tag] = evaluate(protocol, *makers(protocol, model, config), repeats=config.repeat_times, say=say)
        say(results_table(results[tag]))
        text += [title, results_table(results[tag]), f"{tag} final result", *released_lines(results[tag]), ""]
        sampling = {**asdict(SamplingSettings().changed(config)), "precision": config.precision}
        report = {**settings, "judge": judge.name, **sampling, "results": results}
        if processes.main:
            write_report(folder.eval, config.ext, "\n".join(text), report, provenance(config, loader.device, loader.files))
    if processes.main:
        facts = tables.Protocol(config.dataset_name, config.split, config.repeat_times, config.num_batch, judge, config.protocol)
        rows = {f"{config.name}, {tag}": one for tag, one in results.items()}
        tables.write_table(folder.eval, config.ext, config.table, tables.generation(facts, rows))


def lamp_bertscore(config: EvalT2M, clips, loader) -> dict:
    """What the protocol needs for LaMP-BertScore: who captions motions, and what that is worth."""
    from evaluation.captions import BertScores, batched_captioner, lamp_bertscore, load_scorer
    from models.decoding import Search
    from pipelines.motion2text import MotionToText

    captioner = MotionToText.load(config.checkpoints_dir, config.dataset_name, config.captioner, loader=loader)
    captions = [[caption.text for caption in clips.captions_of(index)] for index in range(len(clips))]
    bert = BertScores(load_scorer(config.bert_score, config.bert_score_layer, loader.device), captions)
    print(bert.setting)
    return {"captioner": batched_captioner(captioner, Search(), config.batch_size), "text_scorer": lamp_bertscore(bert)}


def makers(protocol, model, config: EvalT2M):
    """What `evaluate` asks for: motions of a pass, and MultiModality."""
    from pipelines.text2motion import SamplingSettings

    options = {"size": config.batch_size, "sampling": SamplingSettings().changed(config)}

    def make(real, repeat: int):
        return protocol.generated(model, real, repeat, **options)

    def more(real, repeat: int) -> dict[str, float]:
        if not config.mm_batches:
            return {}
        return {"MultiModality": float(protocol.multimodality(model, real, repeat, config.mm_batches, **options))}

    return make, more


def weights_of(folder) -> list[str]:
    """Names of all weights files of a run. Raises `UserError` if there are none."""
    from pipelines.runs import weights_files

    tags = [path.stem for path in weights_files(folder.root)]
    if not tags:
        raise UserError(f"{folder.model}: no weights there; check --name, --dataset_name and --checkpoints_dir")
    return tags


def load_generator(config: EvalT2M, tag: str, loader):
    """The masked transformer with all that goes with it."""
    from pipelines.text2motion import TextToMotion

    names = (config.checkpoints_dir, config.dataset_name, config.name, config.res_name or None)
    model = TextToMotion.load(*names, tag=tag, loader=loader, precision=config.precision)
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        print("no --res_name: only the base tokens are decoded, which makes coarser motion")
    return model


if __name__ == "__main__":
    main()
