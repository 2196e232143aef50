"""Splits of the `open` dataset, including held-out combinations of content (action) and style.

Splits are assigned to captures, not to clips. HumanML3D's segments keep their published splits. All other frames of a capture, the
mirror images of these frames, and the copies of the capture in other sources belong to the split of the capture.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prepare.actions import actions_in

if TYPE_CHECKING:  # prepare.takes imports numpy; imported late, to keep --help fast
    from prepare.takes import Take

SPLITS = ("train", "val", "test", "test_unseen", "test_everyday")
FRACTIONS = {"test": 0.15, "val": 0.05}
FEWEST = 4  # minimum number of captures of an action; with fewer captures, none is drawn for test_everyday
TEST_ACTORS = frozenset({("hdm05", "tr")})  # (source, actor) of persons that are in neither train nor val, only in test_everyday

# Combinations (content, style) that are held out of training. Their mirror images are held out too. A combination that is held out
# of one of the two datasets does not occur in the other dataset, not even under a synonym.
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
    """Assign a split to each take (capture). Returns the splits, keyed by the take's name.

    If a take has segments (captioned sections), the split applies only to the frames outside the segments.
    """
    return draw_by_content([take for take in takes if take.content]) | draw_by_action([take for take in takes if not take.content])


def by_hash(names: Iterable[str]) -> list[str]:
    """The names in a pseudo-random order that is the same in every build."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def draw_by_content(takes: list[Take]) -> dict[str, str]:
    """Assign a split to each take (capture) of Bandai-Namco. Returns the splits, keyed by the take's name.

    The combinations of content (action) and style in `UNSEEN` are in test_unseen. Of the other takes of each content in each of the
    two datasets, 15 % are assigned to test and 5 % to val; the remaining takes are in train. If there are few takes of a content,
    all of them are in train.
    """
    splits, groups = {}, defaultdict(list)
    for take in takes:
        if (take.content, take.style) in UNSEEN.get(take.source, ()):
            splits[take.name] = "test_unseen"
        else:
            groups[take.source, take.content].append(take.name)
    for names in groups.values():
        test, val = round(FRACTIONS["test"] * len(names)), round(FRACTIONS["val"] * len(names))
        for index, name in enumerate(by_hash(names)):
            splits[name] = "test" if index < test else "val" if index < test + val else "train"
    return splits


def draw_by_action(takes: list[Take]) -> dict[str, str]:
    """Assign splits to takes without a content, keyed by the take's name. All copies of a capture have the same split.

    Captures of held-out actors and captures with a test segment of HumanML3D are in test_everyday. Other captures with a validation
    segment are in val, and other captures with a training segment are in train. The remaining captures are distributed: for each
    action with at least `FEWEST` captures, test_everyday gets 15 % of the captures of the action, but at least one capture. Then
    val gets 5 % of the captures of each main action. All other captures are in train.
    """
    captures = defaultdict(list)
    for take in takes:
        captures[take.capture].append(take)
    actions = {name: actions_of(group) for name, group in captures.items()}
    splits = {name: split for name, group in captures.items() if (split := given_split(group))}
    counts = Counter(action for named in actions.values() for action in named)
    rare = {action for action, count in counts.items() if count < FEWEST}
    for action in sorted(set(counts) - rare, key=lambda action: (counts[action], action)):
        members = by_hash(name for name in captures if action in actions[name])
        missing = max(1, round(FRACTIONS["test"] * len(members))) - sum(splits.get(name) == "test_everyday" for name in members)
        free = [name for name in members if name not in splits]
        free.sort(key=lambda name: (bool(rare & set(actions[name])), actions[name][0] != action))
        splits |= dict.fromkeys(free[: max(missing, 0)], "test_everyday")
    for action in sorted(counts):
        members = by_hash(name for name in captures if actions[name][:1] == (action,))
        missing = round(FRACTIONS["val"] * len(members)) - sum(splits.get(name) == "val" for name in members)
        free = [name for name in members if name not in splits]
        splits |= dict.fromkeys(free[: max(missing, 0)], "val")
    return {take.name: splits.get(name, "train") for name, group in captures.items() for take in group}


def actions_of(takes: list[Take]) -> tuple[str, ...]:
    """Return the actions that are named in the labels of `takes`, which are a capture and its copies.

    The captures of a user's own dataset have no such labels. For these captures, the function searches the labels or captions of
    their sections.
    """
    words = [(take.label, take.source) for take in takes]
    sections = [segment for take in takes if not take.label and not take.reserved for segment in take.segments]
    words += [(segment.label or " ".join(segment.captions), "") for segment in sections]
    return tuple(dict.fromkeys(action for label, source in words for action in actions_in(label, source)))


def given_split(takes: list[Take]) -> str:
    """Return the split of a capture, given with its copies, if its actor or segments determine the split, or else ""."""
    reserved = set().union(*(take.reserved for take in takes)) | {segment.split for take in takes for segment in take.segments}
    if any((take.source, take.actor) in TEST_ACTORS for take in takes) or "test" in reserved:
        return "test_everyday"
    return "val" if "val" in reserved else "train" if "train" in reserved else ""
