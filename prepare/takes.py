"""Data classes of the dataset builders: captures (`Take`), captioned sections of captures (`Segment`), and clips (`Clip`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FPS = 20
SHORTEST, LONGEST = 24, 199  # minimum and maximum length of a clip in rows of features; joints have one frame more


@dataclass(frozen=True)
class Segment:
    """A section of a capture that becomes a clip: the frames `start` to `end` - 1 at 20 fps."""

    name: str
    start: int
    end: int
    split: str = ""  # if empty, the segment has the split of its take
    captions: tuple[str, ...] = ()  # human captions
    label: str = ""


@dataclass(frozen=True)
class Take:
    """One capture. An unusable capture has a `problem` and no joints."""

    name: str  # such as B1_walk_active_001, cmu_14_27 or hdm05_HDM_bd_squat1Reps_004_120
    source: str  # "bandai 1", "bandai 2", "cmu", "hdm05", "own" or the folder of a joint array
    content: str = ""  # action in the file name of a Bandai-Namco capture
    style: str = ""
    label: str = ""  # description of the action; if label and content are empty, only segments become clips
    actor: str = ""
    origin: str = ""  # name of the capture of which this take is a copy or a part; empty if there is none
    segments: tuple[Segment, ...] = ()
    reserved: frozenset[str] = frozenset()  # splits of all segments that HumanML3D has of the capture, including unused segments
    joints: np.ndarray | None = None  # (T, 22, 3) float32, 20 fps, metres, Y up, at any height
    problem: str = ""

    @property
    def capture(self) -> str:
        """The name of the original capture: `origin` if the take is a copy or a part, else the name of the take."""
        return self.origin or self.name


@dataclass(frozen=True)
class Clip:
    """One motion of the dataset: a part of a capture (`Take`), or the mirror image of such a part."""

    name: str
    content: str
    style: str
    source: str
    split: str
    joints: np.ndarray  # (T + 1, 22, 3), as captured
    label: str = ""
    actions: tuple[str, ...] = ()  # the first action is the main action
    captions: tuple[str, ...] = ()  # human captions; if empty, captions are generated from content or label
    segment: bool = False  # whether the clip is a segment of HumanML3D, with published captions
    take: str = ""  # name of the capture from which the clip is cut
