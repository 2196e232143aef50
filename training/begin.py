"""Start of a training run: join the process group, and load initial weights for `--init` from another run of the same size."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from utils.checkpoint import CheckpointFolder, find_weights
from utils.errors import UserError
from utils.runtime import Distributed, resolve_device


def in_group(train: Callable[[Any], None], config: Any) -> None:
    """Call `train(config)` inside the process group that torchrun started."""
    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        train(config)


def init_weights(name: str, checkpoints_dir: str | Path, dataset_name: str) -> Path:
    """The weights file for `--init`, which names a file, a checkpoint folder or a run. Raises `UserError` if there is none."""
    path = Path(name)
    return find_weights(path if path.exists() else CheckpointFolder(checkpoints_dir, dataset_name, name).root)


def check_same(flag: str, source: Mapping[str, Any], target: Mapping[str, Any], free: Container[str] = ()) -> None:
    """Raise `UserError`, naming `flag`, if a size of the source differs from the target's. Sizes named in `free` may differ."""
    for size, value in target.items():
        if size not in free and source.get(size) != value:
            raise UserError(f"{flag}: {size} is {source.get(size)} there and {value} in this run; use the same flags for both runs")


def start_from_(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict, which was read from `path`, into the model and print a message."""
    model.load_state_dict(dict(state))
    print(f"starts with the weights of {path}")
