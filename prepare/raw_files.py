"""Read text files, such as downloaded motion captures, from a folder and from the archives in this folder."""

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
    """The path and the text of a file."""

    path: PurePosixPath
    text: str

    def stream(self) -> io.StringIO:
        """The text as a file object, whose `name` is the path."""
        stream = io.StringIO(self.text)
        stream.name = str(self.path)
        return stream


def raw_files(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[RawFile]:
    """Yield the text files in a folder and its subfolders, and those in .tar, .tgz, .tar.gz and .tar.xz archives in this folder.

    A file is yielded only if `wanted` returns True for the path of the file. If several files have the same stem (name without
    suffix), only the first of these files is yielded. Raises `UserError` if the folder is missing or an archive cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    seen = set()

    def accept(path: PurePosixPath) -> bool:
        accepted = path.stem not in seen and not path.name.startswith(".") and wanted(path)
        seen.update([path.stem] if accepted else [])
        return accepted

    for path in sorted(folder.rglob("*")):
        if path.is_file() and accept(PurePosixPath(path)):
            yield RawFile(PurePosixPath(path), read_text(path)[1])
    for archive in sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES)):
        try:
            with tarfile.open(archive, "r|*") as members:  # read as a stream: seeking in .xz files is slow
                for member in members:
                    if member.isfile() and accept(PurePosixPath(member.name)):
                        text = members.extractfile(member).read().decode("utf-8", errors="replace")
                        yield RawFile(PurePosixPath(member.name), text)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
            raise UserError(f"{archive}: damaged or incomplete ({error}); download the archive again") from None
