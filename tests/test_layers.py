"""The transformer's parts: masks, attention, positions, dropout, whitening."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.graphs import to_units
from models.layers import Dropout, EncoderLayer, PositionedEncoder, attention_mask, sinusoidal_positions, valid_mask, whiten_


def encoder(attention: str) -> PositionedEncoder:
    torch.manual_seed(0)
    return PositionedEncoder(dim=16, heads=4, ff=32, layers=2, dropout=0.1, attention=attention).double().eval()


def influence(attention: str) -> torch.Tensor:
    """(6, 7): whether output i of six places depends on inputs: the prefix, then the six."""
    prefix, x = torch.randn(1, 1, 16, dtype=torch.double), torch.randn(1, 6, 16, dtype=torch.double)
    model, valid = encoder(attention), torch.ones(1, 6, dtype=torch.bool)

    def output(everything: torch.Tensor) -> torch.Tensor:
        rows = model(everything[:, :1], valid[:, :1], everything[:, 1:], valid)[0]
        return rows.pow(3).sum(-1)  # a plain sum of normalised rows is constant

    jacobian = torch.autograd.functional.jacobian(output, torch.cat((prefix, x), dim=1))  # (6, 1, 7, 16)
    return jacobian[:, 0].norm(dim=-1) > 1e-12


def test_causal_attention_leaks_nothing_from_later_places():
    assert torch.equal(influence("causal"), torch.ones(6, 7, dtype=torch.bool).tril(1))  # the prefix is place −1


@pytest.mark.parametrize("attention", ["full", "additive"])
def test_other_attention_sees_every_place(attention):
    assert influence(attention).all()


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_padding_changes_nothing(attention):
    model = encoder(attention)
    prefix, x = torch.randn(2, 1, 16, dtype=torch.double), torch.randn(2, 9, 16, dtype=torch.double)
    first = torch.ones(2, 1, dtype=torch.bool)
    together = model(prefix, first, x, valid_mask(torch.tensor([9, 5]), 9))
    alone = model(prefix[1:], first[1:], x[1:, :5], torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(together[1, :5], alone[0], rtol=0, atol=1e-12)


def test_additive_mask_is_the_number_one_up_to_each_place():
    mask = attention_mask(valid_mask(torch.tensor([2]), 3), "additive")
    assert torch.equal(mask[0, 0], torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1]]))


def test_layer_equals_torchs_own():
    torch.manual_seed(0)
    ours = EncoderLayer(dim=16, heads=4, ff=24, dropout=0.0).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, activation="gelu", batch_first=True).eval()
    pairs = {
        "self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.",
        "linear1.": "ff1.", "linear2.": "ff2.", "norm1.": "norm1.", "norm2.": "norm2.",
    }  # fmt: skip
    state = ours.state_dict()
    theirs.load_state_dict({a + kind: state[b + kind] for a, b in pairs.items() for kind in ("weight", "bias")})
    x, valid = torch.randn(3, 7, 16), valid_mask(torch.tensor([7, 4, 2]), 7)
    out, expected = ours(x, attention_mask(valid, "full")), theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(out[valid], expected[valid], rtol=1e-5, atol=1e-6)


def test_sinusoidal_positions():
    table = sinusoidal_positions(50, 8)
    assert table.shape == (50, 8)
    torch.testing.assert_close(table[:, 0], torch.arange(50).float().sin())
    torch.testing.assert_close(table[3, 5], torch.tensor(3 / 10_000 ** (4 / 8)).cos())


def test_dropout_keeps_the_mean_and_only_acts_in_training():
    torch.manual_seed(0)
    layer, x = Dropout(0.2), torch.ones(1001, 999, requires_grad=True)
    out = layer(x)
    assert abs((out == 0).float().mean() - 0.2) < 2e-3
    assert abs(out.mean() - 1) < 2e-3
    assert out.unique().numel() == 2
    out.sum().backward()
    assert torch.equal(x.grad, out)  # the gradient passes where the value did
    assert layer.eval()(x) is x


def test_whitening_tells_near_features_apart():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(32, 32))[0] * torch.logspace(0, -2, 32)[:, None]
    features = torch.randn(500, 32) @ basis + 3
    linear = nn.Linear(32, 48)
    whiten_(linear, features, floor=1e-6)
    out = linear(features)
    covariance = torch.cov(out.T)
    variances = torch.linalg.eigvalsh(covariance)[-32:]
    assert out.mean(0).abs().max() < 1e-3
    assert variances.max() / variances.min() < 1.01
    assert abs(out.norm(dim=1).mean() / 48**0.5 - 1) < 1e-3
    whiten_(linear, features, floor=1.0)  # nothing is amplified beyond the first component
    assert torch.linalg.eigvalsh(torch.cov(linear(features).T))[-2:].diff() > 0.1


def test_sequences_are_padded_to_units_for_graphs():
    assert to_units(torch.ones(2, 9, 3)).shape == (2, 16, 3)
    assert to_units(torch.ones(2, 16)).shape == (2, 16)
    assert to_units(torch.ones(2, 1, 12)).shape == (2, 1, 12)
    assert to_units(torch.ones(2, 7, dtype=torch.bool))[:, 7:].sum() == 0
