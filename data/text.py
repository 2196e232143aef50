"""Captioned clips: `texts/<name>.txt`, time tags, length filters and the random crop of HumanML3D's published protocol.

A line of a text file is `caption#tokens#start#end`. The time tags start and end are in seconds; both are 0 or NaN if the caption
describes the whole clip. If a time tag has another value, the caption describes only the part of the clip from start to end. This
part becomes a separate clip: the first such part of the clip `<name>` is called `A_<name>`, the second part `B_<name>`, and so on.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from data.store import Clips, MotionStore, Normaliser, named, padded
from motion.spec import DatasetSpec
from utils.errors import UserError, note
from utils.progress import progress

# Reading

LINE_ENDS = re.compile(r"\r\n|\n|\r")  # not U+2028, which a caption may contain


@dataclass(frozen=True, slots=True)
class Caption:
    """One line of a clip's text file. `tokens` have the form `word/POS`, separated by spaces; `start` and `end` are in seconds."""

    text: str
    tokens: str
    start: float = 0.0
    end: float = 0.0

    @property
    def tagged(self) -> bool:
        """Whether the caption describes only a part of the clip."""
        return self.start != 0 or self.end != 0


def _seconds(field: str) -> float:
    """A time tag in seconds; NaN, which occurs in the datasets, means 0."""
    value = float(field)
    if value < 0 or math.isinf(value):
        raise ValueError(f"time {field}")
    return 0.0 if math.isnan(value) else value


def parse_captions(content: str, source: str | Path, faults: list[str] | None = None) -> list[Caption]:
    """Parse the captions in the content of a text file. Blank lines, a byte order mark and a trailing Ctrl-Z are ignored.

    Malformed lines are skipped. Messages about them are appended to `faults` or, if `faults` is None, printed as a note. Raises a
    `UserError` that names `source` if no line is valid.
    """
    captions, bad = [], []
    for number, line in enumerate(LINE_ENDS.split(content.removeprefix("\ufeff").rstrip("\x1a\0")), 1):
        if not line.strip():
            continue
        try:
            text, tokens, start, end = line.split("#")
            if "\ufffd" in line:
                raise ValueError("not UTF-8")
            caption = Caption(text.strip(), tokens.strip(), _seconds(start), _seconds(end))
        except ValueError:
            bad.append(f"{source}: line {number} is not caption#tokens#start#end")
            continue
        captions.append(caption) if caption.text else bad.append(f"{source}: line {number} has no caption")
    if not captions:
        reason = bad[0] if bad else f"{source}: no captions"
        raise UserError(f"{reason}; write one caption per line as caption#tokens#start#end")
    if faults is not None:
        faults += bad
    elif bad:
        note(f"{named(bad, 1)}; skipped")
    return captions


def read_captions(path: Path, faults: list[str] | None = None) -> list[Caption]:
    """Read the captions of a clip; see `parse_captions`. Raises `UserError` if the file is missing or contains no captions."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        content = path.read_bytes()
        errors = "replace" if b"\n" in content.strip() else "strict"  # undecodable lines are skipped; a single line must be valid
        text = content.decode("utf-8-sig", errors)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable text file ({error}); every motion needs a text file") from None
    return parse_captions(text, path, faults)


# Crops


def crop_length(length: int | np.ndarray, double: bool | np.ndarray, unit: int = 4) -> int | np.ndarray:
    """Length of a crop of a clip of `length` frames: the largest multiple of `unit` up to `length`, minus one `unit` if `double` is
    set and `unit < 10`."""
    return (length // unit - (double if unit < 10 else 0)) * unit


def draw_crops(lengths: np.ndarray, generator: np.random.Generator, unit: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Choose random crops of clips of `lengths (B,)` frames; returns the first frames `(B,)` and the lengths `(B,)` of the crops.

    As in HumanML3D's published protocol, lengths are those of `crop_length`, with `double` set with probability 1/3.
    """
    kept = crop_length(lengths, generator.integers(3, size=len(lengths)) == 2, unit)
    return generator.integers(lengths - kept, endpoint=True), kept


# Clips


