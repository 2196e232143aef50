"""Splits of everyday takes: assigned by capture, consistent with HumanML3D, with every action in the test split."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import pytest

from prepare.joint_folder import joint_files
from prepare.open_sources import cmu_segments
from prepare.open_splits import FEWEST, TEST_ACTORS, actions_of, draw_by_action
from prepare.takes import Segment, Take

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")


def take(name: str, label: str = "jump", *splits: str, origin: str = "", source: str = "cmu", actor: str = "") -> Take:
    segments = tuple(Segment(f"{name}{n}", 0, 50, split) for n, split in enumerate(splits))
    return Take(name, source, label=label, actor=actor, origin=origin, segments=segments, reserved=frozenset(splits))


def test_what_is_left_of_a_take_with_a_test_segment_is_never_in_train():
    given = {"a": ("test",), "b": ("train", "test"), "c": ("val", "train"), "d": ("train",)}
    takes = [take(name, "jump", *splits) for name, splits in given.items()]
    assert draw_by_action(takes) == {"a": "test_everyday", "b": "test_everyday", "c": "val", "d": "train"}


def test_copies_and_crops_follow_their_capture():
    takes = [
        take("cmu_1", "jump", "test"), take("mass_1", "flip", origin="cmu_1", source="mass"),
        Take("cmu_2_crop", "cmu", label="jump", origin="cmu_2", reserved=frozenset({"test"})),  # cmu_2 itself is not here
        take("cmu_3", "kick", "train"), take("mass_3", "kick", origin="cmu_3", source="mass"),
    ]  # fmt: skip
    splits = draw_by_action(takes)
    assert splits["mass_1"] == splits["cmu_2_crop"] == "test_everyday" and splits["mass_3"] == "train"


def test_the_held_out_actor_is_in_no_other_split():
    takes = [take(f"{actor}{n}", "squat", source="hdm05", actor=actor) for actor in ("bd", "tr") for n in range(10)]
    splits = draw_by_action(takes)
    assert ("hdm05", "tr") in TEST_ACTORS
    assert {name for name, split in splits.items() if split == "test_everyday"} == {f"tr{n}" for n in range(10)}


def test_every_action_with_four_takes_is_tested_and_trained():
    takes = [take(f"{label}{n}", label) for label, count in (("jump", 40), ("kick", 4), ("hop", 3)) for n in range(count)]
    splits = draw_by_action(takes)
    counts = {label: [splits[name] for name in splits if name.startswith(label)] for label in ("jump", "kick", "hop")}
    assert counts["jump"].count("test_everyday") == 6 and counts["jump"].count("val") == 2
    assert counts["kick"].count("test_everyday") == 1 and set(counts["hop"]) == {"train"}
    assert draw_by_action(takes[::-1]) == splits


def test_takes_that_show_a_rare_action_too_stay_in_train_where_others_can_go():
    takes = [take(f"jump{n}", "jump") for n in range(4)] + [take(f"jump crawl{n}", "jump, crawl") for n in range(3)]
    splits = draw_by_action(takes)
    assert sum(split == "test_everyday" for split in splits.values()) == 1
    assert all(splits[f"jump crawl{n}"] == "train" for n in range(3))


@needs_shared
def test_the_rules_hold_for_the_everyday_takes():
    everyday, texts = SHARED / "everyday", SHARED / "humanml3d"
    takes = [file.take for file in joint_files(everyday, cmu_segments(texts, {}))]
    splits = draw_by_action(takes)
    captures = defaultdict(list)
    for one in takes:
        captures[one.capture].append(one)
    for group in captures.values():
        reserved = set().union(*(one.reserved for one in group))
        assert len({splits[one.name] for one in group}) == 1
        assert splits[group[0].name] == "test_everyday" or "test" not in reserved
    assert all((splits[one.name] == "test_everyday") for one in takes if one.actor == "tr")
    by_action = defaultdict(list)
    for group in captures.values():
        for action in actions_of(group):
            by_action[action].append(group[0])
    for action, some in by_action.items():
        free = [one for one in some if not one.segments]
        if len(some) >= FEWEST and free:
            assert any(splits[one.name] == "test_everyday" for one in some), action
    with (everyday / "clips.csv").open() as file:
        assert len(takes) == sum(1 for _ in csv.DictReader(file)) == 710


@needs_shared
def test_the_embedded_weights_never_saw_what_is_held_out():
    """The draw is that of the data which the weights were trained on: another table of actions must not move takes into train."""
    takes = [file.take for file in joint_files(SHARED / "everyday", cmu_segments(SHARED / "humanml3d", {}))]
    splits = draw_by_action(takes)
    lists = "\n".join(f"{name} {split}" for name, split in sorted(splits.items()) if split != "train")
    assert hashlib.sha256(lists.encode()).hexdigest()[:16] == "c1eb6dc94bd8c3a9"
