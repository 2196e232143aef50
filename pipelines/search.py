"""Search in a folder of motion files by text or by a motion.

The motions are divided into pieces of at most `spec.max_motion` frames. An index stores LaMP's embeddings (P, Q, E) of all P pieces
as float16, in one file in the user's cache folder or in the folder given by `--cache_dir`. The index is rebuilt if a motion file
is added, removed or changed, or if the weights differ.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.store import Clips, cache_folder, named
from data.windows import features_of, motion_files, report_skipped
from motion.clip import Motion
from motion.files.maps import read_map
from motion.files.read import AS_STATED, InputOptions, read_motion
from motion.spec import DatasetSpec
from pipelines.language_motion import LanguageMotion
from utils.checkpoint import drop_old_caches, load_weights, save_weights
from utils.errors import UserError, note
from utils.progress import progress

READ_AT_ONCE = 256  # number of files per block; all features of a block are in memory at the same time
SAVE_EVERY = 8  # number of blocks after which the partial index is saved


class Hit(NamedTuple):
    """A section of a motion file that matches a query."""

    file: Path
    start: float  # seconds
    end: float  # seconds
    score: float  # similarity to the query
    whole: bool  # whether the section is the only piece of the file
    options: InputOptions = AS_STATED  # how the file is read

    def motion(self) -> Motion:
        """Read the matching section as a `Motion`, with the caption of the file if there is one (`caption_of`)."""
        motion = read_motion(self.file, self.options)
        section = motion[round(self.start * motion.fps) : round(self.end * motion.fps) + 1]
        return replace(section, text=caption_of(self.file))


@dataclass(frozen=True)
class MotionIndex:
    """The search index of a folder of motion files, which are divided into pieces. Piece p covers frames
    `starts[p] : starts[p] + lengths[p]` of the file `files[owners[p]]`, at `fps`."""

    features: Tensor  # (P, Q, E) float16 unit vectors
    owners: Tensor  # (P,)
    starts: Tensor
    lengths: Tensor
    files: list[Path]
    fps: float
    options: InputOptions = AS_STATED

    def search(self, query: Tensor, top: int, pool: str = "max") -> list[Hit]:
        """Return the `top` best matches for a text embedding (E,) or a motion embedding (Q, E), best first.

        Each piece of a motion file has Q vectors. For a text, `pool` ("max" or "mean") combines the similarities of these vectors.
        For a motion, vector q is compared with vector q of the piece, and the similarities are averaged.
        """
        if query.ndim == 2:
            scores = self.features.flatten(1).float() @ query.flatten().to(self.features).float() / len(query)
        else:
            products = (self.features.flatten(0, 1) @ query.to(self.features)).view(self.features.shape[:2]).float()
            scores = products.amax(1) if pool == "max" else products.mean(1)
        best = scores.topk(min(top, len(scores)))
        owners, starts, lengths = (values[best.indices].tolist() for values in (self.owners, self.starts, self.lengths))
        whole_files = (torch.bincount(self.owners)[owners] == 1).tolist()
        return [
            Hit(self.files[owner], start / self.fps, (start + length) / self.fps, score, whole, self.options)
            for owner, start, length, score, whole in zip(owners, starts, lengths, best.values.tolist(), whole_files)
        ]


def open_index(model: LanguageMotion, spec: DatasetSpec, folder: Path, options: InputOptions = AS_STATED) -> MotionIndex:
    """Load the search index of all motion files under `folder`. If there is no index for these files and this model, build it.

    Files that do not contain a motion of the dataset's skeleton are skipped and listed on stderr. Raises `UserError` if no motion
    is left.
    """
    files = motion_files(folder)
    facts = [(file.path.removeprefix(str(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    reading = [] if options == AS_STATED else [repr(options)]
    if options.joint_map:
        reading.append(json.dumps(read_map(options.joint_map)))
    state = hashlib.sha256(json.dumps([spec.dim, spec.fps, spec.max_motion, facts, *reading]).encode()).hexdigest()
    path = cache_folder(folder, spec.cache_dir) / f"lamp_{model.fingerprint}.safetensors"
    index = stored(path, state)
    if index is None:
        partial = path.with_suffix(".partial.safetensors")
        tensors, used = build_index(model, spec, [Path(file) for file in files], partial, state, options)
        save_weights(path, tensors, {"kind": "index", "state": state, "files": [str(file.relative_to(folder)) for file in used]})
        partial.unlink(missing_ok=True)
        note(f"the index is saved in {path}; --cache_dir selects another folder")
        index = load_weights(path)
    drop_old_caches(path)
    tensors, metadata = index
    return MotionIndex(**tensors, files=[folder / name for name in metadata["files"]], fps=spec.fps, options=options)


def stored(path: Path, state: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the file of a search index; None if it is missing, damaged or outdated. An up-to-date file contains the hash `state`."""
    try:
        tensors, metadata = load_weights(path)
    except UserError:
        return None
    return (tensors, metadata) if metadata.get("state") == state else None


