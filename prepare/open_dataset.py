"""Builds the `open` dataset, in HumanML3D's layout, from captures that anyone may download.

    python -m prepare.open_dataset --bandai DIR --cmu DIR --texts DIR --out dataset/Open

Bandai-Namco's clips are captioned by rule from what their joints prove (prepare/captions.py), CMU's by HumanML3D's people.
Out come new_joint_vecs (T, 263), new_joints (T, 22, 3), texts, Mean.npy, Std.npy, the splits and report.txt, the same to the
byte each time; the folder appears when it is whole.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING

if __name__ == "__main__" and not __package__:  # started by its path: start again as a module, which finds the other packages
    os.execv(sys.executable, [sys.executable, "-m", "prepare.open_dataset", *sys.argv[1:]])

from motion.spec import get_spec
from options.cli import parse
from options.prepare import BuildOpen
from prepare.folder import MOTIONS, whole_folder, write_lists, write_motion
from prepare.open_splits import SPLITS, draw_splits
from utils.errors import UserError, script

if TYPE_CHECKING:  # prepare.open_sources imports torch, for which --help does not wait
    import numpy as np

    from prepare.open_sources import Take

SHORTEST, LONGEST = 24, 199  # rows of features
SHORTEST_REST = 60  # rows; what is left over when a long take is cut often shows only how the person comes to rest
BATCH = 64  # clips whose features are computed together
REPORT = "report.txt"
TITLE = "open dataset"  # first line of the report: the mark of a folder that this script may replace
TAGGED_TOGETHER = 4096  # captions; fixed, so that the number of processes changes nothing

Process = Callable[[Callable, Iterable], Iterator]


@dataclass(frozen=True)
class Clip:
    """A piece of a take, or its mirror image: one motion of the dataset."""

    name: str
    content: str
    style: str
    source: str
    split: str
    joints: np.ndarray  # (T + 1, 22, 3), as captured


@script
def main(argv: list[str] | None = None) -> None:
    options = parse(BuildOpen, argv)
    out = get_spec("open", options.out).root.resolve()
    if not options.bandai and not options.cmu:
        raise UserError("no captures given: name --bandai, or --cmu with --texts, or all three")
    if options.cmu and not options.texts:
        raise UserError("--cmu: needs HumanML3D's index, splits and captions too; name their folder with --texts")
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: at least one process is needed")
    check_replaceable(out)

    from prepare.stats import write_statistics

    published = published_texts(Path(options.texts)) if options.cmu else {}
    with whole_folder(out) as folder, processes(options.workers) as process:
        takes = read_takes(options, process)
        clips = make_clips(takes)
        if not clips:
            raise UserError(f"no take can be used, {takes[0].name} for one: {takes[0].problem or 'too short'}")
        write_motions(clips, folder, process)
        write_splits(clips, folder)
        write_statistics(folder, [clip.name for clip in clips if clip.split == "train"])
        captions = write_texts(clips, folder, process, published)
        lines = report(takes, clips, captions)
        (folder / REPORT).write_text("\n".join([TITLE, *lines, ""]), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
    print("\n".join([*lines, f"the dataset is in {out}"]))


def check_replaceable(out: Path) -> None:
    """Raises `UserError` if `out` exists and is neither empty nor a build of this script."""
    mark = out / REPORT
    ours = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").startswith(TITLE)
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: already there and no build of this script; remove it, or name another folder with --out")


@contextmanager
def processes(workers: int) -> Iterator[Process]:
    """Yield a `map` that works in that many processes, or in this one, and asks for its input only as it goes."""
    if workers == 1:
        yield map
        return
    import torch

    with get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield pool.imap


def read_takes(options: BuildOpen, process: Process) -> list[Take]:
    """All takes, in the order of their names, those with problems too. Raises `UserError` if a folder holds none."""
    from tqdm import tqdm

    from prepare.open_sources import bandai_files, cmu_files, cmu_segments, read_bandai, read_cmu

    bandai, cmu = [], []
    if options.cmu:
        files = cmu_files(Path(options.cmu), cmu_segments(Path(options.texts)))
        cmu = [take for takes in tqdm(process(read_cmu, files), "CMU", unit=" captures") for take in takes]
        if not cmu:
            raise UserError(f"--cmu {options.cmu}: no capture of HumanML3D's index (such as 01_01.amc) in it or its archives")
    if options.bandai:
        bandai = list(tqdm(process(read_bandai, bandai_files(Path(options.bandai))), "Bandai-Namco", unit=" takes"))
        if not bandai:
            raise UserError(f"--bandai {options.bandai}: no dataset-<n>_<content>_<style>_<id>.bvh in it or its archives")
    return sorted(bandai + cmu, key=lambda take: take.name)


def make_clips(takes: list[Take]) -> list[Clip]:
    """The clips of all usable takes, each with its mirror, each with its split."""
    from prepare.captures import mirror

    clips = []
    usable = [take for take in takes if not take.problem and len(take.joints) > SHORTEST]
    splits = draw_splits(usable)
    for take in usable:
        pieces = cut(take.joints)
        for letter, joints in zip(ascii_lowercase, pieces):
            name = f"{take.name}{letter}" if len(pieces) > 1 else take.name
            facts = (take.source, splits[take.name])
            clips.append(Clip(name, take.content, take.style, *facts, joints))
            clips.append(Clip(f"M{name}", swap_sides(take.content), take.style, *facts, mirror(joints)))
    return clips


def cut(joints: np.ndarray) -> list[np.ndarray]:
    """Consecutive pieces (T + 1, 22, 3) with T of SHORTEST to LONGEST; frame T of one is frame 0 of the next."""
    pieces = [joints[start : start + LONGEST + 1] for start in range(0, len(joints) - 1, LONGEST)]
    return [piece for piece in pieces if len(piece) > (SHORTEST_REST if len(pieces) > 1 else SHORTEST)]


def swap_sides(words: str) -> str:
    """The same words with left and right exchanged: walk-turn-left -> walk-turn-right."""
    return re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", words)


def write_motions(clips: list[Clip], folder: Path, process: Process) -> None:
    """Write `folder`/new_joint_vecs/<name>.npy (T, 263) and new_joints/<name>.npy (T, 22, 3), float32."""
    from tqdm import tqdm

    for name in MOTIONS:
        (folder / name).mkdir()
    clips = sorted(clips, key=lambda clip: (len(clip.joints), clip.name))  # alike in length, so that little is padded
    batches = [clips[start : start + BATCH] for start in range(0, len(clips), BATCH)]
    for _ in tqdm(process(partial(write_batch, folder=folder), batches), "features", len(batches), unit=" batches"):
        pass


def write_batch(clips: list[Clip], folder: Path) -> None:
    """Features of one batch of clips, and the joints that they tell, to their files."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from motion.features import features_to_joints, joints_to_features
    from motion.skeleton import HUMANML3D

    joints = [torch.from_numpy(clip.joints) for clip in clips]
    lengths = torch.tensor([len(x) for x in joints])
    features, _ = joints_to_features(pad_sequence(joints, batch_first=True), HUMANML3D, lengths)  # (B, T, 263)
    for clip, length, rows in zip(clips, lengths.tolist(), features):
        rows = rows[: length - 1]
        write_motion(folder, clip.name, rows, features_to_joints(rows, HUMANML3D.num_joints))


