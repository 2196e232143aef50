"""Batches of captions and of motion latents from the frozen tokeniser, for language-motion pretraining.

As in data/encoded.py, every clip is encoded `stride` times, once from each of its first `stride` frames onwards. Latents and codes
have one row per token. Latents are cached in a memory-mapped float16 file, which takes 3 GB of disk space for HumanML3D. Captions
are tokenised once, before training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from data.encoded import CaptionedCrops, Crops, Encode, TokenStore, cache_path, cached_tokens, encode_all, first_rows
from data.store import Clips, Normaliser
from data.text import CaptionedClips
from utils.checkpoint import atomic_path, cached, fingerprint
from utils.errors import UserError


def cached_latents(clips: Clips, encode: Encode, normaliser: Normaliser, stride: int, tokeniser_hash: str) -> np.ndarray:
    """Encode all clips with `encode` to latents (M, C), which are outputs of the tokeniser's encoder before quantisation.

    The latents are cached in a memory-mapped float16 file. Row i of the latents and row i of the codes that `cached_tokens` returns
    belong to the same token.
    """
    rows = first_rows(clips.lengths, stride)[1].sum()

    def read(path: Path) -> np.ndarray | None:
        latents = np.load(path, mmap_mode="r")
        return latents if latents.ndim == 2 and len(latents) == rows and latents.dtype == np.float16 else None

    def make(path: Path) -> None:
        with atomic_path(path) as file:
            encode_all(clips, encode, normaliser, stride, lambda shape: np.lib.format.open_memmap(file, "w+", np.float16, shape))

    return cached(cache_path(clips, stride, tokeniser_hash, "latents", ".npy"), read, make)


class CaptionedLatents(CaptionedCrops):
    """Batches of clips, each as latents (encoder outputs before quantisation) and base codes (codes of the first quantiser), with a
    random caption per clip.

    Row i of `latents` (M, C) and row i of `store.codes` belong to the same token. `ids[i]` are the token ids of the caption
    `clips.captions[i]`. Raises `UserError` if a batch of all ranks needs more clips than the split has.
    """

    def __init__(self, clips: CaptionedClips, store: TokenStore, latents: np.ndarray, ids: list[list[int]], **settings: Any):
        super().__init__(clips, store, **settings)
        size = self.batch_size * self.world
        if size > len(self):
            raise UserError(f"--batch_size {self.batch_size}: {size} clips per step, but the split has only {len(self)}; lower it")
        self.latents = latents
        self.text_lengths = torch.tensor([len(row) for row in ids])
        self.ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        self.numbers = torch.unique(self.ids, dim=0, return_inverse=True)[1]  # equal captions have equal numbers

    def sizes(self, clips: np.ndarray, captions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sort keys: the clip length, then the caption length. The caption length is more important: padding captions costs more
        than padding clips."""
        return self.lengths[clips], self.text_lengths.numpy()[captions]

    def latent_sample(self, size: int = 20_000) -> Tensor:
        """At least `size` evenly spaced latents (N, C) of the split, float32, or all latents if the split has fewer than `size`."""
        return torch.from_numpy(self.latents[:: max(1, len(self.latents) // size)].astype(np.float32))

    def batch(self, index: int) -> dict[str, Tensor]:
        """Return batch `index`, a dictionary with the latents and base codes of clips and the token ids of one caption per clip."""
        return self.tensors(self.crops(index))

    def tensors(self, crops: Crops) -> dict[str, Tensor]:
        """Return the batch that contains the given crops of clips and their captions:

        {"latents": (B, N, C) float32, 0 at padding; "codes": (B, N) base codes, −1 at padding; "lengths": (B,) tokens;
        "ids": (B, L) token ids of captions; "text_lengths": (B,) tokens; "caption": (B,) an id shared by rows that have equal token
        ids or the same clip}.
        """
        latents, codes = self.latents[crops.rows].astype(np.float32), self.store.codes[crops.rows, 0].astype(np.int64)
        latents[~crops.valid], codes[~crops.valid] = 0, -1
        captions = torch.from_numpy(crops.captions)
        text_lengths = self.text_lengths[captions]
        return {
            "latents": torch.from_numpy(latents),
            "codes": torch.from_numpy(codes),
            "lengths": torch.from_numpy(crops.lengths),
            "ids": self.ids[captions, : int(text_lengths.max())],
            "text_lengths": text_lengths,
            "caption": _alike(crops.clips, self.numbers[captions].numpy()),
        }


def _alike(clips: np.ndarray, texts: np.ndarray) -> Tensor:
    """Return an id for each row of a batch, (B,). Rows with equal numbers in `clips` (B,) or `texts` (B,) have the same id.

    `clips` and `texts` contain the numbers of the rows' clips and captions. The id of a group of rows is the smallest number in
    `texts` of these rows, so that ids can be compared across processes.
    """
    rows = np.arange(len(clips))
    first = [np.unique(values, return_index=True, return_inverse=True)[1:] for values in (clips, texts)]
    links = np.concatenate([index[inverse.reshape(-1)] for index, inverse in first])
    graph = coo_matrix((np.ones(len(links)), (np.tile(rows, 2), links)), shape=(len(rows), len(rows)))
    groups = connected_components(graph, directed=False)[1]
    smallest = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(smallest, groups, texts)
    return torch.from_numpy(smallest[groups])


def captioned_latents(
    clips: CaptionedClips, tokeniser: Any, normaliser: Normaliser, ids: list[list[int]], **settings: Any
) -> CaptionedLatents:
    """Encode the clips of a split with `tokeniser` (a `models.vqvae.MotionTokeniser`), and return batches of these clips.

    The codes and latents of the clips are cached in files. `ids[i]` are the token ids of the caption `clips.captions[i]`.
    """
    device = next(tokeniser.parameters()).device

    def on_device(encode: Encode) -> Encode:
        return lambda motion, lengths: encode(motion.to(device), lengths.to(device))

    shared = (normaliser, tokeniser.stride, fingerprint(tokeniser, normaliser.mean, normaliser.std))
    store = cached_tokens(clips.clips, on_device(tokeniser.encode), *shared)
    latents = cached_latents(clips.clips, on_device(tokeniser.encode_latent), *shared)
    print(f"{len(clips)} clips, {len(clips.captions)} captions")
    return CaptionedLatents(clips, store, latents, ids, **settings)
