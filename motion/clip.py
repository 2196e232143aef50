"""A motion: joint positions over time, their frame rate, and the text that describes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from motion.features import skeleton_for
from motion.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Motion:
    """One motion of one person.

    Attributes:
        joints: (T, J, 3) float, metres, Y up, floor at 0; J is 22 (HumanML3D) or 21 (KIT-ML).
        fps: frames per second.
        text: the prompt or caption, "" if there is none.
        locked: (T, J, 3) the same motion with locked feet, or None.
        contacts: (T or T - 1, 4), above 0.5 where left heel, left toe, right heel, right toe may stand, or None if unknown.
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
        """The skeleton with this number of joints. Raises `UserError` for other counts than 22 and 21."""
        return skeleton_for(self.joints.shape[1])

    @property
    def seconds(self) -> float:
        return len(self) / self.fps
