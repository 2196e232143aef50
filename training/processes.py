"""Training in several processes: the loss as a module that DDP can wrap, and random states for each process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from options.train import Training
from training.parts import Batch
from utils.errors import UserError
from utils.runtime import preserved_random_states, random_states, seed_everything


class Loss(nn.Module):
    """`model.loss` as a module with a forward pass, because DDP wraps only forward passes. The values to log include the loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logs = self.model.loss(batch)
        return loss, {name: value.detach() for name, value in {"loss": loss, **logs}.items()}


def loss_module(model: nn.Module, world: int) -> nn.Module:
    """The loss of a model as a module, wrapped in DDP if there are several processes."""
    loss = Loss(model)
    if world > 1:
        # The search for unused parameters takes time, and is unnecessary for models that use every parameter at every step.
        uses_all = getattr(model, "uses_all_parameters", False)
        loss = DistributedDataParallel(loss, find_unused_parameters=not uses_all)
    return loss


def random_states_by_rank(seed: int, world: int) -> list[dict[str, Any]]:
    """New random states of `world` processes; the process of rank r is seeded with `seed` + r."""
    states = []
    with preserved_random_states():
        for rank in range(world):
            seed_everything(seed + rank)
            states.append(random_states())
    return states


def resumed_random_states(path: Path, state: dict[str, Any], config: Training, samples: int, world: int) -> list[dict[str, Any]]:
    """New random states, one per rank, for a run that is resumed with another number of processes, `world`.

    `state` is the content of the resume file `path`. Raises `UserError` if the number of samples per training step before the
    interruption was not `samples`.
    """
    before, samples_before = len(state["random"]), state.get("samples")
    if samples_before != samples:
        size, remainder = divmod(samples_before or 0, world * config.accumulate)
        alternative = f", or use --batch_size {size}" if size and not remainder else ""
        problem = f"the run was trained with {before} processes, not {world}"
        raise UserError(f"{path}: {problem}; start {before} processes{alternative}")
    return random_states_by_rank(config.seed + 1_000_003 * state["step"], world)
