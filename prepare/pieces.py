"""Pieces of compositions. A piece is the part of a training clip, mirrored or not, in which one action is performed.

The probability with which `Pieces` chooses an action is proportional to a power of the number of clips with the action. The default
is the square root, so that rare actions appear in many combinations. The clauses of a piece are generated from the frames of the
piece. If a piece is shortened, its clauses are therefore still true.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy import ndarray

from motion.facts import Facts, moving, prove
from prepare import splice
from prepare.captions import clauses
from prepare.sides import swap_sides
from prepare.takes import Clip
from prepare.verbs import IDLE
from prepare.wordings import MORE

LEAST = 30  # frames; minimum length of a shortened piece
STILL = 0.5  # m; a person who moves less than this stays in place
FLOOR = 0.06  # m; if all joints of a piece stay above this height, the person is on a step or a slope
BRIEFEST = 10  # frames; minimum length of a piece that is not shortened
GAITS = ("walk", "run", "sneak", "walk like a zombie")
CONTEXT = 8  # number of frames before and after an event that may be used to recognise the event
WHOLE = re.compile("figure|circle|navigate")  # labels that are true only of the whole clip
VAGUE = (  # clauses that do not name a particular action
    "moves around", "moves on the spot", "moves about",
    *(phrase.format(their="their", they_are="they are") for phrase in IDLE + MORE[IDLE]),
)  # fmt: skip
COURSES = (*GAITS, "turn", "stop")  # actions that the clauses of a gait already describe
CYCLES = (  # actions of which a part is still the same action
    *GAITS, "wave", "wash", "idle", "dance", "jumping jacks", "basketball", "mop", "point", "laugh", "punch",
)  # fmt: skip
UNPROVEN = (  # actions for which `motion/facts` detects no events, so that `prove` need not be called
    *GAITS, "turn", "wave", "raise an arm", "point", "bow", "dance", "idle", "laugh", "wash", "mop", "drink", "basketball",
)  # fmt: skip
UNFIT = (  # actions that do not happen on a level floor, or are too vague for a clause
    "climb on a playground", "climb a ladder", "climb steps", "act as an animal", "mime", "hold a pose",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Take:
    """A clip or its mirror image, and what is measured on its joints."""

    name: str
    content: str
    style: str
    label: str
    joints: ndarray  # (T, 22, 3) float64

    @cached_property
    def facts(self) -> Facts:
        """The facts detected in the joints: travel, turns, hands and actions."""
        return prove(self.joints)

    @cached_property
    def poses(self) -> ndarray:
        """Pose and velocity of each frame, (T, 132), by which frames are compared."""
        return splice.pose_vectors(self.joints)

    @cached_property
    def fastest(self) -> ndarray:
        """The highest speed of each joint, (22,) m/s."""
        return splice.speeds(self.joints).max(axis=0)


@dataclass(frozen=True)
class Piece:
    """The frames `start` to `stop` - 1 of a clip (`take`), in which an action is performed."""

    take: Take
    action: str
    start: int
    stop: int
    count: int = 0  # number of times that the action is detected; 0 if unknown

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def joints(self) -> ndarray:
        """The joints (T, 22, 3) of the piece."""
        return self.take.joints[self.start : self.stop]

    @property
    def variant(self) -> frozenset[str]:
        """The sides and directions, such as "left" or "back", that the content and label of the clip name."""
        return frozenset(re.findall("left|right|both|back|side", f"{self.take.content} {self.take.label}"))

    @property
    def travels(self) -> bool:
        """Whether the person ends more than `STILL` (half a metre) away from where they start."""
        return bool(np.hypot(*(self.joints[-1, 0] - self.joints[0, 0])[[0, 2]]) > STILL)

    def cut(self, rng: random.Random, most: int) -> Piece | None:
        """Shorten the piece to at most `most` frames. Returns None if `most` is too small or the action would be incomplete."""
        if len(self) <= most:
            return self
        if self.action not in CYCLES or most < LEAST or WHOLE.search(self.take.label):
            return None
        start = rng.randint(self.start, self.stop - most)
        return replace(self, start=start, stop=start + most, count=0)

    def clauses(self, joints: ndarray | None = None, name: str = "", wide: bool = False) -> tuple[str, ...]:
        """Return verb phrases of the action in the third person, or () if the action cannot be recognised.

        Args:
            joints: the motion to describe, made from this piece; by default, the joints that `shown` returns.
            name: random seed of the phrases; by default, the name of the clip.
            wide: whether to use the additional phrases of `prepare/wordings.py`.
        """
        take, joints = self.take, self.shown() if joints is None else joints
        if joints is None:
            return ()
        phrases = clauses(name or take.name, take.content, take.style, joints.astype(np.float32), label=take.label, wide=wide)
        return tuple(phrase for phrase in phrases if self.action == "idle" or phrase not in VAGUE)

    def shown(self) -> ndarray | None:
        """Return the joints of the piece, extended at both ends until the action is recognised.

        Returns None if the action is not recognised even in the longest extension.
        """
        if not self.count:
            return self.joints
        for around in (CONTEXT, 2 * CONTEXT, 4 * CONTEXT):
            joints = self.take.joints[max(0, self.start - around) : self.stop + around]
            if len(prove(joints).of(self.action)) == self.count:
                return joints
        return None


class Pieces:
    """Chooses random pieces of training clips. A piece is the part of a clip in which one action is performed."""

    def __init__(self, clips: Sequence[Clip]):
        self.clips, self.named = defaultdict(list), {}
        for clip in sorted(clips, key=lambda clip: clip.name):
            if clip.actions and (clip.content or clip.label) and clip.actions[0] not in UNFIT:
                self.named[clip.name] = clip
                for action in clip.actions:
                    self.clips[action].append(clip)
        self.take = cache(lambda name, mirror: as_take(self.named[name], mirror))
        self.piece = cache(self._piece)

    def action(self, rng: random.Random, among: Sequence[str] = (), power: float = 0.5) -> str:
        """Choose an action at random, with a probability proportional to (number of clips) ** `power`.

        If `among` is not empty, only these actions are chosen. Returns '' if there is no such action.
        """
        names = [name for name in self.clips if not among or name in among]
        return rng.choices(names, [len(self.clips[name]) ** power for name in names])[0] if names else ""

    def draw(self, rng: random.Random, action: str, count: int = 1, mirror: float = 0.5) -> list[Piece]:
        """Choose up to `count` random pieces (parts of clips) that show `action`, from different clips.

        A piece is mirrored with probability `mirror`.
        """
        chosen = rng.sample(range(len(self.clips[action])), min(count, len(self.clips[action])))
        pieces = [self.piece(action, index, rng.random() < mirror) for index in chosen]
        return [piece for piece in pieces if piece]

    def _piece(self, action: str, index: int, mirror: bool) -> Piece | None:
        """Return the part of a clip that shows `action`, or None if the clip has no such part.

        `index` is the number of the clip. If the clip is described by other actions too, `action` must be detected in the joints.
        """
        clip = self.clips[action][index]
        take = self.take(clip.name, False)  # the mirror image has the same span and count
        events = () if action in UNPROVEN else take.facts.of(action)
        is_only_action = bool(clip.content) or set(clip.actions) <= {action, *(COURSES if action in GAITS else ())}
        if not events and not is_only_action:
            return None
        start, stop = map(int, take.facts.span(action) if events else moving(take.joints))
        piece = Piece(self.take(clip.name, mirror), action, start, stop, len(events))
        return piece if len(piece) >= BRIEFEST and piece.joints[..., 1].min() < FLOOR else None


def as_take(clip: Clip, mirror: bool) -> Take:
    """Convert a clip to a `Take`, mirrored if `mirror` is true."""
    joints = clip.joints.astype(np.float64)
    if not mirror:
        return Take(clip.name, clip.content, clip.style, clip.label, joints)
    return Take(f"M{clip.name}", swap_sides(clip.content), clip.style, swap_sides(clip.label), splice.mirror(joints))
