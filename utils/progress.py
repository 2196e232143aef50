"""Progress of long steps: a bar on a terminal, occasional lines elsewhere, such as in a log file."""

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
    """Iterate over `items` (or, without them, return an object with `update(n)`) and show the progress on stderr; `initial` items
    are already done."""
    lines = {"delay": DELAY, "mininterval": EVERY, "maxinterval": EVERY, "bar_format": LINE}
    elsewhere = {} if sys.stderr.isatty() else lines
    return tqdm(items, desc=desc, total=total, unit=unit, initial=initial, leave=False, disable=disable, **elsewhere)
