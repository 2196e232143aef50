"""The one error that users see: a clear line, exit code 2, no traceback.

Library code raises `UserError` for anything a user can mend (a missing file, a wrong shape, an unknown name). Scripts wear
`@script`, which turns it into one line on stderr and exit code 2. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input. The message names the thing and the remedy, on one line."""


def script(main: Callable) -> Callable:
    """Wrap a script's `main(argv=None)`: a `UserError` is printed on one line and ends the script with exit code 2."""

    @functools.wraps(main)
    def wrapped(argv: list[str] | None = None):
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped


def note(message: str) -> None:
    """Print one `note:` line on stderr: something the user should know that is no error."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def warning(message: str) -> None:
    """Print one `warning:` line on stderr: something that may go wrong."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)
