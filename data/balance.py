"""Drawing rare actions more often: a weight for each clip, and epochs that follow the weights.

`actions.csv` of a dataset folder has the header `name,action` and one row per clip, its main action.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import UserError

ACTIONS = "actions.csv"


def read_actions(folder: Path) -> dict[str, str]:
    """Name → main action; empty without the file. Raises `UserError` if its columns are not `name` and `action`."""
    path = folder / ACTIONS
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"name", "action"} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: columns {', '.join(reader.fieldnames or ['none'])}; expected name and action")
        return {row["name"]: row["action"] for row in reader}


def sampling_weights(names: Sequence[str], folder: Path) -> np.ndarray:
    """How often to draw each clip, 1 on average: an action is drawn by the square root of its number of clips among `names`.

    Clips without an action count as one action. Without `actions.csv` all weights are 1.
    """
    known = read_actions(folder)
    actions = [known.get(name, "") for name in names]
    counts = Counter(actions)
    weights = np.array([counts[action] ** -0.5 for action in actions])
    return weights / weights.mean()


def weighted_epoch(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as weights (N,), shuffled, each there floor or ceil of weight / mean times.

    Systematic resampling: equal weights give a permutation.
    """
    ends = np.cumsum(weights / weights.mean())
    points = np.arange(len(weights)) + rng.random()
    index = np.searchsorted(ends, points, side="right").clip(max=len(weights) - 1)
    rng.shuffle(index)
    return index
