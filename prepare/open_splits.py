"""Which takes of the `open` dataset are for training, and which combinations of content and style no model ever sees."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # prepare.open_sources imports torch, for which --help does not wait
    from prepare.open_sources import Take

SPLITS = ("train", "val", "test", "test_unseen")
SHARES = {"test": 0.15, "val": 0.05}

# Content x style that no model sees in training. Their mirrors are of the same combinations (or of the other side, listed too),
# and no combination of one dataset comes back in the other, under this name or a synonym.
UNSEEN = {
    "bandai 1": (
        ("walk", "childish"), ("walk", "giant"), ("walk", "chimpira"), ("walk", "musical"), ("walk-left", "proud"),
        ("walk-right", "proud"), ("walk-back", "old"), ("run", "happy"), ("dash", "angry"), ("bow", "active"), ("bye", "tired"),
        ("byebye", "sad"),
    ),
    "bandai 2": (
        ("walk", "youthful"), ("run", "elderly"), ("wave-both-hands", "exhausted"), ("raise-up-both-hands", "feminine"),
    ),
}  # fmt: skip


def draw_splits(takes: list[Take]) -> dict[str, str]:
    """The split of each take by name: its own, or test_unseen, or drawn.

    The draw is by a hash of the name, within each content, so that rare contents keep their share; a content with a few takes
    stays in train.
    """
    splits, groups = {}, defaultdict(list)
    for take in takes:
        if take.split:
            splits[take.name] = take.split
        elif (take.content, take.style) in UNSEEN.get(take.source, ()):
            splits[take.name] = "test_unseen"
        else:
            groups[take.source, take.content].append(take.name)
    for names in groups.values():
        names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
        test, val = round(SHARES["test"] * len(names)), round(SHARES["val"] * len(names))
        for index, name in enumerate(names):
            splits[name] = "test" if index < test else "val" if index < test + val else "train"
    return splits
