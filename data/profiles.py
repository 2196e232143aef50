"""Batches of the profiles of motions and the conditions (encoded texts) of their captions, for training the selector.

A profile (`motion.facts.profile`) is a vector of bits that describes what the joints show, such as directions, turns and counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.batches import ClipBatches
from data.conditions import Conditions
from data.encoded import cache_path
from data.store import Clips
from data.text import CaptionedClips
from motion.facts.profile import BITS, profile
from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from utils.checkpoint import cached, load_weights, save_weights
from utils.errors import UserError
from utils.progress import progress
from utils.workers import processes

SMALL = 500  # clips; fewer clips are processed faster without starting processes
CHUNK = 64  # number of clips that a process receives per task


def cached_profiles(clips: Clips, joints: int, workers: int) -> np.ndarray:
    """Return the profiles (N, F) of all clips, as bool. A profile is a vector of F bits that describes what the joints show.

    `workers` processes compute the profiles, which are cached in a file next to the packed motions. Raises `UserError` if `joints`,
    the number of joints, is not HumanML3D's 22, or if a process is killed.
    """
    if joints != HUMANML3D.num_joints:
        raise UserError(f"a selector needs motions of 22 joints, not {joints}; use a dataset with HumanML3D's skeleton")
    path = cache_path(clips, 1, hashlib.sha256("\n".join(BITS).encode()).hexdigest(), "profiles", ".safetensors")

    def read(path: Path) -> np.ndarray | None:
        profiles = load_weights(path)[0]["profiles"].numpy()
        return np.unpackbits(profiles, axis=1, count=len(BITS)).astype(bool) if len(profiles) == len(clips) else None

    def make(path: Path) -> None:
        rows = list(progress(profiles_of(clips, workers), total=len(clips), desc="profiles", unit="clip"))
        save_weights(path, {"profiles": torch.from_numpy(np.packbits(rows, axis=1))}, {"kind": "profiles"})

    return cached(path, read, make)


def profiles_of(clips: Clips, workers: int) -> Iterator[np.ndarray]:
    """Yield the profile of each clip: bits (F,) that describe what its joints show. `workers` processes compute the profiles."""
    chunks = (clips_joints(clips, start) for start in range(0, len(clips), CHUNK))
    with processes(1 if len(clips) < SMALL else workers) as process:
        for chunk in process(chunk_profiles, chunks):
            yield from chunk


def clips_joints(clips: Clips, start: int) -> list[np.ndarray]:
    """The joints (T, J, 3) of each clip in a chunk of at most `CHUNK` = 64 clips that begins at clip `start`."""
    rows = (torch.tensor(clips[index]) for index in range(start, min(start + CHUNK, len(clips))))
    return [features_to_joints(features, HUMANML3D.num_joints).numpy() for features in rows]


def chunk_profiles(joints: list[np.ndarray]) -> list[np.ndarray]:
    """The profile (F,) of each clip, from its joints (T, J, 3). A profile is a vector of bits that describes what they show."""
    return [profile(clip) for clip in joints]


class ProfileBatches(ClipBatches):
    """Endless shuffled batches of clips, each with its profile, its action and the condition (encoded text) of a random caption.

    `profiles` (N, F) are bits that describe what the joints of a clip show. `conditions` are in the order of `clips.captions`.
    `actions` (N,) are the indices of the clips' actions; -1: unknown.
    """

    def __init__(
        self, clips: CaptionedClips, profiles: np.ndarray, conditions: Conditions, actions: Sequence[int], **settings: Any
    ):  # fmt: skip
        super().__init__(clips, **settings)
        self.profiles, self.conditions, self.first = torch.from_numpy(profiles), conditions, clips.first
        self.actions = torch.as_tensor(actions)
        self.caption_ids = np.array([self.numbers[caption.text] for caption in clips.captions])

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: {"condition": (B, C), "profile": (B, F) bool, "action": (B,), "caption": (B,) ids, "clip": (B,) indices}.

        Equal captions have equal ids.
        """
        clips, generator = self.batch_clips(index)
        captions = generator.integers(self.first[clips], self.first[clips + 1])
        rows = torch.from_numpy(clips)
        return {
            "condition": self.conditions.vectors[torch.from_numpy(captions)],
            "profile": self.profiles[rows],
            "action": self.actions[rows],
            "caption": torch.from_numpy(self.caption_ids[captions]),
            "clip": rows,
        }
