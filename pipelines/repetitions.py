"""Split a step that repeats an action into one step per repetition: "bows twice" → "bows", "bows".

In a single motion, the model repeats some actions as often as the prompt says, such as jumps, squats, kicks and waves. For the
actions in `ACTIONS`, one step per repetition follows the prompt more often (docs/experiments.md).
"""

from __future__ import annotations

import re

ACTIONS = r"(?:bows?|bends?|raises?|lifts?|punch(?:es)?|jabs?|throws?|cartwheels?|(?:back ?)?flips?|somersaults?)"
DOES = r"(?:do|tak|throw|perform|mak|land|turn)(?:es|s|ing)"
PLURALS = r"(?:bows|punches|jabs|throws|cartwheels|(?:back ?)?flips|somersaults)"
NUMBERS = {"twice": 2, "two": 2, "2": 2, "thrice": 3, "three": 3, "3": 3}
IN_A_ROW = r"(?:\s+(?:in a row|in succession|one after (?:the other|another)))?"
TIMES = re.compile(rf"\b{ACTIONS}\b.*?(\s+(?:(twice|thrice)|(two|2|three|3) times)\b{IN_A_ROW})", re.IGNORECASE)
COUNTED = re.compile(rf"\b{DOES}\s+(two|2|three|3)\s+((?:\w+\s+)?{PLURALS})\b{IN_A_ROW}", re.IGNORECASE)
UNSUITABLE = re.compile(r"\b(?:and|while|as|knees?)\b", re.IGNORECASE)  # several actions; "twice as far"; squats in other words


def repetitions(step: str) -> list[str]:
    """Return one text for each repetition of the action of a step, or the step itself if it is not repeated."""
    if UNSUITABLE.search(step):
        return [step]
    if match := TIMES.search(step):
        single = step[: match.start(1)] + step[match.end(1) :]
        return [single] * NUMBERS[(match[2] or match[3]).lower()]
    if match := COUNTED.search(step):
        noun = match[2].removesuffix("es") if match[2].endswith("ches") else match[2].removesuffix("s")
        article = "an" if noun[0].lower() in "aeiou" else "a"
        return [f"{step[: match.start(1)]}{article} {noun}{step[match.end() :]}"] * NUMBERS[match[1].lower()]
    return [step]
