"""Accuracy of captions on `open`: `python -m benchmarks.captions checkpoints/open/m2t/eval/captioning.json`.

Reads the results of M2T_eval.py. Action and side are correct if most of the clip's own captions name the same ones. The mood is
correct if the caption expresses the mood of Bandai-Namco's actor in one of the phrases of `prepare/phrases.py`, or no mood if the
actor had none. CMU's clips have human captions and no mood, so only action and side are evaluated.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.captions")

from benchmarks.open_retrieval import action_and_mood
from options.cli import parse
from options.common import option
from prepare.phrases import MOODS
from utils.errors import UserError, script

ACTIONS = {  # the first that fits is the caption's
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
    """The action that a caption names; "other" if it names none of `ACTIONS`."""
    plain = caption.replace("as if dancing to music", "")  # a mood
    return next((name for name, words in ACTIONS.items() if re.search(words, plain)), "other")


def side(caption: str) -> tuple[str, ...]:
    """The sides that the caption names; "both hands" counts only if no other side is named."""
    found = tuple(name for name, words in SIDES.items() if re.search(words, caption))
    return ("both",) if "both" in found else found


def phrase(words: str) -> str:
    """A phrase as a regular expression, in which braces match any words."""
    return r"\b" + re.sub(r"\\{.*?\\}", r".+?", re.escape(words.lstrip(", "))) + r"\b"


MOOD_WORDS = {
    name: re.compile("|".join(map(phrase, (*mood.adjectives, *mood.adverbs, *mood.tails, *(who for who, _ in mood.subjects)))))
    for name, mood in MOODS.items()
    if name != "normal"
}


def moods(caption: str) -> set[str]:
    """The moods that the caption expresses."""
    return {name for name, words in MOOD_WORDS.items() if words.search(caption)}


def most(values: list) -> object:
    """The most common value."""
    return Counter(values).most_common(1)[0][0]


def judge(one: dict) -> dict[str, bool]:
    """Whether each of "action", "side" and, for Bandai-Namco's clips, "mood" is correct in a caption."""
    said, people = one["said"].lower(), [text.lower() for text in one["people"]]
    found = {"action": action(said) == most(list(map(action, people))), "side": side(said) == most(list(map(side, people)))}
    if label := action_and_mood(one["clip"]):
        found["mood"] = not moods(said) if label[1] == "normal" else label[1] in moods(said)
    return found


@dataclass(frozen=True)
class Captions:
    """How often captions name the right action, side and mood, from the results of M2T_eval.py."""

    results: str = option("", "a .json of M2T_eval.py", positional=True)
    wrong: int = option(0, "number of wrong captions to print")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Captions, argv)
    try:
        captions = json.loads(Path(args.results).read_text(encoding="utf-8"))["captions"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{args.results}: not a result of M2T_eval.py ({error}); give its .json") from None
    judged = [judge(one) for one in captions]
    for kind in ("action", "side", "mood"):
        of_kind = [found[kind] for found in judged if kind in found]
        if of_kind:
            print(f"{kind:<8}{sum(of_kind):>5} of {len(of_kind)}  {sum(of_kind) / len(of_kind):.3f}")
    wrong = [(one, found) for one, found in zip(captions, judged) if not all(found.values())]
    for one, found in wrong[: args.wrong]:
        what = ", ".join(kind for kind, right in found.items() if not right)
        print(f"{one['clip']} ({what}): {one['said']}\n    {one['people'][0]}")


if __name__ == "__main__":
    main()
