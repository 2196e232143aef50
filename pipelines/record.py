"""`prompts.json`, the record of a result folder: the prompt and provenance of each motion file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    from pipelines.outputs import Sample

RECORD, VERSION = "prompts.json", 1


class Record:
    """Writes `prompts.json`, which has this form:

        {"version": 1,
         "motions": [{"files": [...], "prompt": "...", "prompt_index": 0, "repeat": 0, "number": 0,
                      "frames": 60, "fps": 20, "seed": 3407, "known": null, "made_by": "<key of provenance>"}],
         "provenance": {"<key>": {"command": ..., "revision": ..., "weights": [...], "date": ..., ...}}}

    The paths in `files` are relative to the result folder `folder` and have forward slashes. `provenance` maps keys to results of
    `utils.provenance.provenance`.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any]):
        self.folder, self.path = folder, folder / RECORD
        self.key = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:12]
        self.provenance = {self.key: provenance}
        self.motions: list[dict[str, Any]] = []

    def add(self, sample: Sample, files: Sequence[str], earlier: dict[str, Any]) -> None:
        """Add a sample with its files and write the record, including motions of the `earlier` record (see `write`)."""
        self.motions.append(
            {
                "files": list(files),
                "prompt": sample.motion.text,
                "prompt_index": sample.prompt_index,
                "repeat": sample.repeat,
                "number": sample.number,
                "frames": len(sample.motion),
                "fps": sample.motion.fps,
                "seed": self.provenance[self.key].get("seed"),
                "known": sample.known,
                "made_by": self.key,
            }
        )
        self.write(earlier)

    def write(self, earlier: dict[str, Any]) -> None:
        """Write the record, including motions of the `earlier` record whose files still exist and have not been replaced."""
        from utils.checkpoint import atomic_path  # not at the top: torch would slow down --help

        new = {name for motion in self.motions for name in motion["files"]}
        kept = [
            motion
            for motion in earlier.get("motions", [])
            if motion["files"] and not new & set(motion["files"]) and all_exist(self.folder, motion["files"])
        ]
        keys = {motion["made_by"] for motion in kept}
        provenance = {key: value for key, value in earlier.get("provenance", {}).items() if key in keys} | self.provenance
        content = {"version": VERSION, "motions": [*kept, *self.motions], "provenance": provenance}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_path(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="replace")


def all_exist(folder: Path, names: Sequence[str]) -> bool:
    """Whether the folder contains a file of each name."""
    return all((folder / name).is_file() for name in names)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a result folder; {} if there is none. Raises `UserError` for a damaged record or another version."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a readable record of results ({error}); delete this file, or choose another --ext") from None
    if version != VERSION:
        raise UserError(f"{path}: has version {version}, but this code reads version {VERSION}; choose another --ext")
    return record
