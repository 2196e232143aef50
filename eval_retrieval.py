"""Text-motion retrieval with LaMP: evaluation on a split, or a search.

    python eval_retrieval.py --name lamp --dataset_name open
    python eval_retrieval.py --dataset_name open --query "a person waves" --top 5
    python eval_retrieval.py --dataset_name open --query "a person waves" --motions my_captures --formats html

The first prints the results of each protocol (evaluation/metrics/retrieval.py) and writes them to the run's `eval/<ext>.log` and
`eval/<ext>.json`; `--table` adds a table beside published results. The others search the dataset, or a folder of motion files, and
print the best matches.
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

if TYPE_CHECKING:  # --help does not wait for these
    from pipelines.language_motion import LanguageMotion
    from pipelines.runs import Run
    from pipelines.search import Hit

FEW = 300
EVALUATED = "t2m"  # dataset of an evaluation that names none


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EvalRetrieval, argv)
    check_ext(config.ext)
    if config.query.strip():
        if config.table:
            raise UserError(f"--table {config.table}: is for an evaluation; leave it out of a search")
        search(config)
    elif config.query or config.motions or config.formats or any(getattr(config, flag.name) for flag in fields(InputFiles)):
        raise UserError("--query is missing: say in words which motions to find; flags of motion files are for a search")
    else:
        evaluate(config)


def load(config: EvalRetrieval, run: Run) -> LanguageMotion:
    """The LaMP of a run."""
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

    dataset = config.dataset_name or EVALUATED
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
    """The heading of a report: what was measured, and how to read it."""
    few = f"; only {results['clips']} clips: take it as a hint" if results["clips"] < FEW else ""
    caption = f"caption {results['caption']} of each clip" if results["caption"] else "a random caption of each clip"
    second = f", the best {results['rerank']} in the order of the matching head" if results["rerank"] else ""
    return (
        f"{results['weights']}; {results['split']}: {results['clips']} clips, {results['captions']} different captions{few}",
        f"{caption}; similarity: {results['pool']} over a motion's queries{second}; ties averaged",
        "ceiling: as far as identical captions allow; chance: scores that say nothing; captions alike by MiniLM: threshold",
    )


def search(config: EvalRetrieval) -> None:
    """Search motions by the text of --query; print the best matches and write them if --formats is given."""
    from motion.files.read import InputOptions
    from motion.spec import get_spec
    from pipelines.known import check_prompts
    from pipelines.outputs import check_formats
    from pipelines.runs import LAMP, resolve
    from pipelines.search import caption_of, open_index

    check_formats(config.formats)
    run = resolve(LAMP, config.checkpoints_dir, config.dataset_name, config.name)
    note(f"weights: {run}")
    query = checked(config.query, "--query")
    check_prompts([query], run.folder, config.strict)
    spec = get_spec(run.dataset_name, config.data_root, config.cache_dir)
    folder = Path(config.motions) if config.motions else spec.root
    inside = folder / "new_joint_vecs"  # of a dataset folder
    model = load(config, run)
    index = open_index(model, spec, inside if inside.is_dir() else folder, InputOptions.of(config))
    hits = index.search(model.embed_texts([query])[0], config.top, config.pool)
    results = [(hit, caption_of(hit.file)) for hit in hits]
    print(f"{query}: the nearest of {len(index.lengths)} motions")
    for rank, (hit, caption) in enumerate(results, start=1):
        piece = "" if hit.whole else f" {hit.start:.1f}–{hit.end:.1f} s"
        print(f"{rank:>3}  {hit.score:6.3f}  {hit.file}{piece}" + (f"  {caption}" if caption else ""))
    if config.formats:
        write(config, results)


def write(config: EvalRetrieval, results: list[tuple[Hit, str]]) -> None:
    """Write the matches in the requested formats: one page for html, otherwise one file per motion."""
    from motion.drawing.html import write_html
    from motion.files.export import USUAL, OutputOptions, export
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
                    export(path, motion.joints, caption, motion.fps, USUAL if kind == "npy" else options)
        if "html" in config.formats:
            write_html(folder / "found.html", clips, config.query)
    print(f"written: {Path(config.output_dir) / config.ext}")


if __name__ == "__main__":
    main()
