"""Training of the captioner: the commands of LaMP's release, resuming, pretraining on text alone, and captions by the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_m2t
from data.sentences import Sentences
from data.store import MotionStore
from models.decoding import Search
from models.vqvae import MotionTokeniser, VQConfig
from motion.spec import get_spec
from options.cli import parse
from options.evaluate import EvalM2T
from options.train import TrainM2T
from pipelines.motion2text import MotionToText, RankedCaption, check_sizes, different
from pipelines.runs import CAPTIONER, runs_in
from prepare.synthetic import write_synthetic
from tests.small_lamp import write_lamp
from utils.checkpoint import CheckpointFolder, load_resume, load_weights, save_weights
from utils.errors import UserError

STEPS = 12
RELEASED_TRAIN = (
    "--exp-name M2T --num-layers 12 --batch-size 80 --embed-dim-gpt 1024 --nb-code 512 --n-head-gpt 16 "
    "--block-size 51 --ff-rate 4 --drop-out-rate 0.1 --resume-pth your_own_vqvae --vq-name VQVAE --out-dir ./output "
    "--total-iter 150000 --lr-scheduler 75000 "
    "--lr 0.00005 --dataname kit --down-t 2 --depth 3 --quantizer ema_reset --eval-iter 10000 --pkeep 0.5 --dilation-growth-rate 3 "
    "--vq-act relu"
)
RELEASED_EVAL = (
    "--exp-name Test_M2T --num-layers 9 --batch-size 1 --embed-dim-gpt 1024 --nb-code 512 --n-head-gpt 16 "
    "--block-size 51 --ff-rate 4 --drop-out-rate 0.1 --resume-pth your_own_vqvae --vq-name VQVAE --out-dir ./output "
    "--total-iter 150000 --lr-scheduler 75000 "
    "--lr 0.0001 --dataname t2m --down-t 2 --depth 3 --quantizer ema_reset --eval-iter 10000 --pkeep 0.5 --dilation-growth-rate 3 "
    "--vq-act relu --resume-trans your_own_m2t"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset, and a small random LaMP with its tokeniser."""
    root = tmp_path_factory.mktemp("m2t")
    write_synthetic(root / "data", clips=24)
    write_lamp(root / "checkpoints", "synthetic")
    return root


def run(root: Path, name: str, *flags: str) -> CheckpointFolder:
    command = f"--exp-name {name} --dataname synthetic --data_root {root / 'data'} --gpu_id -1 "
    command += f"--checkpoints_dir {root / 'checkpoints'} --batch-size 8 --warm_up_iter 2 --lr 0.003 "
    command += f"--total-iter {STEPS} --num-layers 1 --embed-dim-gpt 16 --n-head-gpt 2 --ff-rate 2 --block-size 24 "
    command += "--drop-out-rate 0 --log_every 1 --eval-iter 8"
    train_m2t.main([*command.split(), *flags])
    return CheckpointFolder(root / "checkpoints", "synthetic", name)


@pytest.fixture(scope="module")
def trained(root) -> CheckpointFolder:
    return run(root, "m2t")


def losses(folder: CheckpointFolder) -> np.ndarray:
    events = EventAccumulator(str(folder.root / "tensorboard")).Reload()
    return np.array([event.value for event in events.Scalars("train/caption_ce")])


def test_the_loss_falls_and_lamp_stays_out_of_the_file(trained):
    values = losses(trained)
    assert len(values) == STEPS and np.isfinite(values).all()
    assert values[-4:].mean() < values[:4].mean()
    state, metadata = load_weights(trained.weights("net_best_loss"))
    assert metadata["kind"] == "caption_gpt" and metadata["lamp_name"] == "lamp"
    assert not [name for name in state if name.startswith("lamp.")]


def test_a_resumed_run_equals_an_uninterrupted_one(root, trained):
    run(root, "halves", "--max_iters", "5")
    run(root, "halves", "--is_continue", "--max_iters", str(STEPS))
    halves = load_resume(CheckpointFolder(root / "checkpoints", "synthetic", "halves").resume)
    whole = load_resume(trained.resume)
    assert whole["step"] == halves["step"] == STEPS
    for name, value in whole["model"].items():
        assert torch.equal(value, halves["model"][name]), name


