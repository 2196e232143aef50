"""Training the selector: profiles of a dataset, batches as functions of their number, and the script on a small dataset."""

from __future__ import annotations

import re
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
from motion.facts.profile import BITS, profile
from motion.features import features_to_joints
from motion.spec import get_spec
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
    return ProfileBatches(clips, np.arange(len(clips))[:, None] == np.arange(len(clips)), Conditions(vectors), **settings)


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
    for condition, row, clip in zip(batch["condition"], batch["profile"], batch["clip"].tolist()):
        assert clips.first[clip] <= int(condition) < clips.first[clip + 1]
        assert row.nonzero().flatten().tolist() == [clip]
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


def test_a_name_is_needed():
    with pytest.raises(SystemExit) as stopped:
        train_selector.main([])
    assert stopped.value.code == 2


def test_the_embedded_generator_has_a_selector(tmp_path):
    assert resolve_generator(tmp_path, candidates=None).companions["selector_name"] == "selector"
    assert resolve_generator(tmp_path).companions["selector_name"] is None, "one candidate needs no selector"
