"""Change the verb forms of caption phrases: "sits down and rests" → "sitting down and resting"."""

from __future__ import annotations

import re
from collections.abc import Callable

IRREGULAR = {"is": "being", "lies": "lying", "mimics": "mimicking", "boogies": "boogieing"}
BASES = {"is": "be", "has": "have", "lies": "lie", "does": "do", "goes": "go", "boogies": "boogie"}
DOUBLED = (  # verbs whose last consonant is doubled before -ing
    "bed", "bid", "bob", "chop", "clap", "cup", "cut", "dab", "dip", "drag", "drop", "flag", "flap", "flip", "get", "grab",
    "hit", "hop", "jab", "jog", "let", "lob", "lug", "mop", "nap", "pat", "plod", "plop", "put", "rub", "run", "scrub", "set",
    "sidestep", "sip", "sit", "skip", "slam", "slap", "slip", "slug", "snap", "spar", "spin", "split", "squat", "step", "stop",
    "swab", "swig", "swim", "tap", "tip", "trip", "trot", "uncap", "up", "wag", "wet", "whip", "zigzag",
)  # fmt: skip
SECOND = re.compile(r"(\band then|\bthen|\band|,) (\w+s)\b")  # a word that may be the second verb of a clause
SECOND_VERBS = frozenset((  # second verbs in the tables of phrases; nouns that follow "and" in the tables are not included
    "and", "balances", "bends", "bounces", "brings", "carries", "clears", "climbs", "comes", "continues", "crawls", "curls",
    "cuts", "dips", "dives", "does", "drinks", "drops", "ducks", "enters", "fidgets", "flips", "gets", "gives", "goes",
    "grabs", "heads", "holds", "hops", "hurries", "jumps", "keeps", "kicks", "lands", "laughs", "lays", "leans", "leaps",
    "leaves", "lets", "lies", "lifts", "lowers", "makes", "marches", "moves", "picks", "places", "poses", "practices",
    "pulls", "pushes", "puts", "reaches", "releases", "rests", "returns", "rises", "rolls", "runs", "sets", "shakes",
    "shifts", "shoots", "shouts", "sits", "spins", "squats", "stands", "stays", "steps", "stoops", "stops", "straightens",
    "stretches", "strides", "strikes", "sways", "swings", "takes", "throws", "tosses", "touches", "tucks", "turns", "twirls",
    "twists", "waits", "walks", "waves", "whirls", "wipes",
))  # fmt: skip


def bare(verb: str) -> str:
    """The base form of a verb in the third person: "runs" → "run"."""
    regular = verb[:-3] + "y" if verb.endswith("ies") else re.sub(r"(?<=ss|sh|ch|zz)es$|(?<=x)es$|s$", "", verb)
    return BASES.get(verb, regular)


def progressive(verb: str) -> str:
    """The -ing form of a verb in the third person: "runs" → "running"."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    base = bare(verb)
    if base in DOUBLED:
        return f"{base}{base[-1]}ing"
    return f"{base[:-1] if base.endswith('e') and not base.endswith(('ee', 'oe', 'ye')) else base}ing"


def gerund(clause: str, verbs: frozenset[str] = SECOND_VERBS) -> str:
    """Turn a clause in the third person into a participle: "sits down and crosses their legs" → "sitting down and crossing …".

    Besides the first verb, words of `verbs` that follow "and", "then" or a comma are changed.
    """
    clause = re.sub(r"^is (?=\w+ing\b)", "", clause)
    if not re.match(r"\w+ing\b", clause):
        clause = re.sub(r"^\w+", lambda match: progressive(match[0]), clause)
    return inflect_second(clause, progressive, verbs)


def imperative(clause: str, verbs: frozenset[str]) -> str:
    """Turn a clause in the third person into a request: "sits down and crosses your legs" → "sit down and cross your legs"."""
    return inflect_second(re.sub(r"^\w+", lambda match: bare(match[0]), clause), bare, verbs)


def inflect_second(clause: str, inflect: Callable[[str], str], verbs: frozenset[str]) -> str:
    """Apply `inflect` to each word of `verbs` that follows "and", "then" or a comma in a clause."""
    return SECOND.sub(lambda match: f"{match[1]} {inflect(match[2])}" if match[2] in verbs else match[0], clause)
