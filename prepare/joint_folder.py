"""Read motions for a dataset from a folder that contains joint arrays or motion files, and a table of captions or labels.

There are two kinds of tables. `captions.csv` (columns file, caption or label, start, end, split) is for a user's own motions.
`clips.csv` (columns source, clip, label) lists motions of public datasets. `pairs.json` lists HumanML3D's segments of these
motions, and the captions of the segments. Captions in `captions.csv` and `pairs.json` are used unchanged. For motions that have
only a label, such as "squat, 2 repetitions", captions are generated.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from motion.files.read import SUFFIXES, at_rate, read_motion
from motion.skeleton import HUMANML3D
from prepare.takes import FPS, Segment, Take
from utils.errors import UserError

LISTED = "own"  # `Take.source` of motions that are listed in captions.csv
SPLIT_NAMES = ("", "train", "val", "test")
END_OF_FILE = 10**9  # frames; end of a section that extends to the end of its file
# Clips that are copies of parts of other captures: source/clip → name of the other capture.
COPIES = {
    "mass/backflip": "cmu_88_01", "mass/cart": "cmu_90_02", "deepmimic/cartwheel": "cmu_90_02", "mass/pirouette": "cmu_05_13",
    "deepmimic/sideflip": "cmu_90_08", "animated_drawings/cmu1_jumping_jacks": "cmu_14_14",
    "deepmimic/stealthy_walk": "deepmimic_stealthy_walk1", "deepmimic/zombie_walk": "deepmimic_long_zombie",
    "deepmimic/walk": "deepmimic_long_walk1",
}  # fmt: skip
T_POSE = 0.85  # in a T-pose, minimum cosine between each arm and the line through the shoulders
CROP = "_crop"  # suffix of clips that are parts of a capture


@dataclass(frozen=True)
class JointFile:
    """A motion file to read, and the `Take` (one capture with its captions or label) that will hold its joints."""

    path: Path
    take: Take
    t_pose: bool = False  # whether the motion starts with a T-pose


def joint_files(folder: Path, segments: dict[str, list[Segment]] | None = None) -> Iterator[JointFile]:
    """Return the motion files that the captions.csv of a folder lists. If there is no captions.csv, use the clips.csv.

    `segments` maps the names of CMU captures (such as 60_01) to HumanML3D's segments (captioned sections) of these captures. With
    clips.csv, these segments and the segments in pairs.json are both used. Raises `UserError` if the folder or both tables are
    missing, or if the table is malformed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if (folder / "captions.csv").is_file():
        return captioned_files(folder, folder / "captions.csv")
    if (folder / "clips.csv").is_file():
        return listed_files(folder, segments or {})
    raise UserError(f"{folder}: contains neither captions.csv nor clips.csv; see docs/data.md for both formats")


