"""The trainer: exact resume, orderly stops, NaN, schedule, accumulation, average of weights, two processes."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from options.train import Training
from training.parts import Evaluation, Prefetcher, WeightAverage, learning_rate, parameter_groups
from training.trainer import Trainer
from training.utilisation import peak_flops
from utils.checkpoint import CheckpointFolder, find_weights, freeze, load_resume, load_weights, save_resume
from utils.errors import UserError
from utils.runtime import Distributed

ROOT = Path(__file__).parents[1]
SIZE = Training().batch_size
CONFIG = Training(
    name="run",
    gpu_id=-1,
    precision="fp32",
    lr=1e-2,
    warm_up_iter=4,
    milestones=[15],
    weight_decay=0.1,
    max_epoch=4,
    log_every=1,
    ema_decay=0.9,
)


class Model(nn.Module):
    """All that makes a resume hard: dropout, random draws in the loss, an EMA buffer that the loss uses; and a frozen network."""

    def __init__(self, noise: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Dropout(0.5 * noise), nn.Linear(8, 3))
        self.helper = freeze(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)))
        self.register_buffer("ema", torch.zeros(3))
        self.noise = noise
        self.at_loss = lambda: None

    def loss(self, batch):
        self.at_loss()
        x = batch["x"]  # (B, 3)
        if self.training and self.noise:
            self.ema.lerp_(x.mean(0), 0.1)
        target = self.helper(x) + self.ema + self.noise * torch.randn_like(x)
        error = (self.net(x) - target).square().mean()
        return error, {"error": error, "ema": self.ema.norm()}


class Batches:
    """Five batches per epoch. Rank r of `world` gets every world-th row."""

    steps_per_epoch = 5

    def __init__(self, size: int = 4, rank: int = 0, world: int = 1, nan_at: int = -1) -> None:
        self.size, self.rank, self.world, self.nan_at = size, rank, world, nan_at

    def batch(self, index):
        x = torch.randn(self.size, 3, generator=torch.Generator().manual_seed(index))
        if index == self.nan_at:
            x[2, 1] = math.nan
        return {"x": x[self.rank :: self.world]}


def trainer(path: Path, config: Training = CONFIG, *, model=None, batches=None, **options) -> Trainer:
    folder = CheckpointFolder(path, "synthetic", config.name)
    return Trainer(model or Model(), batches or Batches(), config, folder, model_metadata={"kind": "test"}, **options)


def score(model: Model) -> dict[str, float]:
    """A validation that draws at random, which must not move the training's own draws."""
    torch.rand(())
    return {"size": sum(p.norm().item() for p in model.parameters())}


def events(run: Trainer) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a run in TensorBoard: tag → step → value."""
    result: dict[str, dict[int, float]] = {}
    # One file at a time: TensorBoard orders files by name, which tells seconds only, and these follow each other faster.
    for path in sorted((run.folder.root / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        accumulator = EventAccumulator(str(path)).Reload()
        for tag in accumulator.Tags()["scalars"]:
            result.setdefault(tag, {}).update((event.step, event.value) for event in accumulator.Scalars(tag))
    return {tag: sorted(values.items()) for tag, values in result.items()}


def same(a, b) -> bool:
    """Whether two nested dicts and lists are equal bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def stop_at(update: int, number: int) -> Model:
    """A model whose `update`-th loss (from 1) sends this process a signal."""
    model, calls = Model(), iter(range(1, 1000))
    model.at_loss = lambda: os.kill(os.getpid(), number) if next(calls) == update else None
    return model


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, 10), (signal.SIGINT, 7)])
def test_interrupted_run_equals_uninterrupted_run_bit_for_bit(tmp_path, capsys, number, after, accumulate):
    config = replace(CONFIG, accumulate=accumulate, max_epoch=4 * accumulate, log_every=3)
    whole = trainer(tmp_path / "whole", config, validate=score, best=("size", "max"))
    whole.fit()

    model = stop_at(after * accumulate, number)
    with pytest.raises(SystemExit) as exit_:
        trainer(tmp_path / "parts", config, model=model, validate=score, best=("size", "max")).fit()
    assert exit_.value.code == 128 + number
    assert f"stopped and saved at step {after}; resume with the same command and --is_continue" in capsys.readouterr().out
    resumed = trainer(tmp_path / "parts", replace(config, is_continue=True), validate=score, best=("size", "max"))
    assert resumed.step == after
    resumed.fit()

    assert same(load_resume(whole.folder.resume), load_resume(resumed.folder.resume))
    for tag in ("latest", "net_best_size"):
        assert same(load_weights(whole.folder.weights(tag)), load_weights(resumed.folder.weights(tag)))
    assert events(whole) == events(resumed)
    assert [step for step, _ in events(whole)["train/loss"]] == [3, 6, 9, 12, 15, 18, 20]


