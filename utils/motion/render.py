"""Videos and contact sheets of motions: joints (T, J, 3) in metres → mp4 (H.264, yuv420p, no display needed) or png.

One thread draws while another encodes. PyAV's wheel brings libx264, so that no ffmpeg need be installed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.checkpoint import atomic_path
from utils.motion.scene import LEFT, RIGHT, SKY, Scene

ENCODING = {"crf": "26", "preset": "superfast", "tune": "zerolatency"}  # half the time of the usual preset, at its quality
CELL = 200  # width of one picture of a contact sheet
INK, MARGIN = (45, 52, 64), 24  # colour of the text; pixels around it
FONT_SIZES = range(26, 5, -1)
Item, Result = TypeVar("Item"), TypeVar("Result")


def write_mp4(path: str | Path, joints: np.ndarray, caption: str = "", fps: float = 20, size: int = 720) -> None:
    """Write a video of joints (T, J, 3) with its caption on top, `size` pixels square.

    Raises `UserError` for joints that are not finite or of an unknown skeleton.
    """
    text = caption_image(caption, size, int(0.3 * size))
    scene = Scene(joints, fps, (size, size), top=len(text))
    scene.background[: len(text)] = np.minimum(text, scene.background[: len(text)])
    stamp_legend(scene.background)

    def draw(frame: int) -> np.ndarray:  # in the layout that the encoder takes, so that the other thread need not convert
        return cv2.cvtColor(scene.draw(frame), cv2.COLOR_RGB2YUV_I420)

    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as video:
        rate = Fraction(fps).limit_denominator(1000)
        stream = video.add_stream("libx264", rate=rate, options=ENCODING)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in ahead(draw, range(len(joints))):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        video.mux(stream.encode(None))


def contact_sheet(rows: Sequence[tuple[str, np.ndarray]], path: str | Path, fps: float = 20, columns: int = 8) -> None:
    """Write a png with a row for each (caption, joints (T, J, 3)): moments from first to last, left to right."""
    width, height = columns * CELL, int(1.25 * CELL)
    strips = []
    for caption, joints in rows:
        scene = Scene(joints, fps, (CELL, height))
        moments = np.linspace(0, len(joints) - 1, columns).round().astype(int)
        pictures = []
        for moment in moments:
            picture = Image.fromarray(scene.draw(moment))
            ImageDraw.Draw(picture).text((CELL - 8, height - 8), f"{moment / fps:.1f} s", fill=INK, font=font(13), anchor="rs")
            pictures.append(np.asarray(picture))
        strips += [caption_image(caption, width, CELL), np.concatenate(pictures, axis=1)]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(strips)).save(temporary, format="png")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], count: int = 4) -> Iterator[Result]:
    """`map(function, items)`, computed in another thread up to `count` items ahead of their use."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = deque()
        for item in items:
            pending.append(worker.submit(function, item))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries: Latin, Greek and Cyrillic letters."""
    folder = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size)


def wrap(text: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, broken between words, and within a word only where it is wider than a line."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".lstrip()
        if letters.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if letters.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def caption_image(text: str, width: int, height: int) -> np.ndarray:
    """The whole caption as a picture (rows, width, 3), in the largest letters that keep it within `height` rows."""
    for size in FONT_SIZES:
        letters = font(size)
        lines = wrap(text, letters, width - 2 * MARGIN)
        rows = MARGIN + int(1.3 * size) * len(lines)
        if rows <= height:
            break
    picture = Image.new("RGB", (width, rows), SKY)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((width // 2, MARGIN + int(1.3 * size) * number), line, fill=INK, font=letters, anchor="ma")
    return np.asarray(picture)


def stamp_legend(picture: np.ndarray) -> None:
    """Tell in the lower left corner of `picture` (height, width, 3) which colour is which side of the body."""
    page = Image.fromarray(picture)
    draw = ImageDraw.Draw(page)
    for row, (side, colour) in enumerate((("left", LEFT), ("right", RIGHT))):
        y = len(picture) - 46 + 22 * row
        draw.rounded_rectangle((18, y, 44, y + 10), 5, fill=colour)
        draw.text((52, y + 5), side, fill=INK, font=font(14), anchor="lm")
    picture[:] = np.asarray(page)
