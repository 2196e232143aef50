"""Motions of a dataset folder. They are packed once into a memory-mapped file, normalised, and read as padded batches of windows.

A folder in HumanML3D's layout (`new_joint_vecs/*.npy`, each `(T, D)`; `train.txt`, `val.txt`, …; `Mean.npy`, `Std.npy`) contains
tens of thousands of small files. `MotionStore` concatenates all motions in the file `motions.pack`, the *pack*, so that a batch can
be read by one indexing operation. The pack contains float32 rows `(R, D)`, then an index in JSON, then the size of the index in 8
bytes.

Batches are `{"motion": (B, W, D) float32, normalised, zero beyond a clip's end; "lengths": (B,) int64, frames}`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data.balance import weighted_epoch
from motion.spec import DatasetSpec, listed_names
from utils.checkpoint import atomic_path
from utils.errors import UserError, note
from utils.progress import progress
from utils.runtime import user_cache

Array = TypeVar("Array", np.ndarray, torch.Tensor)
PACK = "motions.pack"
BLOCK = 512  # number of files that are read in parallel before their motions are written to the pack
LARGEST = 1000  # metres; motions with a larger absolute feature value are rejected
CHECKED = 1 << 30  # bytes; the checksums of larger packs are not verified, because verification would take too long


def named(names: Sequence[str], limit: int = 5) -> str:
    """List the first `limit` names and the number of further names in one line: `a, b, c and 4 more`."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _floats(content: bytes) -> np.ndarray:
    """The numbers in a `.npy` file as C-ordered float32. Raises `ValueError` for other content, including pickles and archives."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False).astype("<f4", order="C", copy=False)


# Normalising


def _statistics(path: Path, remedy: str) -> np.ndarray:
    """The array `(D,)` in a `.npy` file of means or standard deviations. `remedy` is advice for error messages."""
    try:
        values = _floats(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}); {remedy}") from None
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UserError(f"{path}: expected one row of finite numbers, found shape {values.shape}; {remedy}")
    return values


class Normaliser:
    """z-normalisation of motions `(..., D)` by `mean (D,)` and `std (D,)`. A motion is a NumPy array or a torch tensor.

    Raises `UserError` if `mean` and `std` differ in width, or if a standard deviation is not positive.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        if mean.shape != std.shape:
            raise UserError(f"statistics: mean has width {mean.size}, std {std.size}; take both from the same folder")
        if not (std > 0).all():
            raise UserError(f"statistics: std at dimension {int(np.argmin(std))} is not positive; compute std from train.txt")
        self.mean, self.std = np.float32(mean), np.float32(std)

    @property
    def dim(self) -> int:
        """Number of features D."""
        return self.mean.size

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and standard deviation (D,)."""
        return self.mean, self.std

    def _like(self, motion: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, converted to the array type, device and dtype of `motion`."""
        if motion.shape[-1] != self.dim:
            raise UserError(f"motion: width {motion.shape[-1]}, but the statistics have {self.dim}; use the same dataset for both")
        if isinstance(motion, torch.Tensor):
            return torch.from_numpy(self.mean).to(motion), torch.from_numpy(self.std).to(motion)
        return self.mean, self.std

    def normalise(self, motion: Array) -> Array:
        """Motion (..., D) in the dataset's units → z-normalised motion."""
        mean, std = self._like(motion)
        motion = motion - mean
        motion /= std  # in place, to avoid a second copy of a large batch
        return motion

    def normalise_(self, motion: Array) -> Array:
        """Like `normalise`, but in place, because copying a large batch takes as long as reading it."""
        mean, std = self._like(motion)
        motion -= mean
        motion /= std
        return motion

    def denormalise(self, motion: Array) -> Array:
        """Z-normalised motion (..., D) → motion in the dataset's units."""
        mean, std = self._like(motion)
        return motion * std + mean

    @classmethod
    def identity(cls, dim: int) -> Normaliser:
        """A normaliser that leaves motions (…, D) unchanged."""
        return cls(np.zeros(dim, np.float32), np.ones(dim, np.float32))

    @classmethod
    def from_dataset(cls, spec: DatasetSpec) -> Normaliser:
        """A normaliser with the mean and standard deviation in the dataset folder. As in MoMask, the standard deviations of the
        root and of the foot contacts are divided by `spec.feat_bias`."""
        remedy = "copy the dataset's Mean.npy and Std.npy into this folder, or compute both files with prepare/stats.py"
        mean, std = (_statistics(spec.root / name, remedy) for name in ("Mean.npy", "Std.npy"))
        if mean.size != spec.dim:
            raise UserError(f"{spec.root / 'Mean.npy'}: width {mean.size}, but dataset '{spec.name}' has {spec.dim}; {remedy}")
        std[spec.root_slice] /= spec.feat_bias
        std[spec.contacts_slice] /= spec.feat_bias
        return cls(mean, std)

    def save(self, folder: str | Path) -> None:
        """Write `mean.npy` and `std.npy` into a checkpoint's `meta` folder."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            with atomic_path(Path(folder) / f"{name}.npy") as path, open(path, "wb") as file:
                np.save(file, values)

    @classmethod
    def load(cls, folder: str | Path) -> Normaliser:
        """Read `mean.npy` and `std.npy` in the `meta` folder of a checkpoint."""
        remedy = "a checkpoint needs the files meta/mean.npy and meta/std.npy from its training"
        return cls(*(_statistics(Path(folder) / f"{name}.npy", remedy) for name in ("mean", "std")))


# The packed store


def _motion(reading: Future[bytes], dim: int, largest: float) -> np.ndarray | str:
    """The motion `(T, D)` float32 in the content of a `.npy` file (`reading`), or the reason why the file cannot be used.

    `dim` is the expected D; no value may be greater than `largest` in magnitude.
    """
    try:
        motion = _floats(reading.result())
    except (OSError, ValueError) as error:
        return f"unreadable ({' '.join(str(error).split())})"
    if motion.ndim != 2 or motion.shape[1] != dim:
        return f"shape {motion.shape}, expected (frames, {dim})"
    if len(motion) == 0:
        return "no frames"
    if not np.isfinite(motion).all():
        return "NaN or infinite values"
    if np.abs(motion).max() > largest:
        return f"a value of {np.abs(motion).max():.3g}, too large for a motion"
    return motion


def _fingerprint(files: list[os.DirEntry], dim: int) -> str:
    """A hash of motion files and their number of features; it changes when a file is added, removed or modified."""
    parts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([dim, parts]).encode()).hexdigest()


def _write_pack(path: Path, files: list[os.DirEntry], spec: DatasetSpec, fingerprint: str) -> None:
    """Write the motions in `files` to the pack `path`, one file with all motions of a dataset and an index.

    The index also contains the names of unusable files, with one reason each, and the CRC-32 of the motions.

    Threads read the files, but do not parse them: NumPy parses headers with `ast`, which is not thread-safe up to Python 3.11.7
    (gh-106905).
    """
    index = {"fingerprint": fingerprint, "names": [], "lengths": [], "skipped": {}, "crc": 0}
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as pack,
        ThreadPoolExecutor(8) as pool,
        progress(total=len(files), desc="packing motions", unit="clip") as bar,
    ):
        for first in range(0, len(files), BLOCK):
            block = [(Path(file), pool.submit(Path(file).read_bytes)) for file in files[first : first + BLOCK]]
            for file, reading in block:
                motion = _motion(reading, spec.dim, LARGEST / spec.unit_scale)
                if isinstance(motion, str):
                    index["skipped"][file.name] = motion
                else:
                    index["names"].append(file.stem)
                    index["lengths"].append(len(motion))
                    pack.write(motion.data)
                    index["crc"] = zlib.crc32(motion.data, index["crc"])
            bar.update(len(block))
        text = json.dumps(index).encode()
        pack.write(text + len(text).to_bytes(8, "little"))


def _read_index(path: Path, fingerprint: str, dim: int) -> dict | None:
    """The index (names and lengths) of a pack, the file with all motions of a dataset; None if it is missing, outdated or damaged.

    If the pack is damaged, a note is printed.
    """
    try:
        with open(path, "rb") as pack:
            pack.seek(-8, os.SEEK_END)
            size = int.from_bytes(pack.read(8), "little")
            rows = pack.seek(-8 - size, os.SEEK_END)
            index = json.loads(pack.read(size))
            if index["fingerprint"] != fingerprint:
                return None  # the motion files have changed since the pack was written
            if rows != 4 * dim * sum(index["lengths"]) or len(index["names"]) != len(index["lengths"]):
                raise ValueError("its size is wrong")
            if rows <= CHECKED and "crc" in index and zlib.crc32(np.memmap(path, np.uint8, "r")[:rows]) != index["crc"]:
                raise ValueError("its checksum differs")
            return index
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OverflowError, LookupError, TypeError) as error:
        note(f"{path}: damaged ({error}); this file is rebuilt")
        return None


def cache_folder(root: Path, cache_dir: Path | None = None) -> Path:
    """The folder for those caches of the dataset folder `root` that are not stored in `root` itself.

    This folder is inside `cache_dir` (default: the folder `lamp` in the user's cache).
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or user_cache())
    return (cache_dir or cache / "lamp") / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


