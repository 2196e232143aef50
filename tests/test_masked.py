"""The masked transformer: what it hides, what it learns, and generation that does not depend on the batch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from models.layers import valid_mask
from models.masked import MaskedConfig, MaskedTransformer
from tests.decoded import decoded

SMALL = {"nb_code": 24, "cond_dim": 12, "code_dim": 16, "latent_dim": 16, "ff_size": 32, "n_layers": 2, "n_heads": 4}
LENGTHS = torch.tensor([9, 4, 7, 1])


def small(attention: str = "causal", **sizes) -> MaskedTransformer:
    torch.manual_seed(0)
    model = MaskedTransformer(MaskedConfig(attention=attention, **{**SMALL, **sizes})).double().eval()
    with torch.no_grad():  # as built, all tokens are about equally likely
        model.head.final.weight.mul_(50)
        model.token_emb.weight.mul_(50)
    return model


def small_batch(rows: int = 16, size: int = 12) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    lengths = torch.randint(3, size + 1, (rows,))
    codes = torch.randint(24, (rows, size, 2)).masked_fill(~valid_mask(lengths, size)[..., None], -1)
    return {"codes": codes, "lengths": lengths, "condition": torch.randn(rows, 12)}


def test_hides_between_one_and_all_valid_tokens_80_10_10():
    model = MaskedTransformer(MaskedConfig(**SMALL))
    lengths = torch.randint(1, 50, (4000,))
    codes = torch.randint(24, (4000, 49)).masked_fill(~valid_mask(lengths, 49), -1)
    ids, hidden = model.hide(codes, lengths)
    valid = valid_mask(lengths, 49)
    assert not (hidden & ~valid).any()
    assert (hidden.sum(1) >= 1).all()
    assert (ids[~valid] == model.pad_id).all()
    assert torch.equal(ids[valid & ~hidden], codes[valid & ~hidden])
    masked = (ids[hidden] == model.mask_id).float().mean()
    kept = (ids[hidden] == codes[hidden]).float().mean()
    assert abs(masked - 0.8) < 0.01
    assert abs(kept - (0.1 + 0.1 / 24)) < 0.01  # a random token may be the true one
    assert abs((hidden.sum(1) / lengths)[lengths > 20].mean() - 2 / np.pi) < 0.02  # the mean of cos(π t / 2)


def test_infilling_hides_tokens_of_one_stretch_and_lets_the_rest_be_seen():
    model = MaskedTransformer(MaskedConfig(**SMALL, infill=1.0))
    lengths = torch.randint(1, 50, (4000,))
    codes = torch.randint(24, (4000, 49)).masked_fill(~valid_mask(lengths, 49), -1)
    ids, hidden = model.hide(codes, lengths)
    valid = valid_mask(lengths, 49)
    assert not (hidden & ~valid).any() and (hidden.sum(1) >= 1).all()
    assert torch.equal(ids[valid & ~hidden], codes[valid & ~hidden])
    place = torch.arange(49)
    first, last = torch.where(hidden, place, 99).amin(1), torch.where(hidden, place, -1).amax(1)
    long = lengths > 20
    span, count = (last - first + 1)[long], hidden.sum(1)[long]
    assert abs((span / lengths[long]).mean() - 0.4) < 0.1  # scattered tokens would span nearly all of a row
    assert (count == span).float().mean() > 0.3  # as at the first step of decoding: all of the stretch
    scattered = MaskedTransformer(MaskedConfig(**SMALL)).hide(codes, lengths)[1]
    assert not torch.equal(scattered.sum(1), hidden.sum(1))


def test_hidden_tokens_depend_on_the_generator_alone():
    model, batch = small(), small_batch()
    first, second = (model.hide(batch["codes"][..., 0], batch["lengths"], torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_padding_changes_neither_logits_nor_loss(attention):
    model, batch = small(attention), small_batch()
    codes, lengths, condition = batch["codes"][..., 0], batch["lengths"], batch["condition"].double()
    ids = torch.where(codes >= 0, codes, model.pad_id)
    logits = model(ids, condition, valid_mask(lengths, 12))
    for row in range(4):
        alone = model(ids[row : row + 1, : lengths[row]], condition[row : row + 1], torch.ones(1, lengths[row], dtype=torch.bool))
        torch.testing.assert_close(logits[row, : lengths[row]], alone[0], rtol=0, atol=1e-12)


def test_guidance_one_is_conditional_zero_is_unconditional_and_both_halves_agree_with_two_passes():
    model, condition, valid = small(), torch.randn(4, 12, dtype=torch.double), valid_mask(LENGTHS, 9)
    ids = torch.where(valid, torch.randint(24, (4, 9)), model.pad_id)
    cond, uncond = model(ids, condition, valid), model(ids, torch.zeros_like(condition), valid)
    assert torch.equal(model.guided(ids, condition, valid, 1), cond)
    assert torch.equal(model.guided(ids, condition, valid, 0), uncond)
    torch.testing.assert_close(model.guided(ids, condition, valid, 4)[valid], (uncond + 4 * (cond - uncond))[valid])


def test_guidance_runs_both_halves_in_one_pass(monkeypatch):
    model, condition, valid, sizes = small(), torch.randn(4, 12, dtype=torch.double), valid_mask(LENGTHS, 9), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda ids, *rest: sizes.append(len(ids)) or forward(ids, *rest))
    for scale in (0, 1, 4):
        model.guided(torch.where(valid, model.mask_id, model.pad_id), condition, valid, scale)
    assert sizes == [4, 4, 8]


def test_generation_at_scale_one_is_conditional_and_at_zero_reads_no_condition():
    model, condition = small(), torch.randn(4, 12, dtype=torch.double)
    for scale, seen in ((1, condition), (0, torch.zeros_like(condition))):
        for step in decoded(model, condition, LENGTHS, time_steps=4, cond_scale=scale):
            assert torch.equal(step.logits, model(step.ids_in, seen, valid_mask(LENGTHS, 9)))
    options = {"time_steps": 4, "cond_scale": 0}
    assert torch.equal(model.generate(condition, LENGTHS, **options), model.generate(-condition, LENGTHS, **options))


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_only_hidden_places_are_drawn(steps):
    model = small("full")
    for step in decoded(model, torch.randn(4, 12, dtype=torch.double), LENGTHS, time_steps=steps, topkr=0.0):
        hidden = step.ids_in == model.mask_id
        assert hidden.any(1).all()
        assert torch.equal(step.ids, torch.where(hidden, step.drawn, step.ids_in))


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_generation_does_not_depend_on_the_batch(attention):
    model, condition = small(attention), torch.randn(4, 12, dtype=torch.double)
    options = {"time_steps": 6, "cond_scale": 3.0, "seed": 5, "topkr": 0.5}
    together = model.generate(condition, LENGTHS, **options)
    for row in range(4):
        alone = model.generate(condition[row : row + 1], LENGTHS[row : row + 1], first_sample=row, **options)
        assert torch.equal(alone[0], together[row, : LENGTHS[row]])
    assert not torch.equal(together, model.generate(condition, LENGTHS, **{**options, "seed": 6}))


def test_choice_noise_changes_the_order_in_which_tokens_are_kept():
    model, condition = small("full"), torch.randn(4, 12, dtype=torch.double)
    options = {"time_steps": 6, "topkr": 0.0, "seed": 5}

    def kept(choice_temperature: float, **changes) -> torch.Tensor:
        """The tokens that the fourth step sees."""
        steps = list(decoded(model, condition, LENGTHS, choice_temperature=choice_temperature, **options, **changes))
        assert (steps[3].ids_in != model.mask_id).sum() == (certain[3].ids_in != model.mask_id).sum()
        return steps[3].ids_in != model.mask_id

    certain = list(decoded(model, condition, LENGTHS, **options))
    assert torch.equal(kept(0.0), certain[3].ids_in != model.mask_id)
    assert torch.equal(kept(1e-6), certain[3].ids_in != model.mask_id)  # too weak to matter
    assert not torch.equal(kept(100.0), certain[3].ids_in != model.mask_id)
    assert torch.equal(kept(100.0), kept(100.0))
    alone = model.generate(condition[1:2], LENGTHS[1:2], choice_temperature=4.0, first_sample=1, **options)
    assert torch.equal(alone[0], model.generate(condition, LENGTHS, choice_temperature=4.0, **options)[1, : LENGTHS[1]])


def test_generation_fills_every_place_and_never_changes_a_kept_token():
    model = small()
    steps = list(decoded(model, torch.randn(4, 12, dtype=torch.double), LENGTHS, time_steps=8, topkr=0.0))
    assert (steps[0].ids_in[valid_mask(LENGTHS, 9)] == model.mask_id).all()
    for before, after in pairwise(steps):
        hidden = [step.ids_in == model.mask_id for step in (before, after)]
        assert not (hidden[1] & ~hidden[0]).any()
        assert torch.equal(after.ids[~hidden[1]], before.ids[~hidden[1]])
    assert not (steps[-1].ids == model.mask_id).any()
    codes = model.generate(torch.randn(4, 12, dtype=torch.double), LENGTHS)
    assert torch.equal(codes >= 0, valid_mask(LENGTHS, 9))
    assert codes.max() < 24


def test_learns_which_tokens_go_with_a_condition():
    torch.manual_seed(0)
    model = MaskedTransformer(MaskedConfig(**{**SMALL, "dropout": 0.0}))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    condition = torch.randn(16, 12)
    model.init_condition_(condition)
    model.init_tokens_(torch.randn(2, 24, 16))
    batch = {"codes": torch.randint(24, (16, 1, 1)).repeat(1, 8, 1), "lengths": torch.full((16,), 8), "condition": condition}
    first = None
    for _ in range(120):
        loss, logs = model.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        first = first or loss.item()
    assert set(logs) == {"masked_ce", "accuracy"}
    assert abs(first - np.log(24)) < 0.5
    assert loss < 0.3 * first
    codes = model.eval().generate(condition, batch["lengths"], cond_scale=2.0)
    assert (codes == batch["codes"][..., 0]).float().mean() > 0.7


def test_condition_dropout_hides_whole_conditions_in_training_only():
    model = small(cond_drop_prob=1.0, dropout=0.0)
    batch = small_batch()
    batch["condition"] = batch["condition"].double()
    other = {**batch, "condition": batch["condition"] + 1}

    def loss(batch):
        return model.loss(batch, torch.Generator().manual_seed(0))[0]

    assert loss(batch) != loss(other)
    model.train()
    assert loss(batch) == loss(other)
