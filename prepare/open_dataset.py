"""Build the `open` dataset, in HumanML3D's layout, from freely downloadable captures.

    python -m prepare.open_dataset --bandai DIR --cmu DIR --hdm05 DIR --joints DIR --texts DIR --compositions 0.3 --out dataset/Open

Segments of CMU's captures have HumanML3D's human captions. The captions of all remaining clips are generated from labels and joints
(prepare/captions.py). The output folder contains new_joint_vecs (T, 263), new_joints (T, 22, 3), texts, Mean.npy, Std.npy, the
splits, actions.csv and report.txt. Two builds with the same input and flags give identical files. An interrupted build leaves no
output folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.open_dataset")

from motion.spec import get_spec
from options.cli import parse
from options.prepare import BuildOpen
from prepare.folder import check_replaceable, whole_folder
from utils.errors import UserError, readable, script

if TYPE_CHECKING:  # these import torch; imported late, to keep --help fast
    from prepare.takes import Clip, Segment, Take
    from utils.workers import Process

REPORT = "report.txt"
TITLE = "open dataset"  # first line of the report, by which this script recognises folders that it may replace


@script
def main(argv: list[str] | None = None) -> None:
    options = parse(BuildOpen, argv)
    out = get_spec("open", options.out).root.resolve()
    if not (options.bandai or options.cmu or options.hdm05 or options.joints):
        raise UserError("no captures given: use --bandai, --hdm05, --joints, or --cmu with --texts")
    if options.cmu and not options.texts:
        raise UserError("--cmu: needs HumanML3D's index, splits and captions too; give their folder with --texts")
    check_replaceable(out, REPORT, TITLE)

    from prepare.open_clips import make_clips
    from prepare.open_report import report
    from prepare.open_sources import cmu_segments
    from utils.workers import processes

    published = published_texts(Path(options.texts)) if options.texts else {}
    with whole_folder(out) as folder, processes(options.workers) as process:
        segments = cmu_segments(Path(options.texts), published) if options.texts else {}
        takes = read_takes(options, segments, process)
        clips = make_clips(takes)
        if not clips:
            raise UserError(f"no take can be used; problem of the first take, {takes[0].name}: {takes[0].problem or 'too short'}")
        clips, captions = write_dataset(clips, published, options.compositions, folder, process, excerpts=True)
        lines = report(takes, clips, captions, segments if options.cmu else {})
        (folder / REPORT).write_text(readable("\n".join([TITLE, *lines, ""])), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
    print("\n".join([*lines, f"the dataset is in {out}"]))


def read_takes(options: BuildOpen, segments: dict[str, list[Segment]], process: Process) -> list[Take]:
    """Read all takes (captures) in the folders given by the flags, sorted by name. Takes that cannot be read have a `problem`.

    `segments` maps CMU captures to HumanML3D's captioned sections. Raises `UserError` if a folder contains no takes.
    """
    from tqdm import tqdm

    from prepare.joint_folder import joint_files, read_joint_file
    from prepare.open_sources import bandai_files, cmu_files, hdm05_files, read_bandai, read_cmu, read_hdm05

    takes = {}

    def read(flag: str, files: Callable[[Path], Iterator], reader: Callable[..., Take], example: str) -> None:
        if folder := getattr(options, flag):
            new = {take.name: take for take in tqdm(process(reader, files(Path(folder))), flag, unit=" takes")}
            if not new:
                raise UserError(f"--{flag} {folder}: the folder and its archives contain no {example}")
            takes.update(new)

    read("bandai", bandai_files, read_bandai, "dataset-<n>_<content>_<style>_<id>.bvh")
    read("cmu", lambda folder: cmu_files(folder, segments), read_cmu, "capture of HumanML3D's index (such as 01_01.amc)")
    read("hdm05", hdm05_files, read_hdm05, "HDM_<actor>_<class>_<number>.amc")
    # --joints is read last, because its repaired arrays replace raw captures of the same name.
    read("joints", lambda folder: joint_files(folder, segments), read_joint_file, "motion that its table lists")
    return sorted(takes.values(), key=lambda take: take.name)


def write_dataset(
    clips: list[Clip], published: dict[str, bytes], compositions: float, folder: Path, process: Process, excerpts: bool = False
) -> tuple[list[Clip], int]:
    """Write all files except the report. Return all clips, including excerpts and compositions, and the number of captions.

    `published` maps clip names to HumanML3D's caption files. `compositions` is the fraction of compositions (clips composed of
    other clips) among the training clips. `excerpts` states whether to add excerpts (parts of clips that show a single action).
    """
    from prepare.clip_files import make_captions, write_actions, write_motions, write_published, write_splits, write_texts
    from prepare.stats import write_statistics

    write_motions(clips, folder, process)
    published_names = {clip.name for clip in clips if clip.segment and (clip.name in published or not clip.captions)}
    write_published(sorted(published_names), published, folder)
    captions = make_captions([clip for clip in clips if clip.name not in published_names], folder, process)
    labelled = [replace(clip, captions=()) for clip in clips if clip.name in published_names and needs_label(clip)]
    captions |= make_captions(labelled, folder, process)
    cut = excerpted_clips(clips, folder) if excerpts else []
    write_motions(cut, folder, process)
    captions |= make_captions(cut, folder, process)
    composed = composed_clips([*clips, *cut], compositions, folder, process) if compositions else []
    write_motions(composed, folder, process)
    captions |= {clip.name: clip.captions for clip in composed}
    write_texts(captions, folder, process)
    every = [*clips, *cut, *composed]
    write_splits(every, folder)
    write_actions(every, folder)
    write_statistics(folder, [clip.name for clip in clips if clip.split == "train"])  # not of excerpts and compositions
    count = sum(map(len, captions.values())) + sum(len(published[name].splitlines()) for name in published_names)
    return every, count


def needs_label(clip: Clip) -> bool:
    """Whether a clip with HumanML3D's published captions also gets captions that are generated from its label.

    True for a training clip whose label names exactly one action, where gaits, turns, stops and implied actions are not counted.
    The published captions of such a clip often do not name this action. For example, a clip of dribbling has the published caption
    "puts his right arm out and swings it".
    """
    from prepare.actions import actions_in
    from prepare.everyday import WITHIN
    from prepare.pieces import COURSES

    actions = actions_in(clip.label) if clip.split == "train" else ()
    ignored = {implied for action in actions for implied in WITHIN.get(action, ())} | set(COURSES)
    return len([action for action in actions if action not in ignored]) == 1


def excerpted_clips(clips: list[Clip], folder: Path) -> list[Clip]:
    """Return excerpts (parts that show a single action) of the training clips, each followed by its mirror image."""
    from prepare.excerpts import excerpts
    from prepare.open_clips import mirrored

    return [version for clip in excerpts(stored_training_clips(clips, folder)) for version in (clip, mirrored(clip))]


def composed_clips(clips: list[Clip], fraction: float, folder: Path, process: Process) -> list[Clip]:
    """Return new clips that are composed of training clips, each followed by its mirror image.

    `fraction` is the number of compositions divided by the number of training clips, compositions included.
    """
    from prepare.clip_files import COMPOSED
    from prepare.compose import compose
    from prepare.open_clips import mirrored
    from prepare.takes import Clip

    originals = [
        Clip(part.name, "", "", COMPOSED, "train", part.joints, actions=part.actions, captions=part.captions + part.further)
        for part in compose(stored_training_clips(clips, folder), fraction, process=process)
    ]  # fmt: skip
    return [version for clip in originals for version in (clip, mirrored(clip))]


def stored_training_clips(clips: list[Clip], folder: Path) -> list[Clip]:
    """The training clips without mirror images, with the joints that are stored in the dataset folder."""
    from prepare.clip_files import load_clip_joints

    train = [clip for clip in clips if clip.split == "train" and not clip.name.startswith("M")]
    return [replace(clip, joints=load_clip_joints(folder, clip.name)) for clip in train]


def published_texts(texts: Path) -> dict[str, bytes]:
    """Read HumanML3D's caption files from texts/, texts.zip or texts.tar.gz in `texts`. The result is keyed by clip name."""
    from prepare.humanml3d import read_captions

    paths = [texts / name for name in ("texts", "texts.zip", "texts.tar.gz") if (texts / name).exists()]
    if not paths:
        raise UserError(f"--texts {texts}: contains no folder texts, texts.zip or texts.tar.gz; get it from HumanML3D's repository")
    return read_captions(paths[0])


if __name__ == "__main__":
    main()
