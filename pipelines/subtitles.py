"""Captions of motions as a text table, as JSON, and as SubRip subtitles (.srt)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from utils.errors import readable


class CaptionedWindow(NamedTuple):
    """A window of a motion: file, start and end in seconds, and captions, best first, each with log-odds of matching the motion."""

    file: Path
    start: float
    end: float
    captions: list[tuple[str, float]]


def probability(log_odds: float) -> float:
    """Convert log-odds to a probability."""
    return (1 + math.tanh(log_odds / 2)) / 2


def caption_table(windows: Sequence[CaptionedWindow]) -> str:
    """A table with one line per caption: file, seconds, probability of a match (if windows have several captions), caption."""
    several = any(len(window.captions) > 1 for window in windows)
    rows = [("file", "seconds", *(["match"] if several else []), "caption")]
    for window in windows:
        prefix = (str(window.file), f"{window.start:.1f}–{window.end:.1f}")
        for text, match in window.captions:
            rows.append((*prefix, *(["-" if math.isnan(match) else f"{probability(match):.3f}"] if several else []), text))
            prefix = ("", "")
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    return "\n".join("  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths)), row[-1]]) for row in rows)


def as_json(windows: Sequence[CaptionedWindow], subtitles: dict[Path, str]) -> str:
    """The windows as a JSON list. `subtitles` maps motion files to the names of their .srt files."""
    records = []
    for file, start, end, captions in windows:
        ranked = [{"text": text, "match": _rounded(match), "probability": _rounded(probability(match))} for text, match in captions]
        link = {"subtitles": subtitles[file]} if file in subtitles else {}
        records.append({"file": str(file), "start": _rounded(start), "end": _rounded(end), "captions": ranked, **link})
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: float) -> float | None:
    """Round a number to four decimals. Returns None for −∞ (empty caption) and NaN (not computed), which JSON cannot represent."""
    return round(value, 4) if math.isfinite(value) else None


def srt(windows: Sequence[CaptionedWindow]) -> str:
    """The subtitles of one motion: the best captions of its windows. Equal captions in a row are merged, empty ones are skipped."""
    parts = []
    for text, group in groupby(windows, key=lambda window: window.captions[0][0]):
        same = list(group)
        if text:
            times = f"{clock(same[0].start)} --> {clock(same[-1].end)}"
            parts.append(f"{len(parts) + 1}\n{times}\n{text}\n")
    return "\n".join(parts)


def clock(seconds: float) -> str:
    """A time in SubRip's format, such as 00:00:09,800."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def unique_names(files: Sequence[Path], suffix: str) -> dict[Path, str]:
    """Map each file to a unique name: the stem, a number if another file has the same stem (ignoring case), and the suffix."""
    names: dict[Path, str] = {}
    stems = {file.stem.casefold() for file in files}
    used: set[str] = set()
    for file in files:
        name, number = file.stem, 2
        while name.casefold() in used or (name != file.stem and name.casefold() in stems):
            name, number = f"{file.stem}_{number}", number + 1
        used.add(name.casefold())
        names[file] = f"{name}{suffix}"
    return names


def write_captions(folder: Path, windows: Sequence[CaptionedWindow], formats: Sequence[str]) -> None:
    """Write captions.txt (the table), captions.json and one .srt per motion, each only if its format is in `formats`.

    The windows of a motion must be consecutive in `windows`.
    """
    motions = {file: list(group) for file, group in groupby(windows, key=lambda window: window.file)}
    names = unique_names(list(motions), ".srt") if "srt" in formats else {}
    texts = {name: srt(motions[file]) for file, name in names.items()}
    if "txt" in formats:
        texts["captions.txt"] = caption_table(windows) + "\n"
    if "json" in formats:
        texts["captions.json"] = as_json(windows, names)
    for name, text in texts.items():
        (folder / name).write_text(readable(text), encoding="utf-8", newline="\n")
