"""Compositions of the `open` dataset: several actions in sequence, or the arms of one clip combined with the legs of another.

A piece is the part of a training clip in which one action is performed (`prepare/pieces.py`). Randomly chosen pieces are joined
where their poses and velocities match best (`prepare/splice.py`). If pieces do not fit together, they are rejected, and other
pieces are chosen. Captions describe the actions of the pieces (`prepare/compose_captions.py`). A composition depends only on the
random seed, the number of the composition and the clips.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from motion.facts import CHEST, Facts, prove
from prepare import splice
from prepare.compose_captions import alone, repeated, sequence, together
from prepare.pieces import CONTEXT, COURSES, GAITS, Piece, Pieces
from prepare.takes import Clip
from utils.errors import UserError
from utils.workers import Process

SHORTEST, LONGEST = 24, 196  # minimum and maximum number of rows of features in a composition; it has one more frame of joints
KINDS = {  # probability of each kind of composition
    "pair": 0.15, "outing": 0.25, "stop": 0.05, "rest": 0.1, "triple": 0.1, "repeat": 0.1, "overlay": 0.25,
}  # fmt: skip
DRAWS, PATIENCE, TRIES = 96, 24, 6  # maximum number of draws for one composition, for one kind, and for the same actions
JOB = 256  # number of compositions that one process draws at a time
CANDIDATES = 6  # number of pieces from which the best continuation is chosen
CLOSE = 0.32  # m; maximum distance, in position and velocity, between two poses that are joined
BRIDGE = 16  # number of frames between two actions that are reserved for the transition
GESTURES = ("wave", "point", "raise an arm", "drink", "wash", "circle the arms")  # actions of the arms alone
COUNTED = (  # actions whose repetitions can be counted
    "jump", "hop", "kick", "squat", "throw", "bow", "cartwheel", "touch elbow to knee", "circle the arms", "punch",
)  # fmt: skip
FOLLOWS = {"sit down": ("stand up",), "lie down": ("get up from the floor",)}  # action → the only actions that may come next
# Actions that begin seated or lying. In an outing with such an action, the walk or run comes after the action.
UP = tuple(action for after in FOLLOWS.values() for action in after)
STOPPED = (24, 50)  # minimum and maximum number of frames of standing still after a walk or run, or after an action of `COUNTED`
RARE = 0.25  # value of `power` in `Pieces.action` that draws actions with few clips more often than the default
STRAIGHT_ON = ("walk", "run")  # gaits of an outing
UPRIGHT = 25.0  # degrees; if the person leans farther, a gesture is not combined with the legs of another clip


@dataclass(frozen=True)
class Composed:
    """A new motion composed of training clips."""

    name: str
    joints: ndarray  # (T + 1, 22, 3) float32, metres, uniform skeleton, floor at 0
    captions: tuple[str, ...]
    further: tuple[str, ...]  # additional captions in everyday words
    parts: tuple[str, ...]  # names of the clips, with the prefix M if mirrored
    actions: tuple[str, ...]  # one action per part
    spans: tuple[tuple[int, int], ...]  # frames [start, stop) of each part in `joints`; simultaneous parts overlap


def compose(clips: Sequence[Clip], fraction: float, seed: int = 0, process: Process = map) -> list[Composed]:
    """Return compositions of `clips`, which must be in the training split and have the joints that are stored in the dataset.

    A composition is a new motion composed of parts of other clips. `fraction` is the number of compositions divided by the total
    number of clips and compositions. If no parts fit together for some compositions, fewer compositions are returned. `process`
    works like `map` and runs the jobs. Raises `UserError` if `fraction` is not from 0 to 0.9.
    """
    if not 0 <= fraction <= 0.9:
        raise UserError(f"fraction of compositions {fraction}: outside 0 to 0.9; choose a value such as 0.3")
    for clip in clips:
        if clip.split != "train":
            raise ValueError(f"{clip.name} is of split '{clip.split}': compositions are made of training clips")
    count = round(fraction / (1 - fraction) * len(clips))
    jobs = [range(first, min(first + JOB, count)) for first in range(0, count, JOB)]
    results = process(partial(draw_all, clips=clips, seed=seed), jobs)
    return [result for batch in tqdm(results, "compositions", len(jobs), unit=" batches", disable=None) for result in batch]


def draw_all(numbers: Sequence[int], clips: Sequence[Clip], seed: int) -> list[Composed]:
    """Generate one random composition for each of the given `numbers`, from pieces (parts with a single action) of `clips`.

    A number is part of the composition's name and of its random seed. If no pieces fit together for a number, the result contains
    no composition for this number.
    """
    pieces = Pieces(clips)
    if not pieces.clips:
        return []
    results = (draw(pieces, f"C{number:05d}", random.Random(f"{seed} {number}")) for number in numbers)
    return [result for result in results if result]


def draw(pieces: Pieces, name: str, rng: random.Random) -> Composed | None:
    """Generate one composition of randomly chosen pieces (parts of clips with a single action). Returns None if `DRAWS` choices of
    pieces do not fit together."""
    for number in range(DRAWS):
        if number % PATIENCE == 0:
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if number % TRIES == 0:  # with new actions in every draw, actions that seldom fit together would become rare
            actions = actions_of(pieces, rng, kind)
        result = overlay(pieces, name, rng, *actions) if kind == "overlay" else chain(pieces, name, rng, actions)
        if result and result.captions:
            return result
    return None


def actions_of(pieces: Pieces, rng: random.Random, kind: str) -> list[str]:
    """Choose random actions for a composition of the given kind, a key of `KINDS`.

    For "overlay", the actions are a gait and a gesture, which happen at the same time. For other kinds, they form a sequence.
    """
    if kind == "overlay":
        return [pieces.action(rng, GAITS), pieces.action(rng, GESTURES, RARE)]
    if kind == "repeat":
        return [pieces.action(rng, COUNTED)] * rng.choice((2, 2, 3))
    if kind == "stop":
        return [pieces.action(rng, STRAIGHT_ON), pieces.action(rng, ("idle",))]
    if kind == "rest":  # captures of a single squat or kick often end before the person stands again
        return [pieces.action(rng, COUNTED, RARE), pieces.action(rng, ("idle",))]
    if kind == "outing":
        return outing(pieces, rng)
    actions = [pieces.action(rng)]
    for _ in range(2 if kind == "triple" else 1):
        actions.append(pieces.action(rng, FOLLOWS.get(actions[-1], ())))
    return actions


def outing(pieces: Pieces, rng: random.Random) -> list[str]:
    """Choose a walk or run and another action at random, in either order."""
    action = pieces.action(rng, [name for name in pieces.clips if name not in (*GAITS, *COURSES)], RARE)
    actions = [pieces.action(rng, STRAIGHT_ON), action]
    walks_last = action in UP or (action not in FOLLOWS and rng.random() < 0.5)
    return actions[::-1] if walks_last else actions


# ------------------------------------------------------------------------------------------------------------ sequences
def chain(pieces: Pieces, name: str, rng: random.Random, actions: Sequence[str]) -> Composed | None:
    """Join randomly chosen pieces (parts of clips) that show the given actions, in sequence, to the composition `name`.

    Returns None if these pieces do not fit together.
    """
    if not all(actions):
        return None
    counted = len(set(actions)) == 1 and actions[0] in COUNTED
    mirror = rng.randint(0, 1) if counted else 0.5
    spare = LONGEST + 1 - BRIDGE * (len(actions) - 1)
    room = spare // len(actions)
    strand = None
    for remaining, action in zip(range(len(actions), 0, -1), actions):
        most = spare - room * (remaining - 1)
        if strand and action == "idle" and strand.pieces[-1].action in (*STRAIGHT_ON, *COUNTED):
            most = min(most, rng.randint(*STOPPED))
        drawn = [piece.cut(rng, most) for piece in pieces.draw(rng, action, CANDIDATES if strand else 1, mirror)]
        strand = extend(strand, [piece for piece in drawn if piece and follows(strand, piece, counted)])
        if strand is None:
            return None
        spare -= len(strand.pieces[-1])
    used, stop = strand.pieces, min(strand.leave[1], LONGEST + 1)
    joints = strand.joints[:stop].astype(np.float32)
    if not SHORTEST < stop > strand.leave[0] or not all_happen(used, strand.spans, joints):
        return None
    ends_idle = len(used) == 2 and used[0].action in COUNTED and used[1].action == "idle"
    write = repeated if counted else alone if ends_idle else sequence
    captions = write(rng, used)
    further = write(random.Random(f"{name} further"), used, existing=captions) if captions else ()
    return Composed(name, joints, captions, further, tuple(p.take.name for p in used), tuple(p.action for p in used), strand.spans)


def all_happen(pieces: Sequence[Piece], spans: Sequence[tuple[int, int]], joints: ndarray) -> bool:
    """Whether the action of each piece is detected in the composed `joints` as often as in the clip of the piece (`Piece.count`).

    `spans` are the frames [start, stop) of each piece in `joints`. Actions with an unknown count are not checked.
    """
    facts = prove(joints) if any(piece.count for piece in pieces) else None

    def happens(piece: Piece, start: int, stop: int) -> int:
        middles = [(event.start + event.end) / 2 for event in facts.of(piece.action)]
        return sum(start - CONTEXT <= middle < stop + CONTEXT for middle in middles)

    return all(not piece.count or happens(piece, *span) == piece.count for piece, span in zip(pieces, spans))


def follows(strand: Strand | None, piece: Piece, counted: bool) -> bool:
    """Whether `piece` may follow the last piece of `strand`, an unfinished sequence of pieces; None is an empty sequence.

    If `counted`, the sequence repeats one action: the action of `piece` and its sides and directions (`Piece.variant`) must equal
    those of the last piece. Otherwise, the action, the sides or the directions must differ.
    """
    if strand is None:
        return piece.count > 0 or not counted
    last = strand.pieces[-1]
    same = piece.action == last.action and piece.variant == last.variant
    return same and piece.count > 0 if counted else not same


@dataclass(frozen=True)
class Strand:
    """An unfinished sequence of pieces (parts of clips with a single action). Its motion continues after the last action, so that
    the next piece can be joined at the frame that fits best."""

    joints: ndarray  # (T, 22, 3), metres
    leave: tuple[int, int]  # range [start, stop) of the frames after which the next piece may start
    pieces: tuple[Piece, ...]
    spans: tuple[tuple[int, int], ...]  # frames [start, stop) of each piece
    limits: ndarray  # (22,) maximum speeds of the joints in the clips, m/s


def around(piece: Piece) -> tuple[int, int, int, int]:
    """Return two frame ranges of the clip that contains the piece, as (start, stop, start, stop).

    A transition into the piece ends in the first range, before the action. A transition out of the piece starts in the second
    range, after the action.
    """
    first, last = max(0, piece.start - CONTEXT), min(len(piece.take.joints), piece.stop + CONTEXT)
    return first, piece.start + 1, piece.stop - 1, last


def extend(strand: Strand | None, candidates: Sequence[Piece]) -> Strand | None:
    """Extend an unfinished sequence of pieces by the candidate that fits best. Returns None if no candidate fits.

    If `strand` is None, the first candidate starts a new sequence.
    """
    if not candidates:
        return None
    if strand is None:
        piece = candidates[0]
        first, _, leave, last = around(piece)
        first = max(first, piece.start - CONTEXT // 2)
        span = (piece.start - first, piece.stop - first)
        joints = piece.take.joints[first:last]
        return Strand(joints, (leave - first, last - first), (piece,), (span,), piece.take.fastest)
    poses = splice.pose_vectors(strand.joints)
    seams = [splice.best_seam(poses, piece.take.poses, strand.leave, around(piece)[:2]) for piece in candidates]
    seam, piece = min(zip(seams, candidates), key=lambda pair: pair[0].distance)
    if seam.distance > CLOSE:
        return None
    *_, leave, last = around(piece)
    limits = np.maximum(strand.limits, piece.take.fastest)
    joined = splice.join(strand.joints[: seam.leave + 1], piece.take.joints[seam.enter : last], limits)
    if joined is None:
        return None
    joints, gap = joined
    shift = seam.leave + 1 + gap - seam.enter
    spans = (*strand.spans[:-1], (strand.spans[-1][0], min(strand.spans[-1][1], seam.leave + 1)))
    spans += ((max(piece.start, seam.enter) + shift, piece.stop + shift),)
    return Strand(joints, (leave + shift, last + shift), (*strand.pieces, piece), spans, limits)


# -------------------------------------------------------------------------------------------------- at the same time
def overlay(pieces: Pieces, name: str, rng: random.Random, gait: str, gesture: str) -> Composed | None:
    """Combine the legs of a random piece that shows the action `gait` with the arms of a random piece that shows `gesture`.

    Returns None if these pieces do not fit together. `name` is the name of the composition.
    """
    below, above = ((pieces.draw(rng, action) or [None])[0] for action in (gait, gesture))
    if below is None or above is None:
        return None
    below = below.cut(rng, LONGEST + 1)
    above = below and above.cut(rng, len(below))
    if above is None:
        return None
    if rng.random() < 0.6 and (shorter := below.cut(rng, len(above))):
        below = shorter
    shown, course = prove(above.joints), prove(below.joints)
    sides = tuple(hand.level >= CHEST for hand in shown.hands)
    if not any(sides) or not in_place(shown) or abs(course.lean) > UPRIGHT or any(hand.level >= CHEST for hand in course.hands):
        return None
    start = rng.randint(0, len(below) - len(above))
    joints = splice.layer(below.joints, above.joints, sides, start)
    limits = np.maximum(below.take.fastest, above.take.fastest)
    stop = start + len(above)
    if (splice.speeds(joints) > 1.5 * limits).any() or not both_hold(
        course, shown, prove(joints), prove(joints[start:stop]), sides
    ):
        return None
    captions, further = together(rng, below.clauses(), above.clauses(joints[start:stop])), ()
    if captions:
        wide = below.clauses(wide=True), above.clauses(joints[start:stop], wide=True)
        further = together(random.Random(f"{name} further"), *wide, existing=captions)
    names, acts = (below.take.name, above.take.name), (below.action, above.action)
    return Composed(name, joints.astype(np.float32), captions, further, names, acts, ((0, len(below)), (start, stop)))


def in_place(facts: Facts) -> bool:
    """Whether the person stands upright on the spot, without turns or jumps."""
    return facts.direction == "in place" and abs(facts.lean) <= UPRIGHT and not facts.turns and not facts.jumps


def both_hold(gait: Facts, gesture: Facts, whole: Facts, during: Facts, sides: tuple[bool, bool]) -> bool:
    """Whether a composition still shows the gait and the gesture as they were detected in the original clips (`gait`, `gesture`).

    `whole` are the facts of the whole composition, and `during` are the facts of the frames with the gesture. `sides` (left, right)
    states which arms make the gesture.
    """
    legs = whole.direction == gait.direction and len(whole.turns) == len(gait.turns) and abs(whole.steps - gait.steps) <= 1
    hands = [(was, now) for was, now, side in zip(gesture.hands, during.hands, sides) if side]
    arms = all(abs(was.level - now.level) <= 1 and now.level >= CHEST and (was.waves > 1) == (now.waves > 1) for was, now in hands)
    return legs and arms
