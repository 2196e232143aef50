"""One update of the weights: the gradients of one or several batches, clipping, AdamW.

An update has hundreds of short kernels, which take longer to launch than to run. On a GPU, the update is therefore captured as CUDA
graphs (Nguyen et al., "Accelerating PyTorch with CUDA Graphs", 2021). Forward and backward pass are one graph for each shape of the
batch; clipping, AdamW and the zeroing of the gradients are one more graph. The first call with each shape is not captured, so that
all caches, kernels, gradients and optimiser states exist when the second call is captured. Replayed kernels draw new random
numbers, because a replay advances the GPU's random generator by as much as the captured calls would.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from options.train import Training
from training.parts import Batch, parameter_groups
from training.processes import Loss
from utils.runtime import autocast

MOST_GRAPHS = 128  # maximum number of graphs; if there are more, the least recently used graph is dropped

Values = dict[str, Tensor]  # by name, each a scalar
Function = Callable[[Batch], Values]


class Update:
    """Updates the weights of `model`: each update is one or several calls of `gradient`, followed by one call of `step`.

    Attributes:
        forward: the model's loss; with several processes, the trainer replaces it by its DDP wrapper.
        graphs: the captured graphs; None if the update is not captured.
        rate: the learning rate of the last step.
    """

    def __init__(self, model: nn.Module, config: Training, device: torch.device, world: int = 1) -> None:
        self.config, self.device = config, device
        self.weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = parameter_groups(model, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
        self.forward: nn.Module = Loss(model)
        self.rate = config.lr
        self.batches = 0
        self.graphs = StepGraphs(self.weights, device) if uses_graphs(model, config, device, world) else None
        self.rate_on_device = torch.tensor(config.lr, device=device) if self.graphs else None  # a graph reads it at every replay

    def gradient(self, batch: Batch) -> Values:
        """Add the gradient of the loss of `batch`, divided by `accumulate`, to the gradients.

        Returns the loss and the values to log, without gradient. The next call may overwrite the returned tensors.
        """
        self.batches += 1
        # DDP reads this attribute; the processes then exchange gradients only once per update.
        self.forward.require_backward_grad_sync = self.batches % self.config.accumulate == 0
        return self.graphs(self._gradient, batch) if self.graphs else self._gradient(batch)

    def step(self, rate: float) -> Values:
        """Clip the gradients, update the weights with the learning rate `rate`, and reset the gradients.

        Returns {"grad_norm": the norm before clipping}. The next call may overwrite the returned tensor.
        """
        self.rate = rate
        if self.graphs:
            self.rate_on_device.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_on_device if self.graphs else rate
        norm = self.graphs(self._step, {}) if self.graphs else self._step({})
        if self.graphs:
            self.graphs.ready = True
        return norm

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimiser, in a form that does not depend on whether updates are captured."""
        state = self.optimizer.state_dict()
        return {**state, "param_groups": [{**group, "lr": self.rate, "capturable": False} for group in state["param_groups"]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the optimiser, before the first update."""
        # The parameter groups contain settings, not state, so the current settings are kept.
        self.optimizer.load_state_dict({**state, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _gradient(self, batch: Batch) -> Values:
        with autocast(self.device, self.config.precision):  # at its end, clears autocast's cache of weights
            loss, logs = self.forward(batch)
        (loss / self.config.accumulate).backward()
        return logs

    def _step(self, _: Batch) -> Values:
        norm = clip_grad_norm_(self.weights, self.config.clip_grad or float("inf"))
        if self.graphs is None:
            self.optimizer.step()
            self.optimizer.zero_grad()
            return {"grad_norm": norm}
        for group in self.optimizer.param_groups:  # AdamW needs this flag in a capture and warns about it otherwise
            group["capturable"] = self.graphs.capturing
        self.optimizer.step()
        torch._foreach_zero_([weight.grad for weight in self.weights if weight.grad is not None])
        return {"grad_norm": norm}


class StepGraphs:
    """Captures and replays the functions of an update, with one graph for each function and shape of the batch.

    A graph holds the memory addresses of weights and gradients, so a new graph is captured when a weight or a gradient has moved.
    The functions must change the gradients in place.
    """

    def __init__(self, weights: list[nn.Parameter], device: torch.device) -> None:
        self.weights, self.device = weights, device
        self.graphs: OrderedDict[tuple, Function | None] = OrderedDict()
        self.record = Recorder()
        self.ready = False  # nothing is captured before the end of the first update, in which FLOPs are counted
        self.capturing = False

    def __call__(self, function: Function, batch: Batch) -> Values:
        """Compute `function(batch)`. A graph is used from the second call with the same shapes onwards."""
        key = self._key(function, batch)
        if not self.ready or key not in self.graphs:
            values = self.record.run(lambda: function(batch))
            self.graphs[self._key(function, batch)] = None  # a new key, because the first call creates gradients
            while len(self.graphs) > MOST_GRAPHS:
                self.graphs.popitem(last=False)
            return values
        self.graphs.move_to_end(key)
        if self.graphs[key] is None:
            if not has_memory_for_graphs(self.device):
                return self.record.run(lambda: function(batch))
            self.graphs[key] = self._captured(function, batch)
        return self.graphs[key](batch)

    def _key(self, function: Function, batch: Batch) -> tuple:
        """A graph's key: the function; name, shape and dtype of each tensor in the batch; addresses of weights and gradients."""
        shapes = tuple((name, value.shape, value.dtype) for name, value in batch.items())
        gradients = (weight.grad for weight in self.weights)
        addresses = tuple(0 if gradient is None else gradient.data_ptr() for gradient in gradients)
        return function.__name__, shapes, addresses, tuple(weight.data_ptr() for weight in self.weights)

    def _captured(self, function: Function, batch: Batch) -> Function:
        """Capture `function` for the shapes of `batch`; returns a function that replays the graph with another batch."""
        inputs = {name: value.clone() for name, value in batch.items()}
        self.capturing = True
        try:
            replay = self.record(lambda: function(inputs))
        finally:
            self.capturing = False

        def replay_with(batch: Batch) -> Values:
            for name, buffer in inputs.items():
                buffer.copy_(batch[name], non_blocking=True)
            return replay()

        return replay_with


class Recorder:
    """Records functions without arguments as CUDA graphs.

    The graphs share a memory pool, because no two graphs run at the same time.

    Functions are captured on the stream on which `run` has called them before. The reason is this: the autograd nodes that add to
    the gradients are created in a forward pass, and belong to the stream of this forward pass. If such a node still exists, a
    capture on another stream fails.
    """

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self.pool: Any = None

    def run(self, function: Callable[[], Values]) -> Values:
        """Call `function`, without a capture. The current stream waits for the result."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            values = function()
        current.wait_stream(self.stream)
        return values

    def __call__(self, function: Callable[[], Values]) -> Callable[[], Values]:
        """Capture the kernels of `function` without running them.

        Returns a function that runs the captured kernels and returns the tensors to which these kernels write.
        """
        if self.pool is None:
            gc.collect()  # frees autograd nodes of earlier passes on other streams
            self.pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # In the default mode "global", other threads, such as those of a `Prefetcher`, may not pin memory during the capture.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            values = function()

        def replay() -> Values:
            graph.replay()
            return values

        return replay


def uses_graphs(model: nn.Module, config: Training, device: torch.device, world: int) -> bool:
    """Whether updates are captured: on a GPU, in one process, and for models that permit it with the attribute `capturable`.

    With this attribute, a model declares three properties of its loss: no branch depends on the values of tensors, no random
    numbers are drawn on the CPU, and padding does not change the loss. The last property is needed because batches are padded to
    few shapes.
    """
    return config.cuda_graphs and device.type == "cuda" and world == 1 and getattr(model, "capturable", False)


def has_memory_for_graphs(device: torch.device) -> bool:
    """Whether the GPU has twice the memory that training has needed so far.

    Graphs need additional memory, because they have a memory pool of their own.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    return 2 * torch.cuda.max_memory_allocated(device) < total
