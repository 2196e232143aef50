"""One frozen dataclass for each script: its flags, the paper's defaults, and their help.

`option(default, help)` declares a flag; `options/cli.py` makes the parser from these and nothing else. No torch here, so
that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    dataset_name: str = option("t2m", "dataset", choices=("t2m", "kit", "open", "synthetic"))
    data_root: str = option("", "dataset folder, if it is not the usual one under dataset/")
    checkpoints_dir: str = option("./checkpoints", "where checkpoint folders lie")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU; default: 0 where there is CUDA, else -1")
    seed: int = option(3407, "random seed")


@dataclass(frozen=True)
class Training(Common):
    """Flags of every trainer."""

    batch_size: int = option(64, "clips (or windows) a step, on each process")
    max_epoch: int = option(500, "epochs to train")
    max_iters: int = option(0, "stop after this many steps; 0: no limit")
    max_minutes: float = option(0.0, "save and stop after this many minutes; 0: no limit")
    lr: float = option(2e-4, "peak learning rate")
    beta2: float = option(0.99, "AdamW's second beta")
    weight_decay: float = option(0.0, "AdamW's weight decay")
    warm_up_iter: int = option(2000, "steps of linear warm-up")
    schedule: str = option("milestones", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    milestones: list[int] = option([50_000], "steps at which the rate is multiplied by gamma", nargs="+")
    gamma: float = option(0.1, "factor at each milestone")
    min_lr: float = option(0.0, "where the cosine schedule ends")
    clip_grad: float = option(1.0, "largest gradient norm; 0: no clipping")
    accumulate: int = option(1, "batches whose gradients are summed before a step")
    ema_decay: float = option(0.0, "decay of an exponential moving average of the weights; 0: none")
    precision: str = option("auto", "auto: bf16 where the GPU has it, else fp32", choices=("auto", "fp32", "bf16"))
    compile: bool = option(False, "compile the model with torch.compile")
    is_continue: bool = option(False, "resume this run exactly where it stopped")
    log_every: int = option(10, "steps between log lines")
    save_latest: int = option(500, "steps between saves of the latest weights and the resume file")
    eval_every_e: int = option(1, "epochs between validations")
