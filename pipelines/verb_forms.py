"""Forms of English verbs, from the dictionary of LemmInflect, which is loaded at the first use."""

from __future__ import annotations

from functools import cache

NO_VERBS = frozenset((
    "back", "backward", "backwards", "down", "forward", "forwards", "left", "right", "up", "round", "around", "over", "out", "off",
    "on", "in", "to", "at", "then", "again", "once", "twice", "even", "slow", "fast", "faster", "slower", "low", "still", "other",
    "hand", "hands", "arm", "arms", "leg", "legs", "foot", "feet", "knee", "knees", "elbow", "head", "shoulder", "shoulders", "his",
    "body", "one", "both", "like", "well", "far", "near", "center", "centre", "side", "sides", "front", "ground", "floor", "a",
))  # fmt: skip
MODALS = frozenset(("can", "could", "will", "would", "shall", "should", "may", "might", "must", "don", "do", "does", "did"))


@cache
def lemma(word: str) -> str:
    """Return the infinitive of a verb in any form, or "" for other words. Words such as "right" and "hand" count as other words."""
    from lemminflect import getLemma  # takes 0.3 s, and 2 s if spaCy is installed

    word = word.lower()
    lemmas = () if word in NO_VERBS else getLemma(word, upos="VERB", lemmatize_oov=False)
    return lemmas[0] if lemmas else ""


@cache
def third_person(verb: str) -> str:
    """Return the third person singular of a verb in any form: "waved" → "waves", "are" → "is".

    Modal verbs, and words that are not verbs, are returned unchanged.
    """
    from lemminflect import getInflection

    infinitive = "" if verb.lower() in MODALS else lemma(verb)
    forms = getInflection(infinitive, tag="VBZ", inflect_oov=False) if infinitive else ()
    return forms[0] if forms else verb


def is_verb(word: str) -> bool:
    """Whether a word can be a form of a verb."""
    return word.lower() in MODALS or bool(lemma(word))


def is_infinitive(word: str) -> bool:
    """Whether a word is a verb in the infinitive: "wave", but not "waves"."""
    return lemma(word) == word.lower() != third_person(word)


def is_third_person(word: str) -> bool:
    """Whether a word can be the third person singular of a verb: "waves", "is"."""
    return bool(lemma(word)) and third_person(word) == word.lower()


def is_participle(word: str) -> bool:
    """Whether a word can be a past participle: "waved", "sat"."""
    from lemminflect import getInflection

    return bool(lemma(word)) and word.lower() in getInflection(lemma(word), tag="VBN", inflect_oov=False)
