"""Compute sampling weights with which rare actions are sampled more often, and sample the clips of an epoch with these weights.

The file `actions.csv` in a dataset folder has one row per clip. Its columns include `clip` (name of the clip), `action` (main
action of the clip) and `source` (name of the source dataset).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from motion.spec import listed_names
from utils.errors import UserError

ACTIONS, COMPOSED = "actions.csv", "composed.txt"


def read_actions(folder: Path, column: str = "action") -> dict[str, str]:
    """Read `actions.csv` in a dataset folder: a dictionary from clip names to main actions, or to the values of another `column`.

    Returns {} if the folder contains no `actions.csv`. Raises `UserError` if it lacks the column `clip` or the other column.
    """
    path = folder / ACTIONS
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"clip", column} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: columns {', '.join(reader.fieldnames or ['none'])}; expected clip and {column}")
        return {row["clip"]: (row[column] or "").strip() for row in reader}


def actions_of(names: Sequence[str], folder: Path) -> list[str]:
    """The main action of each clip in `names`, from the dataset's `actions.csv`; "": the clip has no listed action."""
    by_name = read_actions(folder)
    return [by_name.get(name) or by_name.get(name.partition("_")[2], "") for name in names]  # B_000123: part of clip 000123


def compositions_in(names: Sequence[str], folder: Path) -> np.ndarray:
    """A bool mask (N,): which of the N clips `names` are compositions, which are listed in `composed.txt` in the dataset folder."""
    path = folder / COMPOSED
    listed = set(listed_names(path)) if path.is_file() else set()
    return np.array([name in listed for name in names], dtype=bool)


def sampling_weights(
    names: Sequence[str], folder: Path, balance: bool = True, compositions: float | None = None,
    sizes: Sequence[float] | None = None,
) -> np.ndarray | None:  # fmt: skip
    """Return the sampling weights (N,) of N clips, 1 on average, or None if all clips are sampled equally often.

    Args:
        names, folder: names of the clips, and the folder of their dataset.
        balance: whether to sample each action with a probability proportional to the square root of its size, which is the sum of
            the sizes of its clips. All clips without an action count as a single action. If `folder` contains no
            `actions.csv`, all clips are sampled equally often.
        compositions: fraction of the samples that are compositions, which are clips composed of other clips (listed in
            `composed.txt` in `folder`). If None, this fraction is not fixed.
        sizes: (N,) sizes of the clips, such as lengths in frames. If None, every clip has size 1.

    Raises `UserError` if `compositions` is above 0 but no clip is a composition, or if `compositions` is below 1 but every clip is
    a composition.
    """
    if not balance and compositions is None:
        return None
    sizes = np.ones(len(names)) if sizes is None else np.asarray(sizes, dtype=float)
    weights = balanced_weights(names, folder, sizes) if balance else np.ones(len(names))
    if compositions is None:
        return weights
    composed = compositions_in(names, folder)
    for clips, fraction in ((composed, compositions), (~composed, 1 - compositions)):
        if fraction > 0 and not clips.any():
            kind = "compositions" if clips is composed else "other clips"
            raise UserError(f"--compositions {compositions}: {folder} has no {kind}; build the dataset with prepare.open_dataset")
        weights[clips] *= fraction * sizes.sum() / max((weights * sizes)[clips].sum(), 1e-12)
    return weights


def balanced_weights(names: Sequence[str], folder: Path, sizes: np.ndarray) -> np.ndarray:
    """Return sampling weights (N,) of N clips, 1 on average, for which the probability of an action is proportional to the square
    root of its size. The size of an action is the sum of the `sizes` (N,) of its clips."""
    actions = actions_of(names, folder)
    totals = Counter()
    for action, size in zip(actions, sizes):
        totals[action] += size
    weights = np.array([totals[action] ** -0.5 for action in actions]) if any(actions) else np.ones(len(actions))
    return weights * sizes.sum() / (weights * sizes).sum()


def weighted_epoch(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample N indices by systematic resampling with weights (N,), and return these indices in random order.

    Index i is sampled `weights[i] / weights.mean()` times, rounded up or down; equal weights give a permutation. Copies of an index
    are spread evenly over the epoch.
    """
    ends = np.cumsum(weights / weights.mean())
    points = np.arange(len(weights)) + rng.random()
    index = np.searchsorted(ends, points, side="right").clip(max=len(weights) - 1)  # in ascending order
    copies = np.bincount(index, minlength=len(weights))
    number = np.arange(len(index)) - (copies.cumsum() - copies)[index]
    return index[((number + rng.random(len(index))) / copies[index]).argsort()]
