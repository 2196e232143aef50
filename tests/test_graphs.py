"""What CUDA graphs rely on: results at valid positions do not depend on the padding to whole units. Runs on the CPU."""

from __future__ import annotations

import pytest
import torch

from models.bert import Bert, BertConfig
from models.graphs import Graphs
from tests.gpu import C, L, cases, lengths
from utils.padding import UNIT, to_units

TOKENS = lengths(L - 3)  # not a multiple of UNIT
SMALL_BERT = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 32,
}  # fmt: skip


def masked(choice_temperature: float):
    model, condition = cases()["masked"][0], torch.randn(len(TOKENS), C)
    return lambda: model.generate(condition, TOKENS, choice_temperature=choice_temperature, time_steps=4), model


def residual(given: bool):
    model, condition = cases()["residual"][0], torch.randn(len(TOKENS), C)
    valid = torch.arange(int(TOKENS.max())) < TOKENS[:, None]
    base = torch.randint(64, valid.shape).masked_fill(~valid, -1)
    kept = torch.randint(64, (*valid.shape, 3)).masked_fill(torch.rand(valid.shape)[..., None] < 0.7, -1) if given else None
    return lambda: model.generate(base, condition, TOKENS, kept), model


def lamp(query: bool):
    model, batch = cases()["lamp"]
    return lambda: model.condition(batch["ids"], batch["text_lengths"], query), model


def bert():
    torch.manual_seed(0)
    model = Bert(BertConfig(**SMALL_BERT))
    ids, valid = torch.randint(99, (3, 11)), torch.arange(11) < torch.tensor([[11], [4], [7]])
    return lambda: model(ids, valid)[valid], model


CALLS = {
    "masked": lambda: masked(0.0), "masked, choice noise": lambda: masked(4.0), "residual": lambda: residual(False),
    "residual, given tokens": lambda: residual(True), "lamp": lambda: lamp(True), "lamp, no query": lambda: lamp(False),
    "bert": bert,
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_padding_to_units_changes_no_result(name, monkeypatch):
    torch.manual_seed(0)
    call, model = CALLS[name]()
    model.eval()
    sizes = []

    def padded(self, function, tensors, *constants):
        units = tuple(map(to_units, tensors))
        sizes.append(units[0].shape[1])
        return function(*units, *constants)[:, : tensors[0].shape[1]]

    with torch.no_grad():
        plain = call()
        monkeypatch.setattr(Graphs, "__call__", padded)
        torch.testing.assert_close(call(), plain, rtol=1e-5, atol=1e-5)
    assert sizes and all(size % UNIT == 0 for size in sizes)
