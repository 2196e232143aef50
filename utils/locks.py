"""Locks that give one process exclusive access to a folder, and removal of incomplete files left by killed processes.

The lock is an `flock` on a file in the folder. The operating system releases the lock when the process ends, even if the process
is killed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

from utils.errors import UserError, note

FILE = ".lock"
HALF = re.compile(r"\..+\.\d+(\.\w+)?")  # temporary files of `utils.checkpoint.atomic_path`: .<stem>.<process id><suffix>
ABANDONED = re.compile(r"\..+\.[a-z0-9_]{8}")  # temporary folders of `pipelines.outputs.staged`: .<ext>.<8 characters>
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # errors of filesystems without `flock`


def try_lock(file: IO) -> bool:
    """Lock an open file without waiting.

    Returns True if the file is now locked, and False if the filesystem or the platform has no `flock`.

    Raises `BlockingIOError` if another process holds the lock.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        return False
    return True


class FolderLock:
    """An exclusive lock on a folder, held from construction until `release` or the end of the process.

    The folder is created if necessary. If the filesystem or the platform has no `flock`, a note is printed and nothing is locked.
    Raises `UserError` if the folder cannot be written to. If another process holds the lock, raises `UserError` with the message
    `busy`.
    """

    def __init__(self, folder: str | Path, busy: str) -> None:
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(folder / FILE, "ab")  # noqa: SIM115 (open for as long as the lock is held)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror or error}; choose a folder you may write to") from error
        try:
            held = try_lock(self.file)
        except BlockingIOError:
            self.file.close()
            raise UserError(busy) from None
        if not held:
            note(f"{folder}: file locks are not supported; make sure that only one process writes to this folder")

    def release(self) -> None:
        """Release the lock."""
        self.file.close()


def remove_half_files(folder: str | Path, parts: tuple[str, ...] = (".",)) -> list[Path]:
    """Remove the temporary files that interrupted writes have left in `folder`, and return the paths of the removed files.

    The argument `parts` lists the subfolders of `folder` to clean up; "." is `folder` itself. Only the process that holds the lock
    of `folder` may call this function.
    """
    removed = []
    for part in parts:
        with suppress(OSError):
            for entry in os.scandir(Path(folder) / part):
                if HALF.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed


def lock_temporary(folder: Path) -> IO | None:
    """Lock a temporary folder until the returned file is closed. Returns None if files cannot be locked.

    The lock file gets its final name only after it is locked. While the folder is in use, `remove_abandoned` therefore never finds
    an unlocked lock file.
    """
    unnamed = folder / f"{FILE}.new"
    file = open(unnamed, "ab")  # noqa: SIM115 (open for as long as the lock is held)
    if try_lock(file):
        os.replace(unnamed, folder / FILE)
        return file
    file.close()
    unnamed.unlink()
    return None


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the temporary folders in `parent` that killed processes have left, and return the paths of the removed folders.

    The temporary folder of a killed process contains a lock file that no process locks any more.
    """
    removed = []
    for lock in sorted(parent.glob(f".*/{FILE}")):
        if ABANDONED.fullmatch(lock.parent.name) and not lock.parent.is_symlink():
            with suppress(OSError), open(lock, "r+b") as file:
                if try_lock(file):
                    shutil.rmtree(lock.parent)
                    removed.append(lock.parent)
    return removed
