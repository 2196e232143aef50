"""Drawing rare actions more often: a weight for each clip, and epochs that follow the weights.

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
    """Clip → its main action, or another column; empty without the file. Raises `UserError` if a column is missing."""
    path = folder / ACTIONS
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"clip", column} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: columns {', '.join(reader.fieldnames or ['none'])}; expected clip and {column}")
        return {row["clip"]: row[column] for row in reader}


def sampling_weights(names: Sequence[str], folder: Path, sizes: Sequence[float] | None = None) -> np.ndarray:
    """How often to draw each clip for its size, 1 on average: an action is drawn by the square root of the size of its clips.

    `sizes`: 1 for each clip without it, so that actions count by clips; lengths make them count by frames. Clips without
    an action count as one action. Without `actions.csv` all weights are 1.
    """
    known = read_actions(folder)
    actions = [known.get(name, "") for name in names]
    sizes = np.ones(len(actions)) if sizes is None else np.asarray(sizes, dtype=float)
    totals = Counter()
    for action, size in zip(actions, sizes):
        totals[action] += size
    weights = np.array([totals[action] ** -0.5 for action in actions]) if known else np.ones(len(actions))
    return weights * sizes.sum() / (weights * sizes).sum()


def weighted_epoch(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as weights (N,), shuffled, each there floor or ceil of weight / mean times.

    Systematic resampling: equal weights give a permutation.
    """
    ends = np.cumsum(weights / weights.mean())
    points = np.arange(len(weights)) + rng.random()
    index = np.searchsorted(ends, points, side="right").clip(max=len(weights) - 1)
    rng.shuffle(index)
    return index
