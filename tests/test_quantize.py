"""Codebooks follow their latents, each residual layer reduces the error, and gradients pass straight through."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from models.quantize import Codebook, ResidualQuantizer, perplexity

B, L, C, K, Q = 4, 10, 6, 16, 3


def latents(seed: int = 0, batch: int = B) -> torch.Tensor:
    return torch.randn(batch, L, C, generator=torch.Generator().manual_seed(seed))


def trained(num_quantizers: int = Q, **settings) -> ResidualQuantizer:
    """A quantiser whose codebooks have seen a few batches."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(num_quantizers, K, C, mu=0.9, **settings)
    for step in range(20):
        quantizer(latents(step))
    return quantizer.eval()


@pytest.mark.parametrize("training", [True, False])
def test_gradient_passes_straight_through_any_number_of_layers(training):
    quantizer = trained().train(training)
    x = latents().requires_grad_()
    quantizer(x).vectors.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_commitment_draws_latents_to_their_codes_and_nothing_else():
    quantizer = trained(1)
    x = latents().requires_grad_()
    vectors, _, commitment, _ = quantizer(x)
    assert torch.allclose(commitment, (x - vectors).square().mean())
    commitment.backward()
    assert torch.allclose(x.grad, 2 * (x - vectors).detach() / x.numel())
    assert not any(buffer.requires_grad for buffer in quantizer.buffers())


def test_commitment_is_the_mean_over_layers():
    quantizer, x = trained(), latents()
    _, codes, commitment, _ = quantizer(x)
    by_layer = [(x - quantizer.vectors(codes[..., : q + 1])).square().mean() for q in range(Q)]
    assert torch.allclose(commitment, torch.stack(by_layer).mean())


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_nearest_is_nearest(seed):
    torch.manual_seed(seed)
    codebook = Codebook(K, C, mu=0.99).double()
    codebook.codebook.normal_()
    x = torch.randn(50, C, dtype=torch.float64)
    assert torch.equal(codebook.nearest(x), torch.cdist(x, codebook.codebook).argmin(1))


def test_vectors_of_codes_are_what_the_quantiser_gives():
    quantizer, x = trained(), latents()
    vectors, codes, _, _ = quantizer(x)
    assert codes.shape == (B, L, Q)
    assert torch.allclose(quantizer.vectors(codes), vectors, atol=1e-6)


def test_each_layer_leaves_less():
    quantizer, x = trained(), latents()
    codes = quantizer(x).codes
    left = [(x - quantizer.vectors(codes[..., :q])).square().mean().item() for q in range(1, Q + 1)]
    assert x.square().mean() > left[0] > left[1] > left[2]


def test_codes_of_minus_one_add_nothing():
    quantizer = trained()
    codes = quantizer(latents()).codes
    codes[:, 3:] = -1
    assert not quantizer.vectors(codes)[:, 3:].any()
    codes[..., 2] = -1
    assert torch.equal(quantizer.vectors(codes), quantizer.vectors(codes[..., :2]))


def test_moving_average_formula():
    codebook = Codebook(2, 1, mu=0.75)
    codebook.codebook.copy_(torch.tensor([[1.0], [-1.0]]))
    codebook.counts.copy_(torch.tensor([4.0, 8.0]))
    x, weights = torch.tensor([[2.0], [4.0], [-3.0], [100.0]]), torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    codebook.update_(x, torch.tensor([2.0, 1.0]), torch.tensor([0, 0, 1, 0]), weights)
    counts = torch.tensor([0.75 * 4 + 0.25 * 2, 0.75 * 8 + 0.25 * 1])
    sums = torch.tensor([[0.75 * 4 * 1 + 0.25 * 6], [0.75 * 8 * -1 + 0.25 * -3]])
    assert torch.allclose(codebook.counts, counts)
    assert torch.allclose(codebook.codebook, sums / counts[:, None])


def test_codebook_settles_on_the_means_of_what_it_stands_for():
    torch.manual_seed(0)
    centres = torch.tensor([[10.0, 0], [0, 10], [-10, -10]])
    quantizer = ResidualQuantizer(1, 3, 2, mu=0.8)
    book = quantizer.layers[0]
    book.codebook.copy_(centres + 3)
    book.counts.fill_(50)
    for _ in range(60):
        quantizer(centres[torch.randint(3, (8, 20))] + 0.1 * torch.randn(8, 20, 2))
    assert torch.allclose(book.codebook, centres, atol=0.1)
    assert book.counts.sum().item() == pytest.approx(8 * 20, rel=1e-3)


