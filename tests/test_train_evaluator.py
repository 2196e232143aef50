"""Training the matching evaluator: batches as functions of their number, and the script on a small dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train_evaluator
from data.batches import MatchingBatches
from data.store import MotionStore, Normaliser
from data.text import CaptionedClips
from evaluation.judges import GuoJudge
from models.words import FILE, Words
from motion.spec import get_spec
from prepare.synthetic import write_synthetic
from utils.checkpoint import CheckpointFolder, load_weights
from utils.errors import UserError

STEPS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset of 24 clips, 18 to train."""
    root = tmp_path_factory.mktemp("evaluator")
    write_synthetic(root / "data", clips=24)
    return root


@pytest.fixture(autouse=True)
def light_words(monkeypatch):
    """Vectors that need no MiniLM."""

    def drawn(vocabulary):
        words = ["unk", "sos", "eos", *sorted(set(vocabulary))]
        return Words(words, torch.randn(len(words), 12, generator=torch.Generator().manual_seed(0)))

    monkeypatch.setattr(Words, "from_word_pieces", drawn)
    monkeypatch.setattr("motion.spec.GLOVE", Path("no such folder"))


def run(root: Path, name: str, *flags: str) -> CheckpointFolder:
    sizes = "--movement_hidden 16 --movement_dim 16 --motion_hidden 16 --text_hidden 16 --embed_dim 8 --gpu_id -1"
    command = f"--name {name} --dataset_name synthetic --data_root {root / 'data'} --checkpoints_dir {root / 'checkpoints'} {sizes}"
    command += f" --batch_size 6 --warm_up_iter 2 --lr 0.01 --schedule constant --max_iters {STEPS} --eval_every_e 100"
    train_evaluator.main([*command.split(), *flags])
    return CheckpointFolder(root / "checkpoints", "synthetic", name)


def batches(root: Path, **settings) -> MatchingBatches:
    spec = get_spec("synthetic", root / "data")
    clips = CaptionedClips(spec, "train", MotionStore(spec))
    words = Words.from_word_pieces({token.split("/")[0] for caption in clips.captions for token in caption.tokens.split()})
    return MatchingBatches(clips, Normaliser.from_dataset(spec), words, **settings)


def logged(output: str, name: str) -> list[float]:
    """The values of a term in the log lines."""
    return [float(line.split(f"  {name} ")[1].split()[0]) for line in output.splitlines() if line.startswith("step ")]


def test_a_batch_depends_on_its_number_alone(root):
    pairs = batches(root, batch_size=5, seed=3)
    first, again = pairs.batch(7), batches(root, batch_size=5, seed=3).batch(7)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(pairs.batch(8)["motion"], first["motion"])


def test_an_epoch_shows_every_clip_and_a_batch_none_twice(root):
    pairs = batches(root, batch_size=4)
    shown = pairs._order(0)
    assert shown.shape == (5, 4)
    assert all(len(set(row)) == 4 for row in shown)
    assert set(shown.flat) == set(range(18))
    assert not (pairs._order(1) == shown).all()


def test_processes_share_a_batch(root):
    whole, halves = batches(root, batch_size=6), [batches(root, batch_size=3, rank=rank, world=2) for rank in (0, 1)]
    assert [half.steps_per_epoch for half in halves] == [whole.steps_per_epoch] * 2
    clips = [set(pairs._order(0)[1, pairs.rank :: pairs.world]) for pairs in (whole, *halves)]
    assert clips[1] | clips[2] == clips[0]
    assert not clips[1] & clips[2]


def test_captions_have_equal_numbers_where_their_texts_are_equal(root):
    pairs = batches(root, batch_size=18)
    text_of = {number: text for text, number in pairs.numbers.items()}
    assert len(text_of) == len({caption.text for caption in pairs.clips.captions})
    batch = pairs.batch(0)
    for number, length in zip(batch["caption"].tolist(), batch["text_lengths"].tolist()):
        captions = {caption.tokens for caption in pairs.clips.captions if caption.text == text_of[number]}
        assert length in {min(len(tokens.split()), 20) + 2 for tokens in captions}