def read_rows(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the rows of a CSV table.

    Raises `UserError` if the table cannot be read, has no rows, or lacks a required column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a CSV table in UTF-8") from None
    missing = [column for column in required if rows and column not in rows[0]]
    if missing or not rows:
        raise UserError(f"{path}: {f'no column {missing[0]}' if missing else 'no rows'}; see docs/data.md for the format")
    return rows


# -------------------------------------------------------------------------------------------------------- captions.csv
def captioned_files(folder: Path, table: Path) -> Iterator[JointFile]:
    """Yield the motion files of a captions.csv, sorted by file name. All rows about a file belong to one `Take`."""
    rows = defaultdict(list)
    for line, row in enumerate(read_rows(table, ("file",)), start=2):
        if not row.get("caption") and not row.get("label"):
            raise UserError(f"{table}: line {line} has neither a caption nor a label; add one, or remove the line")
        if row.get("split", "") not in SPLIT_NAMES:
            raise UserError(f"{table}: line {line}: split '{row['split']}'; choose train, val or test, or leave it empty")
        rows[row["file"]].append((line, row))
    names = {}
    for file in sorted(rows):
        name = f"{LISTED}_{re.sub(r'[^0-9A-Za-z]+', '_', str(PurePosixPath(file).with_suffix('')))}"
        if name in names:
            raise UserError(f"{table}: {names[name]} and {file} would have the same name in the dataset; rename one of the files")
        names[name] = file
        yield JointFile(folder / file, Take(name, LISTED, actor=name, segments=sections(name, rows[file], table)))


def sections(name: str, rows: list[tuple[int, dict[str, str]]], table: Path) -> tuple[Segment, ...]:
    """Return the captioned sections of one motion file. `rows` are the table's rows about this file, as (line number, row).

    Rows with equal start times and equal end times describe the same section. `name` is the file's name in the dataset.
    """
    groups = defaultdict(list)
    for line, row in rows:
        start = frames(row.get("start", ""), 0, table, line)
        end = frames(row.get("end", ""), END_OF_FILE, table, line)
        if end <= start:
            raise UserError(f"{table}: line {line} ends before it starts; start and end are in seconds")
        groups[start, end].append(row)
    segments = []
    for number, ((start, end), of_section) in enumerate(sorted(groups.items()), start=1):
        captions = tuple(dict.fromkeys(row["caption"] for row in of_section if row.get("caption")))
        label = next((row["label"] for row in of_section if row.get("label")), "")
        split = next((row["split"] for row in of_section if row.get("split")), "")
        segments.append(Segment(f"{name}_{number}" if len(groups) > 1 else name, start, end, split, captions, label))
    return tuple(segments)


def frames(seconds: str, default: int, table: Path, line: int) -> int:
    """Convert a time in seconds to a frame number; "" gives `default`. Raises `UserError` if `seconds` is not a number.

    The error message names the table and the line that contain the time.
    """
    try:
        return round(float(seconds) * FPS) if seconds else default
    except (ValueError, OverflowError):
        raise UserError(f"{table}: line {line}: '{seconds}' is not a time; start and end are in seconds, such as 2.5") from None


# ------------------------------------------------------------------------------------------------ clips.csv and pairs.json
def listed_files(folder: Path, segments: dict[str, list[Segment]]) -> Iterator[JointFile]:
    """Yield the motion files of a clips.csv, with the captions of pairs.json and of HumanML3D's segments."""
    rows = read_rows(folder / "clips.csv", ("source", "clip", "label"))
    paired = read_pairs(folder / "pairs.json")
    for row in rows:
        source, clip, label = row["source"], row["clip"], row["label"]
        capture = clip.removesuffix(CROP) if source == "cmu" else ""
        origin = COPIES.get(f"{source}/{clip}", f"cmu_{capture}" if capture else "")
        cmu = origin.removeprefix("cmu_") if origin.startswith("cmu_") else ""
        merged: dict[str, Segment] = {}
        for segment in (*segments.get(cmu, ()), *paired.get(cmu, ())):
            merged.setdefault(segment.name, segment)
        take = Take(
            f"{source}_{clip}", source, label=label, actor=actor_of(source, clip), origin=origin,
            segments=tuple(merged.values()) if clip == capture else (),
            reserved=frozenset(segment.split for segment in merged.values()),
        )  # fmt: skip
        yield JointFile(find_motion(folder, source, clip), take, "starts in a T-pose" in row.get("note", ""))


def read_pairs(path: Path) -> dict[str, list[Segment]]:
    """Read HumanML3D's segments and their captions from pairs.json; the keys of the result are the names of CMU captures.

    If the file does not exist, returns {}.
    """
    if not path.is_file():
        return {}
    segments = defaultdict(list)
    try:
        for pair in json.loads(path.read_text(encoding="utf-8"))["pairs"]:
            captions = tuple(pair["captions"])
            segment = Segment(pair["id"], int(pair["start_frame"]), int(pair["end_frame"]), pair["split"], captions)
            segments[pair["cmu"]].append(segment)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: malformed ({error!r}); expected HumanML3D's segments by capture") from None
    return segments


def find_motion(folder: Path, source: str, clip: str) -> Path:
    """Find the file of a clip in the folder of its source, or in `folder`. If no file exists, returns the first path searched."""
    paths = [parent / f"{clip}{suffix}" for parent in (folder / source, folder) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def actor_of(source: str, clip: str) -> str:
    """The actor of a clip: CMU's number of the subject, HDM05's abbreviation of the actor, or else the name of the source."""
    parts = clip.split("_")
    return parts[0] if source == "cmu" else parts[1] if source == "hdm05" and len(parts) > 1 else source


def read_joint_file(file: JointFile) -> Take:
    """Read the joints of one motion file into its take. If the file cannot be read, the take states the problem instead."""
    try:
        joints = load_motion(file.path)
        return replace(file.take, joints=drop_t_pose(joints) if file.t_pose else joints)
    except UserError as error:
        return replace(file.take, problem=str(error))


def load_motion(path: Path) -> np.ndarray:
    """Read joints (T, 22, 3) float32 at 20 fps, in metres, Y up, from a motion file. Arrays are assumed to have 20 fps."""
    motion = read_motion(path)
    if motion.joints.shape[1] != HUMANML3D.num_joints:
        raise UserError(f"{path}: {motion.joints.shape[1]} joints; expected {HUMANML3D.num_joints}")
    return at_rate(motion.joints, motion.fps, FPS)


def drop_t_pose(joints: np.ndarray) -> np.ndarray:
    """Remove the frames at the start of joints (T, 22, 3) in which both arms are stretched out sideways.

    If the arms are stretched out in all frames, the joints are returned unchanged.
    """
    left, right = ((joints[:, wrist] - joints[:, shoulder]) for wrist, shoulder in ((20, 16), (21, 17)))
    lines = (joints[:, 16] - joints[:, 17], left, right)
    across, left, right = (line / np.linalg.norm(line, axis=-1, keepdims=True) for line in lines)
    stretched = np.minimum((left * across).sum(-1), -(right * across).sum(-1)) > T_POSE
    return joints[int(np.argmin(stretched)) :] if not stretched.all() else joints
