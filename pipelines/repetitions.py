"""Split a step that repeats an action into one step per repetition: "bows twice" → "bows", "bows".

In a single motion, the model repeats some actions as often as the prompt says, such as jumps, squats, kicks and waves. For the
actions in this module, one step per repetition follows the prompt more often (docs/experiments.md). A step is split only if it
consists of its subject, the action, the count, and words that describe the action further. In all other steps, the count may belong
to something else ("raises a hand to wave twice").
"""

from __future__ import annotations

import re

TWICE = r"(?P<count>twice|thrice|(?:two|2|three|3)(?=\s+times))(?:\s+times)?"
COUNT = re.compile(r"\b(?:twice|thrice|two|2|three|3)\b", re.IGNORECASE)
NUMBERS = {"twice": 2, "two": 2, "2": 2, "thrice": 3, "three": 3, "3": 3}
IN_A_ROW = r"(?:\s+(?:in (?:a row|succession|quick succession)|one after (?:the other|another)))?"
LIMB = r"with\s+(?:the|his|her|their|both|one)\s+(?:(?:left|right)\s+)?(?:hands?|arms?|fists?)"
MANNER = (
    r"(?:forwards?|backwards?|down|up|over|low|high|deeply|deep|politely|respectfully|slightly|slowly|quickly|fast|hard|sideways|"
    rf"in front of \w+|in the air|into the air|on the (?:floor|ground|spot)|at the waist|from the (?:hips|waist)|{LIMB})"
)
GREETING = r"(?:to|in order to)\s+(?:greet|thank|salute|welcome)\s+(?:\w+\s+)?\w+|(?:to|towards|before)\s+(?:the|his|her|an?)\s+\w+"
RAISED = r"(?:the|his|her|their|both|one|an?)\s+(?:of\s+(?:his|her|their)\s+)?(?:(?:left|right)\s+)?(?:hands?|arms?)"
THROWN = r"an?\s+(?:(?:left|right|quick|hard)\s+)?(?:punch|jab|hook|uppercut|ball|basketball)|the\s+(?:ball|basketball)"
ACTIONS = "|".join((
    rf"(?:bow|bend)(?:s|ing)(?:\s+(?:{GREETING}))?",
    r"punch(?:es|ing)|jabs|jabbing|somersault(?:s|ing)|cartwheel(?:s|ing)",
    rf"throw(?:s|ing)\s+(?:{THROWN})",
    rf"(?:raises|raising|lifts|lifting)\s+{RAISED}",
    r"(?:does|doing|performs|performing|turns|turning)\s+an?\s+(?:cartwheel|back ?flip)",
))  # fmt: skip
TIMES = re.compile(rf"(?P<action>(?:{ACTIONS})(?:\s+{MANNER})?)\s+{TWICE}(?P<rest>(?:\s+{MANNER})?){IN_A_ROW}", re.IGNORECASE)
NOUNS = re.compile(
    r"(?P<verb>(?:do|tak|throw|perform|mak|land|turn|giv)(?:es|s|ing))\s+(?P<count>two|2|three|3)\s+"
    r"(?P<noun>(?:(?:deep|polite|elegant|quick|fast|slow|hard|low|small|big|left|right|straight)\s+)?"
    rf"(?:bow|punch|jab|cartwheel|(?:back ?)?flip|somersault))(?:es|s)(?P<rest>(?:\s+{MANNER})?){IN_A_ROW}",
    re.IGNORECASE,
)


def repetitions(subject: str, action: str) -> list[str]:
    """Return one text for each repetition of the action of a step; []: the step is not split.

    `subject` and `action` are the two parts of the step: "a man", "bows twice".
    """
    if match := TIMES.fullmatch(action):
        single = match["action"] + match["rest"]
    elif match := NOUNS.fullmatch(action):
        article = "an" if match["noun"][0].lower() in "aeiou" else "a"
        single = f"{match['verb']} {article} {match['noun']}{match['rest']}"
    else:
        return []
    return [f"{subject} {single}".strip()] * NUMBERS[match["count"].lower()]
