"""Motions as tokens: every clip tokenised once by the frozen tokeniser, then batches of codes, captions' features and lengths.

The protocol crops a clip at a random frame. A token covers `stride` frames, so each clip is tokenised at its
first `stride` frames as starts; every crop is then a slice of one of these. Batches are `{"codes": (B, L, Q) int64, −1 at
padding; "lengths": (B,) tokens; "condition": (B, C) float32}`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.motion import Clips, Normaliser
from data.text import CaptionedClips, draw_crops
from utils.checkpoint import load_weights, save_weights

POOL = 16  # batches among which clips are sorted by length

Encode = Callable[[Tensor, Tensor], Tensor]  # motion (B, T, D) normalised, lengths (B,) → codes (B, L, Q)


@dataclass(frozen=True)
class TokenStore:
    """`codes[starts[i, s] :]` begins clip i tokenised from frame s on; it holds (T − s) // stride rows."""

    codes: np.ndarray  # (M, Q) int16
    starts: np.ndarray  # (N, stride)

    @property
    def stride(self) -> int:
        return self.starts.shape[1]


def tokenise(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int) -> TokenStore:
    """Encode every clip from each of its first `stride` frames."""
    lengths = (clips.lengths[:, None] - np.arange(stride)) // stride  # (N, stride)
    ends = lengths.cumsum().reshape(lengths.shape)
    starts = ends - lengths
    codes = None
    with tqdm(total=len(clips) * stride, desc="tokenising", unit="clip", leave=False, disable=None) as bar:
        for shift in range(stride):
            shifted = Clips(clips.rows, clips.names, clips.starts + shift, clips.lengths - shift)
            for batch in shifted.batches(normaliser):
                found, index = encode(batch["motion"], batch["lengths"]).cpu().numpy(), batch["index"].numpy()  # (B, L, Q)
                if codes is None:
                    codes = np.empty((ends[-1, -1], found.shape[-1]), np.int16)
                steps = np.arange(found.shape[1])
                valid = steps < lengths[index, shift, None]  # (B, L)
                codes[(starts[index, shift, None] + steps)[valid]] = found[valid]
                bar.update(len(index))
    return TokenStore(codes, starts)


def cached_tokens(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, tokeniser_hash: str) -> TokenStore:
    """`tokenise`, kept in a file beside the packed motions; a new one for another tokeniser, other motions or other clips."""
    pack = Path(clips.rows.filename)
    facts = [tokeniser_hash, stride, pack.stat().st_mtime_ns, clips.names, clips.starts.tolist(), clips.lengths.tolist()]
    path = pack.with_name(f"tokens_{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.safetensors")
    if not path.is_file():
        store = tokenise(clips, encode, normaliser, stride)
        arrays = {"codes": torch.from_numpy(store.codes), "starts": torch.from_numpy(store.starts)}
        save_weights(path, arrays, {"kind": "tokens"})
        return store
    arrays, _ = load_weights(path)
    return TokenStore(arrays["codes"].numpy(), arrays["starts"].numpy())


class CaptionedTokens:
    """Endless shuffled batches of cropped clips in tokens, each with one of its captions by chance.

    `features` (number of captions, C) goes with `clips.captions`. Clips of like length share a batch, because padding costs
    as much as motion. `batch(index)` is a pure function of its argument; each rank takes its own share of the clips.
    """

    def __init__(
        self,
        clips: CaptionedClips,
        store: TokenStore,
        features: Tensor,
        *,
        batch_size: int = 64,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.store, self.features = store, features
        self.lengths, self.first_caption = clips.clips.lengths, clips.first
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps_per_epoch = -(-len(clips) // (batch_size * world))
        self._order = functools.lru_cache(maxsize=1)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        """The clips of each step of an epoch: (steps, world · B). The last batch is filled from the epoch's first clips."""
        generator = np.random.default_rng((self.seed, epoch))
        size = self.batch_size * self.world
        order = np.resize(generator.permutation(len(self.lengths)), self.steps_per_epoch * size)
        pool = np.arange(len(order)) // (POOL * size)
        order = order[np.lexsort((self.lengths[order], pool))]
        return generator.permutation(order.reshape(self.steps_per_epoch, size))

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"codes": (B, L, Q), "lengths": (B,), "condition": (B, C)}."""
        epoch, step = divmod(index, self.steps_per_epoch)
        clips = self._order(epoch)[step, self.rank :: self.world]
        generator = np.random.default_rng((self.seed, index, self.rank))
        first, kept = draw_crops(self.lengths[clips], generator, self.store.stride)
        skipped, shift = np.divmod(first, self.store.stride)
        lengths = kept // self.store.stride
        steps = np.arange(lengths.max())
        begin = self.store.starts[clips, shift] + skipped
        codes = self.store.codes[begin[:, None] + np.minimum(steps, lengths[:, None] - 1)].astype(np.int64)  # (B, L, Q)
        codes[steps >= lengths[:, None]] = -1
        captions = generator.integers(self.first_caption[clips], self.first_caption[clips + 1])
        return {"codes": torch.from_numpy(codes), "lengths": torch.from_numpy(lengths), "condition": self.features[captions]}
