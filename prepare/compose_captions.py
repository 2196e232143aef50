"""Captions of compositions. Templates combine the clauses of the pieces ("waves with their left hand"), in either order.

A piece is a part of a clip with a single action. If `existing` captions are given, additional captions are written, which differ
from these captions and also use additional templates and phrases.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from prepare import phrases, wordings
from prepare.captions import FURTHER
from prepare.grammar import SECOND_VERBS, gerund, imperative
from prepare.pieces import GAITS, Piece

MOST_WORDS = 18
COUNT = 6  # number of captions of one composition
SEEDS = 3  # number of draws of clauses for a repeated action

# {who} is the subject; {again} is the second mention of the subject. {a}, {b}, {c} are the clauses of the first, second and third
# piece in the third person; {as}, {bs}, {cs} are the gerunds of these clauses, and {a_bare}, {b_bare}, {c_bare} are the base forms.
# The templates MORE_… are used only for additional captions, that is, if there are `existing` captions.
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
HALTING = (  # {b} means that the person stands still
    "{who} {a} and then stops", "{who} {a}, then stops", "{who} {a} and stops", "{who} {a}, then stops and {b}",
    "{who} {a} and comes to a stop", "{who} {a} and then {b}",
)  # fmt: skip
HALTED = ("{who} stops after {as}", "{who} comes to a stop after {as}", "after {as}, {who} stops", "{who} {b} after {as}")
BACKWARD = {
    2: ("{who} {b} after {as}", "{who} {b} after {as}", "before {bs}, {who} {a}"),
    3: ("{who} {b} and then {c} after {as}", "before {cs}, {who} {a} and {b}"),
}
TOGETHER = (  # {a}: the legs, {b}: the arms
    "{who} {a} while {bs}", "{who} {a} while {bs}", "{who} is {as} while {bs}", "{who} {a} and {b} at the same time",
    "{who} is {as} and {bs} at the same time", "{who} {a}, {bs}",
)  # fmt: skip
TURNED = ("{who} {b} while {as}", "{who} {b} while {as}", "while {as}, {who} {b}", "{who} is {bs} while {as}")
ALONE = ("{who} {a}", "{who} {a}", "{who} {a}", "{who} is {as}")  # standing still afterwards is not mentioned
MORE_ALONE = ("{a_bare}", "{as}")
REPEATED = ("{who} {a} {times}", "{who} {a} {times}", "{who} is {as} {times}", "{who} {a} {times} in a row")
TIMES = {2: ("twice", "two times"), 3: ("three times",), 4: ("four times",), 5: ("five times",), 6: ("six times",)}
MORE_FORWARD = {
    2: (
        "{who} {a}, followed by {bs}", "once done with {as}, {who} {b}", "{who} starts by {as} and then {b}",
        "{who} begins with {as}, then {b}", "{who} {a} prior to {bs}", "{who} {a} and goes on to {b_bare}",
        "{who} {a}, and next {b}", "having finished {as}, {who} {b}", "{who} is {as}, then {b}",
        "{who} {a} and afterwards {b}", "{who} {a}, and once that is done, {again} {b}", "after {who} {a}, {again} {b}",
        "{who} {a}. then {again} {b}", "first {who} {a}, then {again} {b}", "{a_bare}, then {b_bare}",
        "{a_bare} and then {b_bare}", "first {a_bare}, then {b_bare}", "{as}, then {bs}", "{as} and then {bs}",
        "{a_bare} before {bs}", "{as}, followed by {bs}",
    ),
    3: (
        "{who} starts by {as}, then {b} and ends by {cs}", "{who} {a}, next {b}, and last {c}",
        "first {who} {a}, then {b}, and after that {c}", "{a_bare}, then {b_bare}, then {c_bare}",
        "{a_bare}, {b_bare} and then {c_bare}", "{as}, {bs} and then {cs}", "{who} {a}, and after that {b}, then {c}",
    ),
}  # fmt: skip
MORE_STOPPING = ("{who} {a}, comes to a stop and {b}", "{who} {a}, halts and {b}", "{a_bare}, stop and {b_bare}")
MORE_HALTING = (
    "{who} {a}, then comes to a halt", "{a_bare}, then stop", "{a_bare} and stop", "{as} and then stopping",
    "{who} {a} for a bit and stops", "first {who} {a}, then {again} stops", "{who} {a} until {again} stops",
)  # fmt: skip
MORE_HALTED = ("stop after {as}", "stopping after {as}", "before stopping, {who} {a}", "having finished {as}, {who} stands still")
MORE_BACKWARD = {
    2: (
        "before {who} {b}, {again} {a}", "{who} {b}, but first {again} {a}", "{who} {b} once done {as}",
        "{b_bare} after {as}", "before {bs}, {a_bare}", "{bs} after {as}", "{who} {b} after having finished {as}",
    ),
    3: ("{who} {c} after {as} and {bs}", "{c_bare} after {as} and {bs}", "{who} {c}, but first {again} {a} and {b}"),
}  # fmt: skip
MORE_TOGETHER = (
    "{who} {a}, all the while {bs}", "as {who} {a}, {again} {b}", "{a_bare} while {bs}", "{as} while {bs}",
    "{a_bare} and {b_bare} at the same time", "{as} and {bs} at once", "{who} {a} and {b} on the way",
)  # fmt: skip
MORE_TURNED = (
    "{who} {b} as {again} {a}", "while {who} {a}, {again} {b}", "{bs} while {as}", "{b_bare} while {as}",
    "{who} {b}, {as} all the while", "{who} {b} at the same time as {as}",
)  # fmt: skip
MORE_REPEATED = ("{a_bare} {times}", "{as} {times}", "{a_bare} {times} in a row", "{who} {a}, {times} in all")
AMOUNT = re.compile(rf"\b(once|twice|times|again|several|many|repeatedly|{'|'.join(phrases.NUMBERS)})\b")


def sequence(rng: random.Random, pieces: Sequence[Piece], existing: Sequence[str] = ()) -> tuple[str, ...]:
    """Return captions of a sequence of actions, one per piece. If there are `existing` captions, the captions differ from them."""
    count = len(pieces)
    forward, backward, stopping = FORWARD[count], BACKWARD[count], STOPPING
    if existing:
        forward, backward, stopping = forward + MORE_FORWARD[count], backward + MORE_BACKWARD[count], STOPPING + MORE_STOPPING
    if count == 2 and pieces[0].action in GAITS and pieces[1].action not in GAITS and not pieces[1].travels:
        forward += stopping
    if count == 2 and pieces[0].action in GAITS and pieces[1].action == "idle" and "stop" not in pieces[0].take.label:
        forward, backward = (HALTING + MORE_HALTING, HALTED + MORE_HALTED) if existing else (HALTING, HALTED)
    return write(rng, forward, backward, [piece.clauses(wide=bool(existing)) for piece in pieces], existing=existing)


def alone(rng: random.Random, pieces: Sequence[Piece], existing: Sequence[str] = ()) -> tuple[str, ...]:
    """Return captions of the action in the first piece. The second piece, in which the person stands still, is not mentioned.

    If there are `existing` captions, the captions differ from them.
    """
    templates = ALONE + MORE_ALONE if existing else ALONE
    return write(rng, templates, templates, [pieces[0].clauses(wide=bool(existing))], existing=existing)


def together(rng: random.Random, below: Sequence[str], above: Sequence[str], existing: Sequence[str] = ()) -> tuple[str, ...]:
    """Return captions of simultaneous actions, from clauses about the legs (`below`) and about the arms (`above`).

    If there are `existing` captions, the captions differ from them.
    """
    forward, backward = (TOGETHER + MORE_TOGETHER, TURNED + MORE_TURNED) if existing else (TOGETHER, TURNED)
    return write(rng, forward, backward, [below, above], existing=existing)


def repeated(rng: random.Random, pieces: Sequence[Piece], existing: Sequence[str] = ()) -> tuple[str, ...]:
    """Return captions of an action that is repeated in all pieces, from clauses that are true of each piece and contain no count.

    If there are `existing` captions, the captions differ from them.
    """
    options: set[str] = set()
    for number in range(SEEDS):
        clause_sets = [set(piece.clauses(name=f"{pieces[0].take.name} {number}", wide=bool(existing))) for piece in pieces]
        options |= {clause for clause in set.intersection(*clause_sets) if simple(clause) and not AMOUNT.search(clause)}
    count = sum(piece.count for piece in pieces)
    templates = REPEATED + MORE_REPEATED if existing else REPEATED
    return write(rng, templates, templates, [sorted(options)], TIMES[count], existing) if count in TIMES else ()


def simple(clause: str) -> bool:
    """Whether a clause has no conjunction or comma."""
    return not re.search(r", | and | then | as ", clause)


def write(
    rng: random.Random, forward: Sequence[str], backward: Sequence[str], clauses: Sequence[Sequence[str]],
    times: Sequence[str] = ("",), existing: Sequence[str] = (),
) -> tuple[str, ...]:  # fmt: skip
    """Fill templates with clauses, and return different captions of at most `MOST_WORDS` words.

    `clauses` are the alternative clauses of each action, `times` the phrases for a number of repetitions. Templates are chosen
    alternately from `forward` and `backward`. If `existing` is empty, up to `COUNT` captions are returned. Otherwise, up to
    `FURTHER` captions that differ from the `existing` captions are returned; these captions also use the subjects of
    `prepare/wordings.py`.
    """
    if not all(clauses):
        return ()
    plain = [[clause for clause in options if simple(clause)] or options for options in clauses]
    subjects, count = (phrases.SUBJECTS + wordings.SUBJECTS, FURTHER) if existing else (phrases.SUBJECTS, COUNT)
    verbs = wordings.VERBS if existing else SECOND_VERBS
    captions = {caption.rstrip("."): caption for caption in existing}
    for attempt in range(10 * count):
        number = len(captions) - len(existing)
        if number == count:
            break
        template = rng.choice((forward, backward)[number % 2])
        who, pronouns = rng.choice(subjects)
        if "{who}" not in template and "_bare}" in template:
            pronouns = wordings.YOU
        words = {"who": who, "again": again(who, pronouns), "times": rng.choice(times)}
        for letter, options in zip("abc", plain if attempt % 2 else clauses):
            clause = with_pronouns(rng.choice(options), pronouns)
            words |= {letter: clause, f"{letter}s": gerund(clause, verbs), f"{letter}_bare": imperative(clause, verbs)}
        caption = template.format(**words)
        if len(caption.split()) <= MOST_WORDS:
            captions.setdefault(caption, f"{caption}." if rng.random() < 0.4 else caption)
    return tuple(captions.values())[len(existing) :]


def again(who: str, pronouns: phrases.Pronouns) -> str:
    """The subject when it is mentioned again: "a man" → "he", "a figure" → "the figure"."""
    if pronouns in (phrases.HE, phrases.SHE):
        return pronouns.they
    noun = re.sub(r"^(a|an|the|this|one|some) ", "", who)
    return "the person" if noun in ("someone", "somebody") else noun if noun.startswith("my ") else f"the {noun}"


def with_pronouns(clause: str, pronouns: phrases.Pronouns) -> str:
    """Replace the pronouns "they", "their" and "themselves" in a clause by `pronouns`."""
    clause = re.sub(r"\bthey are\b", pronouns.they_are, clause)
    clause = re.sub(r"\bthemselves\b", pronouns.themself, clause)
    clause = re.sub(r"\bthey\b", pronouns.they, clause)
    return re.sub(r"\btheir\b", pronouns.their, clause)
