"""Reading of text files in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TextIO

from utils.errors import UserError

LARGEST = 2 << 30  # bytes; about the size of a BVH file of 24 hours at 30 frames per second
POINTER = b"version https://git-lfs"


def read_text(source: str | Path | TextIO) -> tuple[str, str]:
    """Read a file or an open text stream; returns its name and its text.

    The encoding is UTF-8 or UTF-16, each with or without a byte order mark. Raises `UserError` if a file cannot be read, is not
    a regular file, is larger than 2 GiB, or is a Git LFS pointer.
    """
    if not isinstance(source, (str, Path)):
        return str(getattr(source, "name", "stream")), source.read()
    path = Path(source)
    try:
        check_regular(path)
        return str(source), decoded(path.read_bytes(), str(source))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def check_regular(path: Path) -> None:
    """Raise `UserError` if a path exists but is not a regular file, or if it is larger than 2 GiB (`LARGEST`)."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: cannot be read (it is not a regular file); give a motion file")
    if path.is_file() and path.stat().st_size > LARGEST:
        raise UserError(f"{path}: larger than {LARGEST >> 30} GiB; split it into parts")


def decoded(content: bytes, name: str) -> str:
    """Decode the bytes of the file `name`. All line ends become \\n; trailing Ctrl-Z and NUL characters are removed."""
    if content.startswith(POINTER):
        raise UserError(f"{name}: a Git LFS pointer, not the motion itself; fetch it with: git lfs pull")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    elif len(content) > 1 and content[:64].count(0) > len(content[:64]) // 3:
        text = content.decode("utf-16-le" if content[1] == 0 else "utf-16-be", errors="replace")
    else:
        text = content.decode("utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a\0")