@dataclass(frozen=True)
class Clips:
    """Slices of an array of all frames: clip i is `rows[starts[i] : starts[i] + lengths[i]]`, `(T, D)` in the dataset's own
    units."""

    rows: np.ndarray  # (R, D)
    names: list[str]
    starts: np.ndarray  # (N,)
    lengths: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        start = self.starts[index]
        return self.rows[start : start + self.lengths[index]]

    def batches(self, normaliser: Normaliser, *, max_clips: int = 256, max_rows: int = 16_384) -> Iterator[dict]:
        """Yield all clips once, shortest first, in padded batches of at most `max_clips` clips.

        A batch of several clips has at most `max_rows` rows, padding included. A batch also contains `"index": (B,)`, the index of
        each clip in `names`.
        """
        order = np.argsort(self.lengths, kind="stable")
        while len(order):
            # Lengths ascend along `order`, so the n-th clip is the longest of the first n clips and sets the width of their batch.
            sizes = self.lengths[order[:max_clips]] * np.arange(1, len(order[:max_clips]) + 1)
            index, order = np.split(order, [max(1, int(np.searchsorted(sizes, max_rows, side="right")))])
            width = int(self.lengths[index[-1]])
            batch = padded(self.rows, self.starts[index], self.lengths[index], width, normaliser)
            yield {**batch, "index": torch.from_numpy(index)}


