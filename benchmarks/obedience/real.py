"""The judges on captured clips: `python -m benchmarks.obedience --real DIR [DIR ...]`.

real.csv lists sections of captures that were inspected on contact sheets: the actions that each shows, and further actions that may
be visible ("*": any; the section is then not used as a negative example). Of the clips that show their action, the judges should
pass 95 % overall and 80 % for each action with five or more clips; of the clips that do not, at most 5 %.

A clip `source/name` is read from `DIR/source/name.npy` (raw joints, 20 fps), from a dataset's `new_joints/source_name.npy`, or, for
Bandai-Namco, `new_joints/name.npy`. Missing clips are counted and left out.
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


class Stretch(NamedTuple):
    """Frames start … stop − 1 of a capture; `shows` and `also` are names of judges."""

    clip: str
    start: int
    stop: int
    shows: frozenset[str]
    also: frozenset[str]


def read_list(path: Path = LIST) -> list[Stretch]:
    """The captured clips of a table, with the actions that they show."""

    def names(cell: str) -> frozenset[str]:
        return frozenset(filter(None, cell.split(";")))

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Stretch(row["clip"], int(row["start"]), int(row["stop"]), names(row["shows"]), names(row["also"])) for row in rows]


def find(clip: str, folders: list[Path]) -> Path | None:
    """The file of a clip, or None if no folder holds it."""
    source, name = clip.split("/")
    places = (f"{clip}.npy", f"new_joints/{source}_{name}.npy", f"new_joints/{name}.npy")
    return next((path for folder in folders for place in places if (path := folder / place).is_file()), None)


def on_the_floor(joints: np.ndarray) -> np.ndarray:
    """Joints moved so that the lowest point is at height 0, as in a dataset's features."""
    return (joints - [0, joints[..., 1].min(), 0]).astype(np.float64)


def related(names: frozenset[str]) -> set[str]:
    """The judges that a clip of these actions may pass: their own, and those of the same actions with and without a side."""
    result = set(names)
    for name in names:
        plain = name.removesuffix(" left").removesuffix(" right")
        if plain in SIDED:
            result |= {plain} if plain != name else {f"{plain} left", f"{plain} right"}
        if plain == "kick a ball":
            result |= {"kick", name.replace(" a ball", "")}
    return result


def check_judges(folders: list[Path]) -> tuple[dict, list[str]]:
    """Results for JSON and as a table: for each judge how many clips that show its action pass, and how many others do."""
    right, wrong, missing = defaultdict(list), defaultdict(list), []
    for stretch in read_list():
        path = find(stretch.clip, folders)
        if path is None:
            missing.append(stretch.clip)
            continue
        body = Body(on_the_floor(np.load(path))[stretch.start : stretch.stop])
        where = f"{stretch.clip}:{stretch.start}:{stretch.stop}"
        allowed = related(stretch.shows | stretch.also)
        for name in JUDGES:
            if name in stretch.shows:
                right[name].append((where, shows(name, body)))
            elif name not in allowed and "*" not in stretch.also:
                wrong[name].append((where, shows(name, body)))
    judges = {name: judged(right[name], wrong[name]) for name in JUDGES if right[name] or wrong[name]}
    return summary(judges, missing)


def judged(right: list[tuple[str, bool]], wrong: list[tuple[str, bool]]) -> dict:
    """Counts of one judge: clips that show its action, clips that do not, and the names of wrong decisions."""
    return {
        "shown": len(right), "passed": sum(passed for _, passed in right), "missed": [clip for clip, passed in right if not passed],
        "others": len(wrong), "false": sum(passed for _, passed in wrong), "wrongly": [clip for clip, passed in wrong if passed],
    }  # fmt: skip


def summary(judges: dict[str, dict], missing: list[str]) -> tuple[dict, list[str]]:
    """Results for JSON, and as lines of a table."""
    lines = [f"{'judge':20} {'passed':>9} {'false':>12}"]
    for name, counts in judges.items():
        share = counts["false"] / max(1, counts["others"])
        lines.append(f"{name:20} {counts['passed']:4}/{counts['shown']:4} {counts['false']:4}/{counts['others']:4} {share:6.1%}")
    totals = {key: sum(counts[key] for counts in judges.values()) for key in ("passed", "shown", "false", "others")}
    passed, false = totals["passed"] / max(1, totals["shown"]), totals["false"] / max(1, totals["others"])
    lines.append(f"{passed:.1%} of what clips show is seen, {false:.1%} of what they do not show; {len(missing)} clips not found")
    return {"seen": passed, "false": false, "judges": judges, "not_found": missing}, lines
