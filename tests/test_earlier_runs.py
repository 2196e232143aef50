"""Runs written before the move of the source tree (November 2026) still load and give the same tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models import loading
from models.length import NOISE_STEP
from models.sampling import sample, uniforms
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion

RUNS = Path(__file__).parent / "earlier_runs"
PROMPTS = ["a person walks left", "a person bows", "a person jumps right"]


def test_runs_from_before_the_move_give_the_same_tokens():
    expected = np.load(RUNS / "tokens.npz")
    model = TextToMotion.load(RUNS, "open", "base", "res", "len")
    condition = model.encoder(PROMPTS)
    numbers = uniforms(0, torch.arange(len(condition)), NOISE_STEP, 1)[:, 0]  # lengths came from the likeliest tenth then
    assert sample(model.length(model.part("length", condition)), numbers).tolist() == expected["predicted"].tolist()
    sampling = SamplingSettings(time_steps=10, seed=3, topkr=0.0, temperature=2.0)
    codes = model.draw(condition, torch.from_numpy(expected["lengths"]), sampling=sampling)
    assert np.array_equal(codes.numpy(), expected["codes"])


def test_each_weights_file_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(loading, "load_model", lambda path, load=loading.load_model: (read.append(path), load(path))[1])
    model = TextToMotion.load(RUNS, "open", "base", "res", "len")
    assert sorted(path.parent.parent.name for path in read) == ["base", "lamp", "len", "res", "vq"]
    assert model.tokeniser is model.encoder.lamp.tokeniser and len(model.sources) == 5