def test_killed_run_goes_on_from_its_last_save(tmp_path):
    config = replace(CONFIG, save_latest=6)
    whole = trainer(tmp_path / "whole", config)
    whole.fit()
    model, calls = Model(), iter(range(1000))
    model.at_loss = lambda: 1 / (9 - next(calls))
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path / "parts", config, model=model).fit()
    resumed = trainer(tmp_path / "parts", replace(config, is_continue=True))
    assert resumed.step == 6
    resumed.fit()
    assert same(load_resume(whole.folder.resume), load_resume(resumed.folder.resume))
    assert events(whole) == events(resumed)


def fid(model: Model) -> dict[str, float]:
    """An evaluation that draws at random, worse in the middle of a run."""
    return {"fid": abs(model.ema.norm().item() - 0.2) + 0 * torch.rand(()).item(), "r1": 0.5}


EVALUATED = {"validate": score, "best": ("size", "max"), "evaluation": Evaluation(fid, ("fid", "min"), 2)}


@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, 10), (signal.SIGINT, 7)])
def test_interrupted_run_with_evaluations_equals_uninterrupted_run(tmp_path, capsys, number, after):
    """A signal at step 10 comes before the validation and the evaluation that are due there."""
    config = replace(CONFIG, log_every=3, max_epoch=5)
    whole = trainer(tmp_path / "whole", config, **EVALUATED)
    whole.fit()
    printed = capsys.readouterr().out
    assert [int(step) for step in re.findall(r"evaluation at step (\d+)  fid", printed)] == [10, 20, 25]
    with pytest.raises(SystemExit):
        trainer(tmp_path / "parts", config, model=stop_at(after, number), **EVALUATED).fit()
    resumed = trainer(tmp_path / "parts", replace(config, is_continue=True), **EVALUATED)
    assert resumed.evaluation_due == (after == 10)
    resumed.fit()
    assert same(load_resume(whole.folder.resume), load_resume(resumed.folder.resume))
    for tag in ("latest", "net_best_size", "net_best_fid"):
        assert same(load_weights(whole.folder.weights(tag)), load_weights(resumed.folder.weights(tag)))
    assert events(whole) == events(resumed)
    assert [step for step, _ in events(whole)["evaluation/r1"]] == [10, 20, 25]


def test_best_fid_is_kept_over_a_resume_and_used_first(tmp_path):
    values = iter([3.0, 1.0, 2.0, 4.0])
    evaluation = Evaluation(lambda model: {"fid": next(values)}, ("fid", "min"), 1)
    usual = {"validate": score, "best": ("size", "max"), "evaluation": evaluation}
    trainer(tmp_path, replace(CONFIG, max_iters=10), **usual).fit()
    run = trainer(tmp_path, replace(CONFIG, is_continue=True), **usual)
    assert run.best_evaluation == 1.0
    run.fit()
    assert find_weights(run.folder.root) == run.folder.weights("net_best_fid")
    metadata = load_weights(run.folder.weights("net_best_fid"))[1]
    assert (metadata["step"], metadata["metric"]) == (10, {"name": "fid", "value": 1.0, "better": "min"})


def test_evaluations_can_begin_in_a_run_from_before_there_were_any(tmp_path):
    trainer(tmp_path, replace(CONFIG, max_iters=5)).fit()
    path = CheckpointFolder(tmp_path, "synthetic", "run").resume
    save_resume(path, {name: value for name, value in load_resume(path).items() if "evaluation" not in name})
    run = trainer(tmp_path, replace(CONFIG, is_continue=True), evaluation=Evaluation(fid, ("fid", "min"), 1))
    run.fit()
    assert run.folder.weights("net_best_fid").is_file()


