"""Motions as tokens: every clip tokenised once by the frozen tokeniser, then batches of codes, captions' features and lengths.

The protocol crops a clip at a random frame. A token covers `stride` frames, so each clip is tokenised at its
first `stride` frames as starts; every crop is then a slice of one of these. Batches are `{"codes": (B, L, Q) int64, −1 at
padding; "lengths": (B,) tokens; "condition": (B, C) float32}`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.balance import weighted_epoch
from data.store import Clips, Normaliser
from data.text import CaptionedClips, draw_crops
from utils.checkpoint import cached, load_weights, save_weights
from utils.progress import progress

POOL = 16  # batches among which clips are sorted by length

Encode = Callable[[Tensor, Tensor], Tensor]  # motion (B, T, D) normalised, lengths (B,) → codes (B, L, Q) or latents (B, L, C)
Allocate = Callable[[tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class TokenStore:
    """`codes[starts[i, s] :]` begins clip i tokenised from frame s on; it holds (T − s) // stride rows."""

    codes: np.ndarray  # (M, Q) int16
    starts: np.ndarray  # (N, stride)

    @property
    def stride(self) -> int:
        """Frames per token, which is the number of possible first frames."""
        return self.starts.shape[1]


def first_rows(lengths: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of each clip's `stride` starts begin, one after the other, and how many they are: (N, stride) each."""
    tokens = (lengths[:, None] - np.arange(stride)) // stride
    return tokens.cumsum().reshape(tokens.shape) - tokens, tokens


@torch.no_grad()
def encode_all(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, allocate: Allocate) -> np.ndarray:
    """What `encode` makes of every clip from each of its first `stride` frames, at the rows (M) given by `first_rows`.

    `allocate((M, width))` gives the array to fill.
    """
    starts, lengths = first_rows(clips.lengths, stride)
    rows = None
    with progress(total=len(clips) * stride, desc="tokenising", unit="clip") as bar:
        for shift in range(stride):
            shifted = Clips(clips.rows, clips.names, clips.starts + shift, clips.lengths - shift)
            for batch in shifted.batches(normaliser):
                found, index = encode(batch["motion"], batch["lengths"]).cpu().numpy(), batch["index"].numpy()  # (B, L, width)
                if rows is None:
                    rows = allocate((int(lengths.sum()), found.shape[-1]))
                steps = np.arange(found.shape[1])
                valid = steps < lengths[index, shift, None]  # (B, L)
                rows[(starts[index, shift, None] + steps)[valid]] = found[valid]
                bar.update(len(index))
    return rows


def tokenise(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int) -> TokenStore:
    """The codes of every clip from each of its first `stride` frames."""
    codes = encode_all(clips, encode, normaliser, stride, lambda shape: np.empty(shape, np.int16))
    return TokenStore(codes, first_rows(clips.lengths, stride)[0])


def cache_path(clips: Clips, stride: int, tokeniser_hash: str, kind: str, suffix: str) -> Path:
    """A file beside the packed motions: another one for another tokeniser, other motions or other clips."""
    pack = Path(clips.rows.filename)
    facts = [tokeniser_hash, stride, pack.stat().st_mtime_ns, clips.names, clips.starts.tolist(), clips.lengths.tolist()]
    return pack.with_name(f"{kind}_{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}{suffix}")


def cached_tokens(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, tokeniser_hash: str) -> TokenStore:
    """`tokenise`, kept in a file beside the packed motions."""
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
    """Crops of B clips: the store's rows that they take, and one of each clip's captions."""

    rows: np.ndarray  # (B, L); beyond a crop's end, its last row again
    lengths: np.ndarray  # (B,) tokens
    captions: np.ndarray  # (B,) places among the captions
    clips: np.ndarray  # (B,)

    @property
    def valid(self) -> np.ndarray:
        """Mask (B, L) of the tokens within each crop."""
        return np.arange(self.rows.shape[1]) < self.lengths[:, None]  # (B, L)


class CaptionedCrops:
    """Endless shuffled batches of cropped clips, each with one of its captions by chance; what a batch holds, subclasses say.

    Samples of like size share a batch, because padding costs as much as what counts; no batch holds a clip twice, if there are
    enough of them. With `weights` (N,) an epoch draws clips in proportion to them, copies of a clip far apart.
    `crops(index)` is a pure function of its argument; each rank takes its own share of the clips.
    """

    def __init__(
        self,
        clips: CaptionedClips,
        store: TokenStore,
        *,
        batch_size: int = 64,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        weights: np.ndarray | None = None,
    ):
        self.weights = np.ones(len(clips)) if weights is None else weights
        self.store, self.lengths, self.first_caption = store, clips.clips.lengths, clips.first  # (N,), (N + 1,)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps_per_epoch = -(-len(clips) // (batch_size * world))
        self._order = functools.lru_cache(maxsize=1)(self._permutation)

    def __len__(self) -> int:
        return len(self.lengths)

    def sizes(self, clips: np.ndarray, captions: np.ndarray) -> tuple[np.ndarray, ...]:
        """What samples (N,) of a batch should have alike: sort keys, the most important one last."""
        return (self.lengths[clips],)

    def _permutation(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips and captions of each step of an epoch: (steps, world · B). Steps overlap a little: the last one is full too."""
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
        """The crops of batch `index`."""
        epoch, step = divmod(index, self.steps_per_epoch)
        clips, captions = (part[step, self.rank :: self.world] for part in self._order(epoch))
        return self.draw_crops(clips, captions, np.random.default_rng((self.seed, index, self.rank)))

    def draw_captions(self, clips: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One caption (N,) of each of the clips (N,)."""
        return generator.integers(self.first_caption[clips], self.first_caption[clips + 1])

    def draw_crops(self, clips: np.ndarray, captions: np.ndarray, generator: np.random.Generator) -> Crops:
        """A crop of each of the clips (B,)."""
        first, kept = draw_crops(self.lengths[clips], generator, self.store.stride)
        skipped, shift = np.divmod(first, self.store.stride)
        lengths = kept // self.store.stride
        begin = self.store.starts[clips, shift] + skipped
        rows = begin[:, None] + np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        return Crops(rows, lengths, captions, clips)


class CaptionedTokens(CaptionedCrops):
    """Batches of codes with the features of captions: `features` (number of captions, C) goes with `clips.captions`.

    In training the features can be disturbed, so that prompts in other words than the captions' still find their motions:

    - `noise`: each row gets Gaussian noise, of a standard deviation drawn from 0 to this share of the features' own;
    - `parts`, `drop_part`: widths of the encoders whose features are joined, and the share of samples that go without one of them.
    """

    def __init__(
        self,
        clips: CaptionedClips,
        store: TokenStore,
        features: Tensor,
        *,
        noise: float = 0.0,
        parts: Sequence[int] = (),
        drop_part: float = 0.0,
        **share: int,
    ):
        super().__init__(clips, store, **share)
        self.features = features
        self.noise = noise * features.std(0)
        self.drop_part = drop_part if len(parts) > 1 else 0.0
        self.kept = 1 - torch.eye(len(parts)).repeat_interleave(torch.tensor(parts, dtype=torch.long), dim=1)  # (parts, C)

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"codes": (B, L, Q), "lengths": (B,), "condition": (B, C)}."""
        crops = self.crops(index)
        codes = self.store.codes[crops.rows].astype(np.int64)  # (B, L, Q)
        codes[~crops.valid] = -1
        return {
            "codes": torch.from_numpy(codes),
            "lengths": torch.from_numpy(crops.lengths),
            "condition": self.disturbed(self.features[crops.captions], np.random.default_rng((self.seed, index, self.rank, 1))),
        }

    def disturbed(self, features: Tensor, generator: np.random.Generator) -> Tensor:
        """Features (B, C) with noise, some of them without one of their parts."""
        if self.noise.any():
            scale = generator.random((len(features), 1)) * generator.standard_normal(features.shape)
            features = features + torch.from_numpy(scale).to(features) * self.noise
        if self.drop_part:
            without = self.kept[torch.from_numpy(generator.integers(len(self.kept), size=len(features)))]
            dropped = torch.from_numpy(generator.random((len(features), 1)) < self.drop_part)
            features = torch.where(dropped, features * without, features)
        return features
