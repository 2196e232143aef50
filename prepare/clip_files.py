"""Write the files of a dataset: features, joints, captions with tokens, splits, and the actions of clips."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.pos_tags import tag
from motion.ik import with_standard_hubs
from motion.skeleton import HUMANML3D
from prepare.captions import captions as caption_by_rule
from prepare.folder import MOTIONS, write_batch_of_joints, write_lists
from prepare.open_splits import SPLITS
from prepare.takes import FPS, Clip
from utils.errors import UserError
from utils.workers import Process

COMPOSED = "composed"  # `Clip.source` of compositions (prepare/compose.py)
BATCH = 64  # clips per batch of feature computation
TAG_BATCH = 4096  # captions tagged in one batch; a constant, so that the tokens do not depend on the number of processes


def write_motions(clips: Sequence[Clip], folder: Path, process: Process) -> None:
    """Write the features (T, 263) and joints (T, 22, 3) of each clip, float32, to new_joint_vecs and new_joints in `folder`.

    `process` works like `map` and runs the jobs, for example in several processes.
    """
    for name in MOTIONS:
        (folder / name).mkdir(exist_ok=True)
    clips = sorted(clips, key=lambda clip: (len(clip.joints), clip.name))  # a batch of similar lengths needs little padding
    batches = [clips[start : start + BATCH] for start in range(0, len(clips), BATCH)]
    for _ in tqdm(process(partial(write_batch, folder=folder), batches), "features", len(batches), unit=" batches"):
        pass


def write_batch(clips: list[Clip], folder: Path) -> None:
    """Write features and joints of one batch of clips to the dataset folder.

    The joints are first retargeted to HumanML3D's bone lengths and to its directions of the bones at pelvis and chest, which differ
    between the sources.
    """
    joints = [torch.from_numpy(with_standard_hubs(clip.joints.astype(np.float64), HUMANML3D)).float() for clip in clips]
    write_batch_of_joints(folder, [clip.name for clip in clips], joints, HUMANML3D)


def load_clip_joints(folder: Path, name: str) -> np.ndarray:
    """Read the joints (T, 22, 3) that `write_motions` has written for a clip."""
    return np.load(folder / "new_joints" / f"{name}.npy")


def make_captions(clips: Sequence[Clip], folder: Path, process: Process) -> dict[str, tuple[str, ...]]:
    """Return the captions of each clip, keyed by clip name.

    For clips without human captions, captions are generated from the action or label, the style and the joints stored in `folder`.
    A clip of the training split gets more generated captions than a clip of another split. `process` works like `map`.
    """
    uncaptioned = [clip for clip in clips if not clip.captions]
    jobs = [(clip.name, clip.content, clip.style, clip.label, clip.split == "train", folder) for clip in uncaptioned]
    captions = tqdm(process(describe, jobs), "captions", len(jobs), unit=" clips")
    return {clip.name: clip.captions for clip in clips if clip.captions} | dict(zip((clip.name for clip in uncaptioned), captions))


def describe(job: tuple[str, str, str, str, bool, Path]) -> tuple[str, ...]:
    """Generate the captions of a clip. `job` is (name, content, style, label, whether the clip is in train, dataset folder)."""
    name, content, style, label, in_train, folder = job
    return tuple(caption_by_rule(name, content, style, load_clip_joints(folder, name), label=label, further=in_train))


def write_texts(captions: dict[str, tuple[str, ...]], folder: Path, process: Process) -> None:
    """Append the captions of each clip and their tokens to `folder`/texts/<name>.txt. Each caption describes the whole clip.

    `process` works like `map`. Raises `UserError` if spaCy's model is not installed.
    """
    (folder / "texts").mkdir(exist_ok=True)
    unique = sorted({caption for of_clip in captions.values() for caption in of_clip})
    parts = [unique[start : start + TAG_BATCH] for start in range(0, len(unique), TAG_BATCH)]
    tokens = {}
    for part, lines in zip(parts, tqdm(process(tag, parts), "tokens", len(parts), unit=" batches")):
        tokens.update(zip(part, lines))
    for name, of_clip in captions.items():
        text = "".join(f"{caption}#{tokens[caption]}#0.0#0.0\n" for caption in of_clip)
        path = folder / "texts" / f"{name}.txt"
        published = path.read_bytes().rstrip(b"\n") + b"\n" if path.exists() else b""
        path.write_bytes(published + text.encode())


def write_published(names: Sequence[str], published: dict[str, bytes], folder: Path) -> None:
    """Write HumanML3D's caption files of the clips `names` to `folder`/texts.

    `published` maps clip names to the content of the files. Raises `UserError` if `published` lacks one of these clips.
    """
    (folder / "texts").mkdir(exist_ok=True)
    if missing := [name for name in names if name not in published]:
        examples = f"{', '.join(missing[:5])} ({len(missing)} in total)"
        raise UserError(f"--texts: no captions of {examples}; use the complete captions of HumanML3D")
    for name in names:
        (folder / "texts" / f"{name}.txt").write_bytes(published[name])


def write_splits(clips: Sequence[Clip], folder: Path) -> None:
    """Write lists of clip names: one list per split, train_val.txt, all.txt, test_cmu.txt and composed.txt.

    test_cmu.txt lists the clips of test.txt that HumanML3D has cut from CMU's captures and captioned. test_everyday.txt lists all
    clips of the split `test_everyday` and, in addition, the clips of test_cmu.txt that have a label. composed.txt lists the
    compositions (clips composed of other clips) in train.txt. The lists test_cmu.txt, test_everyday.txt, test_unseen.txt and
    composed.txt are written only if they are not empty.
    """
    lists = {split: {split} for split in SPLITS} | {"train_val": {"train", "val"}, "all": set(SPLITS)}
    names = {name: {clip.name for clip in clips if clip.split in splits} for name, splits in lists.items()}
    names["composed"] = {clip.name for clip in clips if clip.source == COMPOSED}
    names["test_cmu"] = {clip.name for clip in clips if clip.split == "test" and clip.segment}
    names["test_everyday"] |= {clip.name for clip in clips if clip.split == "test" and clip.segment and clip.label}
    optional = ("composed", "test_cmu", "test_everyday", "test_unseen")
    write_lists(folder, {name: sorted(listed) for name, listed in names.items() if listed or name not in optional})


def write_actions(clips: Sequence[Clip], folder: Path) -> None:
    """Write `folder`/actions.csv, which states the main action, the source and the duration in seconds of each clip."""
    with (folder / "actions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("clip", "action", "source", "seconds"))
        for clip in sorted(clips, key=lambda clip: clip.name):
            action = clip.actions[0] if clip.actions else ""
            writer.writerow((clip.name, action, clip.source, f"{(len(clip.joints) - 1) / FPS:.2f}"))
