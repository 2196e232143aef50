"""Parts of the training scripts: process group, initial weights from another run (`--init`), and validation losses."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from utils.checkpoint import CheckpointFolder, find_weights
from utils.errors import UserError
from utils.runtime import Distributed, resolve_device


def in_group(train: Callable[[Any], None], config: Any) -> None:
    """Call `train(config)`. If torchrun has started the script, the call runs in torchrun's process group."""
    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        train(config)


def batch_settings(config: Any) -> dict[str, int]:
    """Keyword arguments for the training batches: batch size, seed, rank of this process, and number of processes."""
    processes = Distributed.from_environment()
    return {"batch_size": config.batch_size, "seed": config.seed, "rank": processes.rank, "world": processes.world}


def init_weights(config: Any) -> Path:
    """The weights file for `--init`, which names a file, a checkpoint folder or a run. Raises `UserError` if no file is found."""
    path = Path(config.init)
    return find_weights(path if path.exists() else CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.init).root)


def check_same(flag: str, source: Mapping[str, Any], target: Mapping[str, Any], free: Container[str] = ()) -> None:
    """Raise `UserError`, beginning with `flag`, if two models' configs, `source` and `target`, differ in fields not in `free`."""
    for name, value in target.items():
        if name not in free and source.get(name) != value:
            problem = f"{name} is {source.get(name)} in the earlier run and {value} in the new run"
            raise UserError(f"{flag}: {problem}; use the same flags for both runs")


def start_from_(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict, which was read from `path`, into the model and print a message."""
    model.load_state_dict(dict(state))
    print(f"training starts with the weights of {path}")


def mean_losses(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], count: int, *arguments: Any, further: Callable | None = None
) -> dict[str, float]:
    """The loss and the logs that `model.loss(batch, *arguments)` returns, averaged over `count` batches.

    `further(model, batch)`, if it is given, returns additional values to average.
    """
    device = next(model.parameters()).device
    means: dict[str, float] = {}
    for batch in batches:
        batch = {name: value.to(device) for name, value in batch.items()}
        loss, logs = model.loss(batch, *arguments)
        for name, value in {"loss": loss, **logs, **(further(model, batch) if further else {})}.items():
            means[name] = means.get(name, 0.0) + float(value) / count
    return means
