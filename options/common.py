"""What all scripts share: how a flag is declared, and the flags that every script has.

`option(default, help)` declares a flag; `options/cli.py` makes the parser from these and nothing else. No torch here, so
that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ("auto", "fp32", "bf16")
DATASETS = ("t2m", "kit", "open", "synthetic")


def option(default: Any, help: str, *, choices: tuple | None = None, flags: tuple[str, ...] = (), nargs: str | int | None = None):
    """A dataclass field that is a command-line flag. `flags` are further spellings; `None` defaults mean "decide at run time"."""
    metadata = {"help": help, "choices": choices, "flags": flags, "nargs": nargs}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Common:
    """Flags of every script."""

    name: str = option("", "name of this run; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str = option("t2m", "dataset", choices=DATASETS)
    data_root: str = option("", "dataset folder, if it is not the usual one under dataset/")
    checkpoints_dir: str = option("./checkpoints", "where checkpoint folders lie")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU; default: 0 where there is CUDA, else -1")
    seed: int = option(3407, "random seed")
