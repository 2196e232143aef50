"""Sampling weights that draw rare actions more often, and epochs with these weights.

`actions.csv` of a dataset folder has one row per clip; column `clip` is its name, `action` its main action, `source` its origin.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import UserError

ACTIONS = "actions.csv"


def read_actions(folder: Path, column: str = "action") -> dict[str, str]:
    """Read {clip name: main action}, or another column; empty if there is no file. Raises `UserError` if a column is missing."""
    path = folder / ACTIONS
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"clip", column} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: columns {', '.join(reader.fieldnames or ['none'])}; expected clip and {column}")
        return {row["clip"]: row[column] for row in reader}


def sampling_weights(names: Sequence[str], folder: Path, sizes: Sequence[float] | None = None) -> np.ndarray:
    """Sampling weight of each clip, 1 on average. Actions are drawn in proportion to the square root of their size.

    `sizes` (N,) default to 1, so that an action's size is its number of clips; with lengths it is its number of frames. Clips
    without an action form one action. Without `actions.csv` all weights are 1.
    """
    known = read_actions(folder)
    actions = [known.get(name) or known.get(name.partition("_")[2], "") for name in names]  # clip B_000123 is a part of 000123
    sizes = np.ones(len(actions)) if sizes is None else np.asarray(sizes, dtype=float)
    totals = Counter()
    for action, size in zip(actions, sizes):
        totals[action] += size
    weights = np.array([totals[action] ** -0.5 for action in actions]) if known else np.ones(len(actions))
    return weights * sizes.sum() / (weights * sizes).sum()


def weighted_epoch(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N indices in random order for weights (N,); each index appears weight / mean weight times, rounded up or down.

    This is systematic resampling; equal weights give a permutation. The copies of an index are spread evenly over the epoch.
    """
    ends = np.cumsum(weights / weights.mean())
    points = np.arange(len(weights)) + rng.random()
    index = np.searchsorted(ends, points, side="right").clip(max=len(weights) - 1)  # sorted
    copies = np.bincount(index, minlength=len(weights))
    number = np.arange(len(index)) - (copies.cumsum() - copies)[index]
    return index[((number + rng.random(len(index))) / copies[index]).argsort()]
