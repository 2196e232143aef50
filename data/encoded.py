"""Batches of motion codes, lengths and conditions (encoded captions). The frozen tokeniser tokenises every clip in advance.

As in HumanML3D's published protocol, clips are cropped at a random frame. A token covers `stride` frames. Each clip is therefore
tokenised `stride` times, once from each of its first `stride` frames onwards. Every crop is a slice of one of these token
sequences.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.balance import weighted_epoch
from data.conditions import Conditions
from data.store import Clips, Normaliser
from data.text import CaptionedClips, draw_crops
from utils.checkpoint import cached, load_weights, save_weights
from utils.progress import progress

POOL = 16  # number of batches whose clips are sorted by length together

Encode = Callable[[Tensor, Tensor], Tensor]  # motion (B, T, D) normalised, lengths (B,) → codes (B, L, Q) or latents (B, L, C)
Allocate = Callable[[tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class TokenStore:
    """The codes of all clips: one row of Q codebook indices per token.

    If clip i of T frames is tokenised from frame s on, its tokens are the (T − s) // stride rows of `codes` that begin at row
    `starts[i, s]`.
    """

    codes: np.ndarray  # (M, Q) int16
    starts: np.ndarray  # (N, stride)

    @property
    def stride(self) -> int:
        """Frames per token."""
        return self.starts.shape[1]


def first_rows(lengths: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """For clips of `lengths` (N,) frames, return each clip's first row and number of tokens in a `TokenStore`, both (N, stride).

    A token covers `stride` frames. Column s is for the tokens of the clips that are tokenised from frame s onwards.
    """
    tokens = (lengths[:, None] - np.arange(stride)) // stride
    return tokens.cumsum().reshape(tokens.shape) - tokens, tokens


@torch.no_grad()
def encode_all(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, allocate: Allocate) -> np.ndarray:
    """Encode every clip `stride` times with `encode`, once from each of its first `stride` frames onwards.

    `encode` maps normalised motions (B, T, D) and their lengths (B,) to (B, L, width), one row per token. `allocate((M, width))`
    creates the returned array (M, width). `first_rows` computes which rows of this array belong to a clip.
    """
    starts, lengths = first_rows(clips.lengths, stride)
    rows = None
    with progress(total=len(clips) * stride, desc="tokenising", unit="clip") as bar:
        for shift in range(stride):
            shifted = Clips(clips.rows, clips.names, clips.starts + shift, clips.lengths - shift)
            for batch in shifted.batches(normaliser):
                encoded = encode(batch["motion"], batch["lengths"]).cpu().numpy()  # (B, L, width)
                index = batch["index"].numpy()
                if rows is None:
                    rows = allocate((int(lengths.sum()), encoded.shape[-1]))
                steps = np.arange(encoded.shape[1])
                valid = steps < lengths[index, shift, None]  # (B, L)
                rows[(starts[index, shift, None] + steps)[valid]] = encoded[valid]
                bar.update(len(index))
    return rows


def tokenise(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int) -> TokenStore:
    """Tokenise every clip from each of its first `stride` frames onwards, and return the codes of all clips."""
    codes = encode_all(clips, encode, normaliser, stride, lambda shape: np.empty(shape, np.int16))
    return TokenStore(codes, first_rows(clips.lengths, stride)[0])


def cache_path(clips: Clips, stride: int, tokeniser_hash: str, kind: str, suffix: str) -> Path:
    """Path of a cache file in the folder of the packed motions (the single file that contains all motions of a dataset).

    The file name consists of `kind`, a hash and `suffix`. The hash is computed from `tokeniser_hash`, `stride`, the clips
    and the modification time of the packed motions.
    """
    pack = Path(clips.rows.filename)
    parts = [tokeniser_hash, stride, pack.stat().st_mtime_ns, clips.names, clips.starts.tolist(), clips.lengths.tolist()]
    return pack.with_name(f"{kind}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}{suffix}")


def cached_tokens(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, tokeniser_hash: str) -> TokenStore:
    """Tokenise every clip as `tokenise` does, and cache the codes in a file for these clips and the tokeniser with this hash."""
    path = cache_path(clips, stride, tokeniser_hash, "tokens", ".safetensors")
    starts, tokens = first_rows(clips.lengths, stride)

    def read(path: Path) -> TokenStore | None:
        codes = load_weights(path)[0]["codes"]
        fits = codes.dtype == torch.int16 and codes.ndim == 2 and len(codes) == tokens.sum()
        return TokenStore(codes.numpy(), starts) if fits else None

    def make(path: Path) -> None:
        store = tokenise(clips, encode, normaliser, stride)
        arrays = {"codes": torch.from_numpy(store.codes), "starts": torch.from_numpy(store.starts)}
        save_weights(path, arrays, {"kind": "tokens"})

    return cached(path, read, make)


@dataclass(frozen=True)
class Crops:
    """Crops of B clips, given as indices of rows in a `TokenStore` (one row per token), and one caption per clip."""

    rows: np.ndarray  # (B, L); beyond the end of a crop, the last row of the crop is repeated
    lengths: np.ndarray  # (B,) tokens
    captions: np.ndarray  # (B,) indices of captions
    clips: np.ndarray  # (B,) indices of clips

    @property
    def valid(self) -> np.ndarray:
        """Mask (B, L) of the tokens within each crop."""
        return np.arange(self.rows.shape[1]) < self.lengths[:, None]


class CaptionedCrops:
    """Endless shuffled batches of cropped clips, each with a random caption; subclasses define what a batch contains.

    Clips of similar length share a batch, so that batches need little padding. Without `weights`, the ranks together do not use a
    clip twice in a step, unless the step needs more clips than the split has. With `weights` (N,), an epoch samples clips in
    proportion to their weights and spreads copies of a clip over the epoch. `crops(index)` is a pure function of its argument; each
    rank gets a different part of the batch.
    """

    def __init__(
        self, clips: CaptionedClips, store: TokenStore, *,
        batch_size: int = 64, seed: int = 0, rank: int = 0, world: int = 1, weights: np.ndarray | None = None,
    ):  # fmt: skip
        self.weights = np.ones(len(clips)) if weights is None else weights
        self.store, self.lengths, self.first_caption = store, clips.clips.lengths, clips.first  # (N,), (N + 1,)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps_per_epoch = -(-len(clips) // (batch_size * world))
        self._order = functools.lru_cache(maxsize=2)(self._permutation)  # two threads may need two epochs

    def __len__(self) -> int:
        return len(self.lengths)

    def sizes(self, clips: np.ndarray, captions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sort keys (N,) for N pairs of a clip and a caption, given by their indices; the most important key comes last. Pairs with
        similar keys share a batch."""
        return (self.lengths[clips],)

    def _permutation(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the clip indices (steps, world · B) and the caption indices (steps, world · B) of an epoch.

        If the steps of an epoch need more clips than the epoch has, some clips are in two steps.
        """
        generator = np.random.default_rng((self.seed, epoch))
        size = self.batch_size * self.world
        clips = np.resize(weighted_epoch(self.weights, generator), max(len(self), size))
        captions = self.draw_captions(clips, generator)
        pool = np.arange(len(clips)) // (POOL * size)
        order = np.lexsort((*self.sizes(clips, captions), pool))
        begin = np.linspace(0, len(clips) - size, self.steps_per_epoch).astype(int)
        steps = generator.permutation(order[begin[:, None] + np.arange(size)])
        return clips[steps], captions[steps]

    def crops(self, index: int) -> Crops:
        """The randomly cropped clips of this rank in batch `index`, each with its caption."""
        epoch, step = divmod(index, self.steps_per_epoch)
        clips, captions = (part[step, self.rank :: self.world] for part in self._order(epoch))
        return self.draw_crops(clips, captions, np.random.default_rng((self.seed, index, self.rank)))

    def draw_captions(self, clips: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Choose a random caption for each of the clips with the indices `clips` (N,); returns the captions' indices (N,)."""
        return generator.integers(self.first_caption[clips], self.first_caption[clips + 1])

    def draw_crops(self, clips: np.ndarray, captions: np.ndarray, generator: np.random.Generator) -> Crops:
        """Crop each of the clips with the indices `clips` (B,) at random. `captions` (B,) are the indices of their captions."""
        first, kept = draw_crops(self.lengths[clips], generator, self.store.stride)
        skipped, shift = np.divmod(first, self.store.stride)
        lengths = kept // self.store.stride
        begin = self.store.starts[clips, shift] + skipped
        rows = begin[:, None] + np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        return Crops(rows, lengths, captions, clips)


class CaptionedTokens(CaptionedCrops):
    """Batches of cropped clips, each with its codes and the condition (encoded text) of a random caption.

    `conditions` are in the order of `clips.captions`.
    """

    def __init__(self, clips: CaptionedClips, store: TokenStore, conditions: Conditions, **settings: Any):
        super().__init__(clips, store, **settings)
        self.conditions = conditions

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"codes": (B, L, Q) int64, −1 at padding; "lengths": (B,) tokens; "condition": (B, C)}, and "words"
        (B, W, word_dim) if the text encoder returns a row per word piece."""
        crops = self.crops(index)
        codes = self.store.codes[crops.rows].astype(np.int64)  # (B, L, Q)
        codes[~crops.valid] = -1
        return {
            "codes": torch.from_numpy(codes),
            "lengths": torch.from_numpy(crops.lengths),
            **self.conditions.batch(crops.captions),
        }
