"""Read motion files and folders as windows (sections of consecutive frames) of features, in padded batches.

Features (T, D) are in the dataset's own units, at the dataset's frame rate. A motion that is longer than a window is split into as
few windows as possible. These windows have about equal lengths, and neither gaps nor overlaps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.source import read_source
from data.store import named
from motion.files.read import AS_STATED, SUFFIXES, InputOptions
from motion.spec import DatasetSpec
from utils.errors import UserError


def motion_files(folder: Path) -> list[os.DirEntry]:
    """The motion files in a folder and its subfolders, sorted by path. Raises `UserError` if there is no motion file."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --motions or --data_root must name a folder of motions")
    entries = sorted(walk(folder), key=lambda file: file.path)
    files = [file for file in entries if file.is_file()]
    irregular = [f"{file.path}: not a regular file, or a broken link" for file in entries if not file.is_file()]
    report_skipped(irregular, len(entries))
    if not files:
        kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise UserError(f"{folder}: contains no {kinds} file; --motions must name a folder of motions")
    return files


def walk(folder: str | Path) -> Iterator[os.DirEntry]:
    """Yield the files in a folder and its subfolders that have the suffix of a motion format, in any order. Hidden files and links
    to folders are skipped."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        elif entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
            yield entry


def named_files(paths: Sequence[str]) -> list[Path]:
    """The files in `paths` and the motion files in folders in `paths`, without duplicates. Raises `UserError` for a missing
    path."""
    files: dict[Path, Path] = {}  # by resolved path
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; --motions takes {', '.join(SUFFIXES)} files or folders of such files")
        for file in map(Path, motion_files(path)) if path.is_dir() else [path]:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def features_of(file: Path, spec: DatasetSpec, faults: list[str], options: InputOptions = AS_STATED) -> np.ndarray | None:
    """The features (T, D) of a motion file. If the file is unusable, its error is appended to `faults`, and None is returned."""
    try:
        return read_source(file, spec, options).features.numpy()
    except UserError as error:
        faults.append(str(error))
        return None


def report_skipped(faults: list[str], count: int) -> None:
    """Print on stderr how many of `count` files were skipped, and up to three of the reasons (`faults`)."""
    if faults:
        print(f"skipped {len(faults)} of {count} files: {named(faults, 3)}", file=sys.stderr)


def read_motions(files: Sequence[Path], spec: DatasetSpec, options: InputOptions = AS_STATED) -> dict[Path, np.ndarray]:
    """The features (T, D) of each file that holds a motion. Other files are skipped and reported on stderr.

    Raises `UserError` if no file holds a motion.
    """
    faults: list[str] = []
    motions = {file: motion for file in files if (motion := features_of(file, spec, faults, options)) is not None}
    if not motions:
        prefix = f"none of {len(files)} files holds a motion for this model: " if len(files) > 1 else ""
        raise UserError(prefix + named(faults, 1))
    report_skipped(faults, len(files))
    return motions


class Window(NamedTuple):
    """The frames `start : end` of a motion file, and their features (T, D)."""

    file: Path
    start: int
    end: int
    features: np.ndarray


def windows_of(motions: dict[Path, np.ndarray], window: int, stride: int) -> list[Window]:
    """Split all motions into windows of at most `window` frames, and return the windows in order.

    Motions shorter than one token (`stride` frames) are skipped and reported on stderr. Raises `UserError` if all motions are too
    short, or if `window` is shorter than one token.
    """
    if window < stride:
        raise UserError(f"--window {window}: must be at least {stride}, the number of frames per token")
    cuts = {file: cut(len(features), window, stride) for file, features in motions.items()}
    short = [f"{file}: {len(motions[file])} frames, {stride} or more are needed" for file in motions if not cuts[file]]
    if len(short) == len(motions):
        raise UserError(named(short, 1))
    report_skipped(short, len(motions))
    return [Window(file, start, end, motions[file][start:end]) for file in motions for start, end in cuts[file]]


def cut(frames: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Start and end frame of each window of a motion of `frames` frames: multiples of `stride`, except the end of the last window.

    No window is longer than `window` frames, and all windows have about the same length. `window` must be at least `stride`.
    """
    count = -(-frames // (window // stride * stride))
    # Ends are rounded up to multiples of `stride`, so the last window has at most frames / count frames.
    ends = [-(-k * frames // (count * stride)) * stride for k in range(count)] + [frames]
    return [(start, end) for start, end in pairwise(ends) if end - start >= stride]


def batches(pieces: Sequence[np.ndarray], size: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield each of the sections of features `pieces` (T, D) once, shortest first, in batches of at most `size` sections.

    A batch is (indices of the sections, zero-padded features (B, T, D), lengths (B,)).
    """
    order = sorted(range(len(pieces)), key=lambda index: len(pieces[index]))
    for first in range(0, len(order), size):
        indices = order[first : first + size]
        rows = [torch.from_numpy(pieces[index]) for index in indices]
        lengths = torch.tensor([len(row) for row in rows])
        yield indices, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths
