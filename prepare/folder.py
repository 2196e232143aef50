"""Atomic writing of a dataset folder in HumanML3D's layout: motions and lists of clips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:  # the builders' --help does not wait for torch
    from torch import Tensor

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


def check_replaceable(out: Path, mark: str, title: str) -> None:
    """Raise `UserError` if `out` exists and is neither empty nor an older build, whose file `mark` starts with `title`."""
    mark = out / mark
    ours = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").startswith(title)
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is no build of this script; remove it, or name another folder with --out")


def write_motion(folder: Path, name: str, features: Tensor, joints: Tensor) -> None:
    """Write a clip's features (T, 263) and the joints (T, 22, 3) that they describe; the folders of `MOTIONS` must be there."""
    for part, values in zip(MOTIONS, (features, joints)):
        np.save(folder / part / f"{name}.npy", values.numpy())


def write_lists(folder: Path, lists: Mapping[str, Iterable[str]]) -> None:
    """Write `<list>.txt` for each list of clip names, one name per line."""
    for name, clips in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{clip}\n" for clip in clips), encoding="utf-8")
