"""Parts of the training loop: learning rate, parameter groups, weight averaging, prefetching, signal handling, and reports."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import shorten
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from options.train import Training
from training.board import Board
from training.utilisation import Utilisation
from utils.errors import UserError, readable

Batch = dict[str, Tensor]
Metrics = dict[str, float | str | np.ndarray]  # by name: numbers, or texts and images (H, W, 3) of uint8 to be logged
Best = tuple[str, str]  # name of the metric that selects the best weights, and "min" or "max"


class Batches(Protocol):
    """Training data, as numbered batches."""

    steps_per_epoch: int

    def batch(self, index: int) -> Batch:
        """Return batch `index`, counted from 0.

        The batch depends only on `index` and on the rank of the process, and not on the global random state.
        """


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of the model, `score(model)`, that runs every `epochs` epochs and at the end of training."""

    score: Callable[[nn.Module], Metrics]
    best: Best
    epochs: int


def learning_rate(step: int, total_steps: int, config: Training, minutes: float = 0.0) -> float:
    """Return the learning rate of update `step`, counted from 0.

    The rate rises linearly to `lr` during the warm-up. After the warm-up, the rate drops at milestones, decays to `min_lr` along a
    cosine, or stays constant, depending on `config.schedule`. The cosine ends at the last step or after --max_minutes, whichever
    comes first. `minutes` is the time since the run was started or resumed. With several processes, whose clocks differ, `Trainer`
    passes `minutes` = 0, and the cosine ends at the last step. If --max_minutes is set and one process trains, a cosine depends on
    the clock, so a resumed run does not reproduce an uninterrupted run.
    """
    if step < config.warm_up_iter:
        return config.lr * (step + 1) / config.warm_up_iter
    if config.schedule == "milestones":
        return config.lr * config.gamma ** sum(step >= milestone for milestone in config.milestones)
    if config.schedule == "cosine":
        progress = (step - config.warm_up_iter) / max(1, total_steps - config.warm_up_iter)
        if config.max_minutes:
            progress = min(1.0, max(progress, minutes / config.max_minutes))
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2
    return config.lr


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: matrices, with weight decay; biases, norms and embeddings, without weight decay."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decays = [parameter.ndim > 1 and id(parameter) not in embeddings for parameter in trainable]
    return [
        {"params": [p for p, decay in zip(trainable, decays) if decay], "weight_decay": weight_decay},
        {"params": [p for p, decay in zip(trainable, decays) if not decay], "weight_decay": 0.0},
    ]


class WeightAverage:
    """Exponential moving average of the trainable weights: ā ← d·ā + (1 − d)·w with d = min(decay, (1 + n) / (10 + n)) at update n.

    If `decay` is 0, no average is kept and the methods have no effect.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = [p for p in model.parameters() if p.requires_grad] if decay > 0 else []
        self.average = [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the current weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        if self.average:
            torch._foreach_lerp_(self.average, self.weights, 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A context in which the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict:
        """The state of the average, for the resume file."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        """Restore a saved state. Raises `UserError` if averaging has been switched on or off since the state was saved."""
        if len(self.average) != len(state["average"]):
            raise UserError(f"--ema_decay {self.decay:g}: averaging cannot be switched on or off by a resume; leave the flag out")
        self.updates = state["updates"]
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)

    def _swap(self) -> None:
        for i, weight in enumerate(self.weights):
            weight.data, self.average[i] = self.average[i], weight.data


class Prefetcher:
    """Prepares the next batches, `make(index)`, in background threads during training, and copies them to the device.

    For training on a GPU, several batches (`AHEAD`) are prepared in advance. Training on a CPU uses all cores, so one batch is
    prepared in advance. `make` must be a pure function. Exceptions that `make` raises are raised by `get`.
    """

    AHEAD = 4  # one thread cannot prepare large batches as fast as a GPU trains on them

    def __init__(self, make: Callable[[int], Batch], device: torch.device) -> None:
        self.make, self.device = make, device
        self.ahead = 1 if device.type == "cpu" else self.AHEAD
        self.threads = ThreadPoolExecutor(max_workers=self.ahead, thread_name_prefix="prefetch")
        self.pending: dict[int, Future[Batch]] = {}

    def get(self, index: int, end: int) -> Batch:
        """Return batch `index` on the device. The next batches, up to batch `end` (exclusive), are prepared in the background."""
        for number in range(index, min(index + self.ahead + 1, end)):
            if number not in self.pending:
                self.pending[number] = self.threads.submit(self._host_batch, number)
        batch = self.pending.pop(index).result()
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)

    def _host_batch(self, index: int) -> Batch:
        batch = self.make(index)
        if self.device.type == "cpu":
            return batch
        with torch.cuda.device(self.device):  # threads use GPU 0 by default
            return {key: value.pin_memory() for key, value in batch.items()}  # pinned memory is copied while the GPU computes


class StopSignal:
    """A context in which the first SIGINT or SIGTERM is only recorded, in `number`. A second signal has its normal effect."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> StopSignal:
        self.handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()


