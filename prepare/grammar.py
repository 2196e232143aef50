"""Verb forms of the caption phrases: "sits down and rests" → "sitting down and resting"."""

from __future__ import annotations

import re

IRREGULAR = {"is": "being", "has": "having", "lies": "lying", "does": "doing", "goes": "going", "mimics": "mimicking"}
DOUBLED = (  # verbs whose last consonant is doubled before -ing
    "sit", "run", "jog", "hop", "mop", "dab", "put", "get", "squat", "step", "grab", "cut", "spin", "drop", "hit", "let",
    "skip", "dip", "flip", "scrub", "rub", "stop", "trot", "set", "drag", "swab", "jab", "bid", "slap", "clap", "tap",
    "trip", "slip", "swim",
)  # fmt: skip
SECOND = re.compile(r"(\band then|\bthen|\band|,) (\w+s)\b")  # where the second part of a clause may begin
SECOND_VERBS = frozenset((  # of the tables, and no nouns that follow "and" there
    "bends", "bounces", "brings", "carries", "clears", "comes", "continues", "crawls", "curls", "cuts", "dips", "dives",
    "does", "drinks", "drops", "ducks", "enters", "fidgets", "flips", "gets", "gives", "goes", "grabs", "heads", "holds",
    "hops", "hurries", "jumps", "keeps", "kicks", "lands", "laughs", "lays", "leans", "leaps", "leaves", "lets", "lies",
    "lifts", "lowers", "makes", "marches", "moves", "picks", "places", "poses", "practices", "pulls", "pushes", "puts",
    "reaches", "releases", "rests", "returns", "rises", "rolls", "runs", "sets", "shakes", "shoots", "shouts", "sits",
    "spins", "squats", "stands", "stays", "steps", "stoops", "stops", "straightens", "stretches", "strides", "strikes",
    "sways", "swings", "takes", "throws", "tosses", "tucks", "turns", "twirls", "twists", "waits", "walks", "waves", "whirls",
    "wipes",
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
    verb, _, rest = clause.partition(" ")
    if verb == "is" and rest.split(" ")[0].endswith("ing"):
        verb, _, rest = rest.partition(" ")
    else:
        verb = progressive(verb)
    rest = SECOND.sub(lambda match: f"{match[1]} {progressive(match[2])}" if match[2] in SECOND_VERBS else match[0], f" {rest}")
    return (verb + rest).strip()
