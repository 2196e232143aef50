"""Every stage's own script, killed at any moment of any write, continues to the same bits. See `tests/killed.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 1800  # seconds; it takes one minute on two idle cores
HALVES = (("vq", "lamp", "masked"), ("residual", "length", "m2t", "evaluator"))  # for two cores
ALL = {"opt.txt", "provenance.json", "mean.npy", "std.npy", "motions.pack", "latest.safetensors", "resume.pt", "resume.previous.pt"}
OWN = {
    "vq": {"net_best_mpjpe.safetensors"}, "masked": {"net_best_accuracy.safetensors", "known.safetensors"},
    "lamp": {"net_best_r1.safetensors", "known.safetensors", "vocab.txt"}, "residual": {"net_best_accuracy.safetensors"},
    "length": {"net_best_loss.safetensors"}, "m2t": {"net_best_loss.safetensors", "vocab.txt"},
    "evaluator": {"net_best_top1.safetensors", "words.safetensors"},
}  # fmt: skip


@pytest.mark.slow
def test_a_run_of_any_stage_killed_in_any_write_continues_bit_for_bit(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = []
    for number, stages in enumerate(HALVES):
        command = [sys.executable, "-m", "tests.killed", str(tmp_path / str(number)), *stages]
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE))
    try:
        written = [process.communicate(timeout=PATIENCE)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    results = {stage: result for text in written for stage, result in json.loads(text).items()}
    assert results.keys() == OWN.keys()
    for stage, result in results.items():
        assert not result["failures"], (stage, result["failures"])
        assert set(result["files"]) >= ALL | OWN[stage], stage
        assert result["moments"] >= 3 * len(ALL | OWN[stage])
