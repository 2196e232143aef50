"""The CPU benchmark of generation, with a generator that is one small product."""

from __future__ import annotations

import re

import torch

import models.linear
from benchmarks import generation


def test_three_settings_run_in_turn_and_have_a_ratio_and_a_share(monkeypatch, capsys):
    ran, before = [], models.linear.ONEDNN
    x, weight = torch.randn(64, 256), torch.randn(256, 256)

    def generate(precision: str) -> None:
        ran.append((precision, models.linear.ONEDNN))
        for _ in range(20):
            models.linear.linear(x, weight)

    monkeypatch.setattr(generation, "generator", lambda size: generate)
    monkeypatch.setattr(generation, "peak", lambda dtype: 1e12)
    generation.main(["--batches", "3", "--rounds", "2"])
    assert ran == [("fp32", False), *3 * [("fp32", False), ("fp32", before), ("bf16", before)]]  # the first is counted
    assert models.linear.ONEDNN is before
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split("  ")[0].split(" ", 3)[1] for line in lines] == 3 * ["3"]
    assert "ratio 1.00" in lines[0]
    assert all(re.search(r"ratio \d+\.\d\d +\d+ % of 1000 GFLOP per CPU second$", line) for line in lines)
