"""Writers of caption parts for everyday actions of the body and the arms, used by `prepare/everyday.py`.

A writer returns parts of a caption: clauses, each with the frame at which its action starts. `facts` are detected in the joints;
`rich` asks for details. An action that can be detected in the joints is mentioned only in captions of clips in which the action is
detected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from motion.facts import CHEST, FPS, OVERHEAD, SHOULDER, Event, Facts
from prepare import phrases, verbs
from prepare.actions import actions_in
from prepare.clauses import Voice, side, times

MAX_PARTS = 3
UNUSUAL_SEATS = ("floor", "high")  # these seats are always mentioned, because a caption without a seat suggests a chair


class Part(NamedTuple):
    """A clause of a caption, the frame at which its action starts, and whether the action was detected in the joints."""

    start: int
    clause: str
    detected: bool = True


Phrases = verbs.Phrases
Tables = tuple[tuple[str, Phrases], ...]  # pairs (word of the label, phrases)
Writer = Callable[[Voice, Facts, str, bool], list[Part]]


# ----------------------------------------------------------------------------------------------------------------- words
def count_words(voice: Voice, count: int) -> dict[str, str]:
    """Words for the placeholders {times} and {count} in a phrase about an action that is repeated `count` times."""
    few = count < len(phrases.NUMBERS)
    return {"times": times(voice, count), "count": phrases.NUMBERS[count] if few else voice.pick(("several", "many"))}


def limb_words(voice: Voice, events: tuple[Event, ...], parts: tuple[str, ...]) -> dict[str, str]:
    """Words for the placeholders {limb}, {hand}, {side} and {other} in a phrase about detected actions (`events`).

    `parts` are alternative names of the limb, such as "leg" and "foot". The words are vague ("one leg") if no event has a side.
    """
    sides = {event.side for event in events if event.side}
    part = voice.rng.choice(parts)
    if not sides:
        return {"limb": f"one {part}", "hand": f"one {part}", "side": "one", "other": "other"}
    both, is_left = sides not in ({"left"}, {"right"}), sides == {"left"}
    name = voice.pick((f"both {part}s".replace("foots", "feet"),) if both else (f"{{their}} {side(is_left)} {part}",))
    return {"limb": name, "hand": name, "side": side(is_left), "other": side(not is_left)}


def direction_words(facts: Facts) -> str:
    """The direction of travel in words, such as ' forward'; '' for distances up to 0.3 m, diagonal directions and unclear ones."""
    words = {"forward": " forward", "backward": " backward", "left": " to the left", "right": " to the right"}
    return words.get(facts.direction, "") if facts.distance > 0.3 else ""


def first(events: tuple[Event, ...]) -> int:
    """The first frame of the first detected event, or 0 if there are no events."""
    return events[0].start if events else 0


def label_count(label: str) -> int:
    """The number of repetitions, hops or cycles that the label of a clip states, or 1 if the label states no number."""
    match = re.search(r"(\d+) (?:repetition|hop|cycle)", label)
    return int(match[1]) if match else 1


def counted(
    voice: Voice, facts: Facts, label: str, rich: bool, action: str, several: Phrases, single: Phrases | None = None
) -> list[Part]:
    """Write clauses of a caption about an action that can be counted, such as squats, from phrases for `several` or a `single` one.

    If `single` is None and the action is detected only once, the action is not mentioned.
    """
    events = facts.of(action)
    if len(events) > 1:
        return [Part(first(events), voice.pick(several, **count_words(voice, len(events))))]
    return [Part(first(events), voice.pick(single))] if events and single else []


# -------------------------------------------------------------------------------------------------------------- postures
def seats(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about sitting down, sitting and standing up, one per detected action."""
    tables = {"sit down": verbs.SIT_DOWN, "stand up": verbs.STAND_UP}
    events = tuple(event for event in facts.events if event.action in tables) or facts.of("sit")[:1]
    parts = []
    for event in events[:MAX_PARTS]:
        seat = voice.rng.choice(verbs.SEATS[event.manner])
        named = rich or voice.chance(0.6)
        words = {"on": f" on {seat}", "onto": f" onto {seat}", "off": f" from {seat.replace('a ', 'the ', 1)}"} if named else {}
        again = " again" if any(part.clause.split()[0] == "sits" for part in parts) and event.action == "sit down" else ""
        table = ("sits down", "sits back down") if again else tables.get(event.action, verbs.SIT)
        clause = fix_seat(voice.pick(table, **{"on": "", "onto": "", "off": "", **words}))
        if event.manner in UNUSUAL_SEATS and event.action in tables and not again and seat.split(" ", 1)[1] not in clause:
            clause += f" from {seat.replace('a ', 'the ', 1)}" if event.action == "stand up" else f" on {seat}"
        parts.append(Part(event.start, clause + again))
    return parts


def fix_seat(clause: str) -> str:
    """Complete phrases such as "eases down" with "into a sitting position"."""
    return re.sub(r"(lowers \S+|lowering \S+|eases down|settles down|rests)$", r"\1 into a sitting position", clause).replace(
        "rests into", "rests in"
    )