def write_splits(clips: list[Clip], folder: Path) -> None:
    """Write the lists of clip names: one for each split, train_val.txt, all.txt, and test_cmu.txt: those of test by CMU."""
    lists = {split: {split} for split in SPLITS} | {"train_val": {"train", "val"}, "all": set(SPLITS)}
    names = {name: sorted(clip.name for clip in clips if clip.split in splits) for name, splits in lists.items()}
    if cmu := sorted(clip.name for clip in clips if clip.split == "test" and not clip.content):
        names["test_cmu"] = cmu
    write_lists(folder, names)


def write_texts(clips: list[Clip], folder: Path, process: Process, published: dict[str, bytes]) -> int:
    """Write `folder`/texts/<name>.txt: CMU's as they were `published`, the others' from their joints. Returns how many captions.

    Raises:
        UserError: captions of a CMU clip were not published, or spaCy's model is not installed.
    """
    from tqdm import tqdm

    from data.pos_tags import tag

    (folder / "texts").mkdir()
    ours, theirs = [clip for clip in clips if clip.content], [clip.name for clip in clips if not clip.content]
    missing = [name for name in theirs if name not in published]
    if missing:
        raise UserError(f"--texts: no captions of {', '.join(missing[:5])} ({len(missing)} in all); take them all from HumanML3D")
    written = {name: published[name] for name in theirs}
    jobs = [(clip.name, clip.content, clip.style, folder / "new_joints" / f"{clip.name}.npy") for clip in ours]
    captions = list(tqdm(process(describe, jobs), "captions", len(jobs), unit=" clips"))
    unique = sorted({caption for some in captions for caption in some})
    parts = [unique[start : start + TAGGED_TOGETHER] for start in range(0, len(unique), TAGGED_TOGETHER)]
    tokens = {}
    for part, lines in zip(parts, tqdm(process(tag, parts), "tokens", len(parts), unit=" batches")):
        tokens.update(zip(part, lines))
    for clip, some in zip(ours, captions):
        written[clip.name] = "".join(f"{caption}#{tokens[caption]}#0.0#0.0\n" for caption in some).encode()
    for name, text in written.items():
        (folder / "texts" / f"{name}.txt").write_bytes(text)
    return sum(len(text.splitlines()) for text in written.values())