def pieces(name: str, length: int, captions: list[Caption], spec: DatasetSpec) -> Iterator[tuple[str, int, int, list[Caption]]]:
    """Yield the whole clip, then the parts of the clip to which a caption with time tags refers.

    Each is yielded as (name, first frame, number of frames, captions). A part is left out unless its number of frames is at least
    `spec.min_frames` and below `spec.max_frames`. Time tags are converted to frames with the dataset's frame rate. HumanML3D's
    released code always uses 20 fps instead, although KIT-ML has 12.5 fps.
    """
    whole = [caption for caption in captions if not caption.tagged]
    if whole:
        yield name, 0, length, whole
    for number, caption in enumerate(caption for caption in captions if caption.tagged):
        first = int(caption.start * spec.fps)
        frames = min(int(caption.end * spec.fps), length) - first
        letter = ascii_uppercase[number % 26] * (number // 26 + 1)
        if spec.min_frames <= frames < spec.max_frames:
            yield f"{letter}_{name}", first, frames, [caption]


class CaptionedClips:
    """The clips of one split with their captions: whole clips, and parts of clips to which captions with time tags refer.

    Clips with `spec.min_frames <= T < spec.max_frames` are kept; the same rule applies to the parts of these clips. `clips` are
    the motions; `captions[first[i] : first[i + 1]]` are the captions of clip i. The number of names without a usable motion or text
    is printed on stderr. Raises `UserError` for a missing split file or texts folder, or if no clip is left.
    """

    def __init__(self, spec: DatasetSpec, split: str, store: MotionStore):
        self.spec = spec
        folder = spec.root / "texts"
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; a captioned dataset needs texts/<name>.txt for each motion")
        names = store.split(split)
        whole = store.clips(names)
        in_range = (whole.lengths >= spec.min_frames) & (whole.lengths < spec.max_frames)
        kept: list[tuple[str, int, int, list[Caption]]] = []
        faults: list[str] = []
        lines: list[str] = []  # malformed lines of clips that also have valid lines
        for index in progress(np.flatnonzero(in_range), desc=f"texts of {split}", unit="clip"):
            try:
                captions = read_captions(folder / f"{whole.names[index]}.txt", lines)
            except UserError as error:
                faults.append(str(error))
                continue
            reversed_ = [caption for caption in captions if caption.tagged and caption.end <= caption.start]
            lines += [f"{whole.names[index]}.txt: '{caption.text[:40]}' ends before it starts" for caption in reversed_]
            for name, first, frames, described in pieces(whole.names[index], int(whole.lengths[index]), captions, spec):
                kept.append((name, int(whole.starts[index]) + first, frames, described))
        if faults:
            print(f"{folder}: {len(faults)} of {len(names)} clips have no usable text: {named(faults, 3)}", file=sys.stderr)
        if lines:
            print(f"{folder}: skipped {len(lines)} malformed lines: {named(lines, 3)}", file=sys.stderr)
        if not kept:
            bounds = f"{spec.min_frames}…{spec.max_frames - 1} frames"
            raise UserError(f"{spec.root}: no clip of split '{split}' has {bounds} and a caption; check the split file and texts/")
        clip_names, starts, lengths, captions = zip(*kept)
        self.clips = Clips(store.rows, list(clip_names), np.array(starts), np.array(lengths))
        self.captions: list[Caption] = [caption for of_clip in captions for caption in of_clip]
        self.first = np.cumsum([0, *map(len, captions)])  # (N + 1,)

    def __len__(self) -> int:
        return len(self.clips)

    def captions_of(self, index: int) -> list[Caption]:
        """The captions of clip `index`."""
        return self.captions[self.first[index] : self.first[index + 1]]

    def evaluation_batch(
        self, index: np.ndarray, normaliser: Normaliser, generator: np.random.Generator, first_caption: bool = False
    ) -> dict:
        """The clips with the indices `index (B,)`, randomly cropped as in HumanML3D's evaluation, each with a random caption.

        If `first_caption` is set, each clip has its first caption instead.

        Returns motion `(B, max_motion, D)` normalised and zero-padded, lengths `(B,)`, and lists of B names, captions and tokens
        (each a list of `word/POS`).
        """
        first, lengths = draw_crops(self.clips.lengths[index], generator)
        chosen = self.first[index] if first_caption else generator.integers(self.first[index], self.first[index + 1])
        captions = [self.captions[row] for row in chosen]
        return {
            **padded(self.clips.rows, self.clips.starts[index] + first, lengths, self.spec.max_motion, normaliser),
            "names": [self.clips.names[clip] for clip in index],
            "captions": [caption.text for caption in captions],
            "tokens": [caption.tokens.split() for caption in captions],
        }

    def evaluation_batches(
        self, normaliser: Normaliser, generator: np.random.Generator, size: int = 32, shuffle: bool = True,
        first_caption: bool = False,
    ) -> Iterator[dict]:  # fmt: skip
        """Yield the batches of one pass over all clips, as `evaluation_batch` returns them. An incomplete last batch is dropped.

        A batch contains `size` clips, or all clips if the split has fewer than `size` clips.
        """
        size = min(size, len(self))
        order = generator.permutation(len(self)) if shuffle else np.arange(len(self))
        for start in range(0, len(self) - size + 1, size):
            yield self.evaluation_batch(order[start : start + size], normaliser, generator, first_caption)