def beds(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about lying down, lying and getting up."""
    tables = {"lie down": verbs.LIE_DOWN, "get up from the floor": verbs.GET_UP}
    events = tuple(event for event in facts.events if event.action in tables) or facts.of("lie")[:1]
    return [Part(event.start, voice.pick(tables.get(event.action, verbs.LIE), part=event.manner)) for event in events[:MAX_PARTS]]


def crawl(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about crawling."""
    return [Part(0, voice.pick(verbs.CRAWL, way=direction_words(facts)))] if facts.of("crawl") else []


def from_the_floor(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about picking up and putting down. The label distinguishes the two actions; the joints do not."""
    actions = [action for action in actions_in(label) if action in ("pick up", "put down")]
    item = next((f"a {word}" for word in ("box", "ball", "mug") if word in label), voice.rng.choice(("something", "an object")))
    parts = []
    for event, action in zip(facts.of("pick up"), actions):
        table, by_manner = (verbs.PICK_UP, verbs.PICK_WAYS) if action == "pick up" else (verbs.PUT_DOWN, verbs.PUT_WAYS)
        if voice.chance(0.5 if rich else 0.15):
            table = by_manner[event.manner]
        parts.append(Part(event.start, voice.pick(table, thing=item, **limb_words(voice, (event,), ("hand",)))))
    if parts and "walk" in label and parts[0].start > FPS:
        parts.insert(0, Part(0, voice.pick(("walks forward", "walks up to something", "takes some steps forward", "walks ahead"))))
    if parts and "carry" in label:
        parts.append(Part(parts[-1].start + 1, voice.pick(verbs.CARRY)))
    return parts


def climb(voice: Voice, facts: Facts, label: str, rich: bool, table: dict[str, verbs.Phrases]) -> list[Part]:
    """Write clauses of a caption about climbing, from phrases `table` for climbing up, down or both."""
    events = facts.of("climb steps")
    if [event.manner for event in events[:2]] == ["up", "down"] and voice.chance(0.4):
        return [Part(first(events), voice.pick(table["both"]))]
    return [Part(event.start, voice.pick(table[event.manner])) for event in events[:2]]


def balance(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about balancing."""
    events = facts.of("balance on one leg")
    if not events and label.startswith("balance"):
        return [Part(0, voice.pick(verbs.ONE_LEG), False)]
    return [Part(first(events), voice.pick(verbs.BALANCE, **limb_words(voice, events[:1], ("leg",))))] if events else []


# -------------------------------------------------------------------------------------------------------------- airborne
def jump(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about jumps."""
    events = facts.of("jump")
    if re.search(r"jump over|leap|jump stop", label):
        return [Part(0, voice.pick(verbs.JUMP_OVER))] if events else []
    if not events:
        ready = label in ("jump", "forward jump", "high jump") and facts.motion > 0.1
        return [Part(0, voice.pick(verbs.READY_TO_JUMP), False)] if ready else []
    if "grab" in label and max(hand.level for hand in facts.hands) >= OVERHEAD:
        table = verbs.JUMP_GRAB
    elif len(events) > 1:
        table = verbs.JUMPS_FORWARD if facts.direction == "forward" and facts.distance > 1 else verbs.JUMPS
        return [Part(first(events), voice.pick(table, **count_words(voice, len(events))))]
    elif facts.direction == "forward" and facts.distance > 0.45:
        table = verbs.JUMP_FORWARD
    else:
        table = verbs.HIGH_JUMP if events[0].size > 0.35 and (rich or "high" in label) and voice.chance(0.5) else verbs.JUMP
    return [Part(first(events), voice.pick(table))]


def hop(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about hops on one or both legs. Detected jumps count as hops, as hops can be as high as jumps."""
    events = tuple(event for event in facts.events if event.action in ("hop", "jump"))
    on_one_leg = tuple(event for event in events if event.action == "hop" and event.side in ("left", "right"))
    parts = []
    if len(on_one_leg) > 1:
        words = count_words(voice, len(on_one_leg)) | limb_words(voice, on_one_leg, ("leg",))
        parts.append(Part(first(on_one_leg), voice.pick(verbs.HOPS_ONE, **words)))
    both = [event for event in events if event.side == "both"] if "both" in label else []
    count = max(len(both), label_count(label)) if both else 0
    if count:
        words = {"way": direction_words(facts)} | (count_words(voice, count) if count > 1 else {})
        parts.append(Part(first(tuple(both)), voice.pick(verbs.HOPS_BOTH if count > 1 else verbs.HOP_BOTH, **words)))
    return parts


def kick(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about kicks."""
    events = facts.of("kick")
    words = limb_words(voice, events, ("leg", "leg", "foot"))
    if "soccer" in label:
        return [Part(first(events), voice.pick(verbs.SOCCER, **words))] if events else []
    move = next((name for name in verbs.KARATE_MOVES if name in label), None)
    if move and (voice.chance(0.4) or not events):
        return [Part(first(events), voice.pick(verbs.KARATE_MOVES[move]), bool(events))]
    if "spin" in label or "jump" in label:
        return [Part(first(events), voice.pick(verbs.KICK_WAYS["spin" if "spin" in label else "jump"]), bool(events))]
    if not events:
        return [Part(0, voice.pick(verbs.KICK, limb="one leg"), False)]
    if len(events) > 1:
        return [Part(first(events), voice.pick(verbs.KICKS, **count_words(voice, len(events)), **words))]
    kinds = ["front"] * ("front" in label) + ["high"] * (events[0].size > 1.1) + ["low"] * (events[0].size < 0.5)
    table = verbs.KICK_WAYS[voice.rng.choice(kinds)] if kinds and voice.chance(0.5 if rich else 0.25) else verbs.KICK
    return [Part(first(events), voice.pick(table, **words))]


def roll(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about rolls."""
    return [Part(0, voice.pick(verbs.DIVE_ROLL if "dive" in label else verbs.ROLL))] if facts.of("roll") else []


def flip(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about flips. If the label does not name the kind of flip, the joints determine this kind."""
    kinds = {"back": "backward", "side": "sideways", "hand": "handspring"}
    events = facts.of("flip")
    kind = next((kinds[word] for word in kinds if word in label), events[0].manner if events else "")
    return [Part(first(events), voice.pick(verbs.FLIPS[kind]))] if events else []


# ------------------------------------------------------------------------------------------------------------------ arms
def punch(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about punches."""
    events = facts.of("punch")
    words = limb_words(voice, events, ("fist", "hand", "arm"))
    if len(events) > 1 or "box" in label:
        return [Part(first(events), voice.pick(verbs.PUNCHES, **count_words(voice, max(2, len(events))), **words))]
    if facts.frames > 4 * FPS:
        return [Part(0, voice.pick(verbs.SLOW_PUNCHES), False)]
    return [Part(first(events), voice.pick(verbs.PUNCH, **words), bool(events))]


def karate(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about karate."""
    move = next((name for name in verbs.KARATE_MOVES if name in label), None)
    table = verbs.KARATE_MOVES[move] if move and voice.chance(0.4) else verbs.KARATE
    return [Part(0, voice.pick(table), False)]


def reach_up(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about reaching up."""
    up = [hand.level >= SHOULDER and hand.raises > 0 for hand in facts.hands]
    if not any(up) or facts.of("jumping jacks"):
        return []
    if "tiptoe" in label or "twist" in label:
        return [Part(1, voice.pick(verbs.STRETCH_UP))]
    return [Part(0, voice.pick(verbs.REACH_UP, **hand_words(voice, up)))]


def wave(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about waving."""
    up = [hand.level >= CHEST for hand in facts.hands]
    return [Part(0, voice.pick(verbs.WAVE, **hand_words(voice, up)))] if any(up) else []


def hand_words(voice: Voice, up: list[bool]) -> dict[str, str]:
    """Words for the placeholders {limb}, {hand}, {side} and {other} in a phrase about raised hands.

    `up` (left, right) states which hands are raised.
    """
    events = tuple(Event("", 0, 0, side(is_left)) for is_left, is_up in zip((True, False), up) if is_up)
    return limb_words(voice, events, ("hand", "hand", "arm"))


def elbows(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about touching an elbow to the opposite knee."""
    events = facts.of("touch elbow to knee")
    if not events:
        return []
    clause = voice.pick(verbs.ELBOW_KNEE, **limb_words(voice, events[:1], ("elbow",)))
    return [Part(first(events), clause + (f" {times(voice, len(events))}" if len(events) > 1 else ""))]


def circles(voice: Voice, facts: Facts, label: str, rich: bool) -> list[Part]:
    """Write clauses of a caption about arm circles."""
    direction = f" {voice.rng.choice(('backward', 'backwards'))}" if "backward" in label else ""
    clause = voice.pick(verbs.ARM_CIRCLES, limb="both arms", how=direction)
    count = label_count(label)
    return [Part(0, clause + (f" {times(voice, count)}" if count > 1 else ""), False)]


BODY_WRITERS: dict[str, Writer] = {
    "sit down": seats, "stand up": seats, "lie down": beds, "get up from the floor": beds, "crawl": crawl,
    "squat": partial(counted, action="squat", several=verbs.SQUATS, single=verbs.SQUAT),
    "pick up": from_the_floor, "put down": from_the_floor, "balance on one leg": balance,
    "climb a ladder": partial(climb, table=verbs.CLIMB_LADDER), "climb steps": partial(climb, table=verbs.CLIMB_STEPS),
    "jump": jump, "hop": hop, "jumping jacks": partial(counted, action="jumping jacks", several=verbs.JACKS),
    "kick": kick, "soccer": kick, "roll": roll, "flip": flip,
    "cartwheel": partial(counted, action="cartwheel", several=verbs.CARTWHEELS, single=verbs.CARTWHEEL),
    "punch": punch, "karate": karate, "reach up": reach_up, "wave": wave, "touch elbow to knee": elbows, "circle the arms": circles,
}  # fmt: skip
