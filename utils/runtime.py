"""Where and how a program runs: device, random states, precision, and the processes of a data-parallel run."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UserError


def resolve_device(gpu_id: int | None = None) -> torch.device:
    """The device for `--gpu_id`: -1 is the CPU, None the first GPU if there is one. Under torchrun, each process of a machine
    takes the next GPU. Raises `UserError` for a GPU that is not there."""
    count = torch.cuda.device_count()
    if gpu_id == -1 or (gpu_id is None and count == 0):
        return torch.device("cpu")
    index = (gpu_id or 0) + Distributed.from_environment().local_rank
    if not 0 <= index < count:
        there = f"this machine has GPUs 0 to {count - 1}" if count else "this machine has no CUDA GPU"
        raise UserError(f"--gpu_id {index}: {there}; use --gpu_id -1 for the CPU")
    return torch.device("cuda", index)


def user_cache() -> Path:
    """The user's `.cache`; where the user has no home, as in containers, a folder among the temporary files."""
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, the GPU's included."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """The states of all generators of this process, in types that `torch.load(weights_only=True)` reads."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` gave."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextmanager
def preserved_random_states() -> Iterator[None]:
    """Random draws inside leave the stream outside as it was."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """bf16 autocast for `--precision bf16`, and for `auto` on a GPU that has it; else fp32."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" or (precision == "auto" and native):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@dataclass(frozen=True)
class Distributed:
    """This process among those that `torchrun` started; alone: rank 0 of 1. The methods are no-ops when alone."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Distributed:
        get = os.environ.get
        return cls(int(get("RANK", 0)), int(get("WORLD_SIZE", 1)), int(get("LOCAL_RANK", 0)))

    @property
    def main(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0

    @contextmanager
    def group(self, device: torch.device) -> Iterator[None]:
        """Join the other processes (nccl between GPUs, gloo between CPUs), and part at the end; once in a process."""
        if self.world == 1 or dist.is_initialized():
            yield
            return
        backend = "nccl" if device.type == "cuda" else "gloo"
        # The others wait while rank 0 validates, which may take longer than the usual ten minutes.
        dist.init_process_group(backend, rank=self.rank, world_size=self.world, timeout=timedelta(hours=3))
        try:
            yield
        finally:
            dist.destroy_process_group()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over processes."""
        values = values / self.world
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """Everyone's `value`, by rank, on every process."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values
