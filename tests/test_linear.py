"""The linear layer: PyTorch's numbers and gradients by either product, and outputs that do not depend on neighbouring rows."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

import models.linear
from models.linear import ONEDNN, Linear, linear, packed_weights
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer

WIDE = {"latent_dim": 128, "ff_size": 128, "n_layers": 2, "n_heads": 2, "cond_dim": 128, "code_dim": 128, "nb_code": 128}
LENGTHS = torch.tensor([9, 5, 7])


def layer(width: int = 160, out: int = 112, bias: bool = True) -> Linear:
    torch.manual_seed(0)
    return Linear(width, out, bias)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 7)])
def test_values_and_gradients_are_those_of_pytorch(shape, bias, gelu):
    module = layer(bias=bias)
    x = torch.randn(*shape, 160, requires_grad=True)
    inputs = [x, *module.parameters()]
    expected = F.linear(x, module.weight, module.bias)
    expected = F.gelu(expected) if gelu else expected
    towards = torch.randn_like(expected)
    for out in (module(x, gelu=gelu), linear(x, module.weight, module.bias, gelu)):
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
        gradients = torch.autograd.grad(out, inputs, towards)
        for gradient, reference in zip(gradients, torch.autograd.grad(expected, inputs, towards, retain_graph=True), strict=True):
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(module(x, gelu=gelu), expected.detach(), rtol=1e-5, atol=1e-5)


def test_only_what_needs_a_gradient_gets_one():
    module = layer()
    module.weight.requires_grad_(False)
    x = torch.randn(4, 160, requires_grad=True)
    module(x).sum().backward()
    assert module.weight.grad is None
    torch.testing.assert_close(module.bias.grad, torch.full((112,), 4.0))
    torch.testing.assert_close(x.grad, module.weight.sum(0).expand(4, -1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("bf16", [False, True])
def test_a_row_does_not_depend_on_the_other_rows(bf16):
    module, x = layer(384, 384), torch.randn(600, 384)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), packed_weights(module):
        together = module(x, gelu=True)
        for rows in (2, 3, 8, 49, 98, 200):
            alone = module(x[:rows], gelu=True)
            torch.testing.assert_close(alone, together[:rows], rtol=1e-5, atol=1e-5)
            assert torch.equal(alone, together[:rows]) or not ONEDNN  # MKL sums in another order for few rows


@torch.no_grad()
def test_packed_weights_change_no_output_and_are_not_kept():
    module, x = layer(), torch.randn(6, 160)
    with packed_weights(module):
        inside = module(x)
        with torch.enable_grad():
            assert module(x).requires_grad
    assert torch.equal(inside, module(x))
    assert module.packed is None
    copy.deepcopy(module)
    with torch.autocast("cpu", torch.bfloat16), packed_weights(module):
        assert module(x).dtype == torch.bfloat16
        torch.testing.assert_close(module(x, gelu=True).float(), F.gelu(inside), rtol=0.02, atol=0.02)


def codes() -> torch.Tensor:
    """What two transformers, wide enough for oneDNN, draw for three conditions."""
    torch.manual_seed(0)
    masked = MaskedTransformer(MaskedConfig(**WIDE)).eval()
    residual = ResidualTransformer(ResidualConfig(num_quantizers=3, **WIDE)).eval()
    for weight in (*masked.parameters(), *residual.parameters()):
        weight.data.mul_(4)
    condition = torch.randn(3, 128)
    together = residual.generate(masked.generate(condition, LENGTHS, time_steps=4), condition, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = slice(row, row + 1)
        base = masked.generate(condition[alone], LENGTHS[alone], time_steps=4, first_sample=row)
        drawn = residual.generate(base, condition[alone], LENGTHS[alone], first_sample=row)
        assert torch.equal(drawn[0], together[row, :length])
    return together


def test_the_product_changes_no_token_in_float32(monkeypatch):
    tokens = codes()
    assert tokens.unique().numel() > 20
    monkeypatch.setattr(models.linear, "ONEDNN", False)
    assert torch.equal(codes(), tokens)
