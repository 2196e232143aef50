"""Captions of motions as text: a table to read, JSON for programs, SubRip subtitles (.srt) for video players."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple


class CaptionedWindow(NamedTuple):
    """A window of a motion: file, start and end in seconds, and captions with their log-odds of matching, best first."""

    file: Path
    start: float
    end: float
    captions: list[tuple[str, float]]


def probability(log_odds: float) -> float:
    """The probability for log-odds."""
    return (1 + math.tanh(log_odds / 2)) / 2


def caption_table(windows: Sequence[CaptionedWindow]) -> str:
    """One line per caption: file, seconds, caption. If motions have several, each is preceded by its probability of matching."""
    several = any(len(window.captions) > 1 for window in windows)
    rows = [("file", "seconds", *(["match"] if several else []), "caption")]
    for window in windows:
        prefix = (str(window.file), f"{window.start:.1f}–{window.end:.1f}")
        for text, match in window.captions:
            rows.append((*prefix, *([f"{probability(match):.3f}"] if several else []), text))
            prefix = ("", "")
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    return "\n".join("  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths)), row[-1]]) for row in rows)


def as_json(windows: Sequence[CaptionedWindow], subtitles: dict[Path, str]) -> str:
    """A list of windows; `subtitles` names the .srt file of each motion that has one."""
    records = []
    for file, start, end, captions in windows:
        ranked = [{"text": text, "match": _rounded(match), "probability": _rounded(probability(match))} for text, match in captions]
        more = {"subtitles": subtitles[file]} if file in subtitles else {}
        records.append({"file": str(file), "start": _rounded(start), "end": _rounded(end), "captions": ranked, **more})
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: float) -> float | None:
    """A number rounded to four decimals; None for infinite log-odds (an empty caption), which JSON cannot represent."""
    return round(value, 4) if math.isfinite(value) else None


def srt(windows: Sequence[CaptionedWindow]) -> str:
    """The subtitles of one motion: the best caption of each window. Equal neighbours are merged; empty ones are left out."""
    parts = []
    for text, group in groupby(windows, key=lambda window: window.captions[0][0]):
        first, *rest = group
        if text:
            times = f"{clock(first.start)} --> {clock((rest or [first])[-1].end)}"
            parts.append(f"{len(parts) + 1}\n{times}\n{text}\n")
    return "\n".join(parts)


def clock(seconds: float) -> str:
    """A time in SubRip's format: 00:00:09,800."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def unique_names(files: Sequence[Path], suffix: str) -> dict[Path, str]:
    """A file name for each file: its stem, numbered if others have the same stem (ignoring case)."""
    names: dict[Path, str] = {}
    taken = {file.stem.casefold() for file in files}
    given: set[str] = set()
    for file in files:
        name, number = file.stem, 2
        while name.casefold() in given or (name != file.stem and name.casefold() in taken):
            name, number = f"{file.stem}_{number}", number + 1
        given.add(name.casefold())
        names[file] = f"{name}{suffix}"
    return names


def write_captions(folder: Path, windows: Sequence[CaptionedWindow], formats: Sequence[str]) -> None:
    """Write captions.txt (the table), captions.json and one .srt per motion, as `formats` asks. A motion's windows are adjacent."""
    motions = {file: list(group) for file, group in groupby(windows, key=lambda window: window.file)}
    names = unique_names(list(motions), ".srt") if "srt" in formats else {}
    texts = {name: srt(motions[file]) for file, name in names.items()}
    if "txt" in formats:
        texts["captions.txt"] = caption_table(windows) + "\n"
    if "json" in formats:
        texts["captions.json"] = as_json(windows, names)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
