"""Batches of the profiles of motions (`motion.facts.profile`) and the conditions of their captions, for training the selector."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.balance import weighted_epoch
from data.conditions import Conditions
from data.encoded import cache_path
from data.store import Clips
from data.text import CaptionedClips
from motion.facts.profile import BITS, profile
from motion.features import features_to_joints
from utils.checkpoint import cached, load_weights, save_weights
from utils.errors import UserError
from utils.progress import progress

SMALL = 500  # clips; fewer clips are processed faster without starting processes
CHUNK = 64  # clips that a process takes at once


def cached_profiles(clips: Clips, joints: int, workers: int) -> np.ndarray:
    """Return the profiles (N, len(BITS)) of all clips, as bool. They are computed by `workers` processes and cached in a file next
    to the packed motions.

    Raises `UserError` unless the skeleton has HumanML3D's 22 joints.
    """
    if joints != 22:
        raise UserError(f"a selector needs motions of 22 joints, but these have {joints}; use a dataset with HumanML3D's skeleton")
    path = cache_path(clips, 1, hashlib.sha256("\n".join(BITS).encode()).hexdigest(), "profiles", ".safetensors")

    def read(path: Path) -> np.ndarray | None:
        profiles = load_weights(path)[0]["profiles"].numpy()
        return np.unpackbits(profiles, axis=1, count=len(BITS)).astype(bool) if len(profiles) == len(clips) else None

    def make(path: Path) -> None:
        rows = list(progress(profiles_of(clips, workers), total=len(clips), desc="profiles", unit="clip"))
        save_weights(path, {"profiles": torch.from_numpy(np.packbits(rows, axis=1))}, {"kind": "profiles"})

    return cached(path, read, make)


def profiles_of(clips: Clips, workers: int) -> Iterator[np.ndarray]:
    """Yield the profile of every clip."""
    joints: Iterable[np.ndarray] = (features_to_joints(torch.tensor(clips[i]), 22).numpy() for i in range(len(clips)))
    if workers == 1 or len(clips) < SMALL:
        yield from map(profile, joints)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(profile, joints, chunksize=CHUNK)


class ProfileBatches:
    """Endless shuffled batches of clips, each with its profile and the condition of a random caption.

    With `weights` (N,), an epoch draws clips in proportion to their weights. `batch(index)` is a pure function of its argument;
    each rank gets a different part of the batch. `conditions` are in the order of `clips.captions`.
    """

    def __init__(
        self, clips: CaptionedClips, profiles: np.ndarray, conditions: Conditions, *,
        batch_size: int = 512, seed: int = 0, rank: int = 0, world: int = 1, weights: np.ndarray | None = None,
    ):  # fmt: skip
        self.profiles, self.conditions, self.first = torch.from_numpy(profiles), conditions, clips.first
        self.seed, self.rank, self.world = seed, rank, world
        self.weights = np.ones(len(clips)) if weights is None else weights
        self.size = batch_size * world
        numbers: dict[str, int] = {}
        self.numbers = np.array([numbers.setdefault(caption.text, len(numbers)) for caption in clips.captions])
        self.steps_per_epoch = -(-len(clips) // self.size)
        self._order = functools.lru_cache(maxsize=2)(self._permutation)  # two, because threads may work on different epochs

    def _permutation(self, epoch: int) -> np.ndarray:
        """Indices (steps, world · B) of the clips of each step of an epoch."""
        clips = weighted_epoch(self.weights, np.random.default_rng((self.seed, epoch)))
        order = np.resize(clips, max(len(clips), self.size))
        begin = np.linspace(0, len(order) - self.size, self.steps_per_epoch).astype(int)
        return order[begin[:, None] + np.arange(self.size)]

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"condition": (B, C), "profile": (B, F) bool, "caption": (B,) and "clip": (B,) ids}.

        Equal captions have equal ids.
        """
        epoch, step = divmod(index, self.steps_per_epoch)
        clips = self._order(epoch)[step, self.rank :: self.world]
        captions = np.random.default_rng((self.seed, index, self.rank)).integers(self.first[clips], self.first[clips + 1])
        return {
            "condition": self.conditions.vectors[torch.from_numpy(captions)],
            "profile": self.profiles[torch.from_numpy(clips)],
            "caption": torch.from_numpy(self.numbers[captions]),
            "clip": torch.from_numpy(clips),
        }
