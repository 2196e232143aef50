"""Safe reading of .zip and .tar archives from untrusted sources: links and devices are refused, and sizes are limited.

Before a file is unpacked, the sizes listed in the archive are compared with the limits. `UserError` is raised if the unpacked size
of a file differs from its listed size.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from utils.errors import UserError

DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The maximum size of an archive.

    Attributes:
        size: total size of the unpacked files, in bytes.
        members: number of files and folders.
        path: length of a path, in characters.
        depth: number of components of a path.
    """

    size: int = 1 << 30
    members: int = 200_000
    path: int = 240
    depth: int = 20


def read_members(path: Path, wanted: Callable[[str], bool], limits: Limits = Limits()) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file whose name `wanted` accepts, from a .zip or .tar archive (compressed or not).

    Raises `UserError` for an archive that is damaged, encrypted, exceeds the limits, or contains links or devices.
    """
    if not path.is_file():
        raise UserError(f"{path}: cannot be read (no such file, or not a regular file); name a folder, .zip or .tar")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, path, limits)
                for member in archive.infolist():
                    if not member.is_dir() and wanted(member.filename):
                        with archive.open(member) as file:
                            yield member.filename, limited(file, member.file_size, path)
            return
        with tarfile.open(path) as archive:
            for name, member in checked_tar(archive, path, limits):
                if wanted(name):
                    yield name, limited(archive.extractfile(member), member.size, path)
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); is it a complete .zip or .tar?") from None


def check_zip(archive: zipfile.ZipFile, path: Path, limits: Limits = Limits()) -> None:
    """Raise `UserError` for a .zip that exceeds the limits, or contains encrypted files, links or devices."""
    members = archive.infolist()
    for member in members:
        mode = member.external_attr >> 16
        if member.flag_bits & 1:
            raise UserError(f"{path}: '{member.filename[:80]}' is encrypted; unpack it yourself")
        if member.compress_type not in COMPRESSIONS:
            raise UserError(f"{path}: '{member.filename[:80]}' has an unknown compression ({member.compress_type}); pack it again")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{path}: '{member.filename[:80]}' is a link or a device; pack plain files only")
    check_names((member.filename for member in members), path, limits)
    check_size(sum(member.file_size for member in members), len(members), path, limits)


def checked_tar(archive: tarfile.TarFile, path: Path, limits: Limits) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the files of a .tar one by one; each file is checked before it is yielded.

    Raises `UserError` for a .tar that exceeds the limits, or contains links or devices.
    """
    size, names = 0, set()
    for count, member in enumerate(archive, 1):
        size += member.size
        check_size(size, count, path, limits)
        if not (member.isfile() or member.isdir()):
            raise UserError(f"{path}: '{member.name[:80]}' is a link or a device; pack plain files only")
        check_names([member.name], path, limits, names)
        if member.isfile():
            yield member.name, member


def check_size(size: int, members: int, path: Path, limits: Limits) -> None:
    """Raise `UserError` for an archive with too many members or bytes."""
    if members > limits.members:
        raise UserError(f"{path}: holds more than {limits.members:,} files; unpack it yourself")
    if size > limits.size:
        raise UserError(f"{path}: would unpack to more than {limits.size >> 20:,} MiB; unpack it yourself if you trust it")


def check_names(names: Iterable[str], path: Path, limits: Limits, seen: set[str] | None = None) -> None:
    """Raise `UserError` for a name that leads outside the target folder, is too long or too deep, or occurs twice (in any case).

    `seen` contains the names of earlier members in lower case; `names` are added to `seen`.
    """
    seen = set() if seen is None else seen
    for name in names:
        pure = PurePosixPath(name.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or (pure.parts and ":" in pure.parts[0]):
            raise UserError(f"{path}: '{name[:80]}' leads outside the folder; pack it with relative paths")
        if len(name) > limits.path or len(pure.parts) > limits.depth:
            raise UserError(f"{path}: '{name[:80]}…' is longer than {limits.path} characters or over {limits.depth} folders deep")
        key = str(pure).casefold()
        if key in seen and not name.endswith("/"):
            raise UserError(f"{path}: holds '{name[:80]}' twice (upper and lower case count as equal); pack it again")
        seen.add(key)


def limited(file: IO[bytes], size: int, path: Path) -> bytes:
    """The content of a file in an archive. Raises `UserError` if the length of the content is not `size`, the listed length."""
    content = file.read(size + 1)
    if len(content) != size:
        raise UserError(f"{path}: the length of a file differs from the listed length; the archive is damaged")
    return content
