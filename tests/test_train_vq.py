"""Training and evaluating a tokeniser as a user does, on a few procedural clips."""

from __future__ import annotations

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest

import eval_t2m_vq
import train_vq
from data.store import Normaliser
from models.loading import load_model
from motion.spec import get_spec
from options.cli import read_opt
from prepare.synthetic import write_synthetic
from tests.tiny import Sums, pictures_of
from utils.checkpoint import find_weights, load_weights

SIZES = ["--width", "32", "--code_dim", "16", "--nb_code", "32", "--depth", "1", "--num_quantizers", "3"]
SHORT = ["--batch_size", "8", "--max_iters", "40", "--warm_up_iter", "5", "--lr", "0.002", "--log_every", "10"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SimpleNamespace:
    """A dataset of 12 clips and a tokeniser trained on it for 40 steps."""
    root = tmp_path_factory.mktemp("vq")
    write_synthetic(root / "data", clips=12, seed=0)
    folder_flags = ["--dataset_name", "synthetic", "--data_root", str(root / "data"), "--checkpoints_dir", str(root / "runs")]
    folder_flags += ["--gpu_id", "-1"]
    with redirect_stdout(io.StringIO()) as output:
        train_vq.main(["--name", "vq", *folder_flags, *SIZES, *SHORT, "--quantize_drop_prob", "0.5", "--gamma", "0.05"])
    folder = root / "runs" / "synthetic" / "vq"
    return SimpleNamespace(data=root / "data", folder=folder, flags=folder_flags, output=output.getvalue())


def refusal(main, argv: list[str], capsys) -> str:
    """The one-line error message of a script for bad input."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_training_lowers_the_loss(run):
    losses = [float(loss) for loss in re.findall(r"^step .* loss (\S+)", run.output, re.M)]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]


def test_run_folder_holds_what_others_need(run):
    spec = get_spec("synthetic", run.data)
    assert np.array_equal(Normaliser.load(run.folder / "meta").std, Normaliser.from_dataset(spec).std)
    assert {path.name for path in (run.folder / "model").iterdir()} == {
        "latest.safetensors",
        "net_best_mpjpe.safetensors",
        "resume.pt",
        "resume.previous.pt",
    }
    assert read_opt(run.folder / "opt.txt")["quantize_dropout_prob"] == "0.5"
    model, metadata = load_model(run.folder)
    assert (metadata["kind"], metadata["dataset_name"]) == ("tokeniser", "synthetic")
    assert (model.num_quantizers, model.nb_code, model.stride, model.config.width) == (3, 32, 4, 32)


def test_defaults_are_the_papers():
    from options.train import TrainVQ

    config = TrainVQ()
    assert (config.num_quantizers, config.window_size, config.quantize_dropout_prob) == (6, 64, 0.2)
    assert (config.nb_code, config.code_dim, config.width, config.depth, config.down_t) == (512, 512, 512, 3, 2)


def test_evaluation_reports_and_writes(run, capsys):
    eval_t2m_vq.main(["--name", "vq", "--evaluator", "none", *run.flags])
    printed = capsys.readouterr().out
    assert (run.folder / "eval" / "reconstruction.log").read_text(encoding="utf-8") == printed
    results = json.loads((run.folder / "eval" / "reconstruction.json").read_text(encoding="utf-8"))
    assert results["split"] == "test"
    assert results["clips"] == 2
    assert results["weights"].endswith("net_best_mpjpe.safetensors")
    assert 0 < results["mpjpe_mm"] < 500
    assert len(results["mpjpe_mm_by_layers"]) == len(results["codebooks"]) == 3
    assert results["mpjpe_mm_by_layers"][-1] == results["mpjpe_mm"]
    assert set(results["reconstruction"]) == {"root", "joints", "rotations", "velocities", "contacts"}
    assert all(0 < book["used_percent"] <= 100 and 1 <= book["perplexity"] <= 32 for book in results["codebooks"])
    for name in ("foot_slide_cm_s", "float_percent", "jerk_m_s3", "penetration_mm"):
        assert set(results["physical"][name]) == {"real", "reconstructed"}
    assert "MPJPE" in printed
    assert "uncertain" in printed  # two clips are few


def test_single_codebook_trains_and_evaluates(run, capsys):
    plain = [*SIZES[:-1], "1", *SHORT[:2], "--max_iters", "2"]
    train_vq.main(["--name", "plain", *run.flags, *plain])
    eval_t2m_vq.main(["--name", "plain", *run.flags, "--which_epoch", "latest", "--ext", "short", "--split", "val"])
    results = json.loads((run.folder.parent / "plain" / "eval" / "short.json").read_text(encoding="utf-8"))
    assert results["step"] == 2
    assert results["mpjpe_mm_by_layers"] == [results["mpjpe_mm"]]


def test_body_losses_constraints_and_init_train_together(run, capsys):
    from models.body import BodyLoss

    clips = [path.stem for path in (run.data / "new_joint_vecs").glob("*.npy")]
    (run.data / "actions.csv").write_text("clip,action,source\n" + "".join(f"{clip},walk,here\n" for clip in clips))
    weights = [flag for name in BodyLoss.TERMS for flag in (f"--loss_{name}", "0.1")]
    flags = [*SIZES, *SHORT, "--max_iters", "3", "--log_every", "1", "--balance", "--rigid_bones", "--planted_feet", *weights]
    train_vq.main(["--name", "body", *run.flags, *flags, "--init", "vq", "--decoder_width", "48"])
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in BodyLoss.TERMS)
    eval_t2m_vq.main(["--name", "body", *run.flags, "--evaluator", "none"])
    results = json.loads((run.folder.parent / "body" / "eval" / "reconstruction.json").read_text(encoding="utf-8"))
    assert results["physical"]["bone_deviation_percent"]["reconstructed"] < 0.01
    for group in (results["by_action"]["walk"], results["by_source"]["here"]):
        assert (group["clips"], group["physical"]) == (results["clips"], results["physical"])
        assert group["mpjpe_mm"] == pytest.approx(results["mpjpe_mm"])
    before = Normaliser.load(run.folder / "meta")
    assert np.array_equal(Normaliser.load(run.folder.parent / "body" / "meta").mean, before.mean)


def test_init_takes_the_statistics_beside_a_weights_file_outside_a_run(run, tmp_path):
    weights = tmp_path / "weights.safetensors"
    shutil.copy(find_weights(run.folder), weights)
    mean, std = Normaliser.load(run.folder / "meta").rows
    Normaliser(mean + 1, std).save(tmp_path / "meta")
    train_vq.main(["--name", "by_file", *run.flags, *SIZES, *SHORT, "--max_iters", "1", "--init", str(weights)])
    assert np.array_equal(Normaliser.load(run.folder.parent / "by_file" / "meta").mean, mean + 1)


def test_fid_of_reconstructions_picks_weights_during_training(run, monkeypatch, capsys):
    monkeypatch.setattr("evaluation.judges.GuoJudge.load", lambda *_, **__: Sums())
    flags = ["--name", "judged", *run.flags, *SIZES, *SHORT[:2], "--eval_fid", "1", "--max_iters", "2", "--pictures", "1"]
    train_vq.main(flags)
    train_vq.main([*flags, "--max_iters", "4", "--is_continue"])
    printed, notes = capsys.readouterr()
    lines = re.findall(r"^evaluation at step (\d+)  fid (\S+)  r1 .*mm_dist", printed, re.M)
    assert [step for step, _ in lines] == ["2", "4"]
    folder = run.folder.parent / "judged"
    assert find_weights(folder).stem == "net_best_fid"
    metric = load_weights(folder / "model" / "net_best_fid.safetensors")[1]["metric"]
    assert metric["value"] == pytest.approx(min(float(fid) for _, fid in lines), rel=1e-3)
    assert "not reliable below 300" in notes
    sizes = pictures_of(folder)  # a real and a reconstructed motion
    assert list(sizes) == [2, 4] and all(width == 1200 and height > 2 * 250 for width, height in sizes.values())


def test_training_turns_down_bad_input(run, tmp_path, capsys):
    for argv, words in (
        (run.flags, "--name is missing"),
        (["--name", "vq", *run.flags, *SIZES], "--is_continue"),
        (["--name", "../x", *run.flags], "--name '../x'"),
        (["--name", "new", *run.flags, "--window_size", "2"], "--window_size 2"),
        (["--name", "new", *run.flags, "--nb_code", "0"], "--nb_code 0"),
        (["--name", "new", *run.flags, "--loss_feet", "-1"], "--loss_feet -1"),
        (["--name", "new", *run.flags, "--planted_feet"], "--planted_feet"),
        (["--name", "new", *run.flags, *SIZES, "--width", "16", "--init", "vq"], "--init"),
        (["--name", "new", *run.flags, *SIZES, "--init", "nobody"], "nobody"),
        (["--name", "new", *run.flags, "--data_root", str(tmp_path)], "Mean.npy"),
        (["--name", "new", *run.flags, "--gpu_id", "99"], "--gpu_id 99"),
        (["--name", "new", *run.flags, "--eval_fid", "5"], "--eval_fid 5: no evaluator in"),
        (["--name", "new", *run.flags, "--eval_fid", "5", "--evaluator", "none"], "--eval_fid 5: needs an evaluator"),
        (["--name", "new", *run.flags, "--eval_fid", "-1"], "--eval_fid -1"),
    ):
        assert words in refusal(train_vq.main, argv, capsys)
    assert not (run.folder.parent / "new").exists()


def test_evaluation_turns_down_bad_input(run, tmp_path, capsys):
    kit = ["--dataset_name", "kit", "--data_root", str(run.data)]
    shutil.copytree(run.folder, tmp_path / "kit" / "vq")
    broken = shutil.copytree(run.folder, run.folder.parent / "broken", ignore=shutil.ignore_patterns("eval"))
    for path in (broken / "model").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    for argv, words in (
        (run.flags, "--name is missing"),
        (["--name", "nobody", *run.flags], "no such checkpoint"),
        (["--name", "vq", *run.flags, "--ext", "../x"], "--ext '../x'"),
        (["--name", "vq", *run.flags, "--which_epoch", "net_best_fid"], "available: latest, net_best_mpjpe"),
        (["--name", "vq", *run.flags, "--split", "tset"], "test"),
        (["--name", "vq", *kit, "--checkpoints_dir", str(tmp_path), "--gpu_id", "-1"], "251"),
        (["--name", "broken", *run.flags], "not a readable safetensors file"),
    ):
        assert words in refusal(eval_t2m_vq.main, argv, capsys)
    assert not (broken / "eval").exists()
