"""The result files of an evaluation: `<ext>.log` for people to read, and `<ext>.json` for programs to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utils.checkpoint import atomic_path
from utils.errors import readable

FEW = 300  # clips; results on fewer clips are uncertain, and their FID and Diversity are not reliable


def write_report(folder: Path, ext: str, text: str, results: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write the text to `<ext>.log`, and the results with their provenance (`utils.provenance`) to `<ext>.json`."""
    for suffix, content in (("log", text), ("json", json.dumps({**results, "provenance": provenance}, indent=2))):
        with atomic_path(folder / f"{ext}.{suffix}") as path:
            path.write_text(readable(content) + "\n", encoding="utf-8")
