"""Clauses of captions for clips with a label in words ("sit on high stool, stand up"). Labels are checked against the joints.

Each action has a writer (`WRITERS`), a function that returns parts of a caption: clauses, each with the frame at which its action
starts. Parts are sorted by these frames. `facts` are detected in the joints; `rich` asks for details. A clip that is cut from a
long capture may not show every action in the label. An action that can be detected in the joints is therefore mentioned only in
captions of clips in which the action is detected.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from motion.facts import FPS, Facts
from prepare import activities, phrases, verbs
from prepare.actions import actions_in, lower_words
from prepare.clauses import Voice, locomotion
from prepare.everyday_parts import BODY_WRITERS, MAX_PARTS, Part, Phrases, Tables, Writer, beds, seats

WALKING = 1.9  # m/s, maximum speed of walking


# ------------------------------------------------------------------------------------------------------------------ gait
def gait(voice: Voice, facts: Facts, label: str, rich: bool, kind: str) -> list[Part]:
    """Write clauses of a caption about walking, running, sneaking or dribbling (`kind`), from the measured path and the label."""
    if facts.direction == "in place" and facts.speed < 0.4 and kind != "dribble":
        return []
    rising = [*facts.of("sit down"), *facts.of("stand up")]
    if kind == "walk" and "sit" in label and rising:
        return [Part(0, voice.pick(verbs.WALKS_OVER))] if rising[0].start > FPS and rising[0].action == "sit down" else []
    if kind == "walk" and "uneven" in label and voice.chance(0.7):
        return [Part(0, voice.pick(verbs.UNEVEN))]
    if "run over" in label and facts.of("jump"):
        return [Part(0, voice.pick(verbs.JUMP_OVER))]
    course = next((words for pattern, words in phrases.LABELLED_WAYS.items() if re.search(pattern, label)), None)
    if course and voice.chance(0.6 if "turns" not in label else 0.9):
        verbs_of_gait = phrases.GAITS[kind].verbs[1]
        return [Part(0, f"{voice.pick(verbs_of_gait)} {voice.pick(course)}", False)]
    if "stop" in label and "turn" not in label:
        facts = replace(facts, turns=())  # a person who stops abruptly turns a little by accident
    clause = locomotion(voice, facts, rich and "stop" not in label, kind)
    veer = re.search(r"(?:veer|run|turn) (left|right)", label)
    if veer and not facts.turns and " left" not in clause and " right" not in clause:
        clause += f" and {voice.pick(verbs.VEERS, side=veer[1])}"
    if re.search(r"\bstop$|quick stop$|sudden stop|, stop", label) and facts.ends_still:
        clause += f" and {voice.pick(verbs.QUICK_STOP if re.search('quick|sudden', label) else verbs.STOP)}"
    return [Part(0, clause)]


def basketball(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about playing basketball."""
    if "shoot" in label:
        return [Part(0, voice.pick(activities.SHOOT), False)]
    if facts.direction in ("", "in place") or voice.chance(0.2):
        return [Part(0, voice.pick(activities.DRIBBLE), False)]
    return gait(voice, facts, label, rich, "dribble")


