"""The GPU benchmark and the GPU checks, in a tiny setting on the CPU."""

from __future__ import annotations

import json
import time

import pytest
import torch

from benchmarks import gpu
from tests.gpu import LOSS, check_losses, loss_and_gradients


def test_the_whole_benchmark_runs_and_writes_a_row_at_a_time(tmp_path, capsys, monkeypatch):
    for part in gpu.SECONDS:  # a busy machine must not cut a part
        monkeypatch.setitem(gpu.SECONDS, part, 3600)
    gpu.main(["--gpu_id", "-1", "--tiny", "--output", str(tmp_path / "rows.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    results = {row["name"]: row for row in rows}
    assert {row["result"] for row in rows if row["part"] == "tests"} == {"passed", "skipped"}
    assert results["processes"]["result"] == "skipped"
    assert results["batch 2"]["clips_per_second"] > 0 and results["evaluation of 64"]["seconds"] > 0
    for stage in ("tokeniser", "lamp", "masked", "residual", "length", "evaluator", "captioner"):
        assert results[stage]["ms_per_step"] > 0 and results[stage]["gflop"] > 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 * len(rows) + 1 and shown[-len(rows) - 1].startswith("CPU, torch ")


def test_an_interrupted_run_keeps_its_rows(tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.PARTS, "tests", lambda bench, deadline: bench.row("tests", "first", result="passed"))
    monkeypatch.setitem(gpu.PARTS, "generation", lambda bench, deadline: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpu.main(["--gpu_id", "-1", "--tiny", "--output", str(tmp_path / "rows.jsonl")])
    assert json.loads((tmp_path / "rows.jsonl").read_text())["name"] == "first"


def test_a_part_ends_when_its_time_is_over_and_the_next_one_runs(tmp_path, monkeypatch):
    def slow(bench, deadline):
        with gpu.one_row(bench, "generation", "batch 1"):
            time.sleep(60)

    def large(bench, deadline):
        with gpu.one_row(bench, "training", "lamp"):
            raise torch.OutOfMemoryError
        bench.row("training", "masked", ms_per_step=1.0)

    monkeypatch.setitem(gpu.SECONDS, "generation", 0.1)
    monkeypatch.setitem(gpu.PARTS, "generation", slow)
    monkeypatch.setitem(gpu.PARTS, "training", large)
    gpu.main(["--gpu_id", "-1", "--tiny", "--parts", "generation", "training", "--output", str(tmp_path / "rows.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["name"], row.get("result")) for row in rows] == [
        ("batch 1", "out of time"), ("remaining measurements", "skipped: no time left"),
        ("lamp", "out of memory"), ("masked", None),
    ]  # fmt: skip


def test_a_failed_check_is_a_row_and_an_exit_code(tmp_path, monkeypatch):
    def wrong(device):
        raise AssertionError("off by 1")

    monkeypatch.setattr("tests.gpu.CHECKS", {"wrong": wrong})
    with pytest.raises(SystemExit) as end:
        gpu.main(["--gpu_id", "-1", "--tiny", "--parts", "tests", "--output", str(tmp_path / "rows.jsonl")])
    assert end.value.code == 1
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert row["result"] == "FAILED" and row["measured"] == "AssertionError: off by 1"


def test_it_says_when_there_is_no_gpu(capsys):
    with pytest.raises(SystemExit) as end:
        gpu.main(["--gpu_id", "-1"])
    assert end.value.code == 2 and "no CUDA GPU is used" in capsys.readouterr().err


def test_the_checks_notice_a_wrong_gradient(monkeypatch):
    def wrong(name, device, bf16=False, real=loss_and_gradients):
        loss, gradients = real(name, device, bf16)
        wrong.calls += 1
        return loss, {key: value * (1.1 if wrong.calls % 3 == 2 else 1) for key, value in gradients.items()}

    wrong.calls = 0
    monkeypatch.setattr("tests.gpu.loss_and_gradients", wrong)
    with pytest.raises(AssertionError, match=r"fp32: the gradient is off by 1\.0e-01"):
        check_losses(torch.device("cpu"))
    assert LOSS < 1e-3
