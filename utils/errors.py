"""The error that users see: one clear line, exit code 2, no traceback.

Library code raises `UserError` for anything a user can fix (a missing file, a wrong shape, an unknown name). `@script` on a
script's `main` turns it into one line on stderr and exit code 2. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO

LONGEST = 500  # characters of an error
# What could move the cursor, colour the terminal, or reorder what stands there.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Packages of requirements.txt, by the names that they are imported under; the last one only writes videos.
FIRST = ("torch", "numpy", "scipy", "einops", "safetensors", "tokenizers", "tqdm", "tensorboard", "matplotlib", "cv2", "PIL")
REQUIRED = (*FIRST, "av")
STRAY = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # halves of characters that are no bytes of a file name
BAR = re.compile("(\n|\x1b\\[A)*")  # with which progress bars move the cursor


class UserError(ValueError):
    """Bad input. The message says on one line what is wrong and how to fix it."""


def script(main: Callable) -> Callable:
    """Wrap a script's `main(argv=None)`: a `UserError` is printed on one line and ends the script with exit code 2.

    Whatever it prints is free of control characters, and characters that the terminal or a pipe cannot encode are escaped.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str] | None = None):
        try:
            with redirect_stdout(Printable(sys.stdout)), redirect_stderr(Printable(sys.stderr)):
                return main(argv)
        except UserError as error:
            fail(str(error))
        except ModuleNotFoundError as error:
            if (name := (error.name or "").partition(".")[0]) not in REQUIRED:
                raise
            fail_without(name)
        except MemoryError:
            fail("out of memory: use smaller input, or a smaller --batch_size")
        except BrokenPipeError:  # the reader of our output has gone
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(128 + 13) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped


def check_packages() -> None:
    """Called in a package's `__init__.py`: end `python -m package.module` with one line if a requirement that modules import at
    once is not installed.

    Such modules import their requirements before `script` can wrap `main`. `sys.argv[0]` is "-m" only while Python locates the
    module.
    """
    if sys.argv[:1] == ["-m"]:
        for name in FIRST:
            if importlib.util.find_spec(name) is None:
                fail_without(name)


def fail_without(package: str) -> NoReturn:
    """Print that a package is not installed, and how to install it, and exit with code 2."""
    fail(
        f"missing package: {package}, in {sys.executable}; activate the environment with `source .venv/bin/activate` "
        "(`make demo` creates it), or install PyTorch and then requirements.txt"
    )


def fail(message: str) -> NoReturn:
    """Print an error on one line of at most 500 characters and exit with code 2."""
    message = escaped(" ".join(message.split()))
    if len(message) > LONGEST - 10:
        message = f"{message[: LONGEST - 213]} … {message[-200:]}"  # the remedy stands at the end
    print(f"error: {message}", file=Printable(sys.stderr))
    raise SystemExit(2) from None


def note(message: str) -> None:
    """Print one `note:` line on stderr: something the user should know that is not an error."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def escaped(text: str) -> str:
    """A text without control characters."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def readable(text: str) -> str:
    """A text that every encoding of Unicode can write. Bytes of file names that Python could not decode are read as UTF-8; what
    that does not explain becomes U+FFFD."""
    return STRAY.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def warning(message: str) -> None:
    """Print one `warning:` line on stderr: something that may go wrong."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong flag on one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        """Print an error of the command line and exit with code 2."""
        fail(f"{message}; --help lists the flags")


class Printable:
    """A text stream that escapes control characters and characters that `stream` cannot encode."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write text with control characters escaped, except the cursor movements of progress bars."""
        if not BAR.fullmatch(text):
            text = escaped(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
