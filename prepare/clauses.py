"""Write clauses of captions for Bandai-Namco's contents (walking, gestures, bows, fights, dances) from facts (`motion/facts`).

The functions select and combine phrases of `prepare/phrases.py`. If `rich` is true, a clause states a measured detail, such as a
count, an angle, a height or a distance.
"""

from __future__ import annotations

import random
from functools import partial

import numpy as np

from motion.facts import AT_HEAD, CHEST, WAIST, Facts, Hand, Turn
from prepare import phrases, wordings
from prepare.actions import HANDS
from prepare.grammar import progressive


class Voice:
    """The random generator, subject and pronouns of one caption. With `wide`, `pick` also uses phrases of `prepare/wordings.py`."""

    def __init__(self, rng: random.Random, subject: str, pronouns: phrases.Pronouns, wide: bool = False):
        self.rng, self.subject, self.words, self.wide = rng, subject, pronouns._asdict(), wide

    def pick(self, choices: tuple[str, ...], **words: str) -> str:
        """Return a random phrase of `choices`. The placeholders of the phrase are filled with the pronouns and with `words`."""
        if self.wide:
            choices += wordings.MORE.get(choices, ())
        return self.rng.choice(choices).format(**self.words, **words)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability, and False otherwise."""
        return self.rng.random() < probability


def times(voice: Voice, count: int) -> str:
    """A count in words, such as 'once' or 'three times'. Counts above six give vague words, such as 'several times'."""
    if count <= 6:
        return voice.pick(phrases.TIMES.get(count, (f"{phrases.NUMBERS[count]} times",)))
    return voice.pick(phrases.SEVERAL if count <= 9 else phrases.MANY)


def meters(distance: float) -> str:
    """A distance in words, rounded to half metres: 'one meter', 'two and a half meters'."""
    whole, half = divmod(round(2 * distance), 2)
    if not whole:
        return "half a meter"
    number = phrases.NUMBERS[whole] if whole < len(phrases.NUMBERS) else str(whole)
    return f"{number}{' and a half' if half else ''} meter{'' if (whole, half) == (1, 0) else 's'}"


def side(is_left: bool) -> str:
    """'left' or 'right'."""
    return "left" if is_left else "right"


# -------------------------------------------------------------------------------------------------- clauses by content
def turning(voice: Voice, turn: Turn, rich: bool) -> str:
    """Write the clause of a caption that describes a turn. If `rich`, the clause states the angle, provided that the angle is at
    most 12° from one of the angles in `phrases.TURNS`."""
    angle = min((angle for angle in phrases.TURNS if angle), key=lambda angle: abs(angle - abs(turn.degrees)))
    named = angle if rich and abs(angle - abs(turn.degrees)) <= 12 else 0
    return voice.pick(phrases.TURNS[named], side=side(turn.degrees > 0))


def locomotion(voice: Voice, facts: Facts, rich: bool, gait: str) -> str:
    """Write the clause of a caption that describes walking or running, with the measured direction and turns.

    `gait` is a key of `phrases.GAITS`, such as "walk". If `rich`, the clause also states the number of steps, the distance, the
    pace or the lean.
    """
    words_of = phrases.GAITS[gait]
    pace = int(np.searchsorted(words_of.limits, facts.speed))
    turns = [turning(voice, turn, rich) for turn in facts.turns]
    direction = "forward" if turns and facts.direction in ("forward left", "forward right") else facts.direction
    straight = direction == "forward" and not turns and voice.chance(0.2)
    words = {"verb": voice.pick(words_of.verbs[pace]), "way": voice.pick(phrases.WAYS["straight" if straight else direction])}
    clause = "{verb} {way}".format(**words)
    courses = wordings.COURSES.get(gait, {}).get(direction)
    if voice.wide and courses and voice.chance(0.4):
        clause = voice.pick(courses)
    extras = ["steps", "steps"] * (2 <= facts.steps <= 13) + ["distance"] * (facts.distance > 0.75)
    extras += ["lean"] * (abs(facts.lean) > 15) + ["pace"] * (pace != 1 or not extras)
    extra = voice.rng.choice(extras) if rich and len(turns) < 2 and facts.direction not in ("", "in place") else ""
    if extra == "steps":
        clause = voice.pick(words_of.steps, count=phrases.NUMBERS[facts.steps] if facts.steps <= 10 else "about a dozen", **words)
    elif extra == "distance":
        clause = voice.pick(phrases.DISTANCES, meters=meters(facts.distance), **words)
    elif extra == "pace":
        clause += f" {voice.pick(words_of.paces[pace])}"
    elif extra == "lean":
        clause += f" {voice.pick(words_of.bent if facts.lean > 0 else phrases.LEANING_BACK)}"
    like = f" {voice.pick(words_of.likes)}" if words_of.likes else ""
    if len(turns) == 1:
        return join_turn(voice, clause, turns[0], facts.turns[0].when, counted=extra in ("steps", "distance")) + like
    if len(turns) > 3:
        return f"{clause}{like} and {voice.pick(phrases.TURNS_ABOUT)}"
    return ", then ".join([clause, *turns]) + like


def join_turn(voice: Voice, clause: str, turned: str, time: float, counted: bool) -> str:
    """Join the clause about walking or running (`clause`) and the clause about a turn (`turned`) in temporal order.

    `time` is the time of the turn as a fraction of the clip. `counted` states whether `clause` mentions the number of steps or the
    distance of the whole clip, which includes the path after the turn.
    """
    if counted:
        verb, remainder = turned.split(" ", 1)
        return f"{clause}, {progressive(verb)} {remainder} {voice.pick(phrases.ON_THE_WAY['halfway' if 0.4 < time < 0.6 else ''])}"
    if time < 0.25:
        return f"{turned} and {clause}"
    if time < 0.6 and voice.chance(0.4):
        return f"{clause}, {turned} and {voice.pick(phrases.GOES_ON)}"
    return clause + voice.pick(phrases.TURN_JOINS) + turned


def gesture(voice: Voice, facts: Facts, rich: bool, kind: str) -> str:
    """Write the clause of a caption that describes a gesture and names the raised hands, or standing if no hand is raised.

    `kind` is "raise", "wave", "bye" (waving goodbye), "guide" (showing the way) or "respond" (raising a hand to answer).
    """
    up = [hand for hand in facts.hands if hand.level >= CHEST]
    up = up or [hand for hand in facts.hands if hand.level == WAIST and hand.raises]
    if not up:
        return voice.pick(phrases.STANDS)
    level, lowered = min(hand.level for hand in up), all(hand.lowered for hand in up)
    words = {"hand": name_hands(voice, [hand in up for hand in facts.hands]), "it": "them" if len(up) == 2 else "it"}
    high, at = (voice.pick(phrases.LEVELS[level], to=to) for to in ("to", "at"))
    if kind in ("wave", "bye"):
        hidden = max(hand.waves for hand in up) < 2 and max(hand.raises for hand in up) < 2  # a wave of the wrist is not detected
        clause = voice.pick(phrases.LITTLE_WAVES if hidden else phrases.WAVES if kind == "wave" else phrases.BYES, **words)
        clause += f" {voice.rng.choice([at, *([] if hidden else wave_details(voice, up))])}" if rich else ""
        after = voice.pick(phrases.JUMPS, times=times(voice, facts.jumps)) if rich and facts.jumps else ""
    elif kind == "raise":
        raises = wordings.RAISES_HIGH if voice.wide and level >= AT_HEAD and voice.chance(0.5) else phrases.RAISES
        clause = voice.pick(phrases.RAISES_TO, level=high, **words) if rich else voice.pick(raises, **words)
        adverb, after = raise_details(voice, up, words) if rich else ("", "")
        clause += f" {adverb}" if adverb else ""
    else:
        clause, after = voice.pick(phrases.GUIDES if kind == "guide" else phrases.RESPONDS, **words), ""
        if rich and kind == "respond":
            clause = voice.pick(phrases.RAISES_TO, level=high, **words) + " to answer"
    if not after and lowered and kind not in ("wave", "bye") and voice.chance(0.4):
        after = voice.pick(phrases.LOWERS, **words)
    return f"{clause} and {after}" if after else clause


def name_hands(voice: Voice, up: list[bool]) -> str:
    """Words for the raised hands, such as 'her left hand' or 'both arms'. `up` (left, right) states which hands are raised."""
    part = voice.rng.choice(("hand", "hand", "arm"))
    both_hands = voice.pick((f"both {part}s", f"both {part}s", f"both of {{their}} {part}s"))
    one_hand = voice.pick((f"{{their}} {side(up[0])} {part}",))
    return both_hands if all(up) else one_hand


def raise_details(voice: Voice, up: list[Hand], words: dict[str, str]) -> tuple[str, str]:
    """Return an adverb (how often or how fast a hand is raised) and a clause (how long the hand stays up). Both may be ''.

    `up` are the raised hands. `words` are the values of placeholders in phrases.
    """
    raises, rise, seconds = max(h.raises for h in up), max(h.rise for h in up), round(min(h.held for h in up))
    if raises > 1:
        return times(voice, raises), ""
    pace = "fast" if 0 < rise <= 0.22 else "slow" if rise >= 0.6 else ""
    if pace and voice.chance(0.5):
        return voice.pick(phrases.RAISE_PACES[pace]), ""
    if 2 <= seconds < len(phrases.NUMBERS) and voice.chance(0.5):
        return "", voice.pick(phrases.HOLDS, count=phrases.NUMBERS[seconds], **words)
    return "", ""


def wave_details(voice: Voice, up: list[Hand]) -> list[str]:
    """Return candidate phrases that state how often or how fast the raised hands `up` wave; none if they do not wave."""
    waves, seconds = max(hand.waves for hand in up), max(hand.held for hand in up)
    if waves < 2:  # the hand does not wave; the whole arm moves up and down
        return []
    fast, slow = (voice.pick(phrases.WAVE_PACES[pace]) for pace in ("fast", "slow"))
    return [times(voice, waves)] * 2 + [fast] * (waves > 1.4 * seconds) + [slow] * (waves < 0.8 * seconds)


def bow(voice: Voice, facts: Facts, rich: bool) -> str:
    """Write the clause of a caption that describes bowing, or standing if no bow is detected."""
    if not facts.bows:
        return voice.pick(phrases.STANDS)
    depth = voice.pick(next(words for limit, words in phrases.DEPTHS if facts.bow_depth < limit))
    clause = voice.pick(phrases.BOWS_TO, depth=depth) if rich and depth else voice.pick(phrases.BOWS)
    if facts.bows > 1:
        clause += f" {times(voice, facts.bows)}"
    return f"{clause} and {voice.pick(phrases.RISES)}" if voice.chance(0.3) else clause


def fight(voice: Voice, facts: Facts, rich: bool, kind: str) -> str:
    """Write the clause of a caption that describes punches or kicks and names the hand or leg. `kind` is "punch" or "kick".

    If no punch or kick is detected, the clause describes a fighting stance.
    """
    counts = facts.pair(kind)
    if not any(counts):
        return voice.pick(phrases.STANCES)
    part = voice.rng.choice(("hand", "fist") if kind == "punch" else ("leg", "leg", "foot"))
    limb = f"both {part}s".replace("foots", "feet") if all(counts) else voice.pick((f"{{their}} {side(bool(counts[0]))} {part}",))
    kicks = phrases.SPINS if any(abs(turn.degrees) > 270 for turn in facts.turns) else phrases.KICKS
    table = phrases.PUNCHES if kind == "punch" else kicks
    clause = voice.pick(table, hand=limb, leg=limb)
    return f"{clause} {times(voice, sum(counts))}" if rich or sum(counts) > 1 else clause


def dance(voice: Voice, facts: Facts, rich: bool) -> str:
    """Write the clause of a caption that describes a dance, or standing if the body hardly moves."""
    if facts.motion < 0.5:
        return voice.pick(phrases.STANDS)
    turned = f" and {turning(voice, max(facts.turns, key=lambda turn: abs(turn.degrees)), rich)}" if facts.turns else ""
    return voice.pick(phrases.DANCES) + (turned if rich else "")


def call(voice: Voice, facts: Facts, rich: bool) -> str:
    """Write the clause of a caption that describes calling out."""
    cupped = facts.bow_depth > 30 and all(hand.level >= CHEST for hand in facts.hands)
    return voice.pick(phrases.CALLS if cupped else phrases.SHOUTS)


def slash(voice: Voice, facts: Facts, rich: bool) -> str:
    """Write the clause of a caption that describes swings of a sword, or a fighting stance if no swing is detected."""
    swings = min(hand.raises for hand in facts.hands)
    if not swings:
        return voice.pick(phrases.STANCES)
    return voice.pick(phrases.SLASHES) + (f" {times(voice, swings)}" if rich and swings > 1 else "")


WALKS = ("walk", "walk-back", "walk-left", "walk-right", "walk-turn-left", "walk-turn-right")
ACTIONS = {  # content → function that writes its clause; sides are measured, so the sides in the content are ignored
    **dict.fromkeys(WALKS, partial(locomotion, gait="walk")),
    **{gait: partial(locomotion, gait=gait) for gait in ("run", "dash")},
    **{f"raise-up-{hand}": partial(gesture, kind="raise") for hand in HANDS},
    **{f"wave-{hand}": partial(gesture, kind="wave") for hand in HANDS},
    **dict.fromkeys(("bye", "byebye"), partial(gesture, kind="bye")),
    **{kind: partial(gesture, kind=kind) for kind in ("guide", "respond")},
    **{kind: partial(fight, kind=kind) for kind in ("punch", "kick")},
    **dict.fromkeys(("dance-short", "dance-long"), dance),
    "bow": bow, "call": call, "slash": slash,
}  # fmt: skip
