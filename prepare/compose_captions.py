"""Captions of compositions: clauses of the parts ("waves with their left hand") in templates, in both orders."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from prepare import phrases as say
from prepare.grammar import gerund
from prepare.pieces import GAITS, Piece

MOST_WORDS = 18
COUNT = 6  # captions of one composition
SEEDS = 3  # draws of clauses for a count

# {who} is the subject; {a}, {b}, {c} are clauses in the third person in order of time, {as}, {bs}, {cs} their gerunds
FORWARD = {
    2: (
        "{who} {a}, then {b}", "{who} {a}, then {b}", "{who} {a} and then {b}", "{who} {a} then {b}",
        "{who} first {a} and then {b}", "{who} {a} before {bs}", "after {as}, {who} {b}", "{who} {a}, and after that {b}",
    ),
    3: (
        "{who} {a}, then {b}, then {c}", "{who} {a}, {b} and then {c}", "{who} {a}, then {b} and finally {c}",
        "{who} first {a}, then {b}, and then {c}", "after {as}, {who} {b} and then {c}",
    ),
}  # fmt: skip
STOPPING = ("{who} {a}, then stops and {b}", "{who} {a}, stops and {b}", "{who} {a} and then stops and {b}")
BACKWARD = {
    2: ("{who} {b} after {as}", "{who} {b} after {as}", "before {bs}, {who} {a}"),
    3: ("{who} {b} and then {c} after {as}", "before {cs}, {who} {a} and {b}"),
}
TOGETHER = (  # {a}: the legs, {b}: the arms
    "{who} {a} while {bs}", "{who} {a} while {bs}", "{who} is {as} while {bs}", "{who} {a} and {b} at the same time",
    "{who} is {as} and {bs} at the same time", "{who} {a}, {bs}",
)  # fmt: skip
TURNED = ("{who} {b} while {as}", "{who} {b} while {as}", "while {as}, {who} {b}", "{who} is {bs} while {as}")
REPEATED = ("{who} {a} {times}", "{who} {a} {times}", "{who} is {as} {times}", "{who} {a} {times} in a row")
TIMES = {2: ("twice", "two times"), 3: ("three times",), 4: ("four times",), 5: ("five times",), 6: ("six times",)}
AMOUNT = re.compile(rf"\b(once|twice|times|again|several|many|repeatedly|{'|'.join(say.NUMBERS)})\b")


def sequence(rng: random.Random, pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Captions of pieces done one after the other."""
    forward, backward = FORWARD[len(pieces)], BACKWARD[len(pieces)]
    if len(pieces) == 2 and pieces[0].action in GAITS and pieces[1].action not in GAITS and not pieces[1].travels:
        forward += STOPPING
    return write(rng, forward, backward, [piece.clauses() for piece in pieces])


def together(rng: random.Random, below: Sequence[str], above: Sequence[str]) -> tuple[str, ...]:
    """Captions of simultaneous actions of legs and arms, from the clauses of both."""
    return write(rng, TOGETHER, TURNED, [below, above])


def repeated(rng: random.Random, pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Captions of a repeated action, from clauses that hold for each repetition and contain no count."""
    options: set[str] = set()
    for number in range(SEEDS):
        spoken = [set(piece.clauses(name=f"{pieces[0].take.name} {number}")) for piece in pieces]
        options |= {clause for clause in set.intersection(*spoken) if simple(clause) and not AMOUNT.search(clause)}
    count = sum(piece.count for piece in pieces)
    return write(rng, REPEATED, REPEATED, [sorted(options)], TIMES[count]) if count in TIMES else ()


def simple(clause: str) -> bool:
    """Whether a clause has no conjunction or comma."""
    return not re.search(r", | and | then | as ", clause)


def write(
    rng: random.Random,
    forward: Sequence[str],
    backward: Sequence[str],
    clauses: Sequence[Sequence[str]],
    times: Sequence[str] = ("",),
) -> tuple[str, ...]:
    """Up to `COUNT` different captions of at most `MOST_WORDS` words, by templates of the two orders in turn."""
    if not all(clauses):
        return ()
    plain = [[clause for clause in options if simple(clause)] or options for options in clauses]
    captions: dict[str, str] = {}
    for attempt in range(10 * COUNT):
        if len(captions) == COUNT:
            break
        template = rng.choice((forward, backward)[len(captions) % 2])
        who, pronouns = rng.choice(say.SUBJECTS)
        words = {"who": who, "times": rng.choice(times)}
        for letter, options in zip("abc", plain if attempt % 2 else clauses):
            clause = with_pronouns(rng.choice(options), pronouns)
            words |= {letter: clause, f"{letter}s": gerund(clause)}
        caption = template.format(**words)
        if len(caption.split()) <= MOST_WORDS:
            captions.setdefault(caption, f"{caption}." if rng.random() < 0.4 else caption)
    return tuple(captions.values())


def with_pronouns(clause: str, pronouns: say.Pronouns) -> str:
    """A clause written with "their", with other pronouns."""
    clause = re.sub(r"\bthey are\b", pronouns.they_are, clause)
    clause = re.sub(r"\bthemselves\b", pronouns.themself, clause)
    clause = re.sub(r"\bthey\b", pronouns.they, clause)
    return re.sub(r"\btheir\b", pronouns.their, clause)