def test_what_was_trained_writes_captions_and_says_how_they_match(root, trained):
    model = MotionToText.load(root / "checkpoints", "synthetic", "m2t")
    store = MotionStore(get_spec("synthetic", root / "data"))
    clips = store.clips(store.split("test")[:3])
    lengths = torch.from_numpy(np.minimum(clips.lengths, 80))
    features = torch.zeros(3, 80, 263)
    for row, (start, length) in enumerate(zip(clips.starts, lengths.tolist())):
        features[row, :length] = torch.from_numpy(np.array(clips.rows[start : start + length]))
    captions = model.captions(features, lengths, search=Search(beams=4, max_tokens=8), count=3)
    assert [len(some) for some in captions] == [3, 3, 3]
    for some in captions:
        assert [one.match for one in some] == sorted((one.match for one in some), reverse=True)
    best = model.captions(features, lengths, search=Search(beams=4, max_tokens=8), candidates=9)
    assert [some[0].text for some in best] == [some[0].text for some in captions]
    plain = model.captions(features, lengths, search=Search(beams=9, max_tokens=8))
    assert all(one[0].match >= other[0].match - 1e-4 for one, other in zip(best, plain))
    alone = model.captions(features[1:2], lengths[1:2], search=Search(beams=4, max_tokens=8), count=3)[0]
    assert [one.text for one in alone] == [one.text for one in captions[1]]
    assert np.allclose([one.match for one in alone], [one.match for one in captions[1]], atol=1e-4)


def test_several_captions_are_of_different_words():
    texts = ["a person bows.", "A person bows", "someone bows", "a person bows", "someone bows deeply"]
    expected = ["a person bows.", "someone bows", "someone bows deeply", "A person bows", "a person bows"]
    assert [one.text for one in different([RankedCaption(text, 0.0) for text in texts])] == expected


def test_plain_words_come_first_and_another_run_begins_with_them(root, capsys):
    words = run(root, "words", "--texts", str(root / "data" / "texts"))
    values = losses(words)
    assert values[-4:].mean() < values[:4].mean()
    capsys.readouterr()
    assert "words" not in [one.name for one in runs_in(root / "checkpoints", "synthetic", CAPTIONER.kinds)]
    folder = run(root, "begun", "--resume-trans", "words")
    assert "starts with the weights of" in capsys.readouterr().out
    assert losses(folder)[0] < losses(CheckpointFolder(root / "checkpoints", "synthetic", "m2t"))[0]


def test_codes_may_stand_beside_the_queries(root):
    folder = run(root, "codes", "--use-codes", "--total-iter", "3")
    _, metadata = load_weights(folder.weights("latest"))
    assert metadata["config"]["nb_code"] == 16
    model = MotionToText.load(root / "checkpoints", "synthetic", "codes")
    captions = model.captions(torch.randn(2, 40, 263), torch.tensor([40, 24]), search=Search(beams=2, max_tokens=5))
    assert len(captions) == 2


def test_results_go_where_out_dir_says_and_the_tokeniser_may_be_named(root, tmp_path):
    run(root, "elsewhere", "--out-dir", str(tmp_path), "--total-iter", "2", "--vq-name", "vq", "--nb-code", "16", "--down-t", "2")
    run(root, "elsewhere", "--out-dir", str(tmp_path), "--total-iter", "3", "--is_continue")
    assert [one.name for one in runs_in(tmp_path, "synthetic", CAPTIONER.kinds)] == ["elsewhere"]
    MotionToText.load(root / "checkpoints", "synthetic", "", out_dir=tmp_path)


