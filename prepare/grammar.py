"""Verb forms of the caption phrases: "sits down and rests" → "sitting down and resting"."""

from __future__ import annotations

import re

IRREGULAR = {"is": "being", "has": "having", "lies": "lying", "does": "doing", "goes": "going", "mimics": "mimicking"}
DOUBLED = (  # verbs whose last consonant is doubled before -ing
    "bid", "clap", "cut", "dab", "dip", "drag", "drop", "flip", "get", "grab", "hit", "hop", "jab", "jog", "let", "mop",
    "put", "rub", "run", "scrub", "set", "sip", "sit", "skip", "slap", "slip", "spar", "spin", "squat", "step", "stop",
    "swab", "swim", "tap", "trip", "trot",
)  # fmt: skip
SECOND = re.compile(r"(\band then|\bthen|\band|,) (\w+s)\b")  # where the second part of a clause may begin
SECOND_VERBS = frozenset((  # of the tables, and no nouns that follow "and" there
    "and", "balances", "bends", "bounces", "brings", "carries", "clears", "climbs", "comes", "continues", "crawls", "curls",
    "cuts", "dips", "dives", "does", "drinks", "drops", "ducks", "enters", "fidgets", "flips", "gets", "gives", "goes",
    "grabs", "heads", "holds", "hops", "hurries", "jumps", "keeps", "kicks", "lands", "laughs", "lays", "leans", "leaps",
    "leaves", "lets", "lies", "lifts", "lowers", "makes", "marches", "moves", "picks", "places", "poses", "practices",
    "pulls", "pushes", "puts", "reaches", "releases", "rests", "returns", "rises", "rolls", "runs", "sets", "shakes",
    "shifts", "shoots", "shouts", "sits", "spins", "squats", "stands", "stays", "steps", "stoops", "stops", "straightens",
    "stretches", "strides", "strikes", "sways", "swings", "takes", "throws", "tosses", "touches", "tucks", "turns", "twirls",
    "twists", "waits", "walks", "waves", "whirls", "wipes",
))  # fmt: skip


def progressive(verb: str) -> str:
    """The -ing form of a verb in the third person: "runs" → "running"."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    base = verb[:-3] + "y" if verb.endswith("ies") else re.sub(r"(?<=ss|sh|ch|zz)es$|(?<=x)es$|s$", "", verb)
    if base in DOUBLED:
        return f"{base}{base[-1]}ing"
    return f"{base[:-1] if base.endswith('e') and not base.endswith(('ee', 'oe', 'ye')) else base}ing"


def gerund(clause: str) -> str:
    """A clause in the third person as a participle: "sits down and crosses their legs" → "sitting down and crossing their legs"."""
    clause = re.sub(r"^is (?=\w+ing\b)", "", clause)
    if not re.match(r"\w+ing\b", clause):
        clause = re.sub(r"^\w+", lambda match: progressive(match[0]), clause)
    return SECOND.sub(lambda match: f"{match[1]} {progressive(match[2])}" if match[2] in SECOND_VERBS else match[0], clause)
