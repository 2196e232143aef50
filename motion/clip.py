"""A motion: joint positions over time, the frame rate, and a text that describes the motion.

    motion = Motion.load("walk.bvh")
    (motion[:40] + motion[60:]).save("shorter.glb")

The modules that read, write and draw motions are imported on first use.
"""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from motion.features import skeleton_for
from motion.joining import continued
from motion.skeleton import Skeleton
from utils.errors import UserError

if TYPE_CHECKING:
    from motion.files.export import OutputOptions

FRAME_HEIGHT = 560  # pixels; height of the viewer in a notebook


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion of one person.

    Attributes:
        joints: (T, J, 3) float, joint positions in metres, Y up, floor at 0; J is 22 (HumanML3D) or 21 (KIT-ML).
        fps: frames per second.
        text: the prompt or caption, "" if there is none.
        locked: (T, J, 3) joints of this motion after foot locking; None if they have not been computed.
        contacts: (T or T - 1, 4), with one column each for left heel, left toe, right heel and right toe. A value above 0.5 means
        that the heel or toe of this column may touch the floor. None if contacts are not known.
    """

    joints: np.ndarray
    fps: float = 20.0
    text: str = ""
    locked: np.ndarray | None = None
    contacts: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.locked is None or self.locked.shape == self.joints.shape

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.joints)

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton (names and parents of the joints, …). Raises `UserError` unless the motion has 22 or 21 joints."""
        return skeleton_for(self.joints.shape[1])

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self) / self.fps

    def __repr__(self) -> str:
        text = f"{self.text!r}, " if self.text else ""
        return f"Motion({text}{len(self)} frames at {self.fps:g} fps, {self.joints.shape[1]} joints)"

    def __getitem__(self, frames: int | slice) -> Any:
        """`motion[start:stop:step]` is a part of the motion, and `motion[i]` are the joints (J, 3) of frame i.

        The frame rate stays the same, so a part with step n plays n times as fast.

        Raises `UserError` if the part has no frames, or if the step is below 1.
        """
        if not isinstance(frames, slice):
            return self.joints[frames]
        start, stop, step = frames.indices(len(self))
        if step < 1 or stop <= start:
            span = f"motion[{start}:{stop}:{step}] of {len(self)} frames"
            raise UserError(f"{span}: selects no frames; start must be below stop, and the step at least 1")
        locked, contacts = (None if rows is None else rows[frames] for rows in (self.locked, self.contacts))
        return Motion(self.joints[frames], self.fps, self.text, locked, contacts)

    def __add__(self, following: Motion) -> Motion:
        """Append the motion `following`, moved and turned to where this motion ends, and resampled to this motion's frame rate.

        The poses at the junction blend over 0.4 seconds (`motion.joining.BLEND`). Raises `UserError` if the skeletons differ.
        """
        if not isinstance(following, Motion):
            return NotImplemented
        if following.joints.shape[1] != self.joints.shape[1]:
            counts = f"{self.joints.shape[1]} and {following.joints.shape[1]} joints"
            raise UserError(f"{self!r} + {following!r}: {counts}; only motions with the same skeleton can be joined")
        from motion.files.read import at_rate

        joints = continued(self.joints, at_rate(following.joints, following.fps, self.fps), self.fps, self.skeleton)
        texts = dict.fromkeys(text for text in (self.text, following.text) if text)
        return Motion(joints, self.fps, " → ".join(texts))

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Motion:
        """Read the motion in a file: .npy, .npz, .bvh, .glb, .gltf, or .amc.

        `options` are fields of `motion.files.read.InputOptions`, such as `fps=30` or `unit="cm"`. Options override the file's
        header. Raises `UserError` if the file contains no motion, or if an option is unknown.
        """
        from motion.files.read import InputOptions, read_motion

        unknown = sorted(set(options) - set(InputOptions.__dataclass_fields__))
        if unknown:
            raise UserError(f"Motion.load: no option '{unknown[0]}'; choose from {', '.join(InputOptions.__dataclass_fields__)}")
        return read_motion(path, InputOptions(**options))

    def save(self, path: str | Path, options: OutputOptions | None = None) -> Path:
        """Write the motion in the format given by the suffix of `path` (see `motion.files.export`), and return the path.

        Raises `UserError` if the suffix is unknown, or if the file cannot be written.
        """
        from motion.files.export import DEFAULT_OUTPUT, export

        export(path, np.asarray(self.joints, np.float32), self.text, self.fps, options or DEFAULT_OUTPUT)
        return Path(path)

    def features(self) -> np.ndarray:
        """HumanML3D's features of this motion at 20 frames per second, the input of the models: (T', 263), one row per frame except
        the last.

        If the motion was read from a file of features, the features in this file are returned unchanged.
        """
        from motion.files.convert import to_features

        stored = getattr(self, "file_features", None)
        return to_features(self.joints, self.fps) if stored is None else stored

    def lock_feet(self) -> Motion:
        """The motion with constant bone lengths and without sliding feet (`motion.footlock`)."""
        from motion.footlock import lock_feet

        joints = self.locked if self.locked is not None else lock_feet(self.joints, self.fps, self.contacts)
        return replace(self, joints=np.asarray(joints, np.float32), locked=None)

    def html(self) -> str:
        """An HTML page that shows the motion in a 3D viewer and needs no network."""
        from motion.drawing.html import page

        return page([self if self.locked is not None else replace(self, locked=self.lock_feet().joints)])

    def _repr_html_(self) -> str:
        return framed(self.html(), FRAME_HEIGHT)

    def show(self) -> None:
        """Show the motion in the 3D viewer: inline in a Jupyter notebook, otherwise in the browser."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if getattr(shell, "kernel", None) is not None:
            sys.modules["IPython"].display.display(self)
            return
        path = self.save(Path(tempfile.mkdtemp(prefix="motion-")) / "motion.html")
        if not webbrowser.open(path.as_uri()):
            print(f"no browser found: open {path}")


def framed(page: str, height: int) -> str:
    """An iframe that shows an HTML page in a sandbox, without access to the surrounding page."""
    return (
        f'<iframe title="motion" sandbox="allow-scripts" style="width:100%;height:{height}px;border:0" '
        f'srcdoc="{escape(page)}"></iframe>'
    )
