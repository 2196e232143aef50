"""Split a prompt that describes a sequence of actions into steps: "squats, then jumps" → "squats", "jumps".

Prompts are split at temporal words (then, before, after, once, followed by, first …, having …, ending with …), and at an "and"
between a gait and an action that cannot be done while walking ("walks forward and sits down"). Simultaneous actions ("while", other
uses of "and") stay in one step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.caption_index import SUBJECT
from pipelines.verb_forms import is_participle, third_person

MAX_STEPS = 4  # prompts with more steps are not split
THEN = re.compile(
    r"\s*(?:[,;.]|\.\.\.)?\s*\b(?:and\s+)?(?:then|next|afterwards?|after\s+that|thereafter|subsequently|later|finally|lastly|"
    r"in the end|second(?:ly)?(?=\s*,))\b,?\s*"
    r"|\s*,?\s*\bfollowed\s+by\b\s*",
    re.IGNORECASE,
)
BEFORE = re.compile(r"\s*,?\s*\b(?:(?:right|just|shortly)\s+)?(?:before|prior\s+to)\b\s+", re.IGNORECASE)
AFTER = re.compile(
    r"\s*,?\s*\b(?:(?:right|just|shortly|immediately)\s+)?(?:after|once|as\s+soon\s+as)\b\s+|^(?:following|upon)\s+", re.IGNORECASE
)
ENDING = re.compile(r"\s*,?\s*\b(?:and\s+)?(?:end|finish)(?:ing|s|es)?\s+(?:off\s+|up\s+)?(?:with|by|in)\b\s+", re.IGNORECASE)
BEGINNING = re.compile(r"\b(?:starts?|begins?)\s+(?:off\s+|out\s+)?(?:with|by)\s+(?=\w)", re.IGNORECASE)
GAIT = re.compile(r"\b(?:walk|run|jog|sprint|stroll|stride|march|pace|step|wander|amble|hurr(?:y|ie)|sneak|creep)\w*\b", re.I)
AND_STOPS = re.compile(  # an action that cannot be done while walking
    r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)(?=(?:sits?|lies?|kneels?|squats?|crouch(?:es)?|bows?|bends?|stoops?|picks?|grabs?|puts?|"
    r"places?|lays?)\b)",
    re.IGNORECASE,
)
FIRST = re.compile(r"^(?:first(?:ly)?|to begin with|at first)\b,?\s*", re.IGNORECASE)
PERFECT = re.compile(r"^(?:having|has|have|had)\s+(\w+)", re.IGNORECASE)
DONE = re.compile(r"^(?:(?:is|are|has|have|was)\s+)?(?:done|finished)\s+(?:with\s+)?(?=\w+ing\b)", re.IGNORECASE)
AUXILIARY = re.compile(r"\s+(?:is|are|was)$", re.IGNORECASE)
THEY = re.compile(r"^they\s+(\w+)", re.IGNORECASE)
PLACE = re.compile(r"^(?:on|in|at|under|inside)\s", re.IGNORECASE)
PRONOUN = re.compile(r"^(?:he|she|they|it)\b", re.IGNORECASE)
NOUNS = re.compile(r"^(?:a|an|the|some|his|her|their|one|two|three|four|five|several)\b", re.IGNORECASE)
PROGRESSIVE = re.compile(r"^(?:\w+ly\s+)?\w{2,}ing\b", re.IGNORECASE)


def steps(prompt: str) -> list[str]:
    """Return the steps of a prompt, each as a prompt, in the order in which they happen.

    A prompt that does not describe a sequence, or has more than `MAX_STEPS` steps, is returned as a single step.
    """
    text = " ".join(prompt.split()).rstrip(".! ")
    pieces = (piece.strip(" ,;.") for piece in THEN.split(FIRST.sub("", text)))
    parts = [part for piece in pieces if piece for part in in_order(piece)]
    if not 2 <= len(parts) <= MAX_STEPS:
        return [prompt]
    subject = subject_of(parts)
    return [with_subject(plain(part), subject) for part in parts]


def subject_of(parts: Sequence[str]) -> str:
    """Return the first subject of the parts that is not a pronoun; without one, the first pronoun. "": no part has a subject."""
    matches = [match[0] for pattern in (SUBJECT, PRONOUN) for part in parts if (match := pattern.match(part))]
    subjects = sorted(matches, key=lambda subject: bool(PRONOUN.match(subject)))
    return AUXILIARY.sub("", subjects[0]) if subjects else ""


def in_order(text: str) -> list[str]:
    """Split a text into one or two steps, and return the steps in the order in which they happen.

    The text is split if it begins with "having", or at its first "before" or "after" (or a synonym), or at "ending with", or at an
    "and" between a gait and an action that cannot be done while walking.
    """
    if PERFECT.match(text):
        earlier, comma, later = text.partition(",")
        return [earlier.strip(), later.strip()] if comma and later.strip() else [text]
    for word, swapped in ((BEFORE, False), (AFTER, True)):
        match = word.search(text)
        if not match:
            continue
        main, subordinate = text[: match.start()].strip(" ,"), text[match.end() :].strip(" ,")
        if not main:  # "before sitting down, she waves"; without a comma: "after a short sprint he leaps"
            subordinate, main = split_clauses(subordinate)
        elif not (PROGRESSIVE.match(subordinate) or PRONOUN.match(subordinate)):  # "looks after a child", "stands before a wall"
            continue
        if main and subordinate:
            return [subordinate, main] if swapped else [main, subordinate]
    if (match := ENDING.search(text)) and SUBJECT.sub("", PRONOUN.sub("", text[: match.start()])).strip() and text[match.end() :]:
        return [text[: match.start()], text[match.end() :]]
    stop = AND_STOPS.search(text)
    return [text[: stop.start()], text[stop.end() :]] if stop and GAIT.search(text[: stop.start()]) else [text]


def plain(text: str) -> str:
    """Reword a step as a caption would state it: "having waved" → "waves", "a short sprint" → "does a short sprint".

    Removes "starts by", "is done", "has finished". "she has sat down" becomes "she sits down".
    """
    subject = match[0] if (match := SUBJECT.match(text) or PRONOUN.match(text)) else ""
    action = BEGINNING.sub("", text[len(subject) :].strip(), count=1)
    action = DONE.sub("", action)
    if (match := PERFECT.match(action)) and is_participle(match[1]):
        action = third_person(match[1]) + action[match.end() :]
    if not subject and NOUNS.match(action):
        action = f"does {action}"
    elif subject and PROGRESSIVE.match(action) and not AUXILIARY.search(subject):
        action = f"is {action}"
    return f"{subject} {action}".strip()


def split_clauses(text: str) -> tuple[str, str]:
    """Split a text into a subordinate clause and a main clause; ("", "") if there is no main clause.

    The text is split at its first comma or, without a comma, before its second subject.
    """
    subordinate, comma, main = text.partition(",")
    if comma:
        return subordinate.strip(), main.strip()
    for match in re.finditer(r"\b(?:he|she|they|somebody|someone|a (?:person|man|woman))\b", text, re.IGNORECASE):
        if match.start() > 0:
            return text[: match.start()].strip(), text[match.start() :].strip()
    return "", ""


def with_subject(text: str, subject: str) -> str:
    """Add the subject to a step that has none: "jumps" → "a person jumps", "sitting down" → "a person is sitting down".

    The word "they" is replaced, because it refers to one person: "they walk" → "a person walks".
    """
    if subject and (they := THEY.match(text)):
        return f"{subject} {third_person(they[1])}{text[they.end() :]}"
    if not subject or SUBJECT.match(text) or PRONOUN.match(text) or NOUNS.match(text):
        return text
    return f"{subject} is {text}" if PROGRESSIVE.match(text) or PLACE.match(text) else f"{subject} {text}"