def describe(job: tuple[str, str, str, Path]) -> list[str]:
    """The captions of a clip (name, content, style, its joints' file)."""
    import numpy as np

    from prepare.captions import captions

    name, content, style, joints = job
    return captions(name, content, style, np.load(joints))


def published_texts(texts: Path) -> dict[str, bytes]:
    """HumanML3D's caption files by clip."""
    from prepare.humanml3d import read_captions

    found = [texts / name for name in ("texts", "texts.zip", "texts.tar.gz") if (texts / name).exists()]
    if not found:
        raise UserError(f"--texts {texts}: no texts folder, texts.zip or texts.tar.gz in it; they are in HumanML3D's repository")
    return read_captions(found[0])


def report(takes: list[Take], clips: list[Clip], captions: int) -> list[str]:
    """What was built and what was left out, as lines."""
    lines = []
    for source in sorted({take.source for take in takes}):
        lines += report_source([take for take in takes if take.source == source], [clip for clip in clips if clip.source == source])
    return [*lines, f"{len(clips):,} clips, {captions:,} captions"]


def report_source(takes: list[Take], clips: list[Clip]) -> list[str]:
    usable = [take for take in takes if not take.problem]
    short = [take.name for take in usable if len(take.joints) <= SHORTEST]
    long = [take.joints for take in usable if len(take.joints) > LONGEST + 1]
    unseen = sorted({f"{clip.content} {clip.style}" for clip in clips if clip.split == "test_unseen"})
    splits = Counter(clip.split for clip in clips)
    counts = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits[split])
    minutes = sum(len(clip.joints) - 1 for clip in clips) / 2 / get_spec("open").fps / 60  # mirrors do not count
    lines = [f"{takes[0].source}: {len(takes):,} takes, {minutes:.0f} minutes -> {len(clips):,} clips with mirrors: {counts}"]
    if unseen:
        lines.append(f"  {len(unseen)} combinations unseen in training: {', '.join(unseen)}")
    if long:
        rests = sum(ceil((len(joints) - 1) / LONGEST) - len(cut(joints)) for joints in long)
        dropped = f", {rests} rests shorter than {SHORTEST_REST} frames left out" if rests else ""
        lines.append(f"  {len(long)} cut because longer than {LONGEST} frames{dropped}")
    if short:
        lines.append(f"  {len(short)} left out because shorter than {SHORTEST} frames: {', '.join(short)}")
    return lines + [f"  left out: {take.name}: {take.problem}" for take in takes if take.problem]


if __name__ == "__main__":
    main()