def test_more_clips_a_batch_than_there_are_is_refused(root):
    with pytest.raises(UserError, match="--batch_size 19"):
        batches(root, batch_size=19)


def test_a_run_learns_reports_and_serves_as_judge(root, capsys):
    folder = run(root, "evaluator", "--max_iters", "70")
    output = capsys.readouterr().out
    assert logged(output, "loss")[-1] < 48  # 50, margin² / 2, is the best without looking: all distances margin / 2
    assert "test: top1 " in output
    assert "ceiling3 " in output
    assert load_weights(folder.weights("latest"))[1]["kind"] == "evaluator"
    assert (folder.root / FILE).is_file()
    judge = GuoJudge.load(root / "checkpoints", "synthetic", "evaluator")
    motion, lengths = torch.randn(3, 60, 263), torch.tensor([60, 24, 43])
    assert judge.motion(motion, lengths).shape == (3, 8)
    assert judge.text(["a person bows"], [["a/DET", "person/NOUN", "bow/VERB"]]).shape == (1, 8)


def test_a_resumed_run_equals_an_uninterrupted_one(root):
    whole = run(root, "whole")
    run(root, "parts", "--max_iters", "3")
    parts = run(root, "parts", "--is_continue", "--max_iters", str(STEPS))
    first, second = (load_weights(folder.weights("latest"))[0] for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_can_start_from_another_with_its_words_and_statistics(root, capsys):
    first = run(root, "first")
    np.save(first.meta / "mean.npy", np.load(first.meta / "mean.npy") + 1)
    second = run(root, "second", "--init", "first", "--max_iters", "1", "--lr", "1e-12")
    assert "starts with the weights of" in capsys.readouterr().out
    (weights, _), (initial, _) = (load_weights(folder.weights("latest")) for folder in (second, first))
    for name, value in initial.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)
    assert np.array_equal(np.load(second.meta / "mean.npy"), np.load(first.meta / "mean.npy"))
    copy = root / "copy"  # a weights file with its statistics and words in one folder, without the subfolder model/
    shutil.copytree(first.meta, copy / "meta")
    for path in (first.weights("latest"), first.root / FILE):
        shutil.copy(path, copy)
    third = run(root, "third", "--init", str(copy / first.weights("latest").name), "--max_iters", "1")
    assert np.array_equal(np.load(third.meta / "mean.npy"), np.load(first.meta / "mean.npy"))
    with pytest.raises(SystemExit, match="2"):
        run(root, "other", "--init", "first", "--embed_dim", "4")
    assert "--init first: embed_dim is 8 in the earlier run and 4 in the new run" in capsys.readouterr().err


def test_the_upper_bound_accounts_for_equal_captions():
    """Two of four captions are equal: a text whose caption occurs twice ranks its own motion first half of the time."""

    class Pairs:
        size, steps_per_epoch = 4, 1

        def batch(self, step):
            points = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
            return {"caption": points[:, 0].long()} | dict.fromkeys(("motion", "lengths", "words", "pos", "text_lengths"), points)

    class Perfect(torch.nn.Linear):
        def embed_text(self, words, pos, lengths):
            return words

        def embed_motion(self, motion, lengths):
            return motion

    scores = train_evaluator.scores(Perfect(1, 1), Pairs())
    np.testing.assert_allclose([scores[f"ceiling{k}"] for k in (1, 2, 3)], [0.75, 1, 1])
    np.testing.assert_allclose([scores[f"top{k}"] for k in (1, 2, 3)], [0.75, 1, 1])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--name is missing"),
        (["--name", "x", "--batch_size", "1000"], "--batch_size 1000"),
        (["--name", "x", "--glove", "nowhere"], "nowhere"),
        (["--name", "../x"], "--name"),
    ],
)
def test_unusable_flags_end_with_code_2(root, capsys, flags, message):
    common = f"--dataset_name synthetic --data_root {root / 'data'} --checkpoints_dir {root / 'refused'} --gpu_id -1"
    with pytest.raises(SystemExit) as end:
        train_evaluator.main([*common.split(), *flags])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (root / "refused").exists()
