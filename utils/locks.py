"""One process at a time in a folder, and the half-written files that an earlier one left there.

The lock is `flock` on a file in the folder: the system releases it when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from utils.errors import UserError

FILE = ".lock"
HALF = re.compile(r"\..+\.\d+(\.\w+)?")  # what `utils.checkpoint.atomic_path` writes to: .<stem>.<process><suffix>
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """An exclusive lock on a folder, which it makes if need be. Held from construction until `release` or the process's end.

    Where the filesystem or the platform has no `flock`, a note says so and nothing is locked. Raises `UserError` with `busy` if
    another process holds the lock, and where the folder cannot be written.
    """

    def __init__(self, folder: str | Path, busy: str) -> None:
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(folder / FILE, "ab")  # noqa: SIM115 (open for as long as the lock is held)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror or error}; choose a folder you may write to") from error
        self.held = False
        try:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.file.close()
            raise UserError(busy) from None
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
                raise
            print(f"note: {folder} cannot be locked here: take care that only one process writes to it", file=sys.stderr)

    def release(self) -> None:
        """Release the lock."""
        self.file.close()
        self.held = False


def remove_half_files(folder: str | Path, parts: tuple[str, ...] = (".",)) -> list[Path]:
    """Remove what interrupted writes left in `parts` of a folder; only the process that holds the folder's lock may do it."""
    removed = []
    for part in parts:
        with suppress(OSError):
            for entry in os.scandir(Path(folder) / part):
                if HALF.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed
