"""Accuracy of captions on the dataset `open`: `python -m benchmarks.captions checkpoints/open/m2t/eval/captioning.json`.

This module reads the results of M2T_eval.py. The action (or side) of a generated caption is correct if it is the most common action
(or side) among the clip's reference captions. The mood is evaluated only for clips of Bandai-Namco, whose names contain the style.
The mood is correct if the generated caption contains a phrase that `prepare/phrases.py` lists for the style of the clip.
For the style "normal", the generated caption must not contain a phrase of any mood.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mode

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.captions")

from benchmarks.open_retrieval import action_and_mood
from options.cli import parse
from options.common import option
from prepare.phrases import MOODS
from utils.errors import UserError, script

ACTIONS = {  # the first matching pattern determines the action of a caption
    "dance": r"danc\w+",
    "bow": r"\bbow\w*",
    "kick": r"kick\w*",
    "punch": r"punch\w*|\bbox(es|ing)",
    "sword": r"sword|slash\w*",
    "call": r"\bcall\w* out|shout\w*",
    "wave": r"\bwav(e|es|ing)\b|goodbye|\bbye\b",
    "show the way": r"gestur\w+|\bway with (his|her|their|both)\b|guid\w+|direct someone|this way",
    "answer": r"answer\w*|student",
    "raise": r"(rais|lift|put|bring|hold)\w* .*\b(hand|arm)s?\b",
    "run": r"\b(run|jog|sprint|dash)\w*",
    "walk": r"\bwalk\w*|\bsteps?\b|\bstroll\w*",
}
SIDES = {"left": r"\bleft\b", "right": r"\bright\b", "both": r"\bboth\b|\b(two|his|her|their) (hands|arms)\b"}


def action(caption: str) -> str:
    """The action that the caption names, such as "kick"; "other" if it names none of the actions in `ACTIONS`."""
    plain = caption.replace("as if dancing to music", "")  # describes a mood, not an action
    return next((name for name, words in ACTIONS.items() if re.search(words, plain)), "other")


def side(caption: str) -> tuple[str, ...]:
    """The sides "left" and "right" that the caption names; ("both",) if it names both at once, as in "both" or "two hands"."""
    sides = tuple(name for name, words in SIDES.items() if re.search(words, caption))
    return ("both",) if "both" in sides else sides


def phrase(words: str) -> str:
    """Return a regular expression that matches the phrase `words`. Placeholders in braces match any words."""
    return r"\b" + re.sub(r"\\{.*?\\}", r".+?", re.escape(words.lstrip(", "))) + r"\b"


MOOD_WORDS = {
    name: re.compile("|".join(map(phrase, (*mood.adjectives, *mood.adverbs, *mood.tails, *(who for who, _ in mood.subjects)))))
    for name, mood in MOODS.items()
    if name != "normal"
}


def moods(caption: str) -> set[str]:
    """The moods, such as "sad" or "proud", that the caption expresses."""
    return {name for name, words in MOOD_WORDS.items() if words.search(caption)}


def judge(record: dict) -> dict[str, bool]:
    """Whether "action", "side" and, for clips of Bandai-Namco, "mood" of the generated caption in `record` are correct."""
    caption, references = record["said"].lower(), [text.lower() for text in record["people"]]
    correct = {
        "action": action(caption) == mode(map(action, references)),
        "side": side(caption) == mode(map(side, references)),
    }
    if label := action_and_mood(record["clip"]):
        correct["mood"] = not moods(caption) if label[1] == "normal" else label[1] in moods(caption)
    return correct


@dataclass(frozen=True)
class Captions:
    """Measure how often captions name the right action, side and mood, from the results of M2T_eval.py."""

    results: str = option("", "result file <ext>.json of M2T_eval.py", positional=True)
    wrong: int = option(0, "maximum number of captions with a wrong action, side or mood to print")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Captions, argv)
    try:
        captions = json.loads(Path(args.results).read_text(encoding="utf-8"))["captions"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{args.results}: not a result file of M2T_eval.py ({error}); give its <ext>.json file") from None
    judged = [judge(record) for record in captions]
    for kind in ("action", "side", "mood"):
        of_kind = [correct[kind] for correct in judged if kind in correct]
        if of_kind:
            print(f"{kind:<8}{sum(of_kind):>5} of {len(of_kind)}  {sum(of_kind) / len(of_kind):.3f}")
    wrong = [(record, correct) for record, correct in zip(captions, judged) if not all(correct.values())]
    for record, correct in wrong[: args.wrong]:
        kinds = ", ".join(kind for kind, is_correct in correct.items() if not is_correct)
        print(f"{record['clip']} ({kinds}): {record['said']}\n    {record['people'][0]}")


if __name__ == "__main__":
    main()
