"""Training the selector: profiles of a dataset, batches as functions of their number, and the script on a small dataset."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train_selector
from data.conditions import Conditions
from data.profiles import ProfileBatches, cached_profiles, profiles_of
from data.store import MotionStore
from data.text import CaptionedClips
from models.loading import load_model
from models.selector import Selector, SelectorConfig
from motion.facts.profile import BITS, profile
from motion.features import features_to_joints
from motion.spec import get_spec
from options.cli import parse
from options.train import TrainSelector
from pipelines.conditioner import SentenceEncoder
from pipelines.runs import resolve_generator
from prepare.synthetic import write_synthetic
from tests.small_bert import write_bert
from utils.checkpoint import CheckpointFolder
from utils.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset of 24 clips, 18 to train, and a small BERT."""
    root = tmp_path_factory.mktemp("selector")
    write_synthetic(root / "data", clips=24)
    captions = " ".join(path.read_text() for path in (root / "data" / "texts").glob("*.txt")).lower()
    write_bert(root / "bert", sorted(set(re.findall("[a-z]+", captions))))
    return root


def run(root: Path, name: str, *flags: str) -> CheckpointFolder:
    command = f"--name {name} --dataset_name synthetic --data_root {root / 'data'} --checkpoints_dir {root / 'checkpoints'}"
    command += f" --bert {root / 'bert'} --hidden_dim 16 --embed_dim 8 --batch_size 6 --warm_up_iter 2 --lr 0.01 --gpu_id -1"
    train_selector.main([*command.split(), *flags])
    return CheckpointFolder(root / "checkpoints", "synthetic", name)


def clips_of(root: Path) -> CaptionedClips:
    spec = get_spec("synthetic", root / "data")
    return CaptionedClips(spec, "train", MotionStore(spec))


def batches(root: Path, **settings) -> ProfileBatches:
    clips = clips_of(root)
    vectors = torch.arange(len(clips.captions), dtype=torch.float32)[:, None]
    profiles = np.arange(len(clips))[:, None] == np.arange(len(clips))
    return ProfileBatches(clips, profiles, Conditions(vectors), np.arange(len(clips)) % 4 - 1, **settings)


def test_profiles_are_those_of_the_joints_and_are_cached(root, monkeypatch):
    clips = clips_of(root).clips
    profiles = cached_profiles(clips, 22, 1)
    assert profiles.shape == (18, len(BITS)) and profiles.dtype == bool
    expected = profile(features_to_joints(torch.tensor(clips[3]), 22).numpy())
    assert (profiles[3] == expected).all()
    monkeypatch.setattr("data.profiles.profile", None)
    assert (cached_profiles(clips, 22, 1) == profiles).all()


def test_several_processes_compute_the_same_profiles(root, monkeypatch):
    monkeypatch.setattr("data.profiles.SMALL", 1)
    clips = clips_of(root).clips
    assert (np.stack(list(profiles_of(clips, 2))) == np.stack(list(profiles_of(clips, 1)))).all()


def test_other_skeletons_are_refused(root):
    with pytest.raises(UserError, match="22 joints, not 21"):
        cached_profiles(clips_of(root).clips, 21, 1)


def test_a_batch_pairs_each_clip_with_its_own_caption_and_profile(root):
    clips = clips_of(root)
    pairs = batches(root, batch_size=5, seed=3)
    batch, again = pairs.batch(7), batches(root, batch_size=5, seed=3).batch(7)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    for condition, row, action, clip in zip(batch["condition"], batch["profile"], batch["action"], batch["clip"].tolist()):
        assert clips.first[clip] <= int(condition) < clips.first[clip + 1]
        assert row.nonzero().flatten().tolist() == [clip] and action == clip % 4 - 1
    assert not torch.equal(pairs.batch(8)["clip"], batch["clip"])


def test_processes_share_a_batch(root):
    whole, halves = batches(root, batch_size=6), [batches(root, batch_size=3, rank=rank, world=2) for rank in (0, 1)]
    parts = [set(pairs.batch(1)["clip"].tolist()) for pairs in (whole, *halves)]
    assert parts[1] | parts[2] == parts[0] and not parts[1] & parts[2]


