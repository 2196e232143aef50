"""Data of the dataset builders: captures (`Take`), sections of them with captions (`Segment`), and clips (`Clip`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FPS = 20
SHORTEST, LONGEST = 24, 199  # rows of features: one fewer than frames


@dataclass(frozen=True)
class Segment:
    """A section of a capture, frames `start` to `end` at 20 fps, that becomes a clip."""

    name: str
    start: int
    end: int
    split: str = ""  # empty: that of its take
    captions: tuple[str, ...] = ()  # by people; empty for HumanML3D's segments, whose captions are published
    label: str = ""


@dataclass(frozen=True)
class Take:
    """One capture. Unusable ones have a `problem` and no joints."""

    name: str  # B1_walk_active_001, cmu_14_27, hdm05_HDM_bd_squat1Reps_004_120
    source: str  # "bandai 1", "bandai 2", "cmu", "hdm05" or the folder of a joint array
    content: str = ""  # Bandai-Namco's
    style: str = ""
    label: str = ""  # what was asked for, in plain words; takes without content and label have captions only in their segments
    actor: str = ""
    origin: str = ""  # the capture that this take is a copy or a part of; empty: none
    segments: tuple[Segment, ...] = ()
    reserved: frozenset[str] = frozenset()  # splits that HumanML3D gives to segments of the capture, also of those not here
    joints: np.ndarray | None = None  # (T, 22, 3) float32, 20 fps, metres, Y up, not yet on the floor
    problem: str = ""

    @property
    def capture(self) -> str:
        """The name of the recording that the take is a part or a copy of."""
        return self.origin or self.name


@dataclass(frozen=True)
class Clip:
    """A piece of a take, or its mirror image: one motion of the dataset."""

    name: str
    content: str
    style: str
    source: str
    split: str
    joints: np.ndarray  # (T + 1, 22, 3), as captured
    label: str = ""
    actions: tuple[str, ...] = ()  # the main action first
    captions: tuple[str, ...] = ()  # by people; else they are made from content or label
    segment: bool = False  # of HumanML3D, with published captions
    take: str = ""  # the capture that it is cut from
