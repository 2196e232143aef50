"""Estimate whether the weights know a prompt: a calibrated score from an index of the training captions.

    knowledge = Knowledge.load(run_folder)
    knowledge("a person plays the violin")  # Known(0.03, nearest=("a person …", …), reason="no training caption contains 'violin'")

A logistic regression computes the score from similarities of sentence embeddings (`FEATURES`): the whole prompt, its clauses and
its words are compared with the captions and words of the index (`pipelines/caption_index.py`). `python -m benchmarks.known` fits
and evaluates the coefficients in `assets/known.json`. Nonsense and prompts in other languages are recognised by their words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipelines.caption_index import (
    FILE,
    FUNCTION_WORDS,
    CaptionIndex,
    Encoder,
    canonical,
    clauses,
    content_words,
    embed,
    stem,
    words_of,
)  # fmt: skip
from pipelines.conditioner import SentenceEncoder
from utils.errors import UserError, note

CALIBRATION = Path(__file__).resolve().parent.parent / "assets" / "known.json"
NEAREST = 3  # number of nearest captions in a note
KNOWN = 0.5  # minimum score of a known prompt
FEATURES = ("nearest caption", "mean of the nearest five", "least similar clause", "least similar word", "mean of the words")
SEVERAL = re.compile(
    r"\b(two|three|several)\s+(people|persons|men|women|friends|players|dancers|boys|girls)\b|\beach other\b|\bcouple\b(?! of)",
    re.I,
)
FOREIGN_WORDS = frozenset((
    "una", "uno", "un", "une", "el", "la", "los", "las", "le", "les", "der", "die", "das", "ein", "eine", "einen", "und",
    "et", "y", "e", "il", "lo", "gli", "che", "que", "qui", "pour", "por", "para", "con", "mit", "nach", "vers", "uma",
    "um", "os", "dos", "di", "da", "de", "du", "del", "della", "je", "ist", "est", "sono", "en", "em", "na", "no", "im",
    "zu", "zum", "og", "och", "het", "een", "van",
))  # fmt: skip


@dataclass(frozen=True)
class Known:
    """An estimate of how well a model knows a prompt, based on the captions that the model was trained on.

    Attributes:
        score: from 0 (unknown) to 1 (known).
        nearest: the training captions that are most similar to the prompt.
        reason: why the prompt is unknown; "" if the prompt is known.
    """

    score: float
    nearest: tuple[str, ...] = ()
    reason: str = ""

    @property
    def note(self) -> str:
        """A message for the user that states why the prompt is unknown; "" if the prompt is known."""
        if self.score >= KNOWN:
            return ""
        remedy = f"nearest training captions: {', '.join(self.nearest)}" if self.nearest else "write the prompt in English"
        return f"{self.reason}; {remedy}"


def language_fault(text: str, vocabulary: set[str]) -> str:
    """Return the reason why a text is not an English prompt, judged by its letters and words; "" for an English prompt.

    `vocabulary` contains stems of known words.
    """
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        return "no words in the prompt"
    if sum(letter > "ʯ" or not letter.isascii() for letter in letters) > 0.3 * len(letters):
        return "the prompt is not in English"
    english = FUNCTION_WORDS - {"on", "in", "so", "do", "a", "an", "no", "me", "he"}  # these are words of other languages too
    words = words_of(text)
    num_english = sum(word in english or stem(word) in vocabulary for word in words)
    return "the prompt is not in English" if sum(word in FOREIGN_WORDS for word in words) > num_english else ""


class Knowledge:
    """Estimates how well a model knows a prompt, from the index of its training captions: `knowledge(prompt)` returns a `Known`.

    `encoder` is the sentence encoder. `calibration` contains the coefficients of the regression; None: `assets/known.json`.
    """

    def __init__(self, index: CaptionIndex, encoder: Encoder, calibration: dict | None = None):
        self.index, self.encoder = index, encoder
        self.stems = {stem(word) for word in index.words} | {stem(word) for text in index.captions for word in content_words(text)}
        self.calibration = json.loads(CALIBRATION.read_text(encoding="utf-8")) if calibration is None else calibration

    @classmethod
    def load(cls, folder: Path) -> Knowledge | None:
        """Load the caption index from a run's folder, and the sentence encoder; None if the folder has no index."""
        if not (folder / FILE).is_file():
            return None
        return cls(CaptionIndex.load(folder), SentenceEncoder())

    def __call__(self, prompt: str) -> Known:
        if fault := language_fault(prompt, self.stems):
            return Known(0.0, (), fault)
        features, similarity = self.features(prompt)
        weights = np.array(self.calibration["weights"])
        score = float(1 / (1 + np.exp(-(weights @ features + self.calibration["bias"]))))
        nearest = self.nearest(similarity)
        actions = {self.index.actions[index] for index in np.argsort(-similarity)[:2]}  # of the two nearest captions
        if SEVERAL.search(prompt):
            return Known(min(score, KNOWN / 2), nearest, "the weights generate the motion of one person, not of several")
        if score >= KNOWN and len(actions) == 1 and actions <= self.index.thin:
            return Known(KNOWN / 2, nearest, f"very few training clips show this action ({actions.pop()})")
        if score >= KNOWN:
            return Known(score, nearest)
        if not any(word in FUNCTION_WORDS or stem(word) in self.stems for word in words_of(prompt)):
            return Known(score, (), "no word of the prompt is in the training captions: the prompt is nonsense or not in English")
        unknown = ", ".join(map(repr, self.unknown_words(prompt)))
        return Known(score, nearest, f"no training caption contains {unknown}" if unknown else "no training caption is similar")

    def features(self, prompt: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs of the logistic regression (listed in `FEATURES`), and the prompt's similarity (N,) to each caption."""
        parts, words = clauses(prompt) or [canonical(prompt)], content_words(canonical(prompt))
        rows = embed(self.encoder, [canonical(prompt), *parts, *words])
        similarity = self.index.caption_rows @ rows[0]
        by_clause = (rows[1 : 1 + len(parts)] @ self.index.caption_rows.T).max(1)
        familiar = (rows[1 + len(parts) :] @ self.index.word_rows.T).max(1) if words else np.ones(1)
        familiar = np.where([stem(word) in self.stems for word in words] or [True], 1.0, familiar)
        best = np.sort(similarity)[::-1]
        return np.array((best[0], best[:5].mean(), by_clause.min(), familiar.min(), familiar.mean())), similarity

    def nearest(self, similarity: np.ndarray) -> tuple[str, ...]:
        """The `NEAREST` captions of the index with the highest `similarity` (N,), at most one per action if actions are known."""
        kept, actions = [], []
        for index in np.argsort(-similarity):
            caption, action = self.index.captions[index], self.index.actions[index]
            if action not in actions or not action:
                kept.append(caption)
                actions.append(action)
            if len(kept) == NEAREST:
                break
        return tuple(kept)

    def unknown_words(self, prompt: str) -> list[str]:
        """The content words of a prompt that no training caption contains."""
        return [word for word in dict.fromkeys(content_words(canonical(prompt))) if stem(word) not in self.stems]


def check_prompts(prompts: Sequence[str], folder: Path, strict: bool = False) -> list[dict | None]:
    """Estimate how well the run in `folder` knows each prompt, and print a note for each unknown prompt.

    Returns a dictionary with the fields of a `Known` for each prompt. If the run has no index (released runs have none), only the
    language is checked, and None is returned for an English prompt. With `strict`, an unknown prompt raises `UserError` instead of
    a note, and a run without an index also raises `UserError`.
    """
    knowledge = Knowledge.load(folder)
    if knowledge is None and strict:
        raise UserError(f"--strict: {folder} has no {FILE}, the index of training captions; leave --strict out")
    results = {prompt: knowledge(prompt) if knowledge else in_english(prompt) for prompt in dict.fromkeys(prompts)}
    for prompt, known in results.items():
        if known and known.note:
            if strict:
                raise UserError(f"--strict: '{prompt}': {known.note}")
            note(f"'{prompt}': {known.note}")
    return [asdict(known) if (known := results[prompt]) else None for prompt in prompts]


def in_english(prompt: str) -> Known | None:
    """Return a `Known` with score 0 if the prompt is not in English or has no words; else None."""
    fault = language_fault(prompt, set())
    return Known(0.0, (), fault) if fault else None
