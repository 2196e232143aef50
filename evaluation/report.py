"""The result files of an evaluation: `<ext>.log` for people, `<ext>.json` for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utils.checkpoint import atomic_path
from utils.errors import UserError


def write_report(folder: Path, ext: str, text: str, results: dict[str, Any]) -> None:
    """`<ext>.log` for people and `<ext>.json` for programs."""
    for suffix, content in (("log", text), ("json", json.dumps(results, indent=2))):
        with atomic_path(folder / f"{ext}.{suffix}") as path:
            path.write_text(content + "\n", encoding="utf-8")


def check_ext(ext: str) -> None:
    """Raises `UserError` for a name of result files that is more than a name."""
    if ext in ("", ".", "..") or Path(ext).name != ext:
        raise UserError(f"--ext '{ext}': must be a plain name; the files lie in the run's folder eval/")