def test_validation_leaves_the_training_as_it_was(tmp_path):
    plain, validated = trainer(tmp_path / "plain"), trainer(tmp_path / "validated", **EVALUATED)
    plain.fit()
    validated.fit()
    assert same(load_weights(plain.folder.weights("latest")), load_weights(validated.folder.weights("latest")))


def test_minutes_end_a_run_with_a_validation_and_a_save(tmp_path):
    run = trainer(tmp_path, replace(CONFIG, max_minutes=1e-9), validate=score, best=("size", "min"))
    run.fit()
    assert run.step == 1
    assert load_resume(run.folder.resume)["step"] == 1
    assert run.folder.weights("net_best_size").exists()


def test_max_iters_ends_a_run_and_a_larger_one_continues_it(tmp_path, capsys):
    trainer(tmp_path, replace(CONFIG, max_iters=3)).fit()
    run = trainer(tmp_path, replace(CONFIG, max_iters=5, is_continue=True))
    assert run.step == 3
    run.fit()
    assert run.step == 5
    trainer(tmp_path, replace(CONFIG, max_iters=5, is_continue=True)).fit()
    assert "complete at step 5" in capsys.readouterr().out


def test_log_line_names_step_epoch_every_term_rate_and_time(tmp_path, capsys):
    trainer(tmp_path, replace(CONFIG, log_every=7)).fit()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("step 7/20"))
    for part in ("epoch 2", "loss ", "error ", "ema ", "grad_norm ", "lr 0.01", "ms/step", "samples/s", "GB", "left"):
        assert part in line
    assert "MFU" not in line  # the peak of a CPU is not known


def test_log_line_has_the_utilisation_where_the_peak_is_known(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.utilisation.peak_flops", lambda device: 1e9)
    run = trainer(tmp_path, replace(CONFIG, max_iters=3))
    run.fit()
    products = 3 * 8 + 8 * 3  # forward and for the weights; the gradient of the first layer's input is not needed
    flops = 2 * 4 * (2 * products + 8 * 3 + 3 * 3)  # of 4 rows, helper included: one update
    assert run.utilisation.fraction(seconds=1e-3) == pytest.approx(flops / 1e6)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(lines) == 3 and all(re.search(r"  MFU [0-9.]+ %  ", line) for line in lines)


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10G", 70),
        ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA RTX A4000", None), ("Tesla V100-SXM2-16GB", None),
    ],
)  # fmt: skip
def test_peak_of_a_gpu_by_its_name(monkeypatch, name, teraflops):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda")) == (teraflops and teraflops * 1e12)
    assert peak_flops(torch.device("cpu")) is None


@pytest.mark.parametrize("clip_grad", [0.0, 1.0])
def test_nan_stops_the_run_and_names_step_batch_and_rows(tmp_path, clip_grad):
    config = replace(CONFIG, log_every=10, save_latest=5, clip_grad=clip_grad)
    run = trainer(tmp_path, config, batches=Batches(nan_at=6))
    with pytest.raises(UserError, match=r"step 7 \(epoch 2, batch 6\): 'x' of batch 6 holds NaN or inf in rows \[2\]"):
        run.fit()
    state = load_resume(run.folder.resume)
    assert state["step"] == 5
    assert all(value.isfinite().all() for value in state["model"].values())


def test_diverging_loss_on_sound_data_says_so(tmp_path):
    with pytest.raises(UserError, match=r"step \d+ .* but the data is finite; lower --lr"):
        trainer(tmp_path, replace(CONFIG, lr=1e18)).fit()


def test_failing_batch_surfaces(tmp_path):
    class Broken(Batches):
        def batch(self, index):
            if index == 3:
                raise UserError("clip 000003: truncated")
            return super().batch(index)

    with pytest.raises(UserError, match="clip 000003: truncated"):
        trainer(tmp_path, batches=Broken()).fit()


def test_prefetcher_works_one_ahead_in_order():
    requested = []
    with Prefetcher(lambda index: requested.append(index) or {"x": torch.tensor([index])}, torch.device("cpu")) as prefetcher:
        received = [prefetcher.get(index, end=5)["x"].item() for index in range(5)]
    assert received == requested == [0, 1, 2, 3, 4]


