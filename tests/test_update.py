"""The update with CUDA graphs, which are faked on the CPU, and what graphs rely on: losses do not depend on padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.layers import IGNORED
from models.masked import MaskedConfig, MaskedTransformer
from options.train import Training
from tests.fake_graphs import use_fake_graphs
from tests.gpu import CAPTURABLE, GRAPH_WEIGHTS, SIZES, B, C, cases, trained
from tests.test_trainer import CONFIG, Model
from training.trainer import Trainer
from training.update import MOST_GRAPHS, Update, uses_graphs
from utils.checkpoint import CheckpointFolder, load_resume
from utils.padding import PADDING, UNIT, batch_to_units, to_units

CPU = torch.device("cpu")


class Lengths:
    """Batches of codes of two lengths in turn; the padded shapes differ too."""

    steps_per_epoch = 5

    def batch(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        return {"x": torch.randn(4 + index % 2, 3, generator=generator)}


def weights_of(root: Path, config: Training) -> list[Tensor]:
    trainer = Trainer(Model(), Lengths(), config, CheckpointFolder(root, "synthetic", "run"), model_metadata={"kind": "test"})
    trainer.fit()
    return [weight.detach().clone() for weight in trainer.update.weights]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_training_with_graphs_equals_one_without(tmp_path, monkeypatch, accumulate):
    config = replace(CONFIG, accumulate=accumulate, max_epoch=4 * accumulate)
    plain = weights_of(tmp_path / "plain", config)
    use_fake_graphs(monkeypatch)
    for expected, weight in zip(plain, weights_of(tmp_path / "graphs", config), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_training_of_each_model_with_graphs_equals_one_without(name, monkeypatch):
    use_fake_graphs(monkeypatch)
    losses, changes, _ = trained(name, CPU, False, "fp32")
    graph_losses, graph_changes, captured = trained(name, CPU, True, "fp32")
    assert captured == 3
    torch.testing.assert_close(graph_losses, losses, rtol=1e-4, atol=0)
    assert float((graph_changes - changes).norm() / changes.norm()) < GRAPH_WEIGHTS


def test_resume_files_with_and_without_graphs_are_interchangeable(tmp_path, monkeypatch):
    whole = weights_of(tmp_path / "whole", CONFIG)
    weights_of(tmp_path / "parts", replace(CONFIG, max_iters=7))
    use_fake_graphs(monkeypatch)
    weights_of(tmp_path / "parts", replace(CONFIG, max_iters=14, is_continue=True))
    saved = load_resume(CheckpointFolder(tmp_path / "parts", "synthetic", "run").resume)["optimizer"]["param_groups"]
    assert all(type(group["lr"]) is float and not group["capturable"] for group in saved)
    monkeypatch.undo()
    for expected, weight in zip(whole, weights_of(tmp_path / "parts", replace(CONFIG, is_continue=True)), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


class Line(nn.Module):
    """A loss that counts its calls; `unused` never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.unused, self.calls = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1)), 0

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls += 1
        return (batch["x"] * self.weight).sum(), {}


def updated(update: Update, *sizes: int) -> list[str]:
    """Update once for batches (size, 2) of ones; whether each gradient was an eager call, a capture or a replay."""
    kinds = []
    for size in sizes:
        before = captured(update)
        loss = update.gradient({"x": torch.full((size, 2), float(size))})["loss"]
        torch.testing.assert_close(loss, (size * size * update.weights[0].detach()).sum())
        graph = list(update.graphs.graphs.values())[-1]  # the most recently used one
        kinds.append("eager" if graph is None else "replay" if captured(update) == before else "capture")
        update.step(0.0)
    return kinds


def captured(update: Update) -> int:
    return sum(graph is not None for key, graph in update.graphs.graphs.items() if key[0] == "_gradient")


def update_of(model: nn.Module, **changes: object) -> Update:
    return Update(model, Training(name="run", precision="fp32", **changes), CPU)


def test_the_first_call_with_a_shape_is_eager_and_the_second_one_is_captured(monkeypatch):
    use_fake_graphs(monkeypatch)
    update = update_of(Line())
    assert updated(update, 1, 2, 1, 2, 3, 1, 3) == ["eager", "eager", "capture", "capture", "eager", "replay", "capture"]
    first, unused = update.weights
    assert first.grad.tolist() == [0, 0] and unused.grad is None


def test_nothing_is_captured_in_the_first_update(monkeypatch):
    use_fake_graphs(monkeypatch)
    update = update_of(Line(), accumulate=3)
    for _ in range(3):
        update.gradient({"x": torch.ones(1, 2)})
    assert captured(update) == 0
    assert update.weights[0].grad.tolist() == [1, 1]


def test_moved_weights_need_a_new_graph(monkeypatch):
    use_fake_graphs(monkeypatch)
    model = Line()
    update = update_of(model)
    updated(update, 1, 1, 1)
    before, original = captured(update), model.weight.data
    model.weight.data = original.clone()
    updated(update, 1)
    assert captured(update) == before
    model.weight.data = original  # as after a validation with averaged weights
    updated(update, 1)
    assert captured(update) == before == 1