def test_training_lowers_the_loss_and_the_run_is_found(root, capsys):
    folder = run(root, "selector", "--max_iters", "80", "--log_every", "1", "--balance", "--schedule", "constant")
    losses = [float(value) for value in re.findall(r"step \d+/80 .*?info_nce ([\d.]+)", capsys.readouterr().out)]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:5])
    model, metadata = load_model(folder.root)
    assert metadata["kind"] == "selector" and metadata["text_encoder"] == "sentence" and metadata["bert"] == str(root / "bert")
    encoder = SentenceEncoder(root / "bert")
    assert metadata["condition"] == encoder.fingerprint and model.config.cond_dim == encoder.dim
    assert model.config.actions == 0 and model.motion_action is None, "no actions.csv, no classifiers"


def test_with_labelled_actions_the_classifiers_learn_them(root, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(root / "data", data)
    names = (data / "train.txt").read_text().split()
    rows = [f"{name},{'walk' if number % 2 else 'turn'},here" for number, name in enumerate(names[:-2])]
    (data / "actions.csv").write_text("\n".join(["clip,action,source", *rows]) + "\n")
    (data / "composed.txt").write_text(names[0] + "\n")
    spec = get_spec("synthetic", data)
    store = MotionStore(spec)
    numbers = train_selector.training_actions(store)
    assert numbers == {"turn": 0, "walk": 1}
    config = parse(TrainSelector, ["--bert", str(root / "bert"), "--batch_size", "18"])
    batch = train_selector.both_splits(config, spec, store, numbers)[0].batch(0)
    order = clips_of(root).clips.names
    expected = {name: number % 2 for number, name in enumerate(names)} | {name: -1 for name in (names[0], *names[-2:])}
    assert batch["action"].tolist() == [expected[order[clip]] for clip in batch["clip"].tolist()]
    capsys.readouterr()
    folder = run(root, "labelled", "--data_root", str(data), "--max_iters", "80", "--log_every", "1", "--schedule", "constant")
    entropies = [float(value) for value in re.findall(r"step \d+/80 .*?action_ce ([\d.]+)", capsys.readouterr().out)]
    assert np.mean(entropies[-20:]) < 0.7 * np.mean(entropies[:5])
    assert load_model(folder.root)[0].config.actions == 2


def test_the_score_adds_the_log_probability_of_the_same_action():
    selector = Selector(SelectorConfig(cond_dim=2, hidden_dim=8, embed_dim=4, actions=3)).eval()
    condition, profiles = torch.randn(2, 2), torch.rand(2, len(BITS)) < 0.3
    cosine = selector.logit_scale.exp() * (selector.embed_texts(condition) * selector.embed_profiles(profiles)).sum(-1)
    of_text, of_motion = (logits.softmax(-1).tolist() for logits in selector.action_logits(condition, profiles))
    for row in range(2):
        same = sum(a * b for a, b in zip(of_text[row], of_motion[row]))
        expected = cosine[row].item() + 2 * math.log(same + 1e-3)
        assert selector(condition, profiles)[row].item() == pytest.approx(expected, abs=1e-5)


def test_unknown_actions_do_not_train_the_classifiers():
    torch.manual_seed(0)
    selector = Selector(SelectorConfig(cond_dim=2, hidden_dim=8, embed_dim=4, actions=3))
    numbers, rows = torch.arange(4), torch.rand(4, len(BITS)) < 0.3
    batch = {"condition": torch.randn(4, 2), "profile": rows, "caption": numbers, "clip": numbers}
    loss, values = selector.eval().loss({**batch, "action": torch.full((4,), -1)})
    loss.backward()
    assert values["action_ce"] == 0 and not selector.text_action.weight.grad.any() and selector.text.weight.grad.any()
    known, half = (selector.loss({**batch, "action": torch.tensor(ids)})[1]["action_ce"] for ids in ([2, 0, 1, 2], [2, -1, -1, -1]))
    alone = selector.loss({name: value[:1] for name, value in batch.items()} | {"action": torch.tensor([2])})[1]["action_ce"]
    torch.testing.assert_close(half, alone)
    assert known != half


def test_a_name_is_needed():
    with pytest.raises(SystemExit) as stopped:
        train_selector.main([])
    assert stopped.value.code == 2


def test_the_embedded_generator_has_a_selector(tmp_path):
    assert resolve_generator(tmp_path, candidates=None).companions["selector_name"] == "selector"
    assert resolve_generator(tmp_path).companions["selector_name"] is None, "one candidate needs no selector"
