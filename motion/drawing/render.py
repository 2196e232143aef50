"""Videos and contact sheets of motions: joints (T, J, 3) in metres → mp4 (H.264, yuv420p), gif, png; no display needed.

Several motions share a video as panels of a grid. One thread draws frames while another thread encodes frames. PyAV's wheel
includes libx264, so the program ffmpeg is not needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, ImageDraw

from motion.drawing.body import COLOURS
from motion.drawing.lettering import INK, caption_pages, font
from motion.drawing.scene import PATH, Scene
from utils.checkpoint import atomic_path

ENCODING = {"crf": "26", "preset": "superfast", "tune": "zerolatency"}  # twice as fast as the default preset at the same quality
SIZE, PANEL, WIDEST = 720, 360, 1920  # pixels: width of a single motion, width of a panel in a grid, maximum width of a grid
GIF_SCALE, GIF_FPS = 0.5, 25  # size relative to an mp4; maximum frame rate, because browsers slow down faster gifs
CELL, TALLEST = 200, 4000  # pixels, in contact sheets: width of one picture, maximum height of a caption
ELAPSED = 0.05  # metres; in `key_moments`, the time from the first to the last frame counts as much as this difference in pose
TEXT = 0.3  # maximum height of a caption, as a fraction of the picture
Item, Result = TypeVar("Item"), TypeVar("Result")
Motions = Sequence[tuple[str, np.ndarray]]  # captions and joints (T, J, 3)


def write_video(path: str | Path, motions: Motions, fps: float = 20) -> None:
    """Write (caption, joints (T, J, 3)) pairs as a video, .mp4 or .gif: one motion in 720 × 720 pixels, several as a grid.

    The caption is at the top. In a grid, motions that end early stop at their last frame. Gifs are half as wide and half as high as
    mp4 videos. Raises `UserError` if joints are not finite, or if their number is not 22 or 21.
    """
    gif = Path(path).suffix == ".gif"
    columns = ceil(sqrt(len(motions)))
    size = SIZE if columns == 1 else min(PANEL, WIDEST // columns)
    size = int(size * (GIF_SCALE if gif else 1)) // 2 * 2  # yuv420p needs even numbers
    panels = [Panel(joints, caption, fps, size) for caption, joints in motions]
    stamp_legend(panels[0].scene.background)

    def draw(frame: int) -> np.ndarray:
        return tiled([panel.draw(frame) for panel in panels], columns)

    frames = range(max(len(joints) for _, joints in motions))
    with atomic_path(path) as temporary:
        (encode_gif if gif else encode_mp4)(temporary, draw, frames, fps)


class Panel:
    """One cell of a video's grid: draws the frames of a motion, with its caption, as pictures `size` pixels square."""

    def __init__(self, joints: np.ndarray, caption: str, fps: float, size: int):
        self.frames = len(joints)
        self.pages = caption_pages(caption, size, int(TEXT * size), len(joints) / fps)
        self.scene = Scene(joints, fps, (size, size), top=len(self.pages[0]))

    def draw(self, frame: int) -> np.ndarray:
        """The picture (size, size, 3) of `frame`, or of the last frame if the motion has ended. A bar shows the elapsed time."""
        frame = min(frame, self.frames - 1)
        picture = self.scene.draw(frame)
        page = self.pages[frame * len(self.pages) // self.frames]
        np.minimum(picture[: len(page)], page, out=picture[: len(page)])
        picture[-3:, : len(picture) * (frame + 1) // self.frames] = PATH
        return picture


def tiled(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """A grid of pictures of equal size, row by row; unused cells show the background colour."""
    if len(pictures) == 1:
        return pictures[0]
    blank = [np.broadcast_to(pictures[0][0, 0], pictures[0].shape)] * (-len(pictures) % columns)
    cells = [*pictures, *blank]
    return np.concatenate([np.concatenate(cells[row : row + columns], axis=1) for row in range(0, len(cells), columns)])


def encode_mp4(path: Path, draw: Callable[[int], np.ndarray], frames: range, fps: float) -> None:
    """Encode the pictures `draw(frame)`, (height, width, 3) each, as H.264."""
    import av  # imported in this function, so that training does not need PyAV

    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as video:
        stream = video.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=ENCODING)
        stream.height, stream.width, _ = draw(0).shape
        stream.pix_fmt = "yuv420p"
        for picture in ahead(draw, frames):
            planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        video.mux(stream.encode(None))


def encode_gif(path: Path, draw: Callable[[int], np.ndarray], frames: range, fps: float) -> None:
    """Encode the pictures `draw(frame)`, (height, width, 3) each, as a looping gif with a palette of 256 colours."""
    moments = frames[:: ceil(fps / GIF_FPS)]
    examples = [draw(moment)[::3, ::3] for moment in moments[:: ceil(len(moments) / 8)]]
    palette = Image.fromarray(np.concatenate(examples)).quantize(256, kmeans=3)
    options = {"palette": palette, "dither": Image.Dither.NONE}
    first, *following = (Image.fromarray(picture).quantize(**options) for picture in ahead(draw, moments))
    first.save(path, format="gif", save_all=True, append_images=following, duration=gif_delays(moments, fps), loop=0)


def gif_delays(moments: range, fps: float) -> list[int]:
    """Duration in ms of each gif frame, for the frames `moments` of a motion.

    Gifs store whole hundredths of a second, so durations vary by 10 ms to keep the total duration right.
    """
    edges = [round(100 * frame / fps) for frame in [*moments, moments.stop]]
    return [10 * (end - start) for start, end in pairwise(edges)]


def contact_sheet(path: str | Path, motions: Motions, fps: float = 20, columns: int = 8) -> None:
    """Write a png file with one row of `columns` pictures per motion, as drawn by `sheet`."""
    with atomic_path(path) as temporary:
        Image.fromarray(sheet(motions, fps, columns)).save(temporary, format="png")


def sheet(motions: Motions, fps: float = 20, columns: int = 8) -> np.ndarray:
    """Draw a picture (H, W, 3) with one row per motion: its caption and `columns` frames whose poses differ (`key_moments`)."""
    width, height = columns * CELL, int(1.25 * CELL)
    strips = []
    for caption, joints in motions:
        scene = Scene(joints, fps, (CELL, height))
        pictures = []
        for moment in key_moments(joints, columns):
            picture = Image.fromarray(scene.draw(moment))
            ImageDraw.Draw(picture).text((CELL - 8, height - 8), f"{moment / fps:.1f} s", fill=INK, font=font(13), anchor="rs")
            pictures.append(np.asarray(picture))
        strips += [*caption_pages(caption, width, TALLEST, seconds=0), np.concatenate(pictures, axis=1)]
    return np.concatenate(strips)


def key_moments(joints: np.ndarray, count: int) -> list[int]:
    """Indices of `count` frames of joints (T, J, 3), in order: the first, the last, and others by farthest-point sampling.

    The distance of two frames combines the difference of their poses, without the position on the floor, and, with a small weight,
    the time between the frames. If the motion has fewer than `count` frames, some indices are repeated.
    """
    frames = len(joints)
    poses = (joints - joints[:, :1] * (1, 0, 1)).reshape(frames, -1) / np.sqrt(joints.shape[1])
    poses = np.column_stack((poses, ELAPSED * np.linspace(0, 1, frames)))
    chosen = [0, frames - 1]
    apart = np.linalg.norm(poses[:, None] - poses[chosen], axis=-1).min(axis=1)
    while len(chosen) < count:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(poses - poses[chosen[-1]], axis=-1))
    return sorted(chosen)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], count: int = 4) -> Iterator[Result]:
    """Like `map(function, items)`, but another thread computes up to `count` results in advance."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = deque()
        for item in items:
            pending.append(worker.submit(function, item))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def stamp_legend(picture: np.ndarray) -> None:
    """Draw a legend into the lower left corner of `picture` (height, width, 3): the colour of each side of the body."""
    size = max(9, len(picture) // 50)  # font size
    page = Image.fromarray(picture)
    draw = ImageDraw.Draw(page)
    for row, side in enumerate(("left", "right")):
        middle = len(picture) - 1.6 * size * (2.3 - row)
        box = (1.3 * size, middle - 0.35 * size, 3.2 * size, middle + 0.35 * size)
        draw.rounded_rectangle(box, 0.35 * size, fill=COLOURS[side])
        draw.text((3.8 * size, middle), side, fill=INK, font=font(size), anchor="lm")
    picture[:] = np.asarray(page)
