"""Provenance of a result as JSON-serialisable values: command, code, versions, device, seed and weights."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.checkpoint import RELEASED, atomic_path, git_revision, read_metadata


def provenance(config: Any, device: torch.device | str, weights: Iterable[Path] = ()) -> dict[str, Any]:
    """The provenance of the results that the running script writes.

    Args:
        config: the settings of the script, a dataclass with a field `seed`.
        device: the device of the models.
        weights: the weights files that were read.
    """
    return {
        "command": shlex.join(sys.argv),
        "settings": asdict(config),
        "revision": git_revision(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "device": device_name(device),
        "seed": config.seed,
        "weights": [describe(path) for path in dict.fromkeys(weights)],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def add_provenance(path: Path, record: dict[str, Any]) -> None:
    """Append a record to the JSON list in the file `path`. A missing or invalid file is replaced."""
    records = []
    with suppress(OSError, ValueError):
        records = json.loads(path.read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        text = json.dumps([*(records if isinstance(records, list) else []), record], indent=1, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")


def device_name(device: torch.device | str) -> str:
    """The name of a device, such as `cpu` or `cuda:0 (NVIDIA H100)`."""
    device = torch.device(device)
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def describe(path: Path) -> dict[str, Any]:
    """Path, training step (None if it is not stored) and SHA-256 of a weights file."""
    step = None if path.suffix in RELEASED else read_metadata(path).get("step")
    return {"path": str(path), "step": step, "sha256": _sha256(path, path.stat().st_mtime_ns)}


@cache
def _sha256(path: Path, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
