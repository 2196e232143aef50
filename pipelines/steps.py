"""The steps of a prompt that says what happens in which order: "a person squats, then jumps" → squats, jumps.

Only words of time divide a prompt (then, before, after, afterwards, followed by, first …, having …). What happens at the same time
("while", "and") stays together.
"""

from __future__ import annotations

import re

from pipelines.caption_index import SUBJECT

MOST = 4  # steps; longer texts are generated as a whole
THEN = re.compile(
    r"\s*(?:[,;.]|\.\.\.)?\s*\b(?:and\s+)?(?:then|next|afterwards?|after\s+that|later|finally)\b,?\s*"
    r"|\s*,?\s*\bfollowed\s+by\b\s*",
    re.IGNORECASE,
)
BEFORE = re.compile(r"\s*,?\s*\b(?:right\s+|just\s+)?before\b\s+", re.IGNORECASE)
AFTER = re.compile(r"\s*,?\s*\b(?:right\s+|just\s+)?after\b\s+", re.IGNORECASE)
FIRST = re.compile(r"^(?:first(?:ly)?|to begin with|at first)\b,?\s*", re.IGNORECASE)
HAVING = re.compile(r"^having\s+", re.IGNORECASE)
PRONOUN = re.compile(r"^(?:he|she|they|it)\b", re.IGNORECASE)
NOUNS = re.compile(r"^(?:a|an|the|some|his|her|their|one|two|three|four|five|several)\b", re.IGNORECASE)
PROGRESSIVE = re.compile(r"^(?:\w+ly\s+)?\w{2,}ing\b", re.IGNORECASE)


def steps(prompt: str) -> list[str]:
    """The steps of a prompt in the order in which they happen, each a prompt of its own; one that says no order is one step."""
    text = " ".join(prompt.split()).rstrip(".! ")
    found = [part for piece in THEN.split(FIRST.sub("", text)) if piece.strip(" ,;.") for part in in_order(piece.strip(" ,;."))]
    if not 2 <= len(found) <= MOST:
        return [prompt]
    subject = next((match[0] for part in found if (match := SUBJECT.match(part))), "")
    return [with_subject(part, subject) for part in found]


def in_order(text: str) -> list[str]:
    """A text without "then" divided at its first "before", "after" or "having", the earlier part first."""
    if match := HAVING.match(text):
        earlier, comma, later = text[match.end() :].partition(",")
        return [f"has {earlier.strip()}", later.strip()] if comma and later.strip() else [text]
    for word, swapped in ((BEFORE, False), (AFTER, True)):
        match = word.search(text)
        if not match:
            continue
        told_first, told_second = text[: match.start()].strip(" ,"), text[match.end() :].strip(" ,")
        if not told_first:  # "before sitting down, she waves"; without a comma: "after a short sprint he leaps"
            told_second, told_first = divided(told_second)
        elif not (PROGRESSIVE.match(told_second) or PRONOUN.match(told_second)):  # "looks after a child", "stands before a wall"
            continue
        if told_first and told_second:
            return [told_second, told_first] if swapped else [told_first, told_second]
    return [text]


def divided(text: str) -> tuple[str, str]:
    """A subordinate clause and what follows it: after its comma, or from the next subject on; ("", "") if nothing follows."""
    clause, comma, rest = text.partition(",")
    if comma:
        return clause.strip(), rest.strip()
    for match in re.finditer(r"\b(?:he|she|they|somebody|someone|a (?:person|man|woman))\b", text, re.IGNORECASE):
        if match.start() > 0:
            return text[: match.start()].strip(), text[match.start() :].strip()
    return "", ""


def with_subject(text: str, subject: str) -> str:
    """A step as a sentence: "jumps" → "a person jumps", "sitting down" → "a person is sitting down"."""
    if not subject or SUBJECT.match(text) or PRONOUN.match(text) or NOUNS.match(text):
        return text
    return f"{subject} is {text}" if PROGRESSIVE.match(text) else f"{subject} {text}"
