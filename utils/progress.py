"""Progress of steps that take long: a bar on a terminal, a line now and then elsewhere, such as in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm

DELAY = 5  # seconds after which a step shows itself off a terminal
EVERY = 30  # seconds between its lines there
LINE = "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left\n"


def progress(
    items: Iterable | None = None, *, desc: str, total: int | None = None, unit: str = "it", initial: int = 0, disable: bool = False
) -> tqdm:
    """`items`, or without them an object with `update(n)`, whose progress is shown on stderr; `initial` are done already."""
    lines = {"delay": DELAY, "mininterval": EVERY, "maxinterval": EVERY, "bar_format": LINE}
    elsewhere = {} if sys.stderr.isatty() else lines
    return tqdm(items, desc=desc, total=total, unit=unit, initial=initial, leave=False, disable=disable, **elsewhere)
