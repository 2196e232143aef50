"""The matching evaluator's input for captions: a vector and a part-of-speech class per word (Guo et al. 2022).

A token is a word with its part of speech, `word/POS`. The first 20 tokens of a caption are enclosed in `sos` and `eos`, and the
sequence is padded with `unk` to 22 tokens. A batch contains word vectors (B, 22, W), one-hot classes (B, 22, 15) and lengths (B,).
Word vectors come from GloVe, which the released evaluators need, or from MiniLM's word pieces.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.bert import load_bert, load_tokenizer, minilm_folder
from utils.checkpoint import load_weights, save_weights
from utils.errors import UserError

FILE = "words.safetensors"  # in the folder of an evaluator
MAX_TOKENS = 20  # maximum number of tokens per caption, without `sos` and `eos`
WIDTH = MAX_TOKENS + 2
CLASSES = ("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV")
CLASSES += ("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER")
SPECIAL = {  # words that get these classes instead of their part of speech
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise wash stand "
    "kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
SPECIAL_CLASS = {word: CLASSES.index(name) for name, words in SPECIAL.items() for word in words.split()}
OTHER = CLASSES.index("OTHER")
UNKNOWN, FIRST, LAST = "unk", "sos", "eos"
PIECES = {UNKNOWN: "[UNK]", FIRST: "[CLS]", LAST: "[SEP]"}  # the corresponding WordPiece tokens


def framed(tokens: Sequence[str]) -> tuple[list[str], int]:
    """Enclose the first 20 tokens of a caption in `sos` and `eos`, and pad the sequence with `unk` to 22 tokens.

    Returns the 22 tokens, and the number of tokens before padding, including `sos` and `eos`.
    """
    tokens = [f"{FIRST}/OTHER", *tokens[:MAX_TOKENS], f"{LAST}/OTHER"]
    return tokens + [f"{UNKNOWN}/OTHER"] * (WIDTH - len(tokens)), len(tokens)


class Words:
    """A vocabulary of words with vectors (V, W), for the matching evaluator.

    Raises `UserError` if the numbers of words and vectors differ, a vector is not finite, or `unk`, `sos` or `eos` is missing.
    """

    def __init__(self, words: Sequence[str], vectors: Tensor):
        if vectors.ndim != 2 or len(words) != len(vectors) or not vectors.isfinite().all():
            raise UserError(f"word vectors: {len(words)} words, vectors of shape {tuple(vectors.shape)}; take both from one source")
        self.words, self.vectors = list(words), vectors
        self.index = {word: index for index, word in enumerate(words)}
        if missing := [word for word in PIECES if word not in self.index]:
            raise UserError(f"word vectors: none for {', '.join(missing)}; use the files that came with the evaluator")

    @property
    def dim(self) -> int:
        """Width of a word vector."""
        return self.vectors.shape[1]

    def look_up(self, token: str) -> tuple[int, int]:
        """Return the indices of the word and the part of speech of a token `word/POS`. Unknown words become `unk`, class OTHER."""
        word, _, pos = token.partition("/")
        if word not in self.index:
            return self.index[UNKNOWN], OTHER
        return self.index[word], SPECIAL_CLASS.get(word, CLASSES.index(pos) if pos in CLASSES else OTHER)

    def __call__(self, captions: Iterable[Sequence[str]]) -> dict[str, Tensor]:
        """Convert the tokens `word/POS` of each caption to the evaluator's input.

        The result is {"words": vectors (B, 22, W), "pos": one-hot parts of speech (B, 22, 15), "text_lengths": (B,)}.
        """
        tokens, lengths = zip(*map(framed, captions))
        words, classes = torch.tensor([[self.look_up(token) for token in row] for row in tokens]).unbind(-1)  # (B, 22)
        pos = F.one_hot(classes, len(CLASSES)).to(self.vectors.dtype)
        return {"words": self.vectors[words], "pos": pos, "text_lengths": torch.tensor(lengths)}

    @classmethod
    def from_glove(cls, folder: str | Path) -> Words:
        """Load Guo et al.'s GloVe vectors `our_vab_{data.npy,words.pkl,idx.pkl}`. Raises `UserError` if they are unusable."""
        folder = Path(folder)
        try:
            vectors = np.load(folder / "our_vab_data.npy", allow_pickle=False)
            words, rows = (_plain_pickle(folder / f"our_vab_{part}.pkl") for part in ("words", "idx"))
            return cls(words, torch.from_numpy(vectors.astype(np.float32)[[rows[word] for word in words]]))
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"{folder}: no usable GloVe files ({error}); get them with prepare/download_glove.sh") from None

    @classmethod
    def from_word_pieces(cls, vocabulary: Iterable[str]) -> Words:
        """Build a vector per word: the mean of MiniLM's embeddings of its pieces, normalised over the vocabulary."""
        folder = minilm_folder()
        tokenizer, embeddings = load_tokenizer(folder), load_bert(folder).words.weight.detach()
        words = [*PIECES, *sorted(set(vocabulary) - set(PIECES))]
        pieces = [tokenizer.encode(PIECES.get(word, word), add_special_tokens=False).ids for word in words]
        vectors = torch.stack([embeddings[ids].mean(0) for ids in pieces])
        return cls(words, (vectors - vectors.mean(0)) / vectors.std(0))

    def save(self, path: str | Path) -> None:
        """Write the vectors and their words to a safetensors file."""
        save_weights(path, {"vectors": self.vectors}, {"kind": "words", "words": self.words})

    @classmethod
    def load(cls, path: str | Path) -> Words:
        """Read a file written by `save`. Raises `UserError` for a missing or damaged file, or a file of another kind."""
        state, metadata = load_weights(path)
        if metadata.get("kind") != "words":
            raise UserError(f"{path}: holds no word vectors; copy the folder of the evaluator again")
        return cls(metadata["words"], state["vectors"].float())


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles lists, dicts, strings and numbers; runs no code."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it needs the class {module}.{name}")


def _plain_pickle(path: Path):
    with open(path, "rb") as file:
        return _PlainUnpickler(file).load()
