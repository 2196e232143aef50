"""Device, random states, precision, and the processes of a data-parallel run."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UserError

Item, Made = TypeVar("Item"), TypeVar("Made")
TIMEOUT = timedelta(hours=3)  # how long processes wait for each other; while rank 0 validates or prepares data, the others wait


def resolve_device(gpu_id: int | None = None) -> torch.device:
    """The device for `--gpu_id`: -1 is the CPU; None is the first GPU, or the CPU if there is no GPU.

    Under torchrun, the local rank is added to the index, so that each process uses its own GPU. If the device is a GPU, it is made
    the current device, because quantised LMs, bf16 checks and random states use the current device. Raises `UserError` for a GPU
    that does not exist.
    """
    count = torch.cuda.device_count()
    if gpu_id == -1 or (gpu_id is None and count == 0):
        return torch.device("cpu")
    index = (gpu_id or 0) + Distributed.from_environment().local_rank
    if not 0 <= index < count:
        available = f"this machine has GPUs 0 to {count - 1}" if count else "this machine has no CUDA GPU"
        raise UserError(f"--gpu_id {index}: {available}; use --gpu_id -1 for the CPU")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    exact_fp32()
    attention_for_any_shape()
    return device


def exact_fp32() -> None:
    """Disable TF32 on GPUs, so that float32 has its full precision. cuDNN's convolutions and GRUs use TF32 by default."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def attention_for_any_shape() -> None:
    """Disable cuDNN's attention, which PyTorch prefers on Hopper GPUs. cuDNN compiles a plan for every new shape, and batches of
    clips and captions have hundreds of shapes."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def user_cache() -> Path:
    """The user's `~/.cache`, or a temporary folder if the user has no home folder, as in some containers."""
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch, including torch's generators on GPUs."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """The states of all random generators of this process, in types that `torch.load(weights_only=True)` accepts."""
    name, keys, *position = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *position),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # of the current GPU
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Restore states returned by `random_states`."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])


@contextmanager
def preserved_random_states() -> Iterator[None]:
    """A context that restores the states of all random generators at its end."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """An autocast context for `--precision`: bf16 if `precision` is "bf16", or if it is "auto" and the device supports bf16
    natively; otherwise fp32."""
    if precision == "bf16" or (precision == "auto" and has_bf16_units(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def has_bf16_units(device: torch.device) -> bool:
    """Whether the GPU or CPU supports bf16 natively. CPUs with AMX or AVX512_BF16 do."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    units = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(units.get(name) for name in ("amx_bf16", "avx512_bf16"))


@dataclass(frozen=True)
class Distributed:
    """Rank of this process and number of processes under `torchrun`. Without torchrun there is one process, of rank 0."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Distributed:
        """Read the environment variables that `torchrun` sets."""
        get = os.environ.get
        return cls(int(get("RANK", 0)), int(get("WORLD_SIZE", 1)), int(get("LOCAL_RANK", 0)))

    @property
    def main(self) -> bool:
        """Whether this is rank 0, the process that logs and saves."""
        return self.rank == 0

    @contextmanager
    def group(self, device: torch.device) -> Iterator[None]:
        """A context in which the process group exists (nccl for GPUs, gloo for CPUs). Nested contexts use the existing group."""
        if self.world == 1 or dist.is_initialized():
            yield
            return
        backend, device_id = ("nccl", device) if device.type == "cuda" else ("gloo", None)
        dist.init_process_group(backend, rank=self.rank, world_size=self.world, timeout=TIMEOUT, device_id=device_id)
        try:
            yield
        finally:
            dist.destroy_process_group()

    @contextmanager
    def first_on_node(self) -> Iterator[None]:
        """A context whose body runs first in one process of each machine, and then in the machine's other processes.

        The other processes find the results of the first process in caches.

        If the body fails in the first process, the other processes still run the body, so that they fail with the same message.
        """
        if self.local_rank > 0:
            self.wait()
        try:
            yield
        except Exception:
            if self.local_rank == 0:
                self.wait()
            raise
        if self.local_rank == 0:
            self.wait()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes."""
        values = values / self.world
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes have called this method."""
        if self.world > 1 and dist.is_initialized():
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def in_turns(self, items: Sequence[Item], make: Callable[[Item], Iterable[Made]]) -> Iterator[Made]:
        """Yield the results of `make` for all items, in order, on every process. Process r computes the items r, r + `world`, …"""
        if self.world == 1:
            for item in items:
                yield from make(item)
            return
        for first in range(0, len(items), self.world):
            assigned = items[first + self.rank : first + self.rank + 1]  # one item, or none in the last round
            for results in self.gather([result for item in assigned for result in make(item)]):
                yield from results


class Agreement:
    """Computes the maximum of a number over all processes, once per training step. The result is available one step later.

    The maximum is computed on the CPU while the next step runs, so that no process waits for a GPU. All processes must create an
    instance and make the same calls, inside `Distributed.group`.
    """

    def __init__(self, processes: Distributed) -> None:
        self.group = dist.new_group(backend="gloo", timeout=TIMEOUT) if processes.world > 1 else None
        self.pending: tuple[Tensor, dist.Work] | None = None

    def largest(self, number: int) -> int:
        """Return the maximum of the previous step's numbers; 0 at the first step. With only one process, return `number`."""
        if self.group is None:
            return number
        value, previous = torch.tensor(number), self.close()
        self.pending = value, dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.group, async_op=True)
        return previous

    def close(self) -> int:
        """Wait for the pending maximum and return it; 0 if no maximum is pending."""
        if self.pending is None:
            return 0
        (value, work), self.pending = self.pending, None
        work.wait()
        return int(value)
