"""Read prompts from the command line or from a file with lines `<text>#<frames>` and `<text>#NA`.

By default, if any line has NA, the lengths of all prompts are predicted from their texts. Lengths are rounded to the nearest
multiple of 4 frames; ties are rounded down. This module also reads the sections of a motion that are to be edited: `<start>,<stop>`
in frames or as fractions of the motion's length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from utils.errors import UserError, note, readable
from utils.textfiles import bounded_text

STRIDE = 4  # frames per token of every tokeniser that a transformer is trained on
LONGEST = 6000  # maximum number of frames where the transformers do not limit the length, for example with --join
WITH_LENGTH = re.compile("(.*)[#＃]([^#＃]*)", re.DOTALL)
TAB_LENGTH = re.compile(r"(.*)\t\s*(\d+|[nN][aA])", re.DOTALL)  # text and length separated by a tab, as exported by spreadsheets
MAX_WORDS, MAX_LETTERS = 200, 2000  # maximum numbers of words and characters of a text


@dataclass(frozen=True)
class Prompt:
    """A text from which a motion is generated, and the motion's length in frames, or None if this length is to be predicted."""

    text: str
    frames: int | None = None


def read_prompts(text_prompt: str, text_path: str, motion_length: int, longest: int, as_given: bool = False) -> list[Prompt]:
    """Read the prompts that the flags --text_prompt and --text_path give. `longest` is the maximum length of a motion in frames.

    `motion_length` is the length in frames for --text_prompt; if it is 0, the length is predicted. If `as_given` is set, lines of a
    file that state a length keep it even if other lines state none. Raises `UserError` for an empty or too long text, a length out
    of range, a missing or unreadable file, or no prompt.
    """
    if text_prompt.strip() and text_path:
        raise UserError("give either --text_prompt or --text_path, not both")
    if not text_prompt.strip() and not text_path:
        raise UserError("the prompt is missing or empty: --text_prompt TEXT, or --text_path FILE with lines <text>#<frames|NA>")
    if not text_path:
        frames = rounded(motion_length, longest, "--motion_length") if motion_length else None
        return [Prompt(checked(text_prompt, "--text_prompt"), frames)]
    if motion_length:
        raise UserError("--motion_length goes with --text_prompt; in a --text_path file, each line has its length: <text>#<frames>")
    return read_prompt_file(text_path, longest, as_given)


def read_prompt_file(path: str | Path, longest: int, as_given: bool = False) -> list[Prompt]:
    """Read the prompts in a file, one per line; empty lines are ignored. `longest` is the maximum length of a motion in frames.

    If a line states no length, all lengths are predicted, unless `as_given` is set. Raises `UserError` if the file or one of its
    lines is invalid. The error message names the file and the line.
    """
    try:
        lines = bounded_text(path, encoding="utf-8-sig").split("\n")  # `splitlines` would also split at U+2028
    except OSError as error:
        raise UserError(f"--text_path {path}: {error.strerror}; give a text file with lines <text>#<frames> or <text>#NA") from None
    except UnicodeDecodeError:
        raise UserError(f"--text_path {path}: not a UTF-8 text file; save it as UTF-8") from None
    prompts = [parse_line(line, f"{path}, line {number}", longest) for number, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise UserError(f"--text_path {path}: contains no prompt; write lines <text>#<frames> or <text>#NA")
    given = sum(prompt.frames is not None for prompt in prompts)
    if as_given or given in (0, len(prompts)):
        return prompts
    missing = len(prompts) - given
    all_predicted = "so all lengths are predicted; --lengths_as_given keeps the given lengths"
    note(f"{path}: {missing} of {len(prompts)} lines give no length, {all_predicted}")
    return [Prompt(prompt.text) for prompt in prompts]


def parse_line(line: str, where: str, longest: int) -> Prompt:
    """Parse one line: `<text>#<frames>` or `<text>#NA`. `<text>` alone means `<text>#NA`. `＃` or a tab may replace `#`.

    `longest` is the maximum number of frames. `where` is the origin of the line, for error messages.
    """
    line = line.strip()
    match = WITH_LENGTH.fullmatch(line) or TAB_LENGTH.fullmatch(line)
    text, length = match.groups() if match else (line, "NA")
    length = length.strip()
    if length.upper() == "NA":
        return Prompt(checked(text, where))
    if not (length.isascii() and length.isdigit()):
        raise UserError(f"{where}: length '{length}' is not a number of frames; write <text>#<frames> or <text>#NA")
    return Prompt(checked(text, where), rounded(int(length), longest, where))


def checked(text: str, where: str) -> str:
    """The text with single spaces and without undecodable bytes. Raises `UserError` if the text is empty or too long.

    `where` is the origin of the text, for error messages.
    """
    words = readable(text).split()
    if not words:
        raise UserError(f"{where}: the text is empty; describe what the person does, for example: a person walks forward")
    if len(words) > MAX_WORDS or len(text) > MAX_LETTERS:
        limits = f"at most {MAX_WORDS} words and {MAX_LETTERS} characters"
        raise UserError(f"{where}: the text has {len(words)} words and {len(text)} characters; use {limits}")
    return " ".join(words)


def rounded(frames: int, longest: int, where: str) -> int:
    """Round a length to the nearest multiple of 4 frames; ties are rounded down.

    Raises `UserError` if the length is below 4 or above `longest`. The error message begins with `where`.
    """
    if not STRIDE <= frames <= longest:
        joined = "" if longest == LONGEST else f", or with --join up to {LONGEST}"
        raise UserError(f"{where}: a length of {frames} frames; choose from {STRIDE} to {longest}{joined}")
    return (frames + STRIDE // 2 - 1) // STRIDE * STRIDE


def read_sections(words: Sequence[str], frames: int) -> list[tuple[int, int]]:
    """Parse the sections `A,B` of a motion that are to be edited; returns (start, stop) of each in frames, in temporal order.

    The motion has `frames` frames. Whole numbers are frames; if A or B has a decimal point, both numbers are fractions of the
    motion's length. Raises `UserError` if a section is invalid, ends before it starts, overlaps another one, or exceeds the motion.
    """
    sections = sorted(read_section(word, frames) for word in words)
    for (start, stop), (following, last) in pairwise(sections):
        if following < stop:
            overlap = f"frames {start},{stop} and {following},{last} overlap"
            raise UserError(f"--mask_edit_section: {overlap}; merge the two sections or move them apart")
    return sections


def read_section(word: str, frames: int) -> tuple[int, int]:
    """Parse a section `A,B`, in frames or fractions, of a motion of `frames` frames; returns (start, stop) in frames."""
    scale = frames if "." in word else 1
    try:
        start, stop = (round(scale * float(part)) for part in word.split(","))
    except (ValueError, OverflowError):
        form = "write A,B: fractions as in 0.3,0.6, or frames as in 40,80"
        raise UserError(f"--mask_edit_section '{word}': not a section; {form}") from None
    if start >= stop:
        raise UserError(f"--mask_edit_section {word}: the section is empty; its end must come after its start")
    if start < 0 or stop > frames:
        raise UserError(f"--mask_edit_section {word}: frames {start} to {stop} exceed the motion, which has frames 0 to {frames}")
    return start, stop