class MotionStore:
    """All usable motions of the dataset folder `spec.root`, as one memory-mapped array `rows (R, D)` with one row per frame.

    The array is stored in one file, the pack. The pack is written on first use, and again if a motion file has changed. The pack is
    stored in the dataset folder. If this folder is read-only, or if `spec.cache_dir` is set, it is stored in `cache_folder`.
    Unusable files are skipped and reported on stderr; `skipped` maps each of these files to the reason. Raises `UserError` if the
    folder is missing or contains no usable motion.
    """

    def __init__(self, spec: DatasetSpec):
        self.root, self.cache_dir = spec.root, spec.cache_dir
        folder = spec.root / "new_joint_vecs"
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; build dataset '{spec.name}' with prepare/, or point --data_root at it")
        files = sorted((file for file in os.scandir(folder) if file.name.endswith(".npy")), key=lambda file: file.name)
        path, index = self._open([file for file in files if file.is_file()], spec)
        irregular = {file.name: "not a regular file, or a broken link" for file in files if not file.is_file()}
        self.skipped: dict[str, str] = {**index["skipped"], **irregular}
        if not index["names"]:
            first = next((f"{name}: {reason}" for name, reason in self.skipped.items()), "it holds no .npy file")
            raise UserError(f"{folder}: no usable motion ({first}); check that this folder is of dataset '{spec.name}'")
        if self.skipped:
            reasons = [f"{name} ({reason})" for name, reason in self.skipped.items()]
            print(f"{folder}: skipped {len(reasons)} of {len(files)} motions: {named(reasons)}", file=sys.stderr)
        self.names: list[str] = index["names"]
        self.lengths = np.array(index["lengths"], dtype=np.int64)
        self.rows = np.memmap(path, "<f4", "r", shape=(int(self.lengths.sum()), spec.dim))
        self._index = {name: index for index, name in enumerate(self.names)}

    def _open(self, files: list[os.DirEntry], spec: DatasetSpec) -> tuple[Path, dict]:
        """Path and index of the pack, the single file that contains the motions of `files`. If there is no pack, it is written."""
        fingerprint = _fingerprint(files, spec.dim)
        cache = cache_folder(self.root, self.cache_dir) / PACK
        packs = [cache] if self.cache_dir else [self.root / PACK, cache]
        for path in packs:
            if index := _read_index(path, fingerprint, spec.dim):
                return path, index
        path = packs[0] if os.access(self.root, os.W_OK) else cache
        _write_pack(path, files, spec, fingerprint)
        return path, _read_index(path, fingerprint, spec.dim)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def split(self, split: str) -> list[str]:
        """The names in `<split>.txt`, in order. Raises `UserError`, with a list of the existing splits, if the file is missing."""
        path = self.root / f"{split}.txt"
        if not path.is_file():
            splits = ", ".join(sorted(file.stem for file in self.root.glob("*.txt"))) or "none"
            raise UserError(f"{path}: no such split file; splits in this folder: {splits}")
        names = listed_names(path)
        if bare := [name.removesuffix(".npy") for name in names if name not in self and name.removesuffix(".npy") in self]:
            note(f"{path}: {len(bare)} names end in .npy; this suffix is ignored: {named(bare)}")
        return [name if name in self else name.removesuffix(".npy") for name in names]

    def clips(self, names: Sequence[str]) -> Clips:
        """The complete clips with these names. Names without a usable motion are left out and reported on stderr."""
        missing = [name for name in names if name not in self]
        if missing:
            print(f"{self.root}: {len(missing)} of {len(names)} names have no usable motion: {named(missing)}", file=sys.stderr)
        names = [name for name in names if name in self]
        if not names:
            raise UserError(f"{self.root}: none of the requested names has a usable motion; check the split file")
        index = np.array([self._index[name] for name in names])
        starts = np.cumsum(self.lengths) - self.lengths
        return Clips(self.rows, names, starts[index], self.lengths[index])