def test_first_batch_places_all_codes_on_latents():
    torch.manual_seed(0)
    codebook, x = Codebook(K, C, mu=0.99), latents().flatten(0, 1)
    codebook.replace_dead_(x, torch.ones(len(x), dtype=torch.bool))
    distance = torch.cdist(codebook.codebook, x).min(1)
    assert distance.values.max() < 0.01
    assert len(distance.indices.unique()) == K  # each on its own


def test_dead_code_is_replaced_and_living_ones_stay():
    quantizer = trained(1).train()
    book = quantizer.layers[0]
    book.codebook[5], book.counts[5] = 1e6, 0.5
    book.counts[book.counts < 1] = 0.5
    before, living = book.codebook.clone(), book.counts >= 1
    x = latents(99).flatten(0, 1)
    book.replace_dead_(x, torch.ones(len(x), dtype=torch.bool))
    assert torch.equal(book.codebook[living], before[living])
    assert torch.cdist(book.codebook[5:6], x).min() < 0.01
    assert (book.counts >= 1).all()


def test_padding_enters_nothing():
    mask = torch.arange(L) < torch.tensor([10, 7, 3, 1])[:, None]
    runs = []
    for noise in (0.0, 1e3):
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(Q, K, C, mu=0.9)
        for step in range(5):
            out = quantizer(latents(step).masked_fill(~mask[..., None], noise), mask)
        runs.append([*quantizer.buffers(), out.codes, out.commitment, out.perplexity])
    assert all(torch.equal(a, b) for a, b in zip(*runs))
    assert torch.equal(out.codes == -1, ~mask[..., None].expand(B, L, Q))


def test_batch_without_any_valid_latent_changes_no_code():
    quantizer = trained().train()
    before = [layer.codebook.clone() for layer in quantizer.layers]
    quantizer(latents(), torch.zeros(B, L, dtype=torch.bool))
    assert all(torch.allclose(a, layer.codebook) for a, layer in zip(before, quantizer.layers))


def test_dropout_leaves_out_last_layers_of_some_clips_in_training_only():
    quantizer = trained(dropout=0.5)
    assert (quantizer(latents(1, 200)).codes >= 0).all()
    kept = (quantizer.train()(latents(1, 200)).codes >= 0)[:, 0]  # (200, Q)
    assert kept[:, 0].all()
    assert (kept.int().diff(dim=1) <= 0).all()  # never a layer above a dropped one
    fraction = (~kept.all(1)).float().mean().item()
    assert 0.2 < fraction < 0.47  # half of the clips draw, and one draw in three keeps all layers


def test_shared_codebook_is_one():
    quantizer = trained(shared=True)
    assert len(list(quantizer.buffers())) == 2
    assert quantizer.layer(0) is quantizer.layer(2)
    x = latents()
    assert (x - quantizer(x).vectors).square().mean() < x.square().mean()


def test_perplexity_counts_the_codes_in_use():
    assert perplexity(torch.tensor([5.0, 5, 5, 5])).item() == pytest.approx(4)
    assert perplexity(torch.tensor([7.0, 0, 0])).item() == pytest.approx(1)
    assert math.isfinite(perplexity(torch.zeros(3)).item())


def _rank(rank: int, path: str, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # ranks draw different numbers
    quantizer = ResidualQuantizer(Q, K, C, mu=0.9, dropout=0.5)
    for step in range(4):
        quantizer(latents(2 * step + rank))
    quantizer.dropout = 0.0
    for layer in quantizer.layers:
        layer.counts.fill_(5)  # no resets, which draw: what follows can be compared with one process
    state = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(latents(100 + rank))
    results[rank] = (state, quantizer.state_dict())
    dist.destroy_process_group()


def test_processes_agree_and_learn_from_each_others_latents(tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_rank, (str(tmp_path / "rendezvous"), results), nprocs=2)
        (before, after), (before_too, after_too) = results[0], results[1]
    for first, second in ((before, before_too), (after, after_too)):
        assert all(torch.equal(first[name], second[name]) for name in first)
    alone = ResidualQuantizer(Q, K, C, mu=0.9)
    alone.load_state_dict(before)
    alone(torch.cat([latents(100), latents(101)]))
    assert all(torch.allclose(after[name], value, atol=1e-5) for name, value in alone.state_dict().items())
