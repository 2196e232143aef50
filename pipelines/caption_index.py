"""An index of a run's training captions: several hundred captions of all actions, and the most frequent words.

`known.safetensors` in the run's folder stores 8-bit sentence embeddings (MiniLM) of these captions and words. `pipelines/known.py`
compares the embeddings of prompts with the stored embeddings. The subject of each caption is replaced by "a person", because only
the action matters.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.text import Caption, read_captions
from motion.spec import DatasetSpec, listed_names
from pipelines.conditioner import SentenceEncoder
from utils.checkpoint import load_weights, save_weights
from utils.errors import UserError, note

FILE = "known.safetensors"
MAX_CAPTIONS, MAX_WORDS = 900, 700  # maximum numbers of captions and words in an index; its file then has 0.6 MB
LONGEST = 14  # maximum number of words of a caption in the index
MIN_CAPTIONS = 6  # minimum number of times that a known word occurs in the training captions; lower for a tiny training set
MIN_TAKES, MIN_SECONDS = 3, 20.0  # an action with fewer takes and fewer seconds than these minimums is "thin"

Encoder = Callable[[Sequence[str]], object]

PERSON = (
    r"person|(?:young )?(?:man|woman)|gentleman|guy|dude|fellow|lady|boy|girl|figure|human|individual|somebody|someone|he|she|they"
    r"|people|sim|character|child|kid|adult|friend|brother|sister|actor|actress|performer|dancer|subject"
)
SUBJECT = re.compile(rf"^(?:(?:a|an|the|this|that|one|some|my)\s+)?(?:{PERSON})(?:'s)?\b(?:\s+(?:is|are|was)\b)?", re.IGNORECASE)
CLAUSE = re.compile(r"\s*(?:[,;.]|\band then\b|\bthen\b|\bwhile\b|\bbefore\b|\bafter(?!wards)\b|\bafterwards\b|\band\b)\s*")
FUNCTION_WORDS = frozenset((
    "a", "an", "the", "this", "that", "these", "those", "is", "are", "was", "were", "be", "been", "being", "am", "has",
    "have", "had", "do", "does", "did", "and", "or", "but", "then", "while", "as", "with", "without", "of", "to", "from",
    "in", "on", "at", "by", "for", "into", "onto", "up", "down", "over", "under", "out", "off", "his", "her", "their",
    "its", "he", "she", "it", "they", "them", "him", "himself", "herself", "themselves", "themself", "someone", "somebody",
    "person", "persons", "people", "man", "men", "woman", "women", "guy", "lady", "boy", "girl", "figure", "human", "one",
    "who", "which", "what", "when", "where", "like", "if", "so", "very", "just", "some", "any", "other", "another", "each",
    "both", "all", "own", "there", "here", "not", "no", "again", "after", "before", "during", "until", "since", "than",
    "too", "something", "thing", "things", "way", "around", "about", "through", "across", "along", "away", "back", "forth",
    "between", "s", "t",
))  # fmt: skip


# Words


def canonical(text: str) -> str:
    """Convert a text to lower case and replace its subject by "a person"."""
    text = re.sub(r"\s+", " ", text.strip().lower().rstrip(".! "))
    return SUBJECT.sub("a person", text, count=1)


def clauses(text: str) -> list[str]:
    """Split a prompt into clauses, one per action. Each clause gets the subject "a person"."""
    parts = [part for part in CLAUSE.split(canonical(text)) if content_words(part)]
    return [part if part.startswith("a person") else f"a person {part}" for part in parts]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[a-z]+", text.lower())


def content_words(text: str) -> list[str]:
    """The words of a text that describe the action, in lower case, without function words."""
    return [word for word in words_of(text) if word not in FUNCTION_WORDS and len(word) > 1]


def stem(word: str) -> str:
    """Remove verb, plural and adverb endings from a word: waves, waving → wav; runs, running → run."""
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word.rstrip("e") if len(word) > 3 else word


# The index


@dataclass(frozen=True)
class CaptionIndex:
    """The index of the training captions of a run (one training).

    Attributes:
        captions: N training captions.
        actions: the label of the action that each caption describes; "" if the dataset has no labels.
        words: W frequent words of the training captions.
        caption_rows: (N, E) unit embeddings of the captions.
        word_rows: (W, E) unit embeddings of the words.
        thin: actions with little training data.
    """

    captions: list[str]
    actions: list[str]
    words: list[str]
    caption_rows: np.ndarray
    word_rows: np.ndarray
    thin: frozenset[str]

    def save(self, folder: Path) -> None:
        """Write the index to a run's folder, with embeddings in 8 bits."""
        tensors = {name: torch.from_numpy(quantised(getattr(self, name))) for name in ("caption_rows", "word_rows")}
        texts = {name: getattr(self, name) for name in ("captions", "actions", "words")}
        save_weights(folder / FILE, tensors, {"kind": "captions", **texts, "thin": sorted(self.thin)})

    @classmethod
    def load(cls, folder: Path) -> CaptionIndex:
        """Read the index from a run's folder. Raises `UserError` if the index is missing or damaged."""
        tensors, metadata = load_weights(folder / FILE)
        rows = {name: unit(tensors[name].float().numpy()) for name in ("caption_rows", "word_rows")}
        texts = {name: list(metadata[name]) for name in ("captions", "actions", "words")}
        return cls(**texts, **rows, thin=frozenset(metadata["thin"]))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (N, E) scaled to length 1."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def quantised(rows: np.ndarray) -> np.ndarray:
    """Convert vectors (N, E) to int8. The lengths of the vectors are lost, but `CaptionIndex.load` scales all vectors to length
    1."""
    return np.round(127 * rows / np.abs(rows).max(axis=-1, keepdims=True)).astype(np.int8)


