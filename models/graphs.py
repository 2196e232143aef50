"""CUDA graphs for the forward passes of generation, whose many small kernels take longer to launch than to run.

A function of tensors is captured when it is called for the second time with tensors of certain shapes. Later calls with these
shapes replay the graph, with one launch instead of hundreds (Nguyen et al., "Accelerating PyTorch with CUDA Graphs", 2021). A whole
loop of sampling steps is one graph. No graph is used on a CPU, with gradients, in training mode, or for large batches. The kernels
of large batches keep the GPU busy without a graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from utils.padding import to_units

MOST_ROWS = 2**14  # maximum B · L; for more rows, launch overhead is negligible and graphs need much memory
MOST_GRAPHS = 64  # maximum number of graphs per model; if there are more, the least recently used graph is dropped

Function = Callable[..., Tensor]


class Graphs:
    """Captures and replays CUDA graphs of a model's functions.

    A graph holds the memory addresses of the weights, so a new graph is captured when weights are moved or replaced.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.weights: list[nn.Parameter] = []
        self.graphs: OrderedDict[tuple, Function | None] = OrderedDict()
        self.pool: Any = None  # GPU memory pool; all graphs share it, because no two graphs run at the same time

    def __call__(self, function: Function, tensors: tuple[Tensor, ...], *constants: float | None) -> Tensor:
        """Compute `function(*tensors, *constants)`, with a graph if possible.

        Each tensor is (B, S, …), where S may differ between tensors. The result is (B, L, …), where L is the S of the first tensor.
        The function must depend only on its arguments and the model's weights. For a graph, S is padded to a multiple of
        `utils.padding.UNIT`; this padding must not affect the result at valid positions.
        """
        first = tensors[0]
        if not first.is_cuda or first.shape[:2].numel() > MOST_ROWS or torch.is_grad_enabled() or self.model.training:
            return function(*tensors, *constants)
        padded = tuple(map(to_units, tensors))
        key = self._key(function, padded, constants)
        if key not in self.graphs:  # the first call with these shapes is not captured, because it may be the only one
            self.graphs[key] = None
            while len(self.graphs) > MOST_GRAPHS:
                self.graphs.popitem(last=False)
            return function(*tensors, *constants)
        self.graphs.move_to_end(key)
        if self.graphs[key] is None:
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            self.graphs[key] = captured(function, padded, constants, self.pool)
        return self.graphs[key](*padded)[:, : first.shape[1]]

    def _key(self, function: Function, tensors: tuple[Tensor, ...], constants: tuple[float | None, ...]) -> tuple:
        """The key under which a graph is cached: function, constants, precision, shapes, and the addresses of the weights."""
        self.weights = self.weights or list(self.model.parameters())
        addresses = tuple(weight.data_ptr() for weight in self.weights)
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        return function.__name__, constants, torch.is_autocast_enabled("cuda"), shapes, addresses


def captured(function: Function, tensors: tuple[Tensor, ...], constants: tuple[float | None, ...], pool: Any) -> Function:
    """Capture a function as a CUDA graph for the shapes of `tensors`; returns a function that replays the graph.

    `pool` is the memory pool for intermediate results.
    """
    inputs = tuple(tensor.clone() for tensor in tensors)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # During a capture, autocast must not cache bf16 copies of weights, because these copies would lie in the graph's memory pool.
    bf16 = torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), enabled=bf16, cache_enabled=False):
        with torch.cuda.stream(stream):
            for _ in range(2):  # warm-up, in which libraries create their handles and workspaces
                function(*inputs, *constants)
        torch.cuda.current_stream().wait_stream(stream)
        # In the default mode "global", other threads, such as those of a `Prefetcher`, may not pin memory during the capture.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = function(*inputs, *constants)

    def replay(*values: Tensor) -> Tensor:
        for buffer, value in zip(inputs, values, strict=True):
            buffer.copy_(value)
        graph.replay()
        return output.clone()

    return replay
