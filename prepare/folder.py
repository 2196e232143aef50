"""Atomic writing of dataset folders in HumanML3D's layout: motions and lists of clips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:  # torch is imported late, to keep --help fast
    from torch import Tensor

    from motion.skeleton import Skeleton

MOTIONS = ("new_joint_vecs", "new_joints")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that is renamed to `out` on success and deleted on failure."""
    temporary = out.with_name(f".{out.name}.unfinished")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; choose another folder with --out") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(out: Path, name: str, title: str) -> None:
    """Raise `UserError` unless the folder `out` is missing, is empty, or contains an older build.

    A folder contains an older build if its file `name` starts with `title`.
    """
    report = out / name
    older_build = report.is_file() and report.read_text(encoding="utf-8", errors="replace").startswith(title)
    if out.exists() and not older_build and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and was not built by this script; remove it, or choose another folder with --out")


def write_motion(folder: Path, name: str, features: Tensor, joints: Tensor) -> None:
    """Write features (T, D) and joints (T, J, 3) of a clip to new_joint_vecs and new_joints, which must exist in `folder`."""
    for part, values in zip(MOTIONS, (features, joints)):
        np.save(folder / part / f"{name}.npy", values.numpy())


def write_batch_of_joints(folder: Path, names: Sequence[str], joints: Sequence[Tensor], skeleton: Skeleton) -> None:
    """Compute and write the features (T, D) of each clip of `joints` (T + 1, J, 3), and joints (T, J, 3) recovered from them."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from motion.features import features_to_joints, joints_to_features

    lengths = torch.tensor([len(clip) for clip in joints])
    features, _ = joints_to_features(pad_sequence(list(joints), batch_first=True), skeleton, lengths)  # (B, T, D)
    for name, length, rows in zip(names, lengths.tolist(), features):
        write_motion(folder, name, rows[: length - 1], features_to_joints(rows[: length - 1], skeleton.num_joints))


def write_lists(folder: Path, lists: Mapping[str, Iterable[str]]) -> None:
    """Write each list of clip names to `folder`/<key>.txt, one name per line."""
    for name, clips in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{clip}\n" for clip in clips), encoding="utf-8", errors="surrogateescape")
