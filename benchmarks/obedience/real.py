"""Check the judges on captured clips: `python -m benchmarks.obedience --real DIR [DIR ...]`.

real.csv lists sections of captures that were inspected on contact sheets. Its column `shows` contains the actions that a section
shows, and `also` further actions that may be visible. "*" in `also` stands for all actions: the section is then no negative example
of any action. Over all judges, at least 95 % of the clips that show the action and at most 5 % of the clips that do not show it
should be accepted. A judge whose action is shown in five or more clips should accept at least 80 % of them.

A clip `source/name` is read from `DIR/source/name.npy` (raw joints, 20 fps), from a dataset's `new_joints/source_name.npy`, or, for
Bandai-Namco, from `new_joints/name.npy`. Missing clips are counted and skipped.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.obedience.judges import JUDGES, SIDED, shows
from benchmarks.obedience.measures import Body

LIST = Path(__file__).with_name("real.csv")


class Section(NamedTuple):
    """Frames start … stop − 1 of a capture. `shows` and `also` contain names of judges."""

    clip: str
    start: int
    stop: int
    shows: frozenset[str]
    also: frozenset[str]


def read_list(path: Path = LIST) -> list[Section]:
    """Read the labelled sections of captures from a CSV table."""

    def names(cell: str) -> frozenset[str]:
        return frozenset(filter(None, cell.split(";")))

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Section(row["clip"], int(row["start"]), int(row["stop"]), names(row["shows"]), names(row["also"])) for row in rows]


def find(clip: str, folders: list[Path]) -> Path | None:
    """The file of a clip, or None if no folder holds it."""
    source, name = clip.split("/")
    files = (f"{clip}.npy", f"new_joints/{source}_{name}.npy", f"new_joints/{name}.npy")
    return next((path for folder in folders for file in files if (path := folder / file).is_file()), None)


def related(names: frozenset[str]) -> set[str]:
    """Judges that may accept a clip of the actions `names`: `names`, and the judges of the same actions with or without a side."""
    result = set(names)
    for name in names:
        plain = name.removesuffix(" left").removesuffix(" right")
        if plain in SIDED:
            result |= {plain} if plain != name else {f"{plain} left", f"{plain} right"}
        if plain == "kick a ball":
            result |= {"kick", name.replace(" a ball", "")}
    return result


def check_judges(folders: list[Path]) -> tuple[dict, list[str]]:
    """Return results for JSON, and a table that shows how many clips with and without its action each judge accepts."""
    positive, negative, missing = defaultdict(list), defaultdict(list), []
    for section in read_list():
        path = find(section.clip, folders)
        if path is None:
            missing.append(section.clip)
            continue
        joints = np.load(path)
        on_floor = joints - [0, joints[..., 1].min(), 0]  # as in the features of a dataset
        body = Body(on_floor.astype(np.float64)[section.start : section.stop])
        title = f"{section.clip}:{section.start}:{section.stop}"
        allowed = related(section.shows | section.also)
        for name in JUDGES:
            if name in section.shows:
                positive[name].append((title, shows(name, body)))
            elif name not in allowed and "*" not in section.also:
                negative[name].append((title, shows(name, body)))
    judges = {name: judged(positive[name], negative[name]) for name in JUDGES if positive[name] or negative[name]}
    return summary(judges, missing)


def judged(positive: list[tuple[str, bool]], negative: list[tuple[str, bool]]) -> dict:
    """Count the clips that one judge accepts, among pairs (clip, accepted) of clips with its action (`positive`) and without it."""
    return {
        "shown": len(positive), "passed": sum(accepted for _, accepted in positive),
        "missed": [clip for clip, accepted in positive if not accepted],
        "others": len(negative), "false": sum(accepted for _, accepted in negative),
        "wrongly": [clip for clip, accepted in negative if accepted],
    }  # fmt: skip


def summary(judges: dict[str, dict], missing: list[str]) -> tuple[dict, list[str]]:
    """Results of all judges for JSON, and as lines of a table."""
    lines = [f"{'judge':20} {'passed':>9} {'false':>12}"]
    for name, counts in judges.items():
        rate = counts["false"] / max(1, counts["others"])
        lines.append(f"{name:20} {counts['passed']:4}/{counts['shown']:4} {counts['false']:4}/{counts['others']:4} {rate:6.1%}")
    totals = {key: sum(counts[key] for counts in judges.values()) for key in ("passed", "shown", "false", "others")}
    passed, false = totals["passed"] / max(1, totals["shown"]), totals["false"] / max(1, totals["others"])
    lines.append(f"accepted {passed:.1%} of clips with the action, {false:.1%} of clips without it; {len(missing)} clips not found")
    return {"seen": passed, "false": false, "judges": judges, "not_found": missing}, lines
