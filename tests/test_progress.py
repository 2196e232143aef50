"""Long steps show themselves, and what they have done survives an interruption."""

from __future__ import annotations

import pytest
import torch

from pipelines import conditioner
from pipelines.conditioner import cached_conditions
from utils import progress as module
from utils.progress import progress


def test_off_a_terminal_a_slow_step_writes_lines_and_a_fast_one_nothing(monkeypatch, capsys):
    list(progress(range(3), desc="packing"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "DELAY", 0)
    monkeypatch.setattr(module, "EVERY", 0)
    list(progress(range(3), desc="packing"))
    assert "packing: 2 of 3" in capsys.readouterr().err


class Interrupted:
    """An encoder that counts captions and is stopped at some."""

    dim, word_dim, fingerprint = 1, 0, "counts"

    def __init__(self, stop_at: str = ""):
        self.stop_at, self.encoded = stop_at, []

    def __call__(self, captions):
        if self.stop_at in captions:
            raise KeyboardInterrupt
        self.encoded += captions
        return torch.tensor([[float(len(caption))] for caption in captions])


def test_encoded_captions_survive_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(conditioner, "BLOCK", 2)
    captions = ["a", "bb", "ccc", "dddd", "eeeee"]
    with pytest.raises(KeyboardInterrupt):
        cached_conditions(Interrupted(stop_at="dddd"), captions, tmp_path)
    again = Interrupted()
    assert cached_conditions(again, captions, tmp_path).vectors[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert again.encoded == ["ccc", "dddd", "eeeee"]