def test_the_release_s_commands_parse_as_they_are_typed():
    config = parse(TrainM2T, RELEASED_TRAIN.split())
    expected = {
        "name": "M2T", "dataset_name": "kit", "num_layers": 12, "batch_size": 80, "embed_dim_gpt": 1024, "nb_code": 512,
        "n_head_gpt": 16, "block_size": 51, "ff_rate": 4, "drop_out_rate": 0.1, "resume_pth": "your_own_vqvae", "vq_name": "VQVAE",
        "out_dir": "./output", "max_iters": 150_000, "milestones": [75_000], "lr": 5e-5, "down_t": 2, "depth": 3,
        "quantizer": "ema_reset", "eval_iter": 10_000, "pkeep": 0.5, "dilation_growth_rate": 3, "vq_act": "relu",
    }  # fmt: skip
    given = {**vars(config), **config.legacy}
    assert {name: given[name] for name in expected} == expected
    config = parse(EvalM2T, RELEASED_EVAL.split())
    assert (config.name, config.dataset_name, config.legacy["num_layers"], config.batch_size) == ("Test_M2T", "t2m", 9, 1)
    assert (config.resume_trans, config.legacy["resume_pth"], config.out_dir) == ("your_own_m2t", "your_own_vqvae", "./output")


def test_sizes_that_are_not_the_captioner_s_are_named(root, trained):
    model = MotionToText.load(root / "checkpoints", "synthetic", "m2t").captioner
    check_sizes(model.config, {"num_layers": ("num_layers", 1), "ff_rate": ("ff_rate", None)})
    with pytest.raises(UserError, match="--num_layers 9: the captioner has 1"):
        check_sizes(model.config, {"num_layers": ("num_layers", 9)})


def fails(capsys, root: Path, *flags: str) -> str:
    """The error message of a run that must fail without leaving a folder."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(root, "bad", *flags)
    assert stop.value.code == 2
    assert not (root / "checkpoints" / "synthetic" / "bad").exists()
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_bad_flags_end_with_one_line(root, trained, capsys, tmp_path):
    assert "--nb_code 512: LaMP's tokeniser has 16" in fails(capsys, root, "--nb-code", "512")
    assert "no LaMP run 'nobody'" in fails(capsys, root, "--lamp_name", "nobody")
    assert "no such checkpoint" in fails(capsys, root, "--resume-pth", "nobody")
    assert "no captioner 'nobody'" in fails(capsys, root, "--resume-trans", "nobody")
    assert "num_layers is 1 in the earlier run and 2" in fails(capsys, root, "--resume-trans", "m2t", "--num-layers", "2")
    assert "must be a multiple of --n_head_gpt" in fails(capsys, root, "--n-head-gpt", "3")
    assert "--block_size 600" in fails(capsys, root, "--block-size", "600")
    assert "--texts" in fails(capsys, root, "--decoder", "lm", "--texts", str(tmp_path))
    assert "--batch_size" in fails(capsys, root, "--batch-size", "4000")
    assert "holds a lamp model" in fails(capsys, root, "--resume-trans", "lamp")


def test_another_tokeniser_than_lamp_s_is_refused(root, capsys):
    torch.manual_seed(5)
    other = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
    folder = CheckpointFolder(root / "checkpoints", "synthetic", "other_vq")
    save_weights(folder.weights("latest"), other.state_dict(), {"kind": "tokeniser", "config": asdict(other.config)})
    assert "not the tokeniser that LaMP was trained on" in fails(capsys, root, "--vq-name", "other_vq")
    assert "not the tokeniser" in fails(capsys, root, "--resume-pth", str(folder.weights("latest")))


def test_sentences_are_pure_functions_of_the_step():
    rows = [[2, *range(4, 4 + size), 3] for size in (1, 5, 2, 7, 3, 6, 4)]
    batches = Sentences(rows, batch_size=3, seed=1)
    assert batches.steps_per_epoch == 2
    first = batches.batch(0)
    batches.batch(5)
    for name, value in Sentences(rows, batch_size=3, seed=1).batch(0).items():
        assert torch.equal(value, first[name])
    seen = [tuple(row[:length].tolist()) for step in (0, 1) for row, length in zip(*batches.batch(step).values())]
    assert len(set(seen)) == 6 and set(seen) <= {tuple(row) for row in rows}
    halves = [Sentences(rows, batch_size=3, seed=1, rank=rank, world=2).batch(0)["ids"] for rank in (0, 1)]
    assert {len(half) for half in halves} == {3}
    with pytest.raises(UserError, match="--batch_size 8"):
        Sentences(rows, batch_size=8)
