"""Splits of the `open` dataset, including held-out combinations of content and style.

Splits are assigned to captures, not to clips: a capture, its mirror, its copies in other sources and the frames outside HumanML3D's
segments are in the same split. HumanML3D's segments keep their split.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prepare.actions import actions_in

if TYPE_CHECKING:  # prepare.takes imports numpy, for which --help does not wait
    from prepare.takes import Take

SPLITS = ("train", "val", "test", "test_unseen", "test_everyday")
SHARES = {"test": 0.15, "val": 0.05}
FEWEST = 4  # captures of an action from which one is held out for test_everyday
TEST_ACTORS = frozenset({("hdm05", "tr")})  # never in train or val, so that one person is new to every model

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
    """The split of each take by name. For a take with segments, it applies to the frames outside of them."""
    contents = [take for take in takes if take.content]
    return draw_by_content(contents) | draw_by_action([take for take in takes if not take.content])


def by_hash(names: Iterable[str]) -> list[str]:
    """The names in an arbitrary but fixed order."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def draw_by_content(takes: list[Take]) -> dict[str, str]:
    """Bandai-Namco's splits: test_unseen, or drawn within each content, so that rare contents are represented.

    A content with few takes is in train.
    """
    splits, groups = {}, defaultdict(list)
    for take in takes:
        if (take.content, take.style) in UNSEEN.get(take.source, ()):
            splits[take.name] = "test_unseen"
        else:
            groups[take.source, take.content].append(take.name)
    for names in groups.values():
        test, val = round(SHARES["test"] * len(names)), round(SHARES["val"] * len(names))
        for index, name in enumerate(by_hash(names)):
            splits[name] = "test" if index < test else "val" if index < test + val else "train"
    return splits


def draw_by_action(takes: list[Take]) -> dict[str, str]:
    """The splits of everyday takes.

    A capture with a test segment of HumanML3D, and every copy of it, is test_everyday; one with a validation segment, val. Of
    each action with FEWEST captures or more, 15 % or at least one are in test_everyday: these, the held-out actor's, and further
    ones as necessary. 5 % of each main action are in val, all others in train.
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
        missing = max(1, round(SHARES["test"] * len(members))) - sum(splits.get(name) == "test_everyday" for name in members)
        free = [name for name in members if name not in splits]
        free.sort(key=lambda name: (bool(rare & set(actions[name])), actions[name][0] != action))
        splits |= dict.fromkeys(free[: max(missing, 0)], "test_everyday")
    for action in sorted(counts):
        members = by_hash(name for name in captures if actions[name][:1] == (action,))
        missing = round(SHARES["val"] * len(members)) - sum(splits.get(name) == "val" for name in members)
        free = [name for name in members if name not in splits]
        splits |= dict.fromkeys(free[: max(missing, 0)], "val")
    return {take.name: splits.get(name, "train") for name, group in captures.items() for take in group}


def actions_of(takes: list[Take]) -> tuple[str, ...]:
    """The actions in the labels of a capture and of its copies, or else in the captions of a user's sections."""
    words = [(take.label, take.source) for take in takes]
    own = [segment for take in takes if not take.label and not take.reserved for segment in take.segments]
    words += [(segment.label or " ".join(segment.captions), "") for segment in own]
    return tuple(dict.fromkeys(action for label, source in words for action in actions_in(label, source)))


def given_split(takes: list[Take]) -> str:
    """The fixed split of a capture; empty if it is drawn."""
    reserved = set().union(*(take.reserved for take in takes)) | {segment.split for take in takes for segment in take.segments}
    if any((take.source, take.actor) in TEST_ACTORS for take in takes) or "test" in reserved:
        return "test_everyday"
    return "val" if "val" in reserved else "train" if "train" in reserved else ""
