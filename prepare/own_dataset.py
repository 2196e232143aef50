"""Build a dataset in HumanML3D's layout from your own motions.

    python -m prepare.own_dataset --motions DIR --captions captions.csv --out dataset/Mine

To use the dataset, give other scripts `--dataset_name open --data_root dataset/Mine`. docs/data.md explains fine-tuning.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.own_dataset")

from options.cli import parse
from options.prepare import BuildOwn
from prepare.folder import check_replaceable, whole_folder
from utils.errors import UserError, readable, script, warning

if TYPE_CHECKING:  # prepare.takes imports numpy; imported late, to keep --help fast
    from prepare.takes import Clip, Take

REPORT = "report.txt"
TITLE = "own dataset"  # first line of the report, by which this script recognises folders that it may replace
FEW_CLIPS, FEW_MINUTES = 30, 5.0


@script
def main(argv: list[str] | None = None) -> None:
    options = parse(BuildOwn, argv)
    required = (("motions", "folder of motion files"), ("captions", "table of captions"), ("out", "output folder"))
    for flag, meaning in required:
        if not getattr(options, flag):
            raise UserError(f"--{flag}: missing; give the {meaning}")
    out = Path(options.out).resolve()
    check_replaceable(out, REPORT, TITLE)

    from prepare.open_dataset import write_dataset
    from prepare.own_clips import draw_own_splits, make_own_clips, read_own_takes
    from utils.workers import processes

    with whole_folder(out) as folder, processes(options.workers) as process:
        takes = read_own_takes(Path(options.motions), Path(options.captions), process)
        clips = make_own_clips(takes, draw_own_splits(takes))
        clips, captions = write_dataset(clips, {}, 0.0, folder, process)
        lines = report(takes, clips, captions)
        (folder / REPORT).write_text(readable("\n".join([TITLE, *lines, ""])), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
    print("\n".join([*lines, f"dataset written to {out}; use it with --dataset_name open --data_root {options.out}"]))
    warn_if_small(clips)


def report(takes: list[Take], clips: list[Clip], captions: int) -> list[str]:
    """Return the lines of the report: the number of clips in each split, and the files that were left out."""
    from prepare.open_report import minutes
    from prepare.takes import SHORTEST

    lines = [f"{len(takes):,} files, {minutes(clips):.1f} minutes -> {len(clips):,} clips with mirrors, {captions:,} captions"]
    lines += [f"  {split}: {sum(clip.split == split for clip in clips):,} clips" for split in ("train", "val", "test")]
    used = {clip.take for clip in clips}
    if short := [take.name for take in takes if not take.problem and take.capture not in used]:
        lines.append(f"  left out because no section has {SHORTEST + 1} frames at 20 fps: {', '.join(short)}")
    return lines + [f"  left out: {take.problem}" for take in takes if take.problem]


def warn_if_small(clips: list[Clip]) -> None:
    """Print a warning if the dataset is too small for fine-tuning."""
    from prepare.open_report import minutes

    count = sum(not clip.name.startswith("M") for clip in clips)
    if count < FEW_CLIPS or minutes(clips) < FEW_MINUTES:
        size = f"{count} clips, {minutes(clips):.1f} minutes"
        warning(f"{size}: too few for fine-tuning, which needs at least {FEW_CLIPS} clips and {FEW_MINUTES:g} minutes")


if __name__ == "__main__":
    main()