def peak_memory() -> float:
    """Peak memory of this process in GB: GPU memory if the process uses a GPU, otherwise main memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    with suppress(ImportError):  # Windows lacks the module `resource`
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return 0.0


class Reporter:
    """Reports progress in a progress bar (on a terminal), in TensorBoard, and as lines, which are printed and added to `train.log`.

    `samples` is the number of samples per step over all processes. If `show` is False, nothing is reported.
    """

    def __init__(self, folder: Path, first_step: int, total_steps: int, show: bool, samples: int) -> None:
        self.total_steps, self.samples, self.log = total_steps, samples, folder / "train.log"
        self.bar = tqdm(total=total_steps, initial=first_step, disable=None if show else True, dynamic_ncols=True, unit="step")
        self.board = Board(folder / "tensorboard", first_step + 1) if show else None
        self.start_clock(first_step)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.board:
            self.board.close()

    def start_clock(self, step: int) -> None:
        """Start measuring the time per step, beginning with `step`."""
        self.since, self.since_step = time.monotonic(), step

    def say(self, line: str) -> None:
        """Print a line and append it to `train.log`. A full disk or a closed pipe does not end the run."""
        if self.board:
            with suppress(OSError), tqdm.external_write_mode():
                print(line, flush=True)
            with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"{readable(line)}\n")

    def values(self, prefix: str, values: Metrics, step: int) -> str:
        """Log numbers, texts and images to TensorBoard under `<prefix>/<name>`; returns a line of numbers and shortened texts."""
        if self.board:
            for name, value in values.items():
                self.board.add(f"{prefix}/{name}", value, step)
            self.board.flush()
        shown = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        texts = (shorten(value, 160, placeholder="…") if isinstance(value, str) else f"{value:.4g}" for value in shown.values())
        return "  ".join(map(" ".join, zip(shown, texts)))

    def step_line(self, values: dict[str, float], step: int, epoch: int, utilisation: Utilisation) -> None:
        """Report step, epoch, `values`, speed, peak memory, model FLOPs utilisation (MFU) if it is known, and remaining time."""
        seconds = max(1e-9, (time.monotonic() - self.since) / max(1, step - self.since_step))
        left = timedelta(seconds=round(seconds * (self.total_steps - step)))
        text = self.values("train", values, step)
        speed = f"{1000 * seconds:.1f} ms/step  {self.samples / seconds:.0f} samples/s  {peak_memory():.1f} GB"
        if (fraction := utilisation.fraction(seconds)) is not None:
            speed += f"  MFU {100 * fraction:.1f} %"
        self.say(f"step {step}/{self.total_steps}  epoch {epoch}  {text}  {speed}  {left} left")
        self.start_clock(step)
