"""Conditions with words: packed for training, read by the transformers, disturbed in training, shared by a pipeline's models."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from data.conditions import Conditions
from models import conditions
from models.conditions import ConditionAugmentation, condition_of, text_prefix, without
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from pipelines import conditioner
from pipelines.conditioner import JointCondition, SentenceEncoder, WordEncoder, cached_conditions, load_conditioner
from pipelines.text2motion import TextToMotion
from tests.test_conditioner import folder  # noqa: F401
from tests.test_text2motion import TRANSFORMER, parts, save_all
from utils.checkpoint import CheckpointFolder, save_weights

CAPTIONS = ["left", "a person walks right .", "a person jumps", "right"]


class Letters:
    """A text encoder: a vector of two numbers."""

    dim, word_dim, fingerprint, title = 2, 0, "letters", "letters"

    def __call__(self, captions):
        return torch.tensor([[float(len(caption)), float(caption.count("a"))] for caption in captions])


def sequence(rows: int = 6, words: int = 5, dim: int = 6, word_dim: int = 4) -> torch.Tensor:
    """Conditions (rows, 1 + words, dim) with 1 … words words."""
    torch.manual_seed(2)
    condition = torch.randn(rows, 1 + words, dim)
    condition[:, 1:, : dim - word_dim] = 0
    counts = torch.tensor([5, 1, 3, 2, 4, 5])[:rows]
    condition[:, 1:][torch.arange(words) >= counts[:, None]] = 0
    return condition


# Encoders


def test_words_follow_the_sentence(folder):  # noqa: F811
    encoder = WordEncoder(folder)
    result = encoder(CAPTIONS)
    assert result.shape == (4, 1 + 7, 16)  # "[CLS] a person walks right . [SEP]"
    torch.testing.assert_close(result[:, 0], SentenceEncoder(folder)(CAPTIONS))
    assert result[:, 1:].any(-1).sum(1).tolist() == [3, 7, 6, 3]  # "jumps" is two pieces
    mean = result[:, 1:].sum(1)
    torch.testing.assert_close(4 * mean / mean.norm(dim=1, keepdim=True), result[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder(CAPTIONS[:1])[0], result[0, :4], rtol=1e-4, atol=1e-5)
    assert encoder.fingerprint != SentenceEncoder(folder).fingerprint


def test_word_order_changes_the_condition(folder):  # noqa: F811
    one, other = WordEncoder(folder)(["left right", "right left"])
    assert (one[2] - other[2]).abs().max() > 0.1


def test_a_joined_condition_has_words_in_its_last_columns(folder):  # noqa: F811
    joined = JointCondition([Letters(), WordEncoder(folder)])(CAPTIONS)
    assert joined.shape == (4, 8, 18)
    assert not joined[:, 1:, :2].any()
    torch.testing.assert_close(joined[:, 0, :2], Letters()(CAPTIONS))
    torch.testing.assert_close(joined[..., 2:], WordEncoder(folder)(CAPTIONS))


@pytest.mark.parametrize("joined", [False, True])
def test_cached_conditions_are_the_encoders(folder, tmp_path, monkeypatch, joined):  # noqa: F811
    monkeypatch.setattr(conditioner, "BLOCK", 2)
    encoder = JointCondition([Letters(), WordEncoder(folder)]) if joined else WordEncoder(folder)
    for _ in range(2):  # computed, then read
        conditions = cached_conditions(encoder, [*CAPTIONS, "left"], tmp_path / "cache")
        assert (len(conditions), conditions.dim, conditions.word_dim) == (5, encoder.dim, 16)
        chosen = condition_of(conditions.batch(np.array([2, 4])))
        torch.testing.assert_close(chosen, encoder(["a person jumps", "left"]), rtol=2e-3, atol=2e-3)


def test_packed_conditions_come_back():
    condition = sequence()
    packed = Conditions.packed(condition[..., 2:])
    assert packed.words.shape == (20, 4)
    whole = Conditions.joined([Conditions(condition[:, 0, :2]), packed])
    torch.testing.assert_close(condition_of(whole.batch(np.array([3, 0]))), condition[[3, 0]], rtol=1e-3, atol=1e-3)
    twice = Conditions.concatenated([whole, whole]).take(torch.tensor([8, 1]))
    torch.testing.assert_close(condition_of(twice.batch(np.array([0, 1]))), condition[[2, 1], :4], rtol=1e-3, atol=1e-3)


# Models


def small(kind: str, word_dim: int = 4) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {**TRANSFORMER, "cond_dim": 6, "word_dim": word_dim, "cond_drop_prob": 0.0, "dropout": 0.0, "attention": "full"}
    masked = kind == "masked"
    model = MaskedTransformer(MaskedConfig(**sizes)) if masked else ResidualTransformer(ResidualConfig(num_quantizers=3, **sizes))
    for weight in model.encoder.parameters():
        weight.data.mul_(1 if weight.ndim == 1 else 20)  # as built, every place is attended to alike
    model.init_condition_(torch.randn(50, 6), torch.randn(80, 4))
    return model.eval()


def outputs(kind: str, model: torch.nn.Module, condition: torch.Tensor) -> torch.Tensor:
    """Logits of some tokens under the condition (6, …)."""
    torch.manual_seed(3)
    valid = torch.arange(7) < torch.tensor([7, 3, 5, 2, 7, 1])[:, None]
    if kind == "masked":
        return model(torch.randint(16, (6, 7)), condition, valid)
    return model(torch.randn(6, 7, 8), condition, valid, 1)


@pytest.mark.parametrize("kind", ["masked", "residual"])
def test_transformers_read_words_and_their_order_but_no_padding(kind):
    model, condition = small(kind), sequence()
    logits = outputs(kind, model, condition)
    longer = torch.cat((condition, torch.zeros(6, 3, 6)), dim=1)
    torch.testing.assert_close(outputs(kind, model, longer), logits, rtol=1e-4, atol=1e-5)
    swapped = condition.clone()
    swapped[0, [1, 2]] = condition[0, [2, 1]]
    change = (outputs(kind, model, swapped) - logits).abs().amax((1, 2)) / logits.std()
    assert change[0] > 1e-3 and change[1:].max() < 1e-5
    assert (outputs(kind, model, condition[:, 0]) - logits).abs().max() > 1e-3 * logits.std()
    none = outputs(kind, model, torch.zeros(6, 6, 6))
    torch.testing.assert_close(outputs(kind, model, torch.zeros(6, 6)), none, rtol=1e-4, atol=1e-5)


def test_a_model_without_words_reads_the_vector_alone():
    model, condition = small("masked", word_dim=0), sequence()
    prefix, valid = text_prefix(condition, model.cond_emb, model.word_emb)
    assert prefix.shape == (6, 1, 16) and valid.all()
    torch.testing.assert_close(outputs("masked", model, condition), outputs("masked", model, condition[:, 0]))


@pytest.mark.parametrize("kind", ["masked", "residual"])
def test_loss_trains_the_words_projection(kind):
    model = small(kind).train()
    codes = torch.randint(16, (6, 7, 3))
    condition = sequence()
    batch = {"codes": codes, "lengths": torch.full((6,), 7), "condition": condition[:, 0], "words": condition[:, 1:, 2:].half()}
    model.loss(batch)[0].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.word_emb.weight.grad.abs().max() > 0


# ConditionAugmentation in training


def disturbed(noise: float = 0.0, drop: float = 0.0, train: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    condition = sequence().repeat(200, 1, 1)
    packed = Conditions.joined([Conditions(condition[:, 0, :2]), Conditions.packed(condition[..., 2:])])
    augment = ConditionAugmentation().train(train)
    augment.set_(packed, (2, 4), noise, drop)
    torch.manual_seed(0)
    return condition, augment(condition)


def test_noise_spares_padding_and_evaluation():
    condition, noisy = disturbed(noise=0.5)
    assert not noisy[~condition.any(-1)].any()
    off = (noisy - condition)[condition.any(-1).nonzero(as_tuple=True)]
    assert off[:, 2:].abs().max() > 0.5
    assert not (noisy - condition)[:, 1:, :2].any()
    size = (noisy - condition)[:, 0].std(0) / condition[:, 0].std(0)
    torch.testing.assert_close(size, torch.full((6,), 0.5 / 3**0.5), rtol=0.15, atol=0)  # a mean square of u² is a third
    condition, same = disturbed(noise=0.5, train=False)
    assert torch.equal(condition, same)


def test_a_dropped_part_is_one_encoders_vector_or_the_words():
    condition, left = disturbed(drop=0.6)
    whole = (left == condition).all((1, 2))
    kept = left == condition
    no_letters = ~left[:, 0, :2].any(1) & kept[..., 2:].all((1, 2))
    no_sentence = ~left[:, 0, 2:].any(1) & kept[:, 0, :2].all(1) & kept[:, 1:].all((1, 2))
    no_words = ~left[:, 1:].any(2).any(1) & kept[:, 0].all(1)
    fractions = [float(kind.float().mean()) for kind in (whole, no_letters, no_sentence, no_words)]
    assert sum(fractions) == pytest.approx(1)
    assert abs(fractions[0] - 0.4) < 0.05 and all(abs(fraction - 0.2) < 0.05 for fraction in fractions[1:])


def test_dropped_samples_have_no_text():
    condition = sequence(3)
    left = without(condition, torch.tensor([True, False, True]))
    assert not left[[0, 2]].any() and torch.equal(left[1], condition[1])
    assert torch.equal(without(condition[:, 0], torch.tensor([False, True, False]))[1], torch.zeros(6))


# The pipeline


def test_a_sentence_model_reads_the_word_encoders_vector(tmp_path, monkeypatch, folder):  # noqa: F811
    """The base model reads words, the residual model the sentence, the length predictor the vector; all share one encoder."""
    words = {"text_encoder": "words", "bert": str(folder)}
    save_all(tmp_path / "runs", 16, words, residual={"text_encoder": "sentence"})
    model = parts(cond_dim=16)["masked"]
    reads = MaskedTransformer(MaskedConfig(**{**asdict(model.config), "word_dim": 16}))
    facts = {"kind": "masked", "config": asdict(reads.config), "vq_name": "tokeniser", **words}
    save_weights(CheckpointFolder(tmp_path / "runs", "open", "masked").weights("net_best"), reads.state_dict(), facts)
    monkeypatch.setattr(conditioner, "SentenceEncoder", None)  # would be a second pass over the text
    model = TextToMotion.load(tmp_path / "runs", "open", "masked", "residual", "length")
    condition = model.encoder(["a person walks", "left"])
    assert model.part("masked", condition).shape == (2, 6, 16)
    torch.testing.assert_close(model.part("residual", condition), condition[:, 0])
    together, lengths = model.generate(["a person walks", "left"], torch.tensor([24, 40]))
    alone, _ = model.generate(["left"], torch.tensor([40]), first_sample=1)
    assert together.isfinite().all() and lengths.tolist() == [24, 40]
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-3)


def test_words_by_name(folder):  # noqa: F811
    assert isinstance(load_conditioner("words", ".", "open", bert=str(folder)), WordEncoder)


def test_statistics_of_many_words_are_computed_from_a_sample(monkeypatch):
    monkeypatch.setattr(conditions, "STATISTICS_ROWS", 4)
    assert conditions.evenly_spaced(torch.arange(10)).tolist() == [0, 3, 6, 9]
    assert conditions.evenly_spaced(torch.arange(4)).tolist() == [0, 1, 2, 3]