def test_the_least_recently_used_graphs_are_dropped(monkeypatch):
    use_fake_graphs(monkeypatch)
    monkeypatch.setattr("training.update.MOST_GRAPHS", 3)
    update = update_of(Line())
    updated(update, 1, 2, 3, 4)
    assert len(update.graphs.graphs) == 3 < MOST_GRAPHS


def test_without_memory_for_graphs_the_update_is_eager(monkeypatch):
    use_fake_graphs(monkeypatch)
    monkeypatch.setattr("training.update.has_memory_for_graphs", lambda device: False)
    model = Line()
    update = update_of(model)
    for _ in range(4):
        update.gradient({"x": torch.ones(1, 2)})
        update.step(0.1)
    assert captured(update) == 0 and model.calls == 4


def test_only_one_process_on_a_gpu_captures_and_only_models_that_permit_it():
    config, model, gpu = Training(name="run"), cases()["masked"][0], torch.device("cuda")
    assert uses_graphs(model, config, gpu, 1)
    assert not uses_graphs(model, config, CPU, 1)
    assert not uses_graphs(model, config, gpu, 2)
    assert not uses_graphs(model, replace(config, cuda_graphs=False), gpu, 1)
    assert not uses_graphs(cases()["evaluator"][0], config, gpu, 1)
    assert not uses_graphs(MaskedTransformer(MaskedConfig(**SIZES, attention="additive")), config, gpu, 1)


def test_sequences_are_padded_to_whole_units():
    batch = {"codes": torch.ones(2, 9, 3).long(), "ids": torch.ones(2, 16), "lengths": torch.ones(2), "condition": torch.ones(2, 9)}
    padded = batch_to_units(batch)
    assert {name: tuple(value.shape) for name, value in padded.items()} == {
        "codes": (2, 16, 3), "ids": (2, 16), "lengths": (2,), "condition": (2, 9),
    }  # fmt: skip
    assert (padded["codes"][:, 9:] == -1).all() and (padded["codes"][:, :9] == 1).all()
    assert to_units(torch.ones(2, 1)).shape == (2, 1)


@contextmanager
def drawn_by_position(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the random numbers of a position do not depend on the number of positions, which is the second dimension."""
    calls = iter(range(1000))

    def sized(real):
        def draw(*shape, device=None, generator=None):
            first, *rest = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
            size = [first, 64, *rest[1:]] if rest else [first]
            drawn = real(*size, generator=torch.Generator().manual_seed(next(calls)))
            return drawn[:, : rest[0]] if rest else drawn

        return draw

    with monkeypatch.context() as patched:
        for name in ("rand", "randn"):
            patched.setattr(torch, name, sized(getattr(torch, name)))
        yield


def as_on_a_gpu(mask: Tensor, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What `models.layers.counted` returns for tensors on a GPU."""
    return rows.flatten(0, -2), labels.masked_fill(~mask, IGNORED).flatten()


def with_words(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch, with words of which each row has another number; the model's condition is augmented."""
    words = torch.randn(B, 5, C).masked_fill((torch.arange(5) >= torch.arange(B)[:, None] % 4 + 1)[..., None], 0)
    model.augment.noise, model.augment.spread = 0.5, torch.ones(2, C)
    return {**batch, "words": words}


def unit_of(sequence: Tensor, value: int) -> Tensor:
    """One unit of padding for a sequence (B, S, …)."""
    return torch.full_like(sequence[:, :1], value).repeat(1, UNIT, *[1] * (sequence.ndim - 2))


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    "name", ["lamp", "masked", "masked, infill", "masked, words", "residual", "residual, words", "length", "captioner"]
)
def test_a_loss_and_its_gradient_do_not_depend_on_padding(name, gpu, monkeypatch):
    for module in ("masked", "residual", "lamp", "caption"):
        if gpu:
            monkeypatch.setattr(f"models.{module}.counted", as_on_a_gpu)
    kind, _, change = name.partition(", ")
    model, batch = cases()[kind]
    assert model.capturable
    if change:
        sizes = {**SIZES, "word_dim": C} if change == "words" else {**SIZES, "infill": 0.5}
        config = replace(model.config, **{key: value for key, value in sizes.items() if key in ("word_dim", "infill")})
        model = type(model)(config)
        batch = with_words(model, batch) if change == "words" else batch
    model.train()
    padded = batch_to_units(batch)
    longer = {**padded, **{key: torch.cat((padded[key], unit_of(padded[key], PADDING[key])), 1) for key in PADDING.keys() & padded}}
    results = []
    for variant in (batch, padded, longer):
        model.zero_grad()
        torch.manual_seed(1)
        with drawn_by_position(monkeypatch):
            loss, _ = model.loss(variant)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert any(longer[key].shape != batch[key].shape for key in PADDING.keys() & batch.keys())
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
