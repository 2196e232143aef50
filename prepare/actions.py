"""The actions of the `open` dataset, and their detection in the labels of clips.

A label is the action in a Bandai-Namco file name ("wave-left-hand"; called *content* in this package), CMU's description of a
capture ("sit on high stool, stand up"), the name of an HDM05 class converted to words, or a caption. A label can name several
actions. The action that comes first in the tables below is the main action of the clip. The main action determines how often the
clip is sampled in training, and under which action the clip is listed in reports.
"""

from __future__ import annotations

import re

HANDS = ("left-hand", "right-hand", "both-hands")
CONTENTS: dict[str, tuple[str, ...]] = {  # Bandai-Namco's contents
    **dict.fromkeys(("walk", "walk-back", "walk-left", "walk-right"), ("walk",)),
    **dict.fromkeys(("walk-turn-left", "walk-turn-right"), ("walk", "turn")),
    **dict.fromkeys(("run", "dash"), ("run",)),
    **{f"raise-up-{hand}": ("raise an arm",) for hand in HANDS},
    **{f"wave-{hand}": ("wave",) for hand in HANDS},
    **dict.fromkeys(("bye", "byebye"), ("wave",)),
    **dict.fromkeys(("dance-short", "dance-long"), ("dance",)),
    "guide": ("point",), "respond": ("raise an arm",), "bow": ("bow",), "call": ("call out",),
    "punch": ("punch",), "kick": ("kick",), "slash": ("swing a sword",),
}  # fmt: skip

WHOLE: tuple[tuple[str, str], ...] = (  # actions that describe the whole clip: if one matches, all other actions are ignored
    (
        "act as an animal",
        r"human subject|(like|imitat\w+|acts? as) (a |an )?(bear|chicken|dog|dinosaur|elephant|fish|monkey|snake|whale|animal)",
    ),
    ("dance", r"danc|ballet|\bdab\b|waltz|salsa|pirouette"),
    ("climb on a playground", r"playground(?! - forward jumps)"),
    ("mime", r"vacation|nursery rhyme|teapot|mime"),
    ("swing a sword", r"sword"),
)  # fmt: skip
PARTS: tuple[tuple[str, str], ...] = (  # actions in order of priority: the first match is the main action
    ("cartwheel", r"cartwheel"),
    ("flip", r"flip\b|flips|handspring|hand spring|somersault"),
    ("roll", r"\brolls?\b|rolling"),
    ("lie down", r"\b(lie|lies|lay|lays|lying) down|lies? on"),
    ("get up from the floor", r"gets? up|getting up|rises? from the (floor|ground)"),
    ("crawl", r"crawl"),
    ("sit down", r"\bsits?\b|sitting|takes? a seat"),
    ("stand up", r"(stand|stands|standing) (back )?up"),
    ("climb a ladder", r"ladder"),
    ("climb steps", r"\bstairs?\b|climb \d steps|(up|down) (the |some )?(steps|stairs)"),
    ("jumping jacks", r"jumping jack"),
    ("touch elbow to knee", r"knee to the elbow|elbow to (the )?knee"),
    ("circle the arms", r"(rotate|circle|windmill)s? (both |their |his |her )?arms"),
    ("kick", r"\bkick|geri\b"),
    ("karate", r"empi|gedanbarai|heian|mawashigeri|oiduki|syutouuke|yokogeri|karate|martial art|front kick"),
    ("punch", r"punch|strike|box(es|ing)\b|oiduki"),
    ("soccer", r"soccer|football"),
    ("throw", r"\bthrow|toss"),
    ("basketball", r"basketball(?! signals)|dribbl"),
    ("pick up", r"pick(s|ing)? (up|box)|picks? (a |the )?\w+ up|scoop"),
    ("put down", r"(set|sets|put|puts|place|places) (\w+ )*(down|on the floor)"),
    ("squat", r"squat|crouch|bending knees"),
    ("jump", r"\bjump(?!ing jack)|\bleap|\bskip"),
    ("hop", r"\bhop"),
    ("duck", r"\bduck"),
    ("balance on one leg", r"\bbalanc"),
    ("reach up", r"reach|grab"),
    ("drink", r"drink|coffee mug"),
    ("wash", r"\bwash"),
    ("mop", r"\bmop|sweep"),
    ("laugh", r"laugh"),
    ("point", r"\bpoint(?!e)|direct traffic|signals"),
    ("wave", r"\bwav(e|es|ing)\b"),
    ("bow", r"\bbow(s|ing)?\b"),
    ("raise an arm", r"(raise|lift)(s|ing)? (\w+ )?(\w+ )?(arm|hand)"),
    ("stretch", r"\bstretch|twist|bend over(?!, scoop)|range of motion|exercis|warms? up"),
    ("walk like a zombie", r"zombie"),
    ("sneak", r"sneak|stealth|tiptoes (?!to)|creep"),
    ("walk", r"walk(?! (like a zombie|stealth))|stride|stroll|pace"),
    ("run", r"\bruns?\b|running|jog|sprint|\bdash"),
    ("turn", r"turn(?!s? step)|\bspin(?!k| kick|ning kick)|whirl|twirl|veer|run (right|left)$"),
    ("stop", r"\bstop"),
    ("idle", r"\bidle|stands? still|waits?\b"),
    ("hold a pose", r"motorcycle|\bpose\b"),
)  # fmt: skip
ACTIONS = tuple(dict.fromkeys([action for action, _ in (*PARTS, *WHOLE)] + [a for actions in CONTENTS.values() for a in actions]))


def lower_words(label: str) -> str:
    """The label in lower case, with CamelCase split into words: "SadWalk" → "sad walk"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()


def actions_in(label: str, source: str = "") -> tuple[str, ...]:
    """Return the actions that a label or caption names, the main action first. If the label names no action, the tuple is empty.

    Args:
        label: description in words or, for Bandai-Namco, a content such as "walk-turn-left".
        source: "bandai 1", "bandai 2", "cmu", "hdm05" or another source of clips.
    """
    if source.startswith("bandai"):
        return CONTENTS.get(label, ())
    words = lower_words(label)
    whole = [action for action, pattern in WHOLE if re.search(pattern, words)]
    return tuple(whole[:1] or (action for action, pattern in PARTS if re.search(pattern, words)))
