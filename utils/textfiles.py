"""Reads small text files that users name, and refuses what never ends, such as /dev/zero."""

from __future__ import annotations

import errno
from pathlib import Path

LARGEST = 2**26  # characters


def bounded_text(path: str | Path, largest: int = LARGEST, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a file. Raises `OSError` for one that cannot be read or has more than `largest` characters, and
    `UnicodeDecodeError` as `open` does."""
    with open(path, encoding=encoding, errors=errors) as file:
        text = file.read(largest + 1)
    if len(text) > largest:
        raise OSError(errno.EFBIG, f"more than {largest:,} characters", str(path))
    return text
