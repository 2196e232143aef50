"""Check the judges on captured clips: `python -m benchmarks.obedience --real DIR [DIR ...]`.

real.csv lists sections of captures that were inspected on contact sheets. The column `shows` contains the actions that a section
shows. The column `also` contains further actions that may be visible. "*" in `also` stands for all actions: a section with "*" is
not used as a negative example of any action. Two targets apply to all judges together: the judges should accept at least 95 % of
the sections that show their action, and at most 5 % of the sections that do not show it. A third target applies to each judge whose
action is shown in at least five sections: the judge should accept at least 80 % of these sections.

A clip `source/name` is read from `DIR/source/name.npy` (raw joints, 20 fps), from a dataset's `new_joints/source_name.npy`, or, for
Bandai-Namco, from `new_joints/name.npy`. Sections whose clip is missing are counted and skipped.
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
    """The frames from `start` to `stop` − 1 of a capture, which show the actions `shows` and possibly the actions `also`."""

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
    """Return the file of the clip `clip`, written "source/name", or None if it is in none of the folders."""
    source, name = clip.split("/")
    files = (f"{clip}.npy", f"new_joints/{source}_{name}.npy", f"new_joints/{name}.npy")
    return next((path for folder in folders for file in files if (path := folder / file).is_file()), None)


def related(names: frozenset[str]) -> set[str]:
    """Return the names of the judges (detectors of one action each) that may accept a section with the actions `names`.

    These are the judges `names`, the judges of the same actions with or without "left" or "right", and, for kicking a ball, the
    judges of kicks.
    """
    result = set(names)
    for name in names:
        plain = name.removesuffix(" left").removesuffix(" right")
        if plain in SIDED:
            result |= {plain} if plain != name else {f"{plain} left", f"{plain} right"}
        if plain == "kick a ball":
            result |= {"kick", name.replace(" a ball", "")}
    return result


def check_judges(folders: list[Path]) -> tuple[dict, list[str]]:
    """Check all judges (detectors of actions) on the labelled captures in real.csv. Return results for JSON, and lines of a table.

    For each judge, the table has the number of accepted sections that show its action, and the number of accepted sections that do
    not show its action.
    """
    positive, negative, missing = defaultdict(list), defaultdict(list), []
    for section in read_list():
        path = find(section.clip, folders)
        if path is None:
            missing.append(section.clip)
            continue
        joints = np.load(path)
        on_floor = joints - [0, joints[..., 1].min(), 0]  # datasets of features also have the lowest joint at height 0
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
    """Count the sections that one judge accepts.

    Both arguments are lists of pairs (section, whether the judge accepts the section). The sections in `positive` show the action
    of the judge; the sections in `negative` do not.
    """
    return {
        "shown": len(positive), "passed": sum(accepted for _, accepted in positive),
        "missed": [clip for clip, accepted in positive if not accepted],
        "others": len(negative), "false": sum(accepted for _, accepted in negative),
        "wrongly": [clip for clip, accepted in negative if accepted],
    }  # fmt: skip


def summary(judges: dict[str, dict], missing: list[str]) -> tuple[dict, list[str]]:
    """Return the results for JSON, and as lines of a table; `judges` holds the counts of `judged`, keyed by judge."""
    lines = [f"{'judge':20} {'passed':>9} {'false':>12}"]
    for name, counts in judges.items():
        rate = counts["false"] / max(1, counts["others"])
        lines.append(f"{name:20} {counts['passed']:4}/{counts['shown']:4} {counts['false']:4}/{counts['others']:4} {rate:6.1%}")
    totals = {key: sum(counts[key] for counts in judges.values()) for key in ("passed", "shown", "false", "others")}
    passed, false = totals["passed"] / max(1, totals["shown"]), totals["false"] / max(1, totals["others"])
    rates = f"accepted {passed:.1%} of clips with the action, {false:.1%} of clips without the action"
    lines.append(f"{rates}; {len(missing)} clips not found")
    return {"seen": passed, "false": false, "judges": judges, "not_found": missing}, lines
