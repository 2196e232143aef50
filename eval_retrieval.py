"""Text-motion retrieval with LaMP: evaluation on a split, or a search.

    python eval_retrieval.py --name lamp --dataset_name open
    python eval_retrieval.py --dataset_name open --query "a person waves" --top 5
    python eval_retrieval.py --dataset_name open --query "a person waves" --motions my_captures --formats html

The first command prints the results of each protocol (evaluation/metrics/retrieval.py) and writes them to `eval/<ext>.log` and
`eval/<ext>.json` in the run's folder. With `--table`, this command also prints and writes a table that contains these results and
published results. The other commands search the dataset, or a folder of motion files, and print the best matches.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.prompts import checked
from options.cli import check_ext, parse
from options.evaluate import EvalRetrieval
from options.files import InputFiles
from utils.errors import UserError, note, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from pipelines.language_motion import LanguageMotion
    from pipelines.runs import Run
    from pipelines.search import Hit

DEFAULT_DATASET = "t2m"  # default --dataset_name of an evaluation; a search uses the dataset of the weights


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalRetrieval, argv)
    check_ext(config.ext)
    if config.query.strip():
        if config.table:
            raise UserError(f"--table {config.table}: only for an evaluation; leave --table out when you search with --query")
        search(config)
    elif config.query or config.motions or config.formats or any(getattr(config, flag.name) for flag in fields(InputFiles)):
        raise UserError("--query is missing: flags for motion files are only for a search; describe the motions to find in --query")
    else:
        evaluate(config)


def load(config: EvalRetrieval, run: Run) -> LanguageMotion:
    """Load the LaMP (text-motion model) of a run."""
    from pipelines.language_motion import LanguageMotion
    from utils.runtime import resolve_device

    return LanguageMotion.load(*run.address, resolve_device(config.gpu_id), config.which_epoch or None)


def evaluate(config: EvalRetrieval) -> None:
    """Evaluate retrieval on a split and write the results."""
    from data.store import MotionStore
    from data.text import CaptionedClips
    from evaluation import tables
    from evaluation.report import write_report
    from evaluation.retrieval import Gallery, evaluate_retrieval, retrieval_table
    from motion.spec import get_spec
    from pipelines.runs import LAMP, resolve
    from utils.provenance import provenance

    dataset = config.dataset_name or DEFAULT_DATASET
    spec = get_spec(dataset, config.data_root, config.cache_dir)
    run = resolve(LAMP, config.checkpoints_dir, dataset, config.name)
    model = load(config, run)
    captioned = CaptionedClips(spec, config.split, MotionStore(spec))
    gallery = Gallery.of_split(model, captioned, config.pool, number=config.caption, seed=config.seed)
    protocols = evaluate_retrieval(gallery, config.protocol, config.rerank)
    weights = run.weights(config.which_epoch or None)
    facts = {"weights": str(weights), "split": config.split, "clips": len(gallery.clips), "captions": len(gallery.texts)}
    settings = {name: getattr(config, name) for name in ("caption", "pool", "rerank")}
    results = {**facts, **settings, "protocols": protocols}
    text = "\n".join((*heading(results), *retrieval_table(protocols)))
    print(text)
    folder = run.results(config.checkpoints_dir)
    write_report(folder, config.ext, text, results, provenance(config, model.device, [weights]))
    tables.write_table(folder, config.ext, config.table, tables.retrieval(dataset, run.name, results))


def heading(results: dict) -> tuple[str, ...]:
    """The first lines of a report on `results`: the weights, data and settings, and the meaning of the rows."""
    from evaluation.report import FEW

    few = f" (only {results['clips']} clips: the results are uncertain)" if results["clips"] < FEW else ""
    caption = f"caption {results['caption']} of each clip" if results["caption"] else "a random caption of each clip"
    reranked = f", top {results['rerank']} re-ranked by the matching head" if results["rerank"] else ""
    return (
        f"{results['weights']}; {results['split']}: {results['clips']} clips, {results['captions']} different captions{few}",
        f"{caption}; similarity: {results['pool']} over a motion's queries{reranked}; ties are averaged",
        "ceiling: the best score that identical captions allow; chance: the score of a random order; threshold: captions that "
        "MiniLM rates as similar also count as matches",
    )


def search(config: EvalRetrieval) -> None:
    """Search motions by the text given by --query, print the best matches, and write them if --formats is given."""
    from motion.files.read import InputOptions
    from motion.spec import get_spec
    from pipelines.known import check_prompts
    from pipelines.runs import LAMP, resolve
    from pipelines.search import caption_of, open_index
    from pipelines.setup import check_formats

    check_formats(config.formats)
    run = resolve(LAMP, config.checkpoints_dir, config.dataset_name, config.name)
    note(f"weights: {run}")
    query = checked(config.query, "--query")
    check_prompts([query], run.folder, config.strict)
    spec = get_spec(run.dataset_name, config.data_root, config.cache_dir)
    folder = Path(config.motions) if config.motions else spec.root
    features = folder / "new_joint_vecs"  # exists if the folder is a dataset
    model = load(config, run)
    index = open_index(model, spec, features if features.is_dir() else folder, InputOptions.of(config))
    hits = index.search(model.embed_texts([query])[0], config.top, config.pool)
    results = [(hit, caption_of(hit.file)) for hit in hits]
    print(f"{query}: the best matches of {len(index.lengths)} motions")
    for rank, (hit, caption) in enumerate(results, start=1):
        section = "" if hit.whole else f" {hit.start:.1f}–{hit.end:.1f} s"
        print(f"{rank:>3}  {hit.score:6.3f}  {hit.file}{section}" + (f"  {caption}" if caption else ""))
    if config.formats:
        write(config, results)


def write(config: EvalRetrieval, results: list[tuple[Hit, str]]) -> None:
    """Write the matches of a search in the requested formats: one page for html, one file per motion for all other formats."""
    from motion.drawing.html import write_html
    from motion.files.export import DEFAULT_OUTPUT, OutputOptions, export
    from pipelines.outputs import staged, suffix_of

    options = OutputOptions.of(config)
    with staged(Path(config.output_dir), config.ext) as folder:
        clips = []
        for rank, (hit, caption) in enumerate(results, start=1):
            motion = hit.motion()
            clips.append(replace(motion, text=f"{rank}. {hit.score:.3f}  {caption or hit.file.name}"))
            for kind in config.formats:
                if kind != "html":
                    path = folder / f"{rank}_{hit.file.stem}.{suffix_of(kind)}"
                    export(path, motion.joints, caption, motion.fps, DEFAULT_OUTPUT if kind == "npy" else options)
        if "html" in config.formats:
            write_html(folder / "found.html", clips, config.query)
    print(f"written: {Path(config.output_dir) / config.ext}")


if __name__ == "__main__":
    main()
