"""The length predictor: classes are numbers of tokens (at least one); sampling does not depend on the batch."""

from __future__ import annotations

import torch

from models.length import LengthConfig, LengthPredictor


def predictor(classes: int = 20) -> LengthPredictor:
    torch.manual_seed(0)
    return LengthPredictor(LengthConfig(cond_dim=12, classes=classes, hidden_dim=32)).double().eval()


def test_a_predicted_zero_becomes_one_token():
    model = predictor()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.nn.functional.one_hot(torch.tensor(0), 20) * 100.0)
    assert model.predict(torch.randn(3, 12, dtype=torch.double)).tolist() == [1, 1, 1]


def test_prediction_belongs_to_its_sample():
    model, condition = predictor(), torch.randn(200, 12, dtype=torch.double)
    together = model.predict(condition, seed=4)
    assert together[150] == model.predict(condition[150:151], seed=4, first_sample=150)[0]
    assert together.unique().numel() > 5
    assert not torch.equal(together, model.predict(condition, seed=5))


def test_lengths_come_from_a_range_of_the_distribution():
    model, condition = predictor(), torch.randn(1, 12, dtype=torch.double).expand(4000, -1)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()  # all of 0 … 19 are equally likely
    whole, middle, median = (model.predict(condition, quantiles=limits) for limits in ((0, 1), (0.2, 0.8), (0.5, 0.5)))
    assert set(whole.tolist()) == set(range(1, 20))
    assert set(middle.tolist()) == set(range(4, 16))
    assert abs(middle.double().mean() - 9.5) < 0.2
    assert set(median.tolist()) <= {9, 10}
    assert set(model.predict(condition).tolist()) == set(range(10, 18))  # upper half, without the longest tenth


def test_learns_lengths():
    torch.manual_seed(0)
    model, condition = LengthPredictor(LengthConfig(cond_dim=12, classes=20, hidden_dim=32, dropout=0.0)), torch.randn(32, 12)
    model.init_condition_(condition)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    batch = {"condition": condition, "lengths": torch.randint(1, 20, (32,))}
    for _ in range(60):
        loss, logs = model.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert set(logs) == {"length_ce", "accuracy", "error"}
    assert logs["accuracy"] > 0.9
    assert torch.equal(model.eval().predict(condition, quantiles=(0.5, 0.5)), batch["lengths"])
