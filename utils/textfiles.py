"""Reading of text files with a maximum length, so that endless files such as /dev/zero raise an error."""

from __future__ import annotations

import errno
from pathlib import Path

LARGEST = 2**26  # default maximum length, in characters


def bounded_text(path: str | Path, largest: int = LARGEST, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Read a text file of at most `largest` characters. Raises `OSError` if the file is longer or cannot be read,
    and `UnicodeDecodeError` if the file cannot be decoded."""
    with open(path, encoding=encoding, errors=errors) as file:
        text = file.read(largest + 1)
    if len(text) > largest:
        raise OSError(errno.EFBIG, f"more than {largest:,} characters", str(path))
    return text