def embed(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Sentence embeddings (N, E) of texts, scaled to length 1."""
    return unit(encoder(list(texts)).float().cpu().numpy())


def build_index(
    captioned: Iterable[tuple[str, str]], encoder: Encoder, table: dict[str, tuple[str, float]] | None = None
) -> CaptionIndex:
    """Build the index of the captions of a training set.

    Args:
        captioned: (clip name, caption) pairs. Mirrored clips, whose names start with M, and clips not in `table` are ignored.
        encoder: the sentence encoder.
        table: clip name → (action, length in seconds). None: all clips are used, without action labels.
    """
    clips, counts = defaultdict(set), defaultdict(int)  # caption → names of its clips; stem → number of occurrences
    for clip, text in captioned:
        if not clip.startswith("M") and (table is None or clip in table):
            caption = canonical(text)
            clips[caption].add(clip)
            for word in content_words(caption):
                counts[stem(word)] += 1
    minimum = min(MIN_CAPTIONS, 1 + sum(map(len, clips.values())) // 50)  # 1 for a tiny training set
    known = {root for root, count in counts.items() if count >= minimum}
    table = table or {}
    action_of = {caption: table.get(min(names), ("", 0.0))[0] for caption, names in clips.items()}
    captions = spread(action_of, known)
    if not captions:
        raise UserError("no captions for the index of training captions: the training set is empty")
    words = frequent_words(clips, counts, known)
    rows = embed(encoder, captions), embed(encoder, words)
    return CaptionIndex(captions, [action_of[caption] for caption in captions], words, *rows, thin=thin_actions(table))


def spread(action_of: dict[str, str], known: set[str]) -> list[str]:
    """Select about `MAX_CAPTIONS` of the captions in `action_of` (caption → action) whose content words are all known.

    `known` contains the stems of known words. No two captions of an action have the same set of word stems. The number of captions
    that are selected for an action is proportional to the square root of the number of its available captions.
    """
    groups = defaultdict(dict)
    for caption in sorted(action_of, key=lambda caption: (len(words_of(caption)), caption)):
        roots = frozenset(stem(word) for word in content_words(caption))
        if roots and roots <= known and len(words_of(caption)) <= LONGEST:
            groups[action_of[caption]].setdefault(roots, caption)
    scale = MAX_CAPTIONS / max(1.0, sum(len(group) ** 0.5 for group in groups.values()))
    kept = []
    for group in groups.values():
        captions = list(group.values())
        count = min(len(captions), max(1, round(scale * len(captions) ** 0.5)))
        kept += [captions[index] for index in np.linspace(0, len(captions) - 1, count).astype(int)]
    return kept


def frequent_words(captions: Iterable[str], counts: dict[str, int], known: set[str]) -> list[str]:
    """Return at most `MAX_WORDS` known words of the captions, the most frequent first, and only the shortest word of each stem.

    `counts` maps a stem to its number of occurrences; `known` contains the stems of known words.
    """
    words = {}  # stem → word
    for word in (word for caption in captions for word in content_words(caption)):
        root = stem(word)
        if root in known and (root not in words or len(word) < len(words[root])):
            words[root] = word
    return [words[root] for root in sorted(words, key=lambda root: (-counts[root], root))[:MAX_WORDS]]


def thin_actions(table: dict[str, tuple[str, float]]) -> frozenset[str]:
    """Actions with fewer than `MIN_TAKES` takes (recordings) and less than `MIN_SECONDS` seconds of motion.

    `table` maps a clip name to (action, seconds). Clips that were cut from the same take (names …a, …b) count as one take.
    """
    takes, seconds = defaultdict(set), defaultdict(float)
    for clip, (action, length) in table.items():
        takes[action].add(re.sub(r"(?<=\d)[a-z]$", "", clip))
        seconds[action] += length
    return frozenset(action for action in takes if len(takes[action]) < MIN_TAKES and seconds[action] < MIN_SECONDS)


def write_index(spec: DatasetSpec, folder: Path) -> None:
    """Write the index of a dataset's training captions to the folder of a run, unless the folder has one already.

    If MiniLM, the sentence encoder, is not installed, a note is printed instead.
    """
    if (folder / FILE).is_file():
        return
    try:
        encoder = SentenceEncoder()
    except UserError as error:
        note(f"no index of training captions is written: {error}")
        return
    index_of_dataset(spec, encoder).save(folder)


def index_of_dataset(spec: DatasetSpec, encoder: Encoder) -> CaptionIndex:
    """Build the index of the captions of a dataset's train split. Actions come from the dataset's `actions.csv`, if there is one.

    Clips that this file marks as composed of other clips are ignored. Raises `UserError` if train.txt is missing.
    """
    names = [name.removesuffix(".npy") for name in listed_names(spec.root / "train.txt") if not name.startswith("M")]
    table = None
    if (spec.root / "actions.csv").is_file():
        with (spec.root / "actions.csv").open(newline="", encoding="utf-8") as file:
            rows = {row["clip"]: row for row in csv.DictReader(file) if row["source"] != "composed"}
        table = {name: (rows[name]["action"], float(rows[name]["seconds"])) for name in names if name in rows}
    texts = ((name, caption.text) for name in names for caption in usable_captions(spec.root / "texts" / f"{name}.txt"))
    return build_index(texts, encoder, table)


def usable_captions(path: Path) -> list[Caption]:
    """The captions of a clip; [] if its caption file is missing or invalid. No message about such a file is printed."""
    try:
        return read_captions(path, [])
    except UserError:
        return []