# Batches


def padded(rows: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int, normaliser: Normaliser) -> dict:
    """The slices `rows[start : start + length]`, normalised and zero-padded: `{"motion": (B, width, D), "lengths": (B,)}`."""
    steps = np.arange(width)
    beyond = steps >= lengths[:, None]  # (B, W)
    frames = starts[:, None] + np.minimum(steps, lengths[:, None] - 1)
    motion = normaliser.normalise_(np.take(rows, frames, axis=0))  # (B, W, D)
    motion[beyond] = 0
    return {"motion": torch.from_numpy(motion), "lengths": torch.from_numpy(lengths)}


class MotionWindows:
    """Endless shuffled windows of `window` frames for training a tokeniser.

    An epoch is a permutation of all windows of all clips; a clip shorter than `window` gives one padded window. A step takes the
    next `world × batch_size` windows and distributes these windows over the ranks. If an epoch has too few windows left, the step
    also takes the first windows of the next epoch. Every batch is therefore full, and no window is dropped. `batch(step)` is a pure
    function of its argument. With `weights` (N,), clips are sampled in proportion to weight × number of frames, and all windows of
    a clip have the same probability.
    """

    def __init__(
        self, clips: Clips, normaliser: Normaliser, *,
        window: int = 64, batch_size: int = 256, seed: int = 0, rank: int = 0, world: int = 1,
        weights: np.ndarray | None = None,
    ):
        self.rows, self.normaliser, self.window = clips.rows, normaliser, window
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        counts = np.maximum(clips.lengths - window, 0) + 1  # windows of each clip
        self.num_windows = int(counts.sum())
        before = np.cumsum(counts) - counts
        self.starts = np.repeat(clips.starts - before, counts) + np.arange(self.num_windows)
        self.lengths = np.repeat(np.minimum(clips.lengths, window), counts)
        self.weights = None if weights is None else np.repeat(weights * clips.lengths / counts, counts)
        self.steps_per_epoch = -(-self.num_windows // (batch_size * world))
        self._order = functools.lru_cache(maxsize=2)(self._permutation)  # two, because a batch may contain windows of two epochs

    def _permutation(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch))
        return rng.permutation(self.num_windows) if self.weights is None else weighted_epoch(self.weights, rng)

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """The windows of a step: `{"motion": (B, window, D), "lengths": (B,)}`."""
        stream = (step * self.world + self.rank) * self.batch_size + np.arange(self.batch_size)
        epochs, positions = np.divmod(stream, self.num_windows)
        index = np.concatenate([self._order(int(epoch))[positions[epochs == epoch]] for epoch in np.unique(epochs)])
        return padded(self.rows, self.starts[index], self.lengths[index], self.window, self.normaliser)
