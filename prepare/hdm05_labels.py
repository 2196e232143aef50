"""Labels in words for HDM05's classes: "kickLFront1Reps" → "kick to the front with the left foot, 1 repetition"."""

from __future__ import annotations

import re

from prepare.actions import lower_words

COUNT = re.compile(r"(\d+)(reps?|hops?|steps?)?$", re.IGNORECASE)
START = re.compile(r"([LR])(elbow)?start$", re.IGNORECASE)
SIDES = {"L": "left", "R": "right"}
# Pattern of a class name without the number of repetitions and the starting limb → words. {side} stands for a matched L or R, and
# {word} for a matched longer group, such as Front.
WORDS = (
    (r"deposit(?:Floor)([LR])", "bend down and put something on the floor with the {side} hand"),
    (r"deposit(?:High)([LR])", "put something on a high shelf with the {side} hand"),
    (r"deposit(?:Low|Middle)([LR])", "put something down on a shelf with the {side} hand"),
    (r"grabHigh([LR])", "reach up and grab something high with the {side} hand"),
    (r"grabFloor([LR])", "bend down and pick up something from the floor with the {side} hand"),
    (r"grab(?:Low|Middle)([LR])", "grab something with the {side} hand"),
    (r"elbowToKnee", "lift the knee to the elbow of the other side"),
    (r"hopBothLegs", "hop on both legs"),
    (r"hop([LR])Leg", "hop on the {side} leg"),
    (r"jog(Left|Right)Circle", "jog in a circle to the {word}"),
    (r"walk(Left|Right)Circle", "walk in a circle to the {word}"),
    (r"kick([LR])(Front|Side)", "kick to the {word} with the {side} foot"),
    (r"punch([LR])(Front|Side)", "punch to the {word} with the {side} hand"),
    (r"lieDownFloor", "lie down on the floor"),
    (r"rotateArmsBoth(Backward|Forward)", "rotate both arms {word}"),
    (r"rotateArms([LR])(Backward|Forward)", "rotate the {side} arm {word}"),
    (r"clap", "clap the hands"),
    (r"clapAboveHead", "clap the hands above the head"),
    (r"jumpingJack", "jumping jacks"),
    (r"(jog|run|walk)OnPlace", "{word} on the spot"),
    (r"sitDown(?:Chair|Table)", "sit down on a chair"),
    (r"sitDownFloor", "sit down on the floor"),
    (r"standUpSit(?:Chair|Table)", "stand up from a chair"),
    (r"standUp(?:Lie|Sit)Floor", "get up from the floor"),
    (r"standUpKneelToStand", "stand up from kneeling"),
    (r"staircase(Down|Up)", "walk {word} stairs"),
    (r"throwBasketball", "throw a basketball"),
    (r"throw(?:Far|Standing|Sitting)?(?:High|Low)?([LR])", "throw with the {side} hand"),
)


def label_of_class(name: str) -> str:
    """Translate a class in HDM05's file names to words: "squat3Reps" → "squat, 3 repetitions"."""
    start = START.search(name)
    stem = name[: start.start()] if start else name
    count = COUNT.search(stem)
    stem = re.sub("([LR]HandStart|Start(Air|Floor))$", "", stem[: count.start()] if count else stem)
    words = [in_words(stem)]
    unit = (count[2] or "").lower().rstrip("s") if count else ""
    if unit:
        unit = "repetition" if unit == "rep" else unit
        words.append(f"{count[1]} {unit}{'' if count[1] == '1' else 's'}")
    if start:
        limb = (start[2] or "foot").lower()
        first = f"{SIDES[start[1].upper()]} {limb} first"
        words.insert(1 if limb == "elbow" else len(words), first)
    return ", ".join(words)


def in_words(stem: str) -> str:
    """Translate an HDM05 class to English with the patterns in `WORDS` or, if none matches, by splitting its name into words.

    `stem` is the class name without the number of repetitions and the starting limb.
    """
    for pattern, words in WORDS:
        if match := re.fullmatch(pattern, stem):
            groups = [group for group in match.groups() if group]
            side = next((SIDES[group] for group in groups if group in SIDES), "")
            return words.format(side=side, word=next((group.lower() for group in groups if len(group) > 1), ""))
    words = re.sub(r"([LR])(?=[A-Z]|$)", lambda side: f" {SIDES[side[0]]} ", stem)
    return " ".join(lower_words(words).split())
