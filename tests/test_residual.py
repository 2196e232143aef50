"""The residual transformer: layers above the base, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.layers import valid_mask
from models.residual import ResidualConfig, ResidualTransformer
from tests.decoded import decoded

SIZES = {"nb_code": 24, "num_quantizers": 4, "cond_dim": 12, "code_dim": 16}
SMALL = {**SIZES, "latent_dim": 16, "ff_size": 32, "n_layers": 2, "n_heads": 4}
LENGTHS = torch.tensor([9, 4, 7, 1])


def small(**sizes) -> ResidualTransformer:
    torch.manual_seed(0)
    model = ResidualTransformer(ResidualConfig(**{**SMALL, **sizes})).double().eval()
    model.init_tokens_(torch.randn(4, 24, 16))
    with torch.no_grad():  # as built, all tokens are about equally likely
        model.head.final.weight.mul_(100)
    return model


def codes_of(lengths: torch.Tensor, layers: int = 4) -> torch.Tensor:
    valid = valid_mask(lengths, int(lengths.max()))
    return torch.randint(24, (*valid.shape, layers)).masked_fill(~valid[..., None], -1)


def test_shared_weights_are_one_table_a_layer():
    model = small(share_weight=True)
    assert torch.equal(model.embeddings[1:], model.projections[:-1])  # what embeds layers 1 and 2 also predicts them
    assert model.embeddings.shape == model.projections.shape == (3, 25, 16)
    assert not torch.equal(small().embeddings[1:], small().projections[:-1])


def test_tokens_start_as_the_tokenisers_codebooks():
    books = torch.randn(4, 24, 16)
    model = small()
    model.init_tokens_(books)
    codes = torch.randint(24, (2, 5, 3))
    latent = sum(books[layer][codes[..., layer]] for layer in range(3)).double()
    torch.testing.assert_close(model.history(codes)[:, :, -1], latent / books.std(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_padding_changes_nothing(shared):
    model, condition, codes = small(share_weight=shared), torch.randn(4, 12, dtype=torch.double), codes_of(LENGTHS)
    layer = torch.tensor([1, 2, 3, 2])
    together, _ = model.layer_loss(codes, LENGTHS, condition, layer)
    rows = [slice(row, row + 1) for row in range(4)]
    alone = [model.layer_loss(codes[i, :n], LENGTHS[i], condition[i], layer[i])[0] for i, n in zip(rows, LENGTHS)]
    mean = (torch.stack(alone) * LENGTHS).sum() / LENGTHS.sum()
    torch.testing.assert_close(together, mean, rtol=1e-6, atol=1e-6)  # the loss is taken in float32


def test_a_layer_is_predicted_from_the_layers_under_it():
    model, condition, codes = small(), torch.randn(1, 12, dtype=torch.double), codes_of(torch.tensor([6]))
    layer = torch.tensor([2])

    def logits(codes):
        return model(model.history(codes[..., :-1])[:, :, 1], condition, torch.ones(1, 6, dtype=torch.bool), layer)

    for changed, matters in ((0, True), (1, True), (2, False), (3, False)):
        other = codes.clone()
        other[..., changed] = (other[..., changed] + 1) % 24
        assert torch.equal(logits(codes), logits(other)) is not matters


def test_guidance_one_is_conditional_and_zero_is_unconditional():
    model, condition, valid = small(), torch.randn(4, 12, dtype=torch.double), valid_mask(LENGTHS, 9)
    history, layer = torch.randn(4, 9, 16, dtype=torch.double), torch.tensor([1, 2, 3, 1])
    cond, uncond = model(history, condition, valid, layer), model(history, 0 * condition, valid, layer)
    assert torch.equal(model.guided(history, condition, valid, layer, 1), cond)
    assert torch.equal(model.guided(history, condition, valid, layer, 0), uncond)
    torch.testing.assert_close(model.guided(history, condition, valid, layer, 5)[valid], (uncond + 5 * (cond - uncond))[valid])


def test_generation_at_scale_one_is_conditional_and_at_zero_reads_no_condition():
    model, condition, base = small(), torch.randn(4, 12, dtype=torch.double), codes_of(LENGTHS)[..., 0]
    zero, valid = {"cond_scale": 0, "seed": 3}, valid_mask(LENGTHS, 9)
    assert torch.equal(model.generate(base, condition, LENGTHS, **zero), model.generate(base, -condition, LENGTHS, **zero))
    logits, _ = next(decoded(model, base, condition, LENGTHS, cond_scale=1))
    history = model.history(torch.where(valid, base, model.pad_id)[..., None])[:, :, 0]
    assert torch.equal(logits, model(history, condition, valid, 1))


def test_one_layer_for_all_samples_equals_each_samples_own():
    model, condition, valid = small(), torch.randn(4, 12, dtype=torch.double), valid_mask(LENGTHS, 9)
    history = torch.randn(4, 9, 16, dtype=torch.double)
    for layer in range(1, model.config.num_quantizers):
        ones = torch.full((4,), layer)
        torch.testing.assert_close(model(history, condition, valid, layer), model(history, condition, valid, ones))
        torch.testing.assert_close(
            model.guided(history, condition, valid, layer, 3), model.guided(history, condition, valid, ones, 3)
        )


@pytest.mark.parametrize("shared", [True, False])
def test_generation_keeps_the_base_and_does_not_depend_on_the_batch(shared):
    model, condition, base = small(share_weight=shared), torch.randn(4, 12, dtype=torch.double), codes_of(LENGTHS)[..., 0]
    options = {"cond_scale": 2.0, "seed": 5, "topkr": 0.5}
    together = model.generate(base, condition, LENGTHS, **options)
    assert together.shape == (4, 9, 4)
    assert torch.equal(together[..., 0], base)
    assert (together[~valid_mask(LENGTHS, 9)] == -1).all()
    for row, size in enumerate(LENGTHS):
        rows = slice(row, row + 1)
        alone = model.generate(base[rows, :size], condition[rows], LENGTHS[rows], first_sample=row, **options)
        assert torch.equal(alone[0], together[row, :size])
    assert torch.equal(model.generate(base, condition, LENGTHS, layers=1, **options), together[..., :2])


@pytest.mark.parametrize("layers", [2, 4, 6])
def test_every_layer_above_the_base_is_trained_equally_often(layers, monkeypatch):
    torch.manual_seed(0)
    model, drawn = ResidualTransformer(ResidualConfig(**{**SMALL, "num_quantizers": layers})).eval(), []
    monkeypatch.setattr(model, "layer_loss", lambda *arguments: drawn.append(arguments[-1]) or (torch.zeros(()), torch.zeros(())))
    batch = {"codes": torch.zeros(6000, 1, layers).long(), "lengths": torch.ones(6000), "condition": torch.zeros(6000, 12)}
    model.loss(batch, torch.Generator().manual_seed(0))
    fractions = torch.bincount(drawn[0], minlength=layers) / 6000
    assert fractions[0] == 0 and len(fractions) == layers
    torch.testing.assert_close(fractions[1:], torch.full((layers - 1,), 1 / (layers - 1)), atol=0.02, rtol=0)


def test_a_step_trains_the_tables_of_all_layers():
    model, lengths = small(), LENGTHS.repeat(16)
    model.loss({"codes": codes_of(lengths), "lengths": lengths, "condition": torch.randn(64, 12).double()})[0].backward()
    assert (model.output_tables.grad.abs().sum((1, 2)) > 0).all()
    assert (model.input_tables.grad.abs().sum((1, 2)) > 0).all()


@pytest.mark.parametrize("shared", [True, False])
def test_learns_layers_that_follow_from_the_base(shared):
    torch.manual_seed(0)
    model = ResidualTransformer(ResidualConfig(**{**SMALL, "dropout": 0.0, "share_weight": shared}))
    model.init_tokens_(torch.randn(4, 24, 16))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    base = torch.randint(24, (16, 8))
    batch = {
        "codes": torch.stack([(base * (q + 1)) % 24 for q in range(4)], dim=-1),
        "lengths": torch.full((16,), 8),
        "condition": torch.randn(16, 12),
    }
    losses = []
    for _ in range(150):
        loss, logs = model.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert set(logs) == {"residual_ce", "accuracy"}
    assert abs(losses[0] - np.log(25)) < 0.5
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]
