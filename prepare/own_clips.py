"""Takes, splits and clips for a dataset of a user's own motions (`prepare.own_dataset`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from prepare.joint_folder import captioned_files, read_joint_file
from prepare.open_clips import mirrored, take_clips
from prepare.open_splits import by_hash
from prepare.takes import SHORTEST, Clip, Take
from utils.errors import UserError

if TYPE_CHECKING:
    from utils.workers import Process

HELD_OUT = 0.1  # of the files without a given split: fraction that val gets, and fraction that test gets
FEWEST = 3  # if fewer files have no given split, all files without a given split are in train


def read_own_takes(folder: Path, table: Path, process: Process) -> list[Take]:
    """Read all motion files that the table captions.csv lists, one take per file. Takes of unreadable files have a `problem`.

    `process` works like `map`. Raises `UserError` if no file is usable.
    """
    if not folder.is_dir():
        raise UserError(f"--motions {folder}: no such folder")
    takes = list(tqdm(process(read_joint_file, captioned_files(folder, table)), "motions", unit=" files"))
    if all(take.problem for take in takes):
        raise UserError(f"none of the {len(takes)} files of {table} can be used; problem of the first file: {takes[0].problem}")
    return takes


def draw_own_splits(takes: list[Take]) -> dict[str, str]:
    """Assign a split to each take (motion file) for which the user gives no split. Returns these splits, keyed by the take's name.

    val and test each get a tenth of the takes without a given split, but at least one take. train gets all other takes. If fewer
    than FEWEST takes have no given split, train gets all these takes.
    """
    names = by_hash(take.name for take in takes if not take.problem and not any(segment.split for segment in take.segments))
    count = max(1, round(HELD_OUT * len(names))) if len(names) >= FEWEST else 0
    return {name: "test" if index < count else "val" if index < 2 * count else "train" for index, name in enumerate(names)}


def make_own_clips(takes: list[Take], splits: dict[str, str]) -> list[Clip]:
    """Cut all usable takes (motion files) into clips, each followed by its mirror image. Raises `UserError` if train has no clips.

    `splits` maps the names of takes without a given split to their splits.
    """
    clips = []
    for take in takes:
        if not take.problem:
            clips += [clip for clip in take_clips(take, splits.get(take.name, "train")) if len(clip.joints) > SHORTEST]
    clips = [replace(clip, actions=clip.actions or (clip.label,) * bool(clip.label)) for clip in clips]
    if not any(clip.split == "train" for clip in clips):
        needed = f"at least {SHORTEST + 1} frames at 20 fps, and the split train or no split"
        raise UserError(f"no clip for training; at least one section needs {needed}")
    return [version for clip in clips for version in (clip, mirrored(clip))]
