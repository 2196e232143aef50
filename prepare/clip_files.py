"""Write a dataset's files: features, joints, captions with tokens, splits, and the actions of clips."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from data.pos_tags import tag
from motion.features import features_to_joints, joints_to_features
from motion.ik import with_standard_hubs
from motion.skeleton import HUMANML3D
from prepare.captions import captions as caption_by_rule
from prepare.folder import MOTIONS, write_lists, write_motion
from prepare.open_splits import SPLITS
from prepare.takes import FPS, Clip
from utils.errors import UserError

COMPOSED = "composed"  # source of the clips that prepare/compose.py makes
BATCH = 64  # clips whose features are computed together
TAGGED_TOGETHER = 4096  # captions; fixed, so that the number of processes changes nothing

Process = Callable[[Callable, Iterable], Iterator]


@contextmanager
def processes(workers: int) -> Iterator[Process]:
    """Yield a lazy `map` that uses this many processes, or the current one for 1."""
    if workers == 1:
        yield map
        return
    with get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield pool.imap


def write_motions(clips: Sequence[Clip], folder: Path, process: Process) -> None:
    """Write `folder`/new_joint_vecs/<name>.npy (T, 263) and new_joints/<name>.npy (T, 22, 3), float32."""
    for name in MOTIONS:
        (folder / name).mkdir(exist_ok=True)
    clips = sorted(clips, key=lambda clip: (len(clip.joints), clip.name))  # alike in length, so that little is padded
    batches = [clips[start : start + BATCH] for start in range(0, len(clips), BATCH)]
    for _ in tqdm(process(partial(write_batch, folder=folder), batches), "features", len(batches), unit=" batches"):
        pass


def write_batch(clips: list[Clip], folder: Path) -> None:
    """Features of one batch of clips, and the joints that they describe, to their files.

    All clips get the same pelvis and chest, whatever their source: as in HumanML3D, whose clips are all posed with one body model.
    """
    joints = [torch.from_numpy(with_standard_hubs(clip.joints.astype(np.float64), HUMANML3D)).float() for clip in clips]
    lengths = torch.tensor([len(x) for x in joints])
    features, _ = joints_to_features(pad_sequence(joints, batch_first=True), HUMANML3D, lengths)  # (B, T, 263)
    for clip, length, rows in zip(clips, lengths.tolist(), features):
        rows = rows[: length - 1]
        write_motion(folder, clip.name, rows, features_to_joints(rows, HUMANML3D.num_joints))


def load_clip_joints(folder: Path, name: str) -> np.ndarray:
    """The joints (T, 22, 3) that a clip's features describe."""
    return np.load(folder / "new_joints" / f"{name}.npy")


def make_captions(clips: Sequence[Clip], folder: Path, process: Process) -> dict[str, tuple[str, ...]]:
    """The captions of each clip by name: human captions, or generated from its label and its joints, more of them for train."""
    made = [clip for clip in clips if not clip.captions]
    jobs = [(clip.name, clip.content, clip.style, clip.label, clip.split == "train", folder) for clip in made]
    captions = tqdm(process(describe, jobs), "captions", len(jobs), unit=" clips")
    return {clip.name: clip.captions for clip in clips if clip.captions} | dict(zip((clip.name for clip in made), captions))


def describe(job: tuple[str, str, str, str, bool, Path]) -> tuple[str, ...]:
    """Generate the captions of a clip (name, content, style, label, whether it is in train, the dataset's folder)."""
    name, content, style, label, train, folder = job
    return tuple(caption_by_rule(name, content, style, load_clip_joints(folder, name), label=label, further=train))


def write_texts(captions: dict[str, tuple[str, ...]], folder: Path, process: Process) -> None:
    """Write `folder`/texts/<name>.txt: each caption with its tokens, for the whole clip, after published ones if there are any.

    Raises:
        UserError: spaCy's model is not installed.
    """
    (folder / "texts").mkdir(exist_ok=True)
    unique = sorted({caption for some in captions.values() for caption in some})
    parts = [unique[start : start + TAGGED_TOGETHER] for start in range(0, len(unique), TAGGED_TOGETHER)]
    tokens = {}
    for part, lines in zip(parts, tqdm(process(tag, parts), "tokens", len(parts), unit=" batches")):
        tokens.update(zip(part, lines))
    for name, some in captions.items():
        text = "".join(f"{caption}#{tokens[caption]}#0.0#0.0\n" for caption in some)
        path = folder / "texts" / f"{name}.txt"
        published = path.read_bytes().rstrip(b"\n") + b"\n" if path.exists() else b""
        path.write_bytes(published + text.encode())


def write_published(names: Iterable[str], published: dict[str, bytes], folder: Path) -> None:
    """Write HumanML3D's own caption files of the named clips. Raises `UserError` if some were not published."""
    (folder / "texts").mkdir(exist_ok=True)
    names = list(names)
    missing = [name for name in names if name not in published]
    if missing:
        raise UserError(f"--texts: no captions of {', '.join(missing[:5])} ({len(missing)} in all); take them all from HumanML3D")
    for name in names:
        (folder / "texts" / f"{name}.txt").write_bytes(published[name])


def write_splits(clips: Sequence[Clip], folder: Path) -> None:
    """Write the lists of clip names.

    One list per split, train_val.txt and all.txt; test_cmu.txt, the clips of test.txt with human captions; test_everyday.txt, which
    includes the clips of test_cmu.txt from everyday takes; composed.txt, the compositions in train.txt.
    """
    lists = {split: {split} for split in SPLITS} | {"train_val": {"train", "val"}, "all": set(SPLITS)}
    names = {name: {clip.name for clip in clips if clip.split in splits} for name, splits in lists.items()}
    names["composed"] = {clip.name for clip in clips if clip.source == COMPOSED}
    names["test_cmu"] = {clip.name for clip in clips if clip.split == "test" and clip.segment}
    names["test_everyday"] |= {clip.name for clip in clips if clip.split == "test" and clip.segment and clip.label}
    optional = ("composed", "test_cmu", "test_everyday", "test_unseen")
    write_lists(folder, {name: sorted(some) for name, some in names.items() if some or name not in optional})


def write_actions(clips: Sequence[Clip], folder: Path) -> None:
    """Write `folder`/actions.csv: main action, source and seconds of each clip."""
    with (folder / "actions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("clip", "action", "source", "seconds"))
        for clip in sorted(clips, key=lambda clip: clip.name):
            action = clip.actions[0] if clip.actions else ""
            writer.writerow((clip.name, action, clip.source, f"{(len(clip.joints) - 1) / FPS:.2f}"))
