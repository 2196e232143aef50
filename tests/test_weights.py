"""The recipe of the embedded weights: every command is one that its script accepts; finished stages are skipped."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
import torch

from options import train
from options.cli import parse
from options.prepare import TrainWeights
from prepare import weights
from utils.checkpoint import CheckpointFolder, save_weights

FLAGS = {
    "train_vq.py": train.TrainVQ, "train_lamp.py": train.TrainLaMP, "train_t2m_transformer.py": train.TrainT2M,
    "train_m2t.py": train.TrainM2T, "train_evaluator.py": train.TrainEvaluator, "train_selector.py": train.TrainSelector,
}  # fmt: skip


@pytest.mark.parametrize("setting", ["cpu", "gpu"])
def test_every_stage_is_a_command_that_its_script_accepts(setting, tmp_path):
    (tmp_path / "start" / "open" / "vq").mkdir(parents=True)
    config = TrainWeights(setting=setting, init=str(tmp_path / "start"), checkpoints_dir=str(tmp_path))
    for name in weights.STAGES:
        script, *words = weights.command(config, name)
        parsed = parse(FLAGS[script], words)
        assert (parsed.name, parsed.dataset_name) == (name, "open") and parsed.max_iters > 0
        assert parsed.balance == (name != "evaluator")
        assert (getattr(parsed, "init", "") != "") == (name == "vq")  # the only one that there is something to start from


def test_finished_stages_are_skipped_and_interrupted_ones_resumed(tmp_path, monkeypatch, capsys):
    for name, steps in (("vq", weights.STAGES["vq"].cpu[0]), ("lamp", 7)):
        folder = CheckpointFolder(tmp_path, "open", name)
        save_weights(folder.weights("latest"), {"x": torch.zeros(1)}, {"kind": "tokeniser", "step": steps})
        (folder.root / "model" / "resume.pt").write_bytes(b"")
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: (ran.append(words), SimpleNamespace(returncode=0))[1])
    weights.main(["--checkpoints_dir", str(tmp_path), "--stages", "vq", "lamp", "length"])
    assert [words[1] for words in ran] == ["train_lamp.py", "train_t2m_transformer.py"]
    assert "--is_continue" in ran[0] and "--is_continue" not in ran[1]
    assert "vq: finished" in capsys.readouterr().out


def test_a_stage_that_fails_ends_the_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=2))
    with pytest.raises(SystemExit) as end:
        weights.main(["--checkpoints_dir", str(tmp_path), "--stages", "length"])
    assert end.value.code == 2 and "length: the stage ended with exit code 2" in capsys.readouterr().err
