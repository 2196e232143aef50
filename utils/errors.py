"""Errors that are shown to users as one line on stderr, without a traceback. The exit code is 2.

Library code raises `UserError` for any problem that a user can fix (a missing file, a wrong shape, an unknown name). The decorator
`@script` on a script's `main` prints the error as one line. All other exceptions are bugs and keep their traceback.
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

LONGEST = 500  # maximum length of an error message, in characters
# Characters that could move the cursor, colour the terminal, or reverse the text direction.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Import names of the packages in requirements.txt. `av` is imported only when a video is written, so it is not in FIRST.
FIRST = ("torch", "numpy", "scipy", "einops", "safetensors", "tokenizers", "tqdm", "tensorboard", "matplotlib", "cv2", "PIL")
REQUIRED = (*FIRST, "av")
STRAY = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that do not stand for undecodable bytes of a file name
BAR = re.compile("(\n|\x1b\\[A)*")  # cursor movements of progress bars


class UserError(ValueError):
    """Bad input. The message says on one line what is wrong and how to fix it."""


def script(main: Callable) -> Callable:
    """Wrap a script's `main(argv=None)`: a `UserError` is printed on one line and ends the script with exit code 2.

    In everything that the script prints, control characters and characters that the terminal cannot encode are escaped.
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
        except BrokenPipeError:  # the program that reads our output has ended
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(128 + 13) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped


def check_packages() -> None:
    """End `python -m package.module` with a one-line error if a required package (`FIRST`) is not installed.

    Packages whose modules import their requirements at the top call this function in their `__init__.py`, because these imports run
    before `script` can handle errors. While Python locates the module of `python -m`, `sys.argv[0]` is "-m"; packages are checked
    only then.
    """
    if sys.argv[:1] == ["-m"]:
        for name in FIRST:
            if importlib.util.find_spec(name) is None:
                fail_without(name)


def fail_without(package: str) -> NoReturn:
    """Print which package is missing and how to install it, and exit with code 2."""
    fail(
        f"missing package: {package}, in {sys.executable}; activate the environment with `source .venv/bin/activate` "
        "(`make demo` creates it), or install PyTorch and then requirements.txt"
    )


def fail(message: str) -> NoReturn:
    """Print an error on one line of at most 500 characters and exit with code 2."""
    message = escaped(" ".join(message.split()))
    if len(message) > LONGEST - 10:
        message = f"{message[: LONGEST - 213]} … {message[-200:]}"  # keep the end, which says how to fix the error
    print(f"error: {message}", file=Printable(sys.stderr))
    raise SystemExit(2) from None


def note(message: str) -> None:
    """Print one `note:` line on stderr, for information that requires no action by the user."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def escaped(text: str) -> str:
    """The text with control characters escaped."""
    return CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def readable(text: str) -> str:
    """The text without surrogates, so that it can be encoded. Surrogates that stand for undecodable bytes of file names are decoded
    as UTF-8; all other surrogates, and invalid bytes, become U+FFFD."""
    return STRAY.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def warning(message: str) -> None:
    """Print one `warning:` line on stderr, for a possible problem."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an invalid flag on one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        """Print an error about the command line and exit with code 2."""
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
