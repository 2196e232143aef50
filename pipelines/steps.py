"""Split a prompt that describes a sequence of actions into steps: "squats, then jumps" → "squats", "jumps".

Prompts are split between sentences, at temporal words (then, next, before, after, once, followed by, first …, having …, ending with
…), and at an "and" between a gait and an action that cannot be done while walking ("walks forward and sits down"). Simultaneous
actions ("while", other uses of "and") stay in one step. If a step cannot be completed to a clause with a verb, the prompt is not
split, because the word was not temporal ("stands next to a wall"). Repetitions of some actions are steps too ("bows twice").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from pipelines.caption_index import PERSON, SUBJECT
from pipelines.repetitions import COUNT, repetitions
from pipelines.verb_forms import is_infinitive, is_participle, is_third_person, is_verb, third_person
from utils.errors import note

MAX_STEPS = 4  # prompts with more steps are not split


def pattern(regex: str) -> re.Pattern[str]:
    """Compile a regular expression that ignores the case of letters."""
    return re.compile(regex, re.IGNORECASE)


START = r"(?:^|[,;:(–—]\s*|\b(?:and|but|so)\s+)"  # where a clause can start
THEN = pattern(
    rf"\s*{START}(?:next(?!\s+(?:to|door)\b)|afterwards?|after\s+that|after\s+this|thereafter|subsequently|later(?:\s+on)?|finally|"
    r"lastly|in\s+the\s+end|second(?:ly)?(?=\s*,)|third(?:ly)?(?=\s*,))\b,?\s*"
    rf"|\s*(?:{START})?(?<!now and )(?<!\bwho )(?<!\bthat )(?<!\bsince )(?<!\bby )(?<!\buntil )\bthen\b,?\s*(?:afterwards?\b,?\s*)?"
    r"|\s*,?\s*(?<!\bis )(?<!\bare )(?<!\bbeing )(?<!\bwas )\bfollowed\s+by\b\s*",
)
SENTENCE = pattern(  # between sentences, unless the next sentence describes a state
    r"(?:[.!;]|\.\.\.)\s+(?=(?:(?:he|she|they|someone|somebody|(?:a|an|the)\s+\w+)\s+(?!(?:is|are|was|has|have|looks?|seems?)\b)\w+"
    r"|then|next|after|finally|first|second|lastly)\b)",
)
BEFORE = pattern(r"(?:\s*,\s*right|\s*,?\s*\b(?:just|shortly)|\s*,?)\s+(?:before|prior\s+to)\s+")
AFTER = pattern(
    r"(?:\s*,\s*right|\s*,?\s*\b(?:just|shortly|immediately)|\s*,?)\s+(?:after|once(?!\s+(?:upon|more|again|in|every|a)\b)|as\s+soon\s+as)"
    r"\s+",
)
ENDING = pattern(
    r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)(?:end|finish)(?:ing|s|es)?\s+(?:off\s+|up\s+)?(?:by\s+(?=\w+ing\b)|with\s+(?=(?:an?|one|two|three)\b))",
)
BEGINNING = pattern(r"^(?:starts?|begins?)\s+(?:off\s+|out\s+)?(?:by\s+(?=\w+ing\b)|with\s+(?=an?\b))")
GAIT = pattern(r"\b(?:walk|run|jog|sprint|stroll|stride|march|pace|step|wander|amble|hurr(?:y|ie)|sneak|creep)\w*\b")
LIMBS = r"(?:(?:his|her|their|the|both|one|left|right)\s+)*(?:hands?|arms?|knees?|elbows?)\b"
AND_STOPS = pattern(  # an action that cannot be done while walking
    rf"(?:\s*,\s*(?:and\s+)?|\s+and\s+)(?=(?:sits?|lies?|kneels?|squats?|crouch(?:es)?|bows?|bends?(?!\s+{LIMBS})|stoops?|picks?|"
    rf"grabs?|puts?(?!\s+{LIMBS})|places?(?!\s+{LIMBS})|lays?)\b)",
)
FIRST = pattern(r"^(?:first(?:ly)?|to begin with|at first)\b,?\s*")
INSERTED = pattern(  # "a man, after walking, sits" → "after walking, a man sits"
    r"^([^,]+?)(?<! and)\s*,\s*((?:before|after|while|whilst|once|having|as soon as)\s[^,]+),\s*(?!(?:and|then)\b)(.+)$"
)
DELAY = pattern(r"\b(?:an?|one|two|three|four|five|few|several|some|\d+)\s+(?:seconds?|moments?|minutes?)\s+(?=(?:after|later)\b)")
PAUSE = pattern(r"^(?:a|some|several|few|two|three)?\s*(?:little\s+)?(?:while|moments?|seconds?|minutes?|bit|time|pause|few)\b")
PERFECT = pattern(r"^(?:having|has|have|had)\s+(\w+)(?!\s+(?:hands?|arms?|legs?|foot|feet|knees?|side)\b)")
DONE = pattern(r"^(?:(?:is|are|has|have|was)\s+)?(?:done|finished)\s+(?:with\s+)?(?=\w+ing\b)")
AUXILIARY = pattern(r"(?:\s+(?:is|are|was)|'s)$")
THEY = pattern(r"^they\s+(\w+)\b(?!')")
PLURAL = pattern(r"^(?:they|people|(?:the\s+)?(?:two|three|men|women|children))\b")
PREPOSITION = pattern(r"^(?:on|in|at|under|inside)\s")
PRONOUN = pattern(r"^(?:he|she|they|it)(?:'s)?\b")
CLAUSE = pattern(r"^(?:(?:he|she|they)(?:'s)?\s+\w+|(?:a|an|the)\s+(?:\w+\s+)?(?:person|man|woman)\s+\w+)")
NOUNS = pattern(r"^(?:a|an|the|some|his|her|their|one|two|three|four|five|several|\d+)\b")
GERUND = (  # not "something", "swing"
    r"(?!(?:(?:some|any|no|every)th|even|morn|ceil|build|br|fl|sw|s|spr|sl|cl|str|r|k|w|wr|st)ing\b)\w{2,}ing\b"
)
PROGRESSIVE = pattern(rf"^(?:\w+ly\s+)?{GERUND}")
PEOPLE = pattern(rf"\b(?:{PERSON})\b")
EDGES = pattern(r"^[\s,;:.!?\"()\[\]&+–—-]+|(?:[\s,;:.!?\"()\[\]&+–—-]|(?<!\w)(?:and|but|so|or)(?:\s+(?:he|she|they))?)+$")
SIDE = pattern(r"\b(?:left|right|one|other)\s+([a-z]+)\b")
WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")


def steps(prompt: str) -> list[str]:
    """Return the steps of a prompt, each as a prompt, in the order in which they happen.

    Some actions that a prompt repeats ("bows twice") become one step per repetition. A prompt that describes neither a sequence nor
    repetitions is returned as a single step. If a sequence has more than `MAX_STEPS` steps, the prompt is returned as a single step
    too, and a note is printed once. If there are more than `MAX_STEPS` steps only because of repetitions, these are not split.
    """
    parts, repeated, verbs = sequence(prompt), [], set()
    if not COUNT.search(prompt):  # splitting off the subject may load a dictionary, which takes 0.7 s
        return parts
    for part in parts:
        subject, action = split_subject(tidy(part))
        verb = action.partition(" ")[0]
        # In "bends left, then right twice", both steps may be repeated, so the second step is not split.
        singles = [] if verb in verbs else repetitions(subject, action)
        repeated += singles or [part]
        verbs.add(verb)
    return repeated if len(repeated) <= MAX_STEPS else parts


def sequence(prompt: str) -> list[str]:
    """Return the steps of a prompt, as `steps` does, but without splitting repetitions."""
    text = moved_forward(FIRST.sub("", tidy(prompt)))
    pieces = (trimmed(part) for sentence in SENTENCE.split(text) for part in THEN.split(sentence) if part)
    parts = [trimmed(part) for piece in pieces if piece for part in in_order(piece)]
    if len(parts) < 2 or not all(parts):
        return [prompt]
    subject = subject_of(parts)
    parts = [with_subject(plain(part), subject) for part in completed(parts)]
    if not all(map(is_clause, parts)):
        return [prompt]
    if len(parts) > MAX_STEPS:
        note_of_many(prompt, len(parts))
        return [prompt]
    return parts


@cache
def note_of_many(prompt: str, count: int) -> None:
    """Print a note that a prompt has too many steps. The note is printed once for each prompt."""
    remedy = "make each step a prompt of its own and join them with --join"
    note(f"'{prompt}': has {count} steps, but at most {MAX_STEPS} are generated one after another; {remedy}")


def tidy(text: str) -> str:
    """Return a text with single spaces, straight apostrophes and quotation marks, and no "." or "!" at its end."""
    return " ".join(text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"').split()).rstrip(".! ")


def trimmed(text: str) -> str:
    """Return a text without punctuation and conjunctions at both ends."""
    return EDGES.sub("", text)


def moved_forward(text: str) -> str:
    """Move an inserted clause to the start: "a man, after walking, sits" → "after walking, a man sits"."""
    text = DELAY.sub("", text)
    match = INSERTED.match(text)
    return f"{match[2]}, {match[1]} {match[3]}" if match else text


def in_order(text: str) -> list[str]:
    """Split a text into one or two steps, and return the steps in the order in which they happen.

    The text is split if it begins with "having", or at its first "before" or "after" (or a synonym), or at "ending with", or at an
    "and" between a gait and an action that cannot be done while walking.
    """
    if PERFECT.match(text):
        earlier, comma, later = text.partition(",")
        return [earlier, later] if comma and later.strip() else [text]
    for word, swapped in ((BEFORE, False), (AFTER, True)):
        match = word.search(f" {text}")
        if not match:
            continue
        main, subordinate = f" {text}"[: match.start()].strip(" ,"), f" {text}"[match.end() :].strip(" ,")
        if not main:  # "before sitting down, she waves"; without a comma: "after a short sprint he leaps"
            subordinate, main = split_clauses(subordinate)
        elif not (PROGRESSIVE.match(subordinate) or CLAUSE.match(subordinate)):  # "looks after a child", "stands before a wall"
            continue
        if PAUSE.match(subordinate) or re.search(r"\b(?:who|that|which)\b", main) or main.endswith(" and"):
            continue
        if main and subordinate:
            return [subordinate, main] if swapped else [main, subordinate]
    if (match := ENDING.search(text)) and split_subject(text[: match.start()])[1]:
        return [text[: match.start()], text[match.end() :]]
    stop = AND_STOPS.search(text)
    return [text[: stop.start()], text[stop.end() :]] if stop and GAIT.search(text[: stop.start()]) else [text]


def completed(parts: Sequence[str]) -> list[str]:
    """Repeat the verb in parts that have none: "steps to the left", "to the right" → "steps to the left", "steps to the right".

    The noun of a limb is repeated too: "kicks with the left leg", "with the right" → …, "kicks with the right leg".
    """
    whole = [parts[0]]
    for part in parts[1:]:
        words = WORD.findall(split_subject(whole[-1])[1])
        noun = SIDE.search(whole[-1])
        first = WORD.search(part)
        lacks_verb = first and not is_verb(first[0]) and not SUBJECT.match(part) and not PRONOUN.match(part)
        if lacks_verb and words and is_verb(words[0]) and not re.match(r"an?\s", part, re.IGNORECASE):
            part = f"{words[0]} {part}"
        if noun and re.search(r"\b(?:left|right|other)$", part, re.IGNORECASE) and noun[1] not in part:
            part = f"{part} {noun[1]}" if re.search(r"\b(?:the|his|her|their)\s+\w+$", part) and "to the" not in part else part
        whole.append(part)
    return whole


def plain(text: str) -> str:
    """Reword a step as a caption would state it: "having waved" → "waves", "a short sprint" → "does a short sprint".

    Removes "starts by", "is done", "has finished". "she has sat down" becomes "she sits down".
    """
    subject, action = split_subject(text)
    action = DONE.sub("", BEGINNING.sub("", action, count=1))
    if (match := PERFECT.match(action)) and is_participle(match[1]):
        action = third_person(match[1]) + action[match.end() :]
    if NOUNS.match(action) and (subject or not PEOPLE.search(action)):
        action = f"does {action}"
    elif subject and PROGRESSIVE.match(action) and not AUXILIARY.search(subject):
        action = f"is {action}"
    return f"{subject} {action}".strip()


def split_subject(text: str) -> tuple[str, str]:
    """Split a text into its subject, "" if there is none, and the rest.

    A noun phrase before a verb is a subject too: "a zombie walks" → "a zombie", "walks".
    """
    if match := SUBJECT.match(text) or PRONOUN.match(text):
        return match[0].strip(), text[match.end() :].strip()
    if NOUNS.match(text):
        for number, match in enumerate(WORD.finditer(text)):
            if 2 <= number <= 4 and is_third_person(match[0]):
                return text[: match.start()].strip(), text[match.start() :]
    return "", text


def subject_of(parts: Sequence[str]) -> str:
    """Return the first subject of the parts that is not a pronoun; without one, the first pronoun. "": no part has a subject."""
    subjects = sorted(filter(None, (split_subject(part)[0] for part in parts)), key=lambda subject: bool(PRONOUN.match(subject)))
    return AUXILIARY.sub("", subjects[0]) if subjects else ""


def is_clause(text: str) -> bool:
    """Whether a text has a verb. "repeats" is not accepted, because the action is named elsewhere."""
    subject, action = split_subject(text)
    if AUXILIARY.search(subject):  # the subject includes "is"
        return bool(action)
    words = WORD.findall(action.lower())
    if words and words[0] in ("with", "who", "that"):  # "a person with the left hand raised walks"
        return any(map(is_third_person, words[2:]))
    verb = next((word for word in words if not word.endswith("ly")), "")
    return is_verb(verb) and not verb.startswith("repeat")


def split_clauses(text: str) -> tuple[str, str]:
    """Split a text into a subordinate clause and a main clause; ("", "") if there is no main clause.

    The text is split at its first comma or, without a comma, before its second subject.
    """
    subordinate, comma, main = text.partition(",")
    if comma:
        return subordinate.strip(), main.strip()
    for match in re.finditer(r"\b(?:he|she|they|somebody|someone|(?:a|the) (?:person|man|woman))\b", text, re.IGNORECASE):
        if match.start() > 0:
            return text[: match.start()].strip(), text[match.start() :].strip()
    return "", ""


def with_subject(text: str, subject: str) -> str:
    """Add the subject to a step that has none: "jumps" → "a person jumps", "sitting down" → "a person is sitting down".

    The word "they" is replaced by a subject that is one person: "they walk" → "a person walks".
    """
    if not subject or text.lower().startswith(f"{subject.lower()} "):
        return text
    if (they := THEY.match(text)) and not PLURAL.match(subject):
        return f"{subject} {third_person(they[1])}{text[they.end() :]}"
    if split_subject(text)[0] or NOUNS.match(text):
        return text
    if PROGRESSIVE.match(text) or PREPOSITION.match(text):
        return f"{subject} is {text}"
    verb, rest = WORD.match(text), ""
    if verb and is_infinitive(verb[0]) and not PLURAL.match(subject):  # "he can walk, then jump"
        text, rest = third_person(verb[0]), text[verb.end() :]
    return f"{subject} {text}{rest}"