def test_prefetcher_works_several_ahead_beside_a_gpu():
    requested, together = set(), threading.Barrier(Prefetcher.AHEAD, timeout=20)

    def make(index: int) -> dict[str, torch.Tensor]:
        requested.add(index)
        together.wait()  # only if as many are made at a time
        return {"x": torch.tensor([index])}

    with Prefetcher(make, torch.device("cpu")) as prefetcher:
        prefetcher.ahead, prefetcher.threads = 4, ThreadPoolExecutor(Prefetcher.AHEAD)
        assert [prefetcher.get(index, end=8)["x"].item() for index in range(8)] == list(range(8))
    assert requested == set(range(8))


def test_a_run_with_weights_is_not_overwritten(tmp_path):
    trainer(tmp_path, replace(CONFIG, max_iters=1)).fit()
    with pytest.raises(UserError, match=r"run: this run exists; continue it with --is_continue, or choose another --name"):
        trainer(tmp_path)


def test_a_folder_without_weights_is_no_obstacle(tmp_path):
    folder = CheckpointFolder(tmp_path, "synthetic", "run")
    folder.meta.mkdir(parents=True)
    (folder.meta / "mean.npy").touch()
    trainer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_continue": True}, "no such file"),
        ({"accumulate": 0}, "--accumulate 0"),
        ({"lr": math.nan}, "--lr nan"),
        ({"clip_grad": -1.0}, "--clip_grad -1"),
        ({"ema_decay": 1.0}, "--ema_decay 1"),
        ({"gpu_id": 99}, "--gpu_id 99"),
        ({"name": "../x"}, "--name '../x'"),
    ],
)
def test_bad_settings_are_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        trainer(tmp_path, replace(CONFIG, **change))


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "synthetic").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        trainer(tmp_path).fit()


