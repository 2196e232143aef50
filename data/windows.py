"""Motion files and folders of them, as windows of features in padded batches.

Features (T, D) are in the dataset's own units, at its frame rate. A motion longer than a window is split into the smallest number
of windows of about equal length, without gaps or overlap.
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


def motion_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[os.DirEntry]:
    """The motion files under a folder, in order. Raises `UserError` if there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --motions or --data_root names one with motions")
    found = sorted(walk(folder, suffixes), key=lambda file: file.path)
    files = [file for file in found if file.is_file()]
    tell_skipped([f"{file.path}: no ordinary file, or a link to nothing" for file in found if not file.is_file()], len(found))
    if not files:
        kinds = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise UserError(f"{folder}: no {kinds} file in it; --motions names a folder of motions")
    return files


def walk(folder: str | Path, suffixes: tuple[str, ...]) -> Iterator[os.DirEntry]:
    """The files with these suffixes under a folder, unordered, without hidden files and linked folders."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, suffixes)
        elif entry.name.lower().endswith(suffixes) and not entry.name.startswith("."):
            yield entry


def named_files(places: Sequence[str]) -> list[Path]:
    """The given files and the files in the given folders, each once. Raises `UserError` for missing ones."""
    files: dict[Path, Path] = {}  # by the place it really has
    for place in map(Path, places):
        if not place.exists():
            raise UserError(f"{place}: no such file or folder; --motions names {', '.join(SUFFIXES)} files or folders of them")
        for file in map(Path, motion_files(place)) if place.is_dir() else [place]:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def features_of(file: Path, spec: DatasetSpec, faults: list[str], options: InputOptions = AS_STATED) -> np.ndarray | None:
    """A motion's features (T, D); None for an unusable file, whose error is appended to `faults`."""
    try:
        return read_source(file, spec, options).features.numpy()
    except UserError as error:
        faults.append(str(error))
        return None


def tell_skipped(faults: list[str], count: int) -> None:
    """List the unusable ones of `count` files on stderr, if there are any."""
    if faults:
        print(f"skipped {len(faults)} of {count} files: {named(faults, 3)}", file=sys.stderr)


def read_motions(files: Sequence[Path], spec: DatasetSpec, options: InputOptions = AS_STATED) -> dict[Path, np.ndarray]:
    """The features (T, D) of each file that holds a motion; the others are named on stderr.

    Raises `UserError` if none does; for a single file with its error.
    """
    faults: list[str] = []
    motions = {file: motion for file in files if (motion := features_of(file, spec, faults, options)) is not None}
    if not motions:
        several = f"none of {len(files)} files is a motion for this model: " if len(files) > 1 else ""
        raise UserError(several + named(faults, 1))
    tell_skipped(faults, len(files))
    return motions


class Window(NamedTuple):
    """The frames `start : end` of a motion file, and their features (T, D)."""

    file: Path
    start: int
    end: int
    features: np.ndarray


def windows_of(motions: dict[Path, np.ndarray], window: int, stride: int) -> list[Window]:
    """The windows of all motions, in order. Motions shorter than a token of `stride` frames are named on stderr.

    Raises `UserError` if none has one, or if `window` has none.
    """
    if window < stride:
        raise UserError(f"--window {window}: must be at least {stride}, the frames of a token")
    cuts = {file: cut(len(features), window, stride) for file, features in motions.items()}
    short = [f"{file}: {len(motions[file])} frames, {stride} or more are needed" for file in motions if not cuts[file]]
    if len(short) == len(motions):
        raise UserError(named(short, 1))
    tell_skipped(short, len(motions))
    return [Window(file, start, end, motions[file][start:end]) for file in motions for start, end in cuts[file]]


def cut(frames: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Start and end of a motion's windows, at multiples of `stride` frames except for the end of the motion.

    No window is longer than `window`, which is at least `stride`; all have about the same length.
    """
    count = -(-frames // (window // stride * stride))
    ends = [-(-k * frames // (count * stride)) * stride for k in range(count)] + [frames]  # rounded up: so the last is no longer
    return [(start, end) for start, end in pairwise(ends) if end - start >= stride]


def batches(pieces: Sequence[np.ndarray], size: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """All pieces (T, D) once, shortest first, `size` at a time: their indices, zero-padded features (B, T, D), lengths (B,)."""
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place]))
    for first in range(0, len(order), size):
        places = order[first : first + size]
        rows = [torch.from_numpy(pieces[place]) for place in places]
        lengths = torch.tensor([len(row) for row in rows])
        yield places, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths
