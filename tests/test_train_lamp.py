"""Language-motion pretraining as a user runs it: a small dataset, a small tokeniser, a small BERT."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_lamp
from data.store import Normaliser
from models.bert import load_tokenizer
from models.loading import load_model
from models.vqvae import MotionTokeniser, VQConfig
from motion.spec import get_spec
from pipelines.language_motion import LanguageMotion
from prepare.synthetic import write_synthetic
from tests.small_bert import write_bert
from utils.checkpoint import CheckpointFolder, load_weights, own_state, save_weights

STEPS = 30
LOSSES = ("contrastive", "matching", "captioning", "generation")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset, a random tokeniser `vq`, and two BERT folders, `bert` and `other`."""
    root = tmp_path_factory.mktemp("lamp")
    write_synthetic(root / "data", clips=24)
    torch.manual_seed(0)
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=2, nb_code=16, code_dim=8, width=8, depth=1))
    for book in tokeniser.quantizer.layers:
        book.codebook.normal_()
    folder = CheckpointFolder(root / "checkpoints", "synthetic", "vq")
    Normaliser.from_dataset(get_spec("synthetic", root / "data")).save(folder.meta)
    save_weights(folder.weights("latest"), own_state(tokeniser), {"kind": "tokeniser", "config": asdict(tokeniser.config)})
    captions = " ".join(path.read_text() for path in (root / "data" / "texts").glob("*.txt")).lower()
    words = sorted(set(re.findall("[a-z]+", captions)))
    write_bert(root / "bert", words)
    write_bert(root / "other", [*words[:-1], "zebra"])
    return root


def run(root: Path, name: str, *flags: str) -> CheckpointFolder:
    command = f"--name {name} --vq_name vq --dataset_name synthetic --data_root {root / 'data'} --bert {root / 'bert'} --gpu_id -1 "
    command += f"--checkpoints_dir {root / 'checkpoints'} --batch_size 8 --warm_up_iter 2 --lr 0.003 --max_iters {STEPS} "
    command += "--num_queries 6 --embed_dim 12 --cross_width 20 --dropout 0 --log_every 1 --eval_every_e 100"
    train_lamp.main([*command.split(), *flags])
    return CheckpointFolder(root / "checkpoints", "synthetic", name)


@pytest.fixture(scope="module")
def trained(root) -> CheckpointFolder:
    return run(root, "all")


def curves(folder: CheckpointFolder) -> EventAccumulator:
    return EventAccumulator(str(folder.root / "tensorboard")).Reload()


def test_every_loss_is_finite_and_falls(trained):
    scalars = curves(trained)
    for loss in (*LOSSES, "loss"):
        values = np.array([event.value for event in scalars.Scalars(f"train/{loss}")])
        assert len(values) == STEPS
        assert np.isfinite(values).all()
        assert values[-8:].mean() < values[:8].mean(), loss


def test_validation_logs_losses_recall_and_captions(trained):
    events = curves(trained)
    scalars = {name.removeprefix("validation/"): events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    assert {*LOSSES, "loss", "r1"} <= scalars.keys()
    for direction in ("motion_to_text", "text_to_motion"):
        recalls = [scalars[f"{direction}_r{k}"] for k in (1, 2, 3)]
        assert 0 <= recalls[0] <= recalls[1] <= recalls[2] <= 1
    assert scalars["r1"] == pytest.approx((scalars["motion_to_text_r1"] + scalars["text_to_motion_r1"]) / 2)
    (captions,) = (name for name in events.Tags()["tensors"] if "captions" in name)
    assert " → " in events.Tensors(captions)[-1].tensor_proto.string_val[0].decode()


def test_the_run_is_whole_and_can_be_used(root, trained):
    weights, metadata = load_weights(trained.weights("net_best_r1"))
    assert metadata["kind"] == "lamp"
    assert metadata["vq_name"] == "vq"
    assert metadata["bert"] == str(root / "bert")
    pieces = (trained.root / "vocab.txt").read_text().splitlines()
    assert pieces == (root / "bert" / "vocab.txt").read_text().splitlines()
    assert metadata["config"]["vocab_size"] == len(pieces) + 1 == len(weights["qformer.words.weight"])
    assert not [name for name in weights if "tokeniser" in name]
    model = LanguageMotion.load(root / "checkpoints", "synthetic", "all")
    motion = torch.randn(2, 40, 263)
    assert model.embed_texts(["A person walks."]).shape == (1, 12)
    assert len(model.captions(motion, torch.tensor([40, 24]))) == 2


def test_a_resumed_run_equals_an_uninterrupted_one(root):
    whole = run(root, "whole", "--max_iters", "6", "--dropout", "0.1")
    run(root, "parts", "--save_latest", "3", "--max_iters", "3", "--dropout", "0.1")
    parts = run(root, "parts", "--is_continue", "--max_iters", "6", "--dropout", "0.1")
    first, second = (load_weights(folder.weights("latest"))[0] for folder in (whole, parts))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_trains_alone(root, loss):
    events = curves(run(root, f"only_{loss}", "--losses", loss, "--max_iters", "2"))
    assert any("captions" in name for name in events.Tags()["tensors"]) == (loss == "captioning")
    logged = {name.removeprefix("train/") for name in events.Tags()["scalars"] if name.startswith("train/")}
    assert logged & {*LOSSES} == {loss}


def test_init_starts_from_the_weights_of_another_run(root, trained):
    folder = run(root, "begun", "--init", "all", "--max_iters", "1", "--lr", "1e-9", "--losses", "contrastive", "--match_rows", "4")
    weights, _ = load_weights(folder.weights("latest"))
    for name, value in load_model(trained.root)[0].state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-6)
    again = run(root, "by_file", "--init", str(trained.weights("net_best_r1")), "--max_iters", "1", "--lr", "1e-9")
    torch.testing.assert_close(load_weights(again.weights("latest"))[0]["logit_scale"], weights["logit_scale"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vq_name", "nothing"], "nothing"),
        (["--bert", "nowhere"], "nowhere"),
        (["--init", "nothing"], "nothing"),
        (["--init", "vq"], "lamp is needed"),
        (["--init", "all", "--num_queries", "7"], "num_queries is 6 in the earlier run and 7 in the new run"),
        (["--init", "all", "--bert", "OTHER"], "is not the vocabulary of"),
        (["--batch_size", "1000"], "--batch_size 1000"),
        (["--max_text", "41"], "reads at most 40 tokens"),
        (["--num_queries", "0"], "--num_queries 0"),
        (["--match_rows", "-1"], "--match_rows -1"),
        (["--data_root", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_named_and_nothing_written(root, trained, capsys, flags, message):
    with pytest.raises(SystemExit) as end:
        run(root, "refused", *(str(root / "other") if flag == "OTHER" else flag for flag in flags))
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (root / "checkpoints" / "synthetic" / "refused").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [("", "--name"), ("--name x", "--vq_name is missing"), ("--vq_name y", "--name"), ("--name x --vq_name y --losses gan", "gan")],
)
def test_missing_or_unknown_flags_end_with_code_2(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        train_lamp.main(flags.split())
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bert_folder_in_a_usual_place_is_the_default(root, tmp_path, monkeypatch):
    from options.train import TrainLaMP

    monkeypatch.chdir(tmp_path)
    config = TrainLaMP(checkpoints_dir=str(tmp_path / "checkpoints"))
    write_bert(tmp_path / "checkpoints" / "bert-base-uncased", [])
    assert load_tokenizer(train_lamp.backbone(config))
    assert train_lamp.backbone(config).parent.name == "checkpoints"
    write_bert(tmp_path / "bert-base-uncased", [])
    assert train_lamp.backbone(config) == Path("bert-base-uncased")
    assert train_lamp.backbone(TrainLaMP(bert="mine")) == Path("mine")