# ------------------------------------------------------------------- actions that are named by the label but not detected
def dance(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about dances."""
    if facts.motion < 0.1:
        return [Part(0, voice.pick(activities.DANCE_WAYS["static"]), False)]
    styles = [table for word, table in activities.DANCE_WAYS.items() if word in label]
    return [Part(0, voice.pick(voice.rng.choice(styles) if styles and voice.chance(0.6) else activities.DANCE), False)]


def animal(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about moving like an animal, which the label names."""
    name = label.replace(" (human subject)", "")
    return [Part(0, voice.pick(activities.ANIMALS, animal=f"{'an' if name[0] in 'aeiou' else 'a'} {name}"), False)]


def labelled(
    voice: Voice, facts: Facts, label: str, rich: bool, table: Phrases, instead: Tables = (), besides: Tables = ()
) -> list[Part]:
    """Write clauses of a caption about an action that the label names, but that cannot be detected in the joints.

    `table` contains phrases for the action. `instead` and `besides` contain pairs (word, phrases). A pair applies if the label
    contains the word. The phrases of the first applicable pair of `instead` replace `table`. The phrases of the first applicable
    pair of `besides` are used with a probability of 60 %, and `table` is used otherwise.
    """
    if facts.motion < 0.03:
        return []
    table = next((replacement for word, replacement in instead if word in label), table)
    specific = next((addition for word, addition in besides if word in label), table)
    return [Part(2, voice.pick(specific if voice.chance(0.6) else table), False)]


def idle(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about standing idle."""
    if facts.distance > 0.7 or facts.steps > 6:
        return []
    return [Part(0, voice.pick(verbs.SHIFTS if rich and facts.motion > 0.06 and voice.chance(0.5) else verbs.IDLE), False)]


def unlabelled(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about sitting, lying, walking or standing, for a clip whose label names no usable action."""
    if facts.of("sit"):
        return seats(voice, facts, label, rich)
    if facts.of("lie"):
        return beds(voice, facts, label, rich)
    if facts.steps >= 2 and facts.distance > 0.5:
        return [Part(0, locomotion(voice, facts, rich, "walk" if facts.speed < WALKING else "run"))]
    return [Part(0, voice.pick(verbs.IDLE if facts.motion < 0.4 else ("moves around", "moves on the spot", "moves about")))]


WRITERS: dict[str, Writer] = {
    **BODY_WRITERS,
    "walk": partial(gait, kind="walk"), "run": partial(gait, kind="run"), "sneak": partial(gait, kind="sneak"),
    "walk like a zombie": partial(gait, kind="zombie"), "basketball": basketball, "dance": dance, "act as an animal": animal,
    "idle": idle,
    "throw": partial(labelled, table=activities.THROW),
    "climb on a playground": partial(labelled, table=activities.PLAYGROUND),
    "swing a sword": partial(labelled, table=activities.SWORD),
    "duck": partial(labelled, table=activities.DUCK),
    "stretch": partial(
        labelled, table=activities.STRETCH,
        besides=(("twist", activities.TWIST), ("range of motion", activities.RANGE_OF_MOTION)),
    ),
    "wash": partial(labelled, table=activities.WASH_SELF, instead=(("window", activities.WASH_WINDOWS),)),
    "mop": partial(labelled, table=activities.MOP),
    "drink": partial(
        labelled, table=activities.DRINK, instead=(("coffee", activities.DRINK_COFFEE),),
        besides=(("unscrew", activities.UNSCREW),),
    ),
    "laugh": partial(labelled, table=activities.LAUGH),
    "point": partial(labelled, table=activities.POINT, instead=(("signals", activities.SIGNALS),)),
    "mime": partial(labelled, table=activities.MIME, besides=(("teapot", activities.TEAPOT),)),
    "turn": partial(labelled, table=activities.SPIN, instead=(("ropes", activities.ROPES),)),
    "hold a pose": partial(labelled, table=activities.POSE),
}  # fmt: skip
WITHIN = {  # action → implied actions: the phrases of the action imply them, so they are not mentioned separately
    "walk": ("turn", "stop"), "run": ("turn", "stop"), "basketball": ("turn",), "throw": ("basketball",), "duck": ("run",),
    "roll": ("run",), "jump": ("run", "stop"), "kick": ("soccer", "karate", "jump"),
    "pick up": ("walk", "squat", "stretch", "raise an arm"),
    "karate": ("punch",), "hop": ("stop",), "jumping jacks": ("run",), "balance on one leg": ("stretch",),
    "point": ("wave",),
}  # fmt: skip


def parts_of(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write up to `MAX_PARTS` clauses of a caption, in temporal order.

    The clauses describe actions that the label names and that are detected in the joints (`facts`). If none is detected, one clause
    describes an action that the label names. If the label names no usable action either, `unlabelled` writes the clauses.
    """
    actions = actions_in(label)
    label = lower_words(label)
    implied = {other for action in actions for other in WITHIN.get(action, ())}
    writers = dict.fromkeys(WRITERS[action] for action in actions if action not in implied and action in WRITERS)
    parts = [part for write in writers for part in write(voice, facts, label, rich)]
    detected = [part for part in parts if part.detected]
    if not detected and parts:
        detected = [voice.rng.choice(parts)]
    parts = sorted(detected, key=lambda part: part.start) or unlabelled(voice, facts, label, rich)
    return parts[:MAX_PARTS]


def write_clause(voice: Voice, facts: Facts, label: str, rich: bool) -> str:
    """Write the verb phrase of a caption, which consists of up to three clauses, from the label of a clip and its `facts`."""
    clauses = [part.clause for part in parts_of(voice, facts, label, rich)]
    if len(clauses) == 3:
        return f"{clauses[0]}, {clauses[1]}, then {clauses[2]}"
    conjunction = voice.rng.choice((" and then ", " and ", ", then ", " and "))
    return (", then " if " and " in clauses[0] else conjunction).join(clauses)
