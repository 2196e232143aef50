"""Clauses for clips with a label in words ("sit on high stool, stand up"), as far as the joints do not contradict it.

Each action has a writer that returns parts of a caption with their start frames, which determine the order. Actions that can be
detected in the joints are mentioned only if they are detected, because a piece of a long take may not contain everything in its
label.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from prepare import phrases as say
from prepare import verbs
from prepare.actions import actions_in
from prepare.clauses import Voice, locomotion
from prepare.everyday_parts import (
    MOST_PARTS,
    Part,
    Phrases,
    Tables,
    Writer,
    balance,
    beds,
    circles,
    climb,
    crawl,
    elbows,
    from_the_floor,
    hop,
    jacks,
    jump,
    karate,
    kick,
    punch,
    reach_up,
    seats,
    squats,
    tumble,
    wave,
)
from prepare.facts import FPS, Facts

WALKING = 1.9  # m/s, the fastest


# ------------------------------------------------------------------------------------------------------------------ gait
def gait(voice: Voice, facts: Facts, label: str, rich: bool, kind: str) -> list[Part]:
    """Walking, running, sneaking, dribbling, from the travel of the joints and the label."""
    if facts.direction == "in place" and facts.speed < 0.4 and kind != "dribble":
        return []
    rising = [*facts.of("sit down"), *facts.of("stand up")]
    if kind == "walk" and "sit" in label and rising:
        return [Part(0, voice.pick(verbs.WALKS_OVER))] if rising[0].start > FPS and rising[0].action == "sit down" else []
    if kind == "walk" and "uneven" in label and voice.chance(0.7):
        return [Part(0, voice.pick(verbs.UNEVEN))]
    if "run over" in label and facts.of("jump"):
        return [Part(0, voice.pick(verbs.JUMP_OVER))]
    told = next((words for pattern, words in say.LABELLED_WAYS.items() if re.search(pattern, label)), None)
    if told and voice.chance(0.6 if "turns" not in label else 0.9):
        pace = say.GAITS[kind].verbs[1]
        return [Part(0, f"{voice.pick(pace)} {voice.pick(told)}", False)]
    if "stop" in label and "turn" not in label:
        facts = replace(facts, turns=())  # the body swings round as it brakes
    clause = locomotion(voice, facts, rich and "stop" not in label, kind)
    veer = re.search(r"(?:veer|run|turn) (left|right)", label)
    if veer and not facts.turns and " left" not in clause and " right" not in clause:
        clause += f" and {voice.pick(verbs.VEERS, side=veer[1])}"
    if re.search(r"\bstop$|quick stop$|sudden stop|, stop", label) and facts.ends_still:
        clause += f" and {voice.pick(verbs.QUICK_STOP if re.search('quick|sudden', label) else verbs.STOP)}"
    return [Part(0, clause)]


def basketball(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """The parts of a caption about basketball."""
    if "shoot" in label:
        return [Part(0, voice.pick(verbs.SHOOT), False)]
    if facts.direction in ("", "in place") or voice.chance(0.2):
        return [Part(0, voice.pick(verbs.DRIBBLE), False)]
    return gait(voice, facts, label, rich, "dribble")


# ---------------------------------------------------------------------------------------------- what only the label tells
def dance(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """The parts of a caption about dances."""
    if facts.motion < 0.1:
        return [Part(0, voice.pick(verbs.DANCE_WAYS["static"]), False)]
    ways = [table for word, table in verbs.DANCE_WAYS.items() if word in label]
    return [Part(0, voice.pick(voice.rng.choice(ways) if ways and voice.chance(0.6) else verbs.DANCE), False)]


def animal(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """The parts of a caption about moving like an animal."""
    name = re.sub(r" \(human subject\)", "", label)
    name = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return [Part(0, voice.pick(verbs.ANIMALS, animal=name), False)]


def labelled(
    voice: Voice, facts: Facts, label: str, rich: bool, table: Phrases, instead: Tables = (), besides: Tables = ()
) -> list[Part]:
    """Actions that cannot be detected in the joints; words of the label select phrases `instead` of the table's, or `besides`
    them."""
    if facts.motion < 0.03:
        return []
    table = next((phrases for word, phrases in instead if word in label), table)
    more = next((phrases for word, phrases in besides if word in label), table)
    return [Part(2, voice.pick(more if voice.chance(0.6) else table), False)]


def idle(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """The parts of a caption about standing idle."""
    if facts.distance > 0.7 or facts.steps > 6:
        return []
    return [Part(0, voice.pick(verbs.SHIFTS if rich and facts.motion > 0.06 and voice.chance(0.5) else verbs.IDLE), False)]


def seen(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Parts of a caption without a label: sitting, lying, walking or standing."""
    if facts.of("sit"):
        return seats(voice, facts, label, rich)
    if facts.of("lie"):
        return beds(voice, facts, label, rich)
    if facts.steps >= 2 and facts.distance > 0.5:
        return [Part(0, locomotion(voice, facts, rich, "walk" if facts.speed < WALKING else "run"))]
    return [Part(0, voice.pick(verbs.IDLE if facts.motion < 0.4 else ("moves around", "moves on the spot", "moves about")))]


