"""Text files in a folder and in the archives in it, such as downloaded motion captures."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from motion.files.bvh import read_text
from utils.errors import UserError

ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class RawFile:
    """A file with its text."""

    path: PurePosixPath
    text: str

    def stream(self) -> io.StringIO:
        """The text as an open file with a name."""
        stream = io.StringIO(self.text)
        stream.name = str(self.path)
        return stream


def raw_files(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[RawFile]:
    """The wanted files of a folder and of the .tar.* archives that lie directly in it; of equal names (stems) the first.

    Raises:
        UserError: the folder is missing, or an archive cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    seen = set()

    def new(path: PurePosixPath) -> bool:
        fresh = path.stem not in seen and not path.name.startswith(".") and wanted(path)
        seen.update([path.stem] if fresh else [])
        return fresh

    for path in sorted(folder.rglob("*")):
        if path.is_file() and new(PurePosixPath(path)):
            yield RawFile(PurePosixPath(path), read_text(path)[1])
    for archive in sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES)):
        try:
            with tarfile.open(archive, "r|*") as members:  # as a stream: seeking in an .xz starts over each time
                for member in members:
                    if member.isfile() and new(PurePosixPath(member.name)):
                        text = members.extractfile(member).read().decode("utf-8", errors="replace")
                        yield RawFile(PurePosixPath(member.name), text)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
            raise UserError(f"{archive}: cannot be read to its end ({error}); download it again") from None