def build_index(
    model: LanguageMotion, spec: DatasetSpec, files: list[Path], partial: Path, state: str, options: InputOptions = AS_STATED
) -> tuple[dict[str, Tensor], list[Path]]:
    """Build the search index of motion files. Returns the tensors of a `MotionIndex`, and its list of files.

    The partial index is saved to the file `partial`, with the hash `state` of the files, after every `SAVE_EVERY` blocks of files,
    so that interrupted indexing can resume.
    """
    used: list[Path] = []
    faults: list[str] = []
    parts: list[dict[str, Tensor]] = []
    done = 0
    if earlier := stored(partial, state):
        tensors, metadata = earlier
        parts, done, faults = [tensors], metadata["done"], metadata["faults"]
        used = [files[number] for number in metadata["used"]]
    numbers = {file: number for number, file in enumerate(files)}
    blocks = [files[first : first + READ_AT_ONCE] for first in range(done, len(files), READ_AT_ONCE)]
    with (
        ThreadPoolExecutor(1) as reader,  # reads the next block while the model embeds the current one
        progress(total=len(files), initial=done, desc="indexing motions", unit="file") as bar,
    ):
        following = reader.submit(read_block, blocks[0], spec, options) if blocks else None
        for number, block in enumerate(blocks):
            motions, new_faults = following.result()
            if number + 1 < len(blocks):
                following = reader.submit(read_block, blocks[number + 1], spec, options)
            faults += new_faults
            if motions:
                parts.append(embed(model, spec, list(motions.values()), len(used)))
                used += motions
            bar.update(len(block))
            if parts and number % SAVE_EVERY == SAVE_EVERY - 1:
                parts = [joined(parts)]
                read = done + number * READ_AT_ONCE + len(block)
                facts = {"done": read, "used": [numbers[file] for file in used], "faults": faults}
                save_weights(partial, parts[0], {"kind": "index", "state": state, **facts})
    report_skipped(faults, len(files))
    if not any(len(part["owners"]) for part in parts):
        raise UserError(f"{files[0].parent}: none of its files is a motion for this model ({named(faults, 1) or 'too short'})")
    return joined(parts), used


def read_block(files: list[Path], spec: DatasetSpec, options: InputOptions) -> tuple[dict[Path, np.ndarray], list[str]]:
    """Read a block of files: the features (T, D) of each file that contains a motion, and messages about all other files."""
    faults: list[str] = []
    motions = {file: motion for file in files if (motion := features_of(file, spec, faults, options)) is not None}
    return motions, faults


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the tensors of several parts of a search index, by name."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def embed(model: LanguageMotion, spec: DatasetSpec, motions: list[np.ndarray], number: int) -> dict[str, Tensor]:
    """Divide motions with features (T, D) into pieces and embed the pieces. Returns the tensors of a `MotionIndex`, in which the
    file of the first motion has the index `number`."""
    stride = model.tokeniser.stride
    pieces = [
        (owner, start, min(spec.max_motion, len(motion) - start) // stride * stride)
        for owner, motion in enumerate(motions)
        for start in range(0, max(1, len(motion) - spec.min_frames + 1), spec.max_motion)
    ]
    owners, starts, lengths = np.array([piece for piece in pieces if piece[2]], dtype=np.int64).reshape(-1, 3).T
    offsets = np.cumsum([0, *map(len, motions[:-1])])  # first row of each motion
    clips = Clips(np.concatenate(motions), list(map(str, owners)), offsets[owners] + starts, lengths)
    return {
        "features": model.clip_features(clips).half().cpu(),
        "owners": torch.from_numpy(owners) + number,
        "starts": torch.from_numpy(starts.copy()),
        "lengths": torch.from_numpy(lengths.copy()),
    }


def caption_of(file: Path) -> str:
    """The first caption in `<stem>.txt`, next to the motion file or in the sibling folder `texts`; "" if there is no such file."""
    for path in (file.with_suffix(".txt"), file.parent.parent / "texts" / f"{file.stem}.txt"):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip().partition("\n")[0].partition("#")[0].strip()
    return ""
