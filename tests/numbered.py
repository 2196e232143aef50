"""A dataset in which every frame contains its own position, to test code that cuts and batches clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.store import MotionStore, Normaliser
from data.text import CaptionedClips
from motion.spec import get_spec


def numbered_clips(tmp_path: Path, clips: int = 24):
    """Clips whose frame t holds (t, its clip's number) in its first columns, two captions each."""
    spec = get_spec("synthetic", tmp_path)
    for folder in ("new_joint_vecs", "texts"):
        (tmp_path / folder).mkdir()
    lengths = np.random.default_rng(0).integers(24, 199, clips)
    for clip, length in enumerate(lengths):
        motion = np.zeros((length, spec.dim), np.float32)
        motion[:, 0], motion[:, 1] = np.arange(length), clip
        np.save(tmp_path / "new_joint_vecs" / f"{clip:03d}.npy", motion)
        (tmp_path / "texts" / f"{clip:03d}.txt").write_text(f"clip {clip}#x/X#0#0\nclip {clip} again#x/X#0#0\n")
    (tmp_path / "train.txt").write_text("\n".join(f"{clip:03d}" for clip in range(clips)))
    identity = Normaliser(np.zeros(spec.dim), np.ones(spec.dim))
    return CaptionedClips(spec, "train", MotionStore(spec)), identity
