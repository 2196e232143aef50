"""Progress of long computations: a progress bar if stderr is a terminal, otherwise a line of text every `EVERY` seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm

DELAY = 5  # seconds before the first line, if stderr is not a terminal
EVERY = 30  # seconds between lines
LINE = "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left\n"


def progress(
    items: Iterable | None = None, *, desc: str, total: int | None = None, unit: str = "it", initial: int = 0, disable: bool = False
) -> tqdm:
    """A tqdm iterator over `items` that shows the progress on stderr. If `items` is None, call the result's method `update(n)`.

    `initial` is the number of items that are already done.
    """
    lines = {"delay": DELAY, "mininterval": EVERY, "maxinterval": EVERY, "bar_format": LINE}
    style = {} if sys.stderr.isatty() else lines
    return tqdm(items, desc=desc, total=total, unit=unit, initial=initial, leave=False, disable=disable, **style)
