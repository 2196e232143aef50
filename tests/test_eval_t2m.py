"""eval_t2m_trans_res.py and its protocol: sampling, repeats, intervals, and the note about too few clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import eval_t2m_trans_res
import eval_t2m_vq
from data.store import MotionStore
from data.text import CaptionedClips
from evaluation.protocol import Sample, SplitEvaluation, interval, released_lines, results_table
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from motion.spec import get_spec
from prepare.synthetic import write_synthetic
from tests.small_lamp import WIDTH, write_lamp
from tests.tiny import Sums
from utils.checkpoint import CheckpointFolder, save_weights

SIZES = {"nb_code": 16, "cond_dim": WIDTH, "code_dim": 8, "latent_dim": 16, "ff_size": 16, "n_layers": 1, "n_heads": 2}


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Two motions per text for MultiModality, and an evaluator that distinguishes motions, which a random LaMP does not."""
    monkeypatch.setattr("evaluation.protocol.SAMPLES", 2)
    monkeypatch.setattr("evaluation.protocol.BATCH", 16)
    monkeypatch.setattr("evaluation.judges.LampJudge.load", lambda *_, **__: Sums())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset, and small random runs: a LaMP, its tokeniser, a masked and a residual transformer."""
    root = tmp_path_factory.mktemp("protocol")
    write_synthetic(root / "data", clips=48, seed=0)
    (root / "data" / "test.txt").write_text((root / "data" / "train.txt").read_text())
    write_lamp(root, "synthetic")
    torch.manual_seed(0)
    residual = ResidualTransformer(ResidualConfig(num_quantizers=3, **SIZES))
    models = {"masked": MaskedTransformer(MaskedConfig(**SIZES)), "residual": residual}
    origin = {"vq_name": "vq", "text_encoder": "lamp", "lamp_name": "lamp", "bert": "", "no_query": False}
    for kind, model in models.items():
        folder = CheckpointFolder(root, "synthetic", kind)
        facts = {"kind": kind, "config": asdict(model.config), **origin}
        for tag in ("net_best_accuracy", "latest") if kind == "masked" else ("latest",):
            save_weights(folder.weights(tag), model.state_dict(), facts)
    meta = CheckpointFolder(root, "synthetic", "vq").meta
    meta.mkdir()
    for part in ("mean", "std"):
        np.save(meta / f"{part}.npy", np.ones(263, np.float32))
    return root


def run(root: Path, *words: str) -> dict:
    usual = ["--name", "masked", "--res_name", "residual", "--dataset_name", "synthetic", "--data_root", str(root / "data")]
    usual += ["--checkpoints_dir", str(root), "--evaluator", "lamp", "--time_steps", "1", "--repeat_times", "1", "--num_batch", "2"]
    eval_t2m_trans_res.main([*usual, "--gpu_id", "-1", "--mm_batches", "1", *words])
    return json.loads((root / "synthetic" / "masked" / "eval" / "text2motion.json").read_text())["results"]


def protocol(root: Path, judge=None, **settings) -> SplitEvaluation:
    spec = get_spec("synthetic", str(root / "data"))
    return SplitEvaluation(CaptionedClips(spec, "test", MotionStore(spec)), judge or Sums(), **settings)


def test_every_checkpoint_is_evaluated_beside_real_motion(root, capsys):
    results = run(root, "--table", "latex")
    assert set(results) == {"net_best_accuracy", "latest"}
    for of_tag in results.values():
        assert of_tag["clips"] == 32
        assert set(of_tag["real"]) | {"MultiModality"} == set(of_tag["ours"])
        for name in ("FID", "R@1", "R@2", "R@3", "MM-Dist", "Diversity", "MultiModality", "jerk_m_s3"):
            assert np.isfinite(of_tag["ours"][name]).all(), name
        assert of_tag["real"]["FID"][0] < of_tag["ours"]["FID"][0]
    log = (root / "synthetic" / "masked" / "eval" / "text2motion.log").read_text()
    assert "latest final result" in log and "FID: " in log and "TOP1: " in log
    printed = capsys.readouterr().out
    assert "only 32 clips" in printed
    table = (root / "synthetic" / "masked" / "eval" / "text2motion.tex").read_text()
    assert table in printed and r"masked, net\_best\_accuracy & " in table and "cannot be compared with published" in table


def test_the_same_seed_gives_the_same_numbers_in_batches_of_any_size(root):
    first = run(root, "--which_epoch", "latest")["latest"]["ours"]
    again = run(root, "--which_epoch", "latest", "--batch_size", "7")["latest"]["ours"]
    for name, (mean, _) in first.items():
        assert again[name][0] == pytest.approx(mean, rel=1e-3, abs=1e-3, nan_ok=True), name


def test_a_pass_has_whole_batches_and_crops_to_whole_tokens(root):
    real = protocol(root, batches=1).real(0)
    assert len(real.captions) == len(real.lengths) == len(real.text) == len(real.sample.motion) == len(real.names) == 16
    assert (real.lengths % 4 == 0).all()


def test_passes_differ_by_number_and_are_kept(root):
    standard = protocol(root)
    assert standard.real(0) is standard.real(0)
    assert standard.real(0).captions != standard.real(1).captions
    assert protocol(root).real(1).captions == standard.real(1).captions


def test_the_released_variant_takes_first_captions_in_order(root):
    clips = protocol(root).clips
    expected = [clips.captions[index].text for index in clips.first[:32]]
    assert protocol(root, published="lamp").real(0).captions[:32] == expected


def test_scores_of_motions_that_are_their_texts(root):
    """Each motion has the embedding of its text, so MM-Dist and FID are 0 and, if no two texts are equal, R@1 is 1."""
    passes = protocol(root)
    real = passes.real(0)
    scores = passes.scores(real, Sample(real.text, {}, []), real.text, 0)
    ties = (torch.cdist(real.text, real.text) < 1e-6).sum(1)
    if (ties == 1).all():
        assert scores["R@1"] == 1
    assert scores["R@3"] > 0.3 and scores["MM-Dist"] == 0 and scores["FID"] == pytest.approx(0, abs=1e-6)


def test_interval_is_of_95_percent():
    assert interval([1.0, 1.0, 1.0]) == (1.0, 0.0)
    mean, half = interval([0.0, 2.0, 0.0, 2.0])
    assert mean == 1 and half == pytest.approx(1.96 / 2)


def test_tables_and_released_lines():
    results = {"clips": 4640, "real": {"FID": (0.002, 0.0)}, "ours": {
        "FID": (0.0456, 0.002), "Diversity": (9.6, 0.1), "R@1": (0.5, 0.0), "R@2": (0.7, 0.0), "R@3": (0.8, 0.0),
        "MM-Dist": (3.0, 0.01),
    }}  # fmt: skip
    assert "only" not in results_table(results) and "0.002 ± 0.000" in results_table(results)
    fid, _, precision, _ = released_lines(results)
    assert fid == "FID: 0.046, conf. 0.002"
    assert precision == "TOP1: 0.500, conf. 0.000, TOP2: 0.700, conf. 0.000, TOP3: 0.800, conf. 0.000"


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--name", "nothing"], "nothing"),
        (["--res_name", "lamp"], "lamp"),
        (["--repeat_times", "0"], "--repeat_times 0"),
        (["--evaluator", "guo"], "train_evaluator.py"),
        (["--which_epoch", "net_best_fid"], "net_best_fid"),
        (["--ext", "../x"], "--ext"),
    ],
)
def test_bad_input_is_one_clear_line(root, capsys, words, expected):
    with pytest.raises(SystemExit) as error:
        run(root, *words)
    assert error.value.code == 2
    stderr = capsys.readouterr().err.strip()
    assert expected in stderr and "Traceback" not in stderr and stderr.count("\n") == 0


def test_a_tokenisers_reconstructions_are_judged_too(root, capsys):
    words = ["--name", "vq", "--dataset_name", "synthetic", "--data_root", str(root / "data"), "--checkpoints_dir", str(root)]
    words += ["--gpu_id", "-1", "--repeat_times", "1", "--num_batch", "1"]
    eval_t2m_vq.main([*words, "--evaluator", "lamp", "--table", "csv"])
    judged = json.loads((root / "synthetic" / "vq" / "eval" / "reconstruction.json").read_text())["judged"]
    assert judged["clips"] == 16 and np.isfinite(judged["ours"]["FID"]).all()
    rows = (root / "synthetic" / "vq" / "eval" / "reconstruction.csv").read_text().splitlines()
    assert rows[0].startswith('setting,method,"MPJPE, mm"') and rows[-1].startswith(",vq,")
    eval_t2m_vq.main(words)
    assert "note: no FID" in capsys.readouterr().err


def test_remade_motions_are_those_of_the_same_pass(root):
    passes = protocol(root)
    motion, physical, _ = passes.reconstructed(lambda features, lengths, captions: features, 1)
    assert torch.equal(motion, passes.real(1).sample.motion)
    assert torch.equal(physical["jerk_m_s3"], passes.real(1).sample.physical["jerk_m_s3"])
