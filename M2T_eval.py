"""Evaluate a captioner: BLEU, ROUGE-L, CIDEr, BERTScore, R-precision and MM-Dist, compared with the scores of human captions.

    python M2T_eval.py --exp-name m2t --dataname open

The script prints a table of scores and some captions. The script also writes three files to
`<out_dir>/<dataset_name>/<name>/eval/`: `<ext>.log` with the printed text, `<ext>.json` with all captions, and `<ext>.html`, which
shows the motions of the printed captions. The column `people` contains the scores of human captions: one caption of each clip is
compared with the other captions of the clip. With `--table`, the script also prints and writes a table that contains these scores
and published results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from options.cli import check_ext, parse
from options.evaluate import EvalM2T
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from pathlib import Path

    from data.text import CaptionedClips
    from evaluation.captions import BertScores
    from evaluation.judges import Judge
    from evaluation.protocol import Pass
    from models.loading import Loader
    from pipelines.motion2text import MotionToText

GPT_FLAGS = {
    "num_layers": "num_layers", "embed_dim_gpt": "embed_dim", "n_head_gpt": "num_heads", "ff_rate": "ff_rate",
    "block_size": "block_size",
}  # flag → field of the captioner's config  # fmt: skip


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalM2T, argv)
    if not config.name and not config.resume_trans:
        raise UserError("--exp-name is missing: name the captioner to evaluate (train_m2t.py --exp-name), or give --resume-trans")
    run(config)


def run(config: EvalM2T) -> None:
    """Caption the clips of a split in each evaluation pass, score the captions, and write the report."""
    from data.store import MotionStore
    from data.text import CaptionedClips
    from evaluation import tables
    from evaluation.captions import BertScores, batched_captioner, load_scorer
    from evaluation.judges import choose_judge
    from evaluation.protocol import SplitEvaluation, comparison
    from evaluation.report import write_report
    from models.decoding import Search
    from models.loading import Loader
    from motion.spec import get_spec
    from utils.checkpoint import CheckpointFolder
    from utils.provenance import provenance
    from utils.runtime import resolve_device

    check_ext(config.ext)
    search = Search.of(config)
    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    loader = Loader(resolve_device(config.gpu_id))
    model = load_captioner(config, loader)
    folder = CheckpointFolder(config.out_dir or config.checkpoints_dir, config.dataset_name, results_name(config))
    judge = choose_judge(config, loader)
    clips = CaptionedClips(spec, config.split, MotionStore(spec))
    bert = BertScores(
        load_scorer(config.bert_score, config.bert_score_layer, loader.device),
        [[one.text for one in clips.captions_of(index)] for index in range(len(clips))],
    )
    captioner = batched_captioner(model, search, config.batch_size, config.candidates)
    protocol = SplitEvaluation(clips, judge, batches=config.num_batch, seed=config.seed, captioner=captioner, physical=False)
    passes = [protocol.real(repeat) for repeat in range(config.repeat_times)]
    results = summary([scores(one, clips, judge, bert, config.references) for one in passes])
    records = captions_json(passes[0], clips)
    size = f"{len(passes[0].names)} clips, {config.repeat_times} passes"
    title = f"{folder.root.name}: {config.split}, {size}, evaluator {judge.name}"
    table = comparison("people", results["people"], results["ours"], width=32)
    text = "\n".join([title, *table, bert.setting, "", *sample_lines(records[: config.samples])])
    print(text)
    report = {"split": config.split, "bert": bert.setting, **results, "captions": records}
    write_report(folder.eval, config.ext, text, report, provenance(config, loader.device, loader.files))
    facts = tables.Protocol(config.dataset_name, config.split, config.repeat_times, config.num_batch, judge)
    table = tables.captioning(facts, folder.root.name, results, config.references, len(passes[0].names), bert.setting)
    tables.write_table(folder.eval, config.ext, config.table, table)
    if config.samples:
        write_page(folder.eval / f"{config.ext}.html", records[: config.samples], clips)


def results_name(config: EvalM2T) -> str:
    """Return the name under which results are saved: --name, or else the run to which --resume_trans refers.

    If --resume_trans is a weights file outside a run, the name is the file's stem.
    """
    from pathlib import Path

    path = Path(config.resume_trans)
    if config.name or not path.exists():
        return config.name or config.resume_trans
    return path.name if path.is_dir() else path.parent.parent.name if path.parent.name == "model" else path.stem


def load_captioner(config: EvalM2T, loader: Loader) -> MotionToText:
    """Load the captioner with its LaMP. Raises `UserError` if the captioner is missing, or if its sizes differ from given flags."""
    from pipelines.motion2text import MotionToText

    name, tag = config.resume_trans or config.name, config.which_epoch or None
    address = (config.checkpoints_dir, config.dataset_name, name)
    model = MotionToText.load(*address, tag=tag, out_dir=config.out_dir, loader=loader, lm=config.lm)
    model.check(config, GPT_FLAGS)
    return model


def scores(
    real: Pass, clips: CaptionedClips, judge: Judge, bert: BertScores, kinds: list[str]
) -> dict[str, dict[str, float]]:
    """Scores of the generated captions ("ours") and of human captions ("people") in one evaluation pass, keyed by metric.

    `real` contains the clips of the pass and their generated captions, and `judge` is the evaluator. `kinds` are the kinds of
    references (`--references`). Names of language metrics end with the kind, such as "BLEU-1 (raw)".
    """
    from evaluation.captions import captions_of, embedded, human_baseline, language_scores, matching_scores
    from evaluation.judges import NoJudge

    captions = captions_of(clips, real)
    human, references = human_baseline(real, captions)
    results: dict[str, dict[str, float]] = {"ours": {}, "people": {}}
    for kind in kinds:
        results["ours"] |= labelled(language_scores(real.sample.captions, captions, kind, bert), kind)
        if human:
            results["people"] |= labelled(language_scores(human, references, kind, bert), kind)
    if not isinstance(judge, NoJudge):
        results["ours"] |= matching_scores(embedded(judge, real.sample.captions), real)
        results["people"] |= matching_scores(real.text, real)
    return results


def labelled(values: dict[str, float], kind: str) -> dict[str, float]:
    """Scores, keyed by metric, with the kind of references appended to the names of the metrics, such as "BLEU-1 (raw)"."""
    return {f"{name} ({kind})": value for name, value in values.items()}


def summary(rows: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """The mean of each score over the evaluation passes (one result of `scores` each), with its 95 % confidence interval."""
    from evaluation.protocol import interval

    return {kind: {name: interval([row[kind][name] for row in rows]) for name in rows[0][kind]} for kind in rows[0]}


def captions_json(real: Pass, clips: CaptionedClips) -> list[dict[str, Any]]:
    """The name, the generated caption and the references (human captions) of each clip in an evaluation pass."""
    from evaluation.captions import captions_of

    rows = zip(real.names, real.sample.captions, captions_of(clips, real))
    return [{"clip": name, "said": text, "people": [caption.text for caption in of_clip]} for name, text, of_clip in rows]


def sample_lines(records: list[dict[str, Any]]) -> list[str]:
    """Lines of text that show results of `captions_json`: each generated caption, followed by its references."""
    blocks = ((f"{record['clip']}: {record['said']}", *(f"    {text}" for text in record["people"])) for record in records)
    return [line for block in blocks for line in block]


def write_page(path: Path, records: list[dict[str, Any]], clips: CaptionedClips) -> None:
    """Write an HTML page that shows motions with their captions; `records` are results of `captions_json`."""
    import torch

    from motion.clip import Motion
    from motion.drawing.html import write_html
    from motion.features import features_to_joints

    spec, motions = clips.spec, []
    for record in records:
        index = clips.clips.names.index(record["clip"])
        start, length = int(clips.clips.starts[index]), int(clips.clips.lengths[index])
        rows = torch.tensor(clips.clips.rows[start : start + length])
        joints = features_to_joints(rows, spec.num_joints).numpy() * spec.unit_scale
        motions.append(Motion(joints, spec.fps, f"{record['said']} (people: {record['people'][0]})"))
    write_html(path, motions, "captions")


if __name__ == "__main__":
    main()