def test_schedule():
    config = Training(lr=1.0, warm_up_iter=10, milestones=[20, 30], gamma=0.1, min_lr=0.2)

    def rates(schedule: str, steps: list[int]) -> list[float]:
        return [learning_rate(step, 110, replace(config, schedule=schedule)) for step in steps]

    assert rates("milestones", [0, 4, 9, 10, 19, 20, 29, 30, 100]) == pytest.approx([0.1, 0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates("cosine", [0, 9, 10, 60, 110]) == pytest.approx([0.1, 1, 1, 0.6, 0.2])
    assert rates("constant", [0, 10, 100]) == pytest.approx([0.1, 1, 1])
    assert learning_rate(0, 10, replace(config, warm_up_iter=0)) == 1
    timed = replace(config, schedule="cosine", max_minutes=2)
    assert [learning_rate(10, 110, timed, minutes) for minutes in (0, 1, 2, 2.1)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert learning_rate(60, 110, timed, 0.5) == pytest.approx(0.6)  # whichever ends first


def test_only_trainable_matrices_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Embedding(4, 3), freeze(nn.Linear(2, 2)))
    decay, plain = parameter_groups(model, 0.1)
    assert decay["weight_decay"] == 0.1 and [p.shape for p in decay["params"]] == [(3, 2)]
    assert plain["weight_decay"] == 0 and [p.shape for p in plain["params"]] == [(3,), (3,), (3,), (4, 3)]


def test_average_of_weights_follows_its_formula():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average, expected = WeightAverage(model, 0.5), 0.0
    for n in range(20):
        nn.init.constant_(model.weight, n + 1.0)
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * (n + 1)
    with average.in_use():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 20


def test_weights_for_use_are_averaged_and_leave_the_frozen_network_out(tmp_path):
    run = trainer(tmp_path, validate=score, best=("size", "max"))
    run.fit()
    state, metadata = load_weights(run.folder.weights("latest"))
    assert metadata["kind"] == "test" and metadata["step"] == 20
    assert "ema" in state and not any(key.startswith("helper") for key in state)
    assert torch.equal(state["net.0.weight"], run.average.average[0])
    assert not torch.equal(state["net.0.weight"], run.model.net[0].weight)


def test_best_weights_are_those_of_the_best_validation(tmp_path):
    scores = iter([3.0, 1.0, math.nan, 2.0])
    run = trainer(tmp_path, validate=lambda model: {"fid": next(scores)}, best=("fid", "min"))
    run.fit()
    assert load_weights(run.folder.weights("net_best_fid"))[1]["step"] == 10
    assert run.best_value == 1.0


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    class Halves(Batches):
        steps_per_epoch = 10

        def batch(self, index):
            return {"x": super().batch(index // 2)["x"].chunk(2)[index % 2]}

    large = trainer(tmp_path / "large", model=Model(noise=0))
    small = trainer(tmp_path / "small", replace(CONFIG, accumulate=2), model=Model(noise=0), batches=Halves())
    small.model.load_state_dict(large.model.state_dict())
    large.fit()
    small.fit()
    assert large.step == small.step == 20
    for weight, accumulated in zip(large.update.weights, small.update.weights):
        torch.testing.assert_close(weight, accumulated, rtol=1e-4, atol=1e-5)


def test_two_processes_equal_one(tmp_path):
    """Each of two gloo processes sees half of every batch; after three steps both stop, and resume."""
    alone = halves_trainer(tmp_path / "alone", rank=0, world=1)
    alone.fit()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*torchrun, __file__, str(tmp_path / "pair")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    lines = [line.split("/")[0] for line in done.stdout.splitlines() if line.startswith("step ")]
    assert lines == [f"step {step}" for step in range(1, 21)]  # rank 0 alone logs
    single, double = (load_resume(tmp_path / name / "synthetic/run/model/resume.pt") for name in ("alone", "pair"))
    assert len(double["random"]) == 2 and double["step"] == 20
    assert double["best_evaluation"] == pytest.approx(single["best_evaluation"], rel=1e-4)
    for key, value in single["model"].items():
        torch.testing.assert_close(value, double["model"][key], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=f"with 2 processes, not 1; start 2 processes, or use --batch_size {2 * SIZE}"):
        trainer(tmp_path / "pair", replace(CONFIG, is_continue=True))
    one = trainer(tmp_path / "pair", replace(CONFIG, is_continue=True, batch_size=2 * SIZE, max_epoch=5), model=Model(noise=0))
    one.fit()
    assert one.step == 25


def test_another_number_of_processes_goes_on_to_the_same_weights(tmp_path):
    """A run whose resume file says that two processes began it, with the same number of samples per step, has the same result."""
    whole, parts = (trainer(tmp_path / name, model=Model(noise=0)) for name in ("whole", "parts"))
    parts.config = replace(CONFIG, max_iters=7)
    parts.total_steps = 7
    whole.fit()
    parts.fit()
    state = load_resume(parts.folder.resume)
    save_resume(parts.folder.resume, {**state, "random": 2 * state["random"]})
    resumed = trainer(tmp_path / "parts", replace(CONFIG, is_continue=True), model=Model(noise=0))
    assert resumed.step == 7
    resumed.fit()
    for expected, weight in zip(whole.update.weights, resumed.update.weights):
        torch.testing.assert_close(expected, weight)


def test_processes_agree_one_step_late(tmp_path):
    """Two processes in one group: a value that one gives at a step reaches both at the next step."""
    init = f"file://{tmp_path}/group"
    code = f"""
import sys, torch.distributed as dist
from utils.runtime import Agreement, Distributed
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="{init}", rank=rank, world_size=2)
agreement = Agreement(Distributed(rank, 2))
print([agreement.largest(15 * (rank == 1 and step == 2)) for step in range(4)], agreement.close())
"""
    commands = [[sys.executable, "-c", code, str(rank)] for rank in range(2)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate(timeout=200)[0].strip() for process in running] == ["[0, 0, 0, 15] 0"] * 2


def shared(model: Model) -> dict[str, float]:
    """An evaluation in which processes take turns."""
    values = Distributed.from_environment().in_turns(range(4), lambda item: [item + model.ema.norm().item()])
    return {"fid": sum(values)}


def halves_trainer(path: Path, rank: int, world: int, **changes) -> Trainer:
    usual = {"model": Model(noise=0), "batches": Batches(rank=rank, world=world)}
    return trainer(path, replace(CONFIG, **changes), **usual, evaluation=Evaluation(shared, ("fid", "min"), 2))


if __name__ == "__main__":  # one of the two processes; its argument is the folder
    processes = Distributed.from_environment()
    with processes.group(torch.device("cpu")):
        for changes in ({"max_iters": 3}, {"is_continue": True}):
            halves_trainer(Path(sys.argv[1]), processes.rank, processes.world, **changes).fit()
