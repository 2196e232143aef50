"""Captions as pictures: text in any script, wrapped and never truncated; long text is split into pages.

Input: a text. Output: RGB pictures (rows, width, 3) uint8, dark letters on a light background.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from motion.drawing.scene import SKY

INK = (45, 52, 64)
LINE = 1.3  # height of a line relative to the font size
SMALLEST = 10  # pixels; smaller fonts are used only if there is no time to show several pages
PAGE_SECONDS = 2.0  # minimum time for which a page is shown


def caption_pages(text: str, width: int, height: int, seconds: float) -> list[np.ndarray]:
    """Draw `text` as pictures (rows, width, 3) of equal size, at most `height` pixels high, to be shown in turn for `seconds`.

    The font is the largest with which the text fits on one page. If that font would be too small to read, the text is split into
    several pictures, each shown for at least 2 seconds (`PAGE_SECONDS`).
    """

    def fits(size: int) -> bool:
        return len(paginate(text, size, width, height)) <= (1 if size > readable else max(1, seconds / PAGE_SECONDS))

    sizes, readable = range(largest(width), 0, -1), max(SMALLEST, largest(width) // 2)
    size = sizes[min(bisect_left(sizes, True, key=fits), len(sizes) - 1)]
    pages = paginate(text, size, width, height)
    return [page(lines, len(pages[0]), size, width, font(size, text)) for lines in pages]


def paginate(text: str, size: int, width: int, height: int) -> list[list[str]]:
    """Split a text in font size `size` into lines, and the lines into pages of similar length.

    There are as few pages of at most `width` × `height` pixels as possible.
    """
    lines = wrap(text, font(size, text), width - 2 * margin(size))
    limit = max(1, int((height - 2 * margin(size) - 1) / (LINE * size)))  # lines that fit on a page
    per_page = ceil(len(lines) / ceil(len(lines) / limit))
    return [lines[first : first + per_page] for first in range(0, len(lines), per_page)]


def page(lines: list[str], rows: int, size: int, width: int, face: ImageFont.FreeTypeFont) -> np.ndarray:
    """Draw centred lines of text as a picture `width` pixels wide and `rows` lines high, in the font `face` of size `size`."""
    picture = Image.new("RGB", (width, 2 * margin(size) + ceil(LINE * size * rows)), SKY)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((width / 2, margin(size) + LINE * size * number), line, fill=INK, font=face, anchor="ma")
    return np.asarray(picture)


def largest(width: int) -> int:
    """Largest font size of captions in a picture `width` pixels wide."""
    return max(SMALLEST, min(26, width // 26))


def margin(size: int) -> int:
    """Margin in pixels around text of font size `size`."""
    return int(0.8 * size) + 1


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, between words. Only words wider than a line are broken."""
    lines, filled = [""], 0.0
    space = face.getlength(" ")
    for word in text.split():
        length = face.getlength(word)
        if lines[-1] and filled + space + length <= width:
            lines[-1] += f" {word}"
            filled += space + length
            continue
        if lines[-1]:
            lines.append("")
        if length > width:
            *whole, word = break_word(word, face, width)
            lines[-1:] = [*whole, ""]
            length = face.getlength(word)
        lines[-1], filled = word, length
    return lines


def break_word(word: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a word into pieces of at most `width` pixels, but of at least one letter."""
    pieces = []
    while word:
        count = max(1, bisect_right(range(len(word)), width, key=lambda end: face.getlength(word[: end + 1])))
        pieces.append(word[:count])
        word = word[count:]
    return pieces


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """A font of this size, in the typeface with most of the letters of `text`."""
    return ImageFont.truetype(typeface(frozenset() if text.isascii() else frozenset(text)), size)


@lru_cache
def typeface(letters: frozenset[str]) -> str:
    """The font file that contains most of `letters`: DejaVu Sans, which matplotlib contains, or a font of the system.

    DejaVu has Latin, Greek, Cyrillic, Hebrew and Arabic letters. Letters that the chosen font lacks are drawn as boxes.
    """
    bundled = str(Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    if not letters or not missing(bundled, letters):
        return bundled
    from matplotlib.font_manager import findSystemFonts

    return min([bundled, *sorted(findSystemFonts())], key=lambda file: missing(file, letters))


def missing(file: str, letters: frozenset[str]) -> int:
    """Number of letters that a font file lacks; all letters if the font is not scalable."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(file)
    except (OSError, RuntimeError):
        return len(letters) + 1
    drawable = {chr(code) for code in face.get_charmap()} if face.scalable else set()
    return sum(not letter.isspace() for letter in letters - drawable)
