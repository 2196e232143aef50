"""Forms of English verbs, from the dictionary of LemmInflect."""

from __future__ import annotations


def third_person(verb: str) -> str:
    """Return the third person singular of a verb in any form: "waved" → "waves", "are" → "is".

    Words that are not verbs are returned unchanged.
    """
    from lemminflect import getInflection, getLemma  # takes 0.3 s, and 2 s if spaCy is installed

    lemmas = getLemma(verb.lower(), upos="VERB", lemmatize_oov=False)
    forms = getInflection(lemmas[0], tag="VBZ", inflect_oov=False) if lemmas else ()
    return forms[0] if forms else verb


def is_participle(word: str) -> bool:
    """Whether a word can be a past participle: "waved", "sat"."""
    from lemminflect import getInflection, getLemma

    lemmas = getLemma(word.lower(), upos="VERB", lemmatize_oov=False)
    return any(word.lower() in getInflection(lemma, tag="VBN", inflect_oov=False) for lemma in lemmas)
