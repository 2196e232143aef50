"""Build the standard HumanML3D dataset from its sources (Guo et al., CVPR 2022).

    python -m prepare.humanml3d --amass DIR --smplh DIR --joints DIR --index index.csv --texts texts.zip

AMASS and SMPL-H must be downloaded from their own sites, under their own licences. `index.csv`, captions, splits and the joint
arrays of HumanAct12 come from HumanML3D's repository. The output folder contains new_joint_vecs (T, 263), new_joints (T, 22, 3),
texts, Mean.npy, Std.npy and the splits. Clips that cannot be built are reported and left out. An interrupted build leaves no
output folder.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.humanml3d")

from motion.spec import get_spec, listed_names
from options.cli import parse
from options.prepare import BuildHumanML3D
from prepare.folder import MOTIONS, whole_folder, write_lists
from prepare.stats import write_statistics
from utils.archives import Limits, read_members
from utils.errors import UserError, script

if TYPE_CHECKING:  # prepare.captures imports torch; imported late, to keep --help fast
    from prepare.captures import Clip, Outcome, Sources

CAPTIONS = Limits(size=512 << 20)
SPLITS = ("train", "val", "test")
EXAMPLES = 3  # number of examples of each problem in the report


@script
def main(argv: list[str] | None = None) -> None:
    options = parse(BuildHumanML3D, argv)
    out = Path(options.out) if options.out else get_spec("t2m").root
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; remove it, or choose another folder with --out")
    for flag in ("index", "texts"):
        if not getattr(options, flag):
            raise UserError(f"--{flag}: missing; download it from HumanML3D's repository (see docs/data.md)")

    from prepare.captures import read_index

    sources = open_sources(options)
    clips = read_index(Path(options.index))
    captions = read_captions(Path(options.texts))
    splits = read_splits(Path(options.splits) if options.splits else Path(options.texts).parent)
    with whole_folder(out) as folder:
        outcomes = build(clips, captions, sources, folder, options.workers)
        report(outcomes)
        finish(outcomes, captions, splits, folder)
    print(f"dataset written to {out}")


def open_sources(options: BuildHumanML3D) -> Sources:
    """Return the folders of captures and the body models that the flags give. Raises `UserError` if one of them is missing."""
    from motion.files.smpl import read_body_models
    from prepare.captures import Sources

    if not options.amass and not options.joints:
        raise UserError("no motions given: use --amass with --smplh, or --joints, or both (see docs/data.md)")
    if options.amass and not options.smplh:
        raise UserError("--amass: also needs the SMPL-H models; give their folder with --smplh")
    for flag in ("amass", "smplh", "joints"):
        if getattr(options, flag) and not Path(getattr(options, flag)).is_dir():
            raise UserError(f"--{flag} {getattr(options, flag)}: no such folder")
    models = read_body_models(Path(options.smplh)) if options.amass else {}
    joints, amass = (Path(folder) if folder else None for folder in (options.joints, options.amass))
    return Sources(joints, amass, models)


def read_captions(path: Path) -> dict[str, bytes]:
    """Return the content of caption files, keyed by clip name.

    `path` is a folder of caption files, or a .zip or .tar.gz archive that contains a folder `texts` of caption files.
    """
    if path.is_dir():
        return {file.stem: file.read_bytes() for file in sorted(path.glob("*.txt")) if file.is_file()}
    captions: dict[str, bytes] = {}
    for name, content in read_members(path, is_caption, CAPTIONS):
        stem = PurePosixPath(name).stem
        if stem in captions:
            raise UserError(f"{path}: contains two files named {stem}.txt; give an archive with only one folder of captions")
        captions[stem] = content
    return captions


def is_caption(name: str) -> bool:
    """Whether this path within an archive is a caption file."""
    path = PurePosixPath(name)
    return path.parent.name == "texts" and path.suffix == ".txt" and not path.name.startswith("._")


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Read the clip names of each split from `train.txt`, `val.txt` and `test.txt`. Raises `UserError` if a file is missing."""
    try:
        return {split: listed_names(folder / f"{split}.txt") for split in SPLITS}
    except UserError as error:
        raise UserError(f"split files: cannot be read ({error}); give their folder with --splits") from None


def build(clips: list[Clip], captions: dict[str, bytes], sources: Sources, folder: Path, workers: int) -> list[Outcome]:
    """Build all clips that have captions, write their motions to `folder`, and return the outcome (success or problem) per clip."""
    from tqdm import tqdm

    from prepare.captures import Outcome, build_chunk, chunks
    from utils.workers import processes

    for name in MOTIONS:
        (folder / name).mkdir()
    outcomes, captioned = [], []
    for clip in clips:
        if clip.name in captions and f"M{clip.name}" in captions:
            captioned.append(clip)
        else:
            outcomes.append(Outcome(clip, "no captions", clip.name))
    with tqdm(total=len(captioned), unit="clip") as bar, processes(workers) as process:
        for chunk in process(partial(build_chunk, sources=sources, out=folder), chunks(captioned)):
            outcomes += chunk
            bar.update(len(chunk))
    return outcomes


def report(outcomes: list[Outcome]) -> None:
    """Print how many clips were built. For each problem, print the number of affected clips per AMASS dataset, and examples."""
    built = sum(not outcome.problem for outcome in outcomes)
    print(f"{built:,} of {len(outcomes):,} clips built, each with its mirror image")
    for problem, count in Counter(outcome.problem for outcome in outcomes if outcome.problem).most_common():
        failed = [outcome for outcome in outcomes if outcome.problem == problem]
        by_dataset = Counter(outcome.clip.dataset for outcome in failed).most_common()
        details = list(dict.fromkeys(outcome.detail for outcome in failed))
        more = f", and {len(details) - EXAMPLES:,} more" if len(details) > EXAMPLES else ""
        print(f"{count:,} left out, {problem}: {', '.join(f'{name} {number:,}' for name, number in by_dataset)}")
        print(f"    {', '.join(details[:EXAMPLES])}{more}")


def finish(outcomes: list[Outcome], captions: dict[str, bytes], splits: dict[str, list[str]], folder: Path) -> None:
    """Write captions, splits and statistics of the clips that were built. Raises `UserError` if no clip was built."""
    built = {name for outcome in outcomes if not outcome.problem for name in (outcome.clip.name, f"M{outcome.clip.name}")}
    if not built:
        raise UserError("no clip could be built (see the report above); compare the layout of the folders with docs/data.md")
    (folder / "texts").mkdir()
    for name in sorted(built):
        (folder / "texts" / f"{name}.txt").write_bytes(captions[name])
    lists = splits | {"train_val": splits["train"] + splits["val"], "all": [name for names in splits.values() for name in names]}
    kept = {split: [name for name in names if name in built] for split, names in lists.items()}
    write_lists(folder, kept)
    for split, names in lists.items():
        print(f"{split}: {len(kept[split]):,} of {len(names):,} clips, with mirror images")
    write_statistics(folder, sorted(built))  # as in the published dataset, of all splits


if __name__ == "__main__":
    main()