WRITERS: dict[str, Writer] = {
    "sit down": seats, "stand up": seats, "lie down": beds, "get up from the floor": beds, "squat": squats, "crawl": crawl,
    "pick up": from_the_floor, "put down": from_the_floor, "balance on one leg": balance,
    "climb a ladder": partial(climb, table=verbs.CLIMB_LADDER), "climb steps": partial(climb, table=verbs.CLIMB_STEPS),
    "jump": jump, "hop": hop, "jumping jacks": jacks, "kick": kick, "soccer": kick,
    **{action: partial(tumble, action=action) for action in ("cartwheel", "flip", "roll")},
    "punch": punch, "karate": karate, "reach up": reach_up, "wave": wave, "touch elbow to knee": elbows, "circle the arms": circles,
    "walk": partial(gait, kind="walk"), "run": partial(gait, kind="run"), "sneak": partial(gait, kind="sneak"),
    "walk like a zombie": partial(gait, kind="zombie"), "basketball": basketball, "dance": dance, "act as an animal": animal,
    "idle": idle,
    "throw": partial(labelled, table=verbs.THROW),
    "climb on a playground": partial(labelled, table=verbs.PLAYGROUND),
    "swing a sword": partial(labelled, table=verbs.SWORD),
    "duck": partial(labelled, table=verbs.DUCK),
    "stretch": partial(labelled, table=verbs.STRETCH, besides=(("twist", verbs.TWIST), ("range of motion", verbs.RANGE_OF_MOTION))),
    "wash": partial(labelled, table=verbs.WASH_SELF, instead=(("window", verbs.WASH_WINDOWS),)),
    "mop": partial(labelled, table=verbs.MOP),
    "drink": partial(labelled, table=verbs.DRINK, instead=(("coffee", verbs.DRINK_COFFEE),), besides=(("unscrew", verbs.UNSCREW),)),
    "laugh": partial(labelled, table=verbs.LAUGH),
    "point": partial(labelled, table=verbs.POINT, instead=(("signals", verbs.SIGNALS),)),
    "mime": partial(labelled, table=verbs.MIME, besides=(("teapot", verbs.TEAPOT),)),
    "turn": partial(labelled, table=verbs.SPIN, instead=(("ropes", verbs.ROPES),)),
    "hold a pose": partial(labelled, table=verbs.POSE),
}  # fmt: skip
WITHIN = {  # an action whose phrases say these, too
    "walk": ("turn", "stop"), "run": ("turn", "stop"), "basketball": ("turn",), "throw": ("basketball",), "duck": ("run",),
    "roll": ("run",), "jump": ("run", "stop"), "kick": ("soccer", "karate", "jump"),
    "pick up": ("walk", "squat", "stretch", "raise an arm"),
    "karate": ("punch",), "hop": ("stop",), "jumping jacks": ("run",), "balance on one leg": ("stretch",),
    "point": ("wave",),
}  # fmt: skip


def parts_of(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """The parts of a caption in temporal order: what is detected in the joints, or else the label."""
    actions = actions_in(label)
    label = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()
    within = {other for action in actions for other in WITHIN.get(action, ())}
    writers = dict.fromkeys(WRITERS[action] for action in actions if action not in within and action in WRITERS)
    parts = [part for write in writers for part in write(voice, facts, label, rich)]
    proven = [part for part in parts if part.proven]
    if not proven and parts:
        proven = [voice.rng.choice(parts)]
    parts = sorted(proven, key=lambda part: part.start) or seen(voice, facts, label, rich)
    return parts[:MOST_PARTS]


def tell(voice: Voice, facts: Facts, label: str, rich: bool) -> str:
    """The clause of a clip with this label."""
    clauses = [part.clause for part in parts_of(voice, facts, label, rich)]
    if len(clauses) == 3:
        return f"{clauses[0]}, {clauses[1]}, then {clauses[2]}"
    joint = voice.rng.choice((" and then ", " and ", ", then ", " and "))
    return (", then " if " and " in clauses[0] else joint).join(clauses)
