"""The linear layer of all models: a `torch.nn.Linear` that uses oneDNN's matrix product on CPUs with AVX-512.

PyTorch uses MKL for products in float32. MKL's product takes twice as long as oneDNN's product on AMD CPUs, and up to twice as
long on Intel CPUs (docs/performance.md). The results of MKL and oneDNN differ by rounding errors, because the two libraries sum in
different orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def onednn_is_faster() -> bool:
    """Whether oneDNN's float32 product is available and faster than MKL's product, as on CPUs with AVX-512."""
    has_product = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_product and torch.backends.cpu.get_cpu_capability() == "AVX512"


ONEDNN = onednn_is_faster()
SMALL = 2**14  # number of weights below which MKL is faster, because oneDNN has more overhead


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Like `torch.nn.functional.linear`, for x (..., I), weight (O, I) and bias (O,); followed by GELU if `gelu` is set."""
    if not _suits_onednn(x, weight):
        out = F.linear(x, weight, bias)
    elif torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in (x, weight, bias)):
        out = _Product.apply(x, weight, bias)
    else:
        return _product(x, weight, bias, gelu)
    return F.gelu(out) if gelu else out


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether to use oneDNN's matrix product.

    The result is False for a single row, because MKL is faster for a single row. For two or more rows, the result does not depend
    on the number of rows, so that the output for a row of x is the same in all batches of two or more rows.
    """
    fp32_on_cpu = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return ONEDNN and fp32_on_cpu and weight.numel() >= SMALL and _has_rows(x) and not torch.is_autocast_enabled("cpu")


def _has_rows(x: Tensor) -> bool:
    """Whether x has more than one row."""
    return x.numel() > x.shape[-1]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "gelu" if gelu else "none", [], "none")


class _Product(torch.autograd.Function):
    """The product and its gradients, all computed by oneDNN."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)  # (N, O)
        return (
            _product(gradient, weight.T, None) if needs_x else None,
            _product(rows.T, x.flatten(0, -2).T, None) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


class Linear(nn.Linear):
    """`torch.nn.Linear` computed by `linear`, followed by GELU if `gelu` is set."""

    packed: tuple[Tensor, Tensor | None] | None = None  # weight and bias; set inside `packed_weights`

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        packed = self.packed
        if packed is None or torch.is_grad_enabled() or not _has_rows(x):
            return linear(x, self.weight, self.bias, gelu)
        return _product(x.to(packed[0].dtype), *packed, gelu)


@contextmanager
def packed_weights(model: nn.Module) -> Iterator[None]:
    """A context in which the linear layers of `model` keep copies of their weights in oneDNN's memory layout.

    The copies speed up repeated calls without gradient, and do not change the outputs. Under autocast, the copies are in bf16; the
    autocast context must be entered before this context.
    """
    bf16 = torch.is_autocast_enabled("cpu")
    supported = ONEDNN and not torch.is_grad_enabled() and (not bf16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    dtype = torch.get_autocast_dtype("cpu") if bf16 else torch.float32
    packed = [layer for layer in model.modules() if isinstance(layer, Linear) and _can_pack(layer.weight)] if supported else []
    for layer in packed:
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.to(dtype))
        layer.packed = weight, None if layer.bias is None else layer.bias.to(dtype)
    try:
        yield
    finally:
        for layer in packed:
            layer.packed = None


def _can_pack(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= SMALL
