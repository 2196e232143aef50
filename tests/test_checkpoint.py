"""Checkpoint files: round trips, atomic writes, strict loads, frozen networks left out, clear errors."""

from __future__ import annotations

import copy
import pickle
import resource

import pytest
import torch
from torch import nn

from utils.checkpoint import (
    CheckpointFolder,
    atomic_path,
    find_weights,
    freeze,
    git_revision,
    load_own_state,
    load_resume,
    load_weights,
    own_state,
    save_resume,
    save_weights,
    train_,
)
from utils.errors import UserError
from utils.runtime import preserved_random_states, random_states, resolve_device, seed_everything, set_random_states

METADATA = {"kind": "tokeniser", "config": {"width": 64, "rates": [1, 3], "act": None}, "step": 7, "revision": ""}


def test_weights_round_trip_with_metadata_dtypes_and_tied_tensors(tmp_path):
    shared = torch.randn(3, 4)
    state = {"a": shared, "b": shared, "t": shared.T, "half": shared.half(), "codes": torch.arange(3), "scalar": torch.tensor(2.0)}
    save_weights(tmp_path / "new/folder/w.safetensors", state, METADATA)
    loaded, metadata = load_weights(tmp_path / "new/folder/w.safetensors")
    assert metadata == METADATA
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        assert loaded[key].dtype == value.dtype and torch.equal(loaded[key], value)


def test_resume_round_trip(tmp_path):
    state = {"step": 3, "model": {"w": torch.randn(2)}, "random": [random_states()], "best": None}
    save_resume(tmp_path / "resume.pt", state)
    loaded = load_resume(tmp_path / "resume.pt")
    assert loaded["step"] == 3 and loaded["best"] is None and torch.equal(loaded["model"]["w"], state["model"]["w"])
    set_random_states(loaded["random"][0])


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "w.bin"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".bin"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[:-5], lambda raw: b"\xff" * 20 + raw[20:], lambda raw: b"hi"])
def test_damaged_files_are_named(tmp_path, damage):
    weights, resume = tmp_path / "w.safetensors", tmp_path / "resume.pt"
    save_weights(weights, {"a": torch.randn(100)}, METADATA)
    save_resume(resume, {"a": torch.randn(100)})
    for path, load in ((weights, load_weights), (resume, load_resume)):
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(UserError, match=str(path)):
            load(path)


def test_resume_file_cannot_run_code(tmp_path):
    torch.save({"step": print}, tmp_path / "resume.pt")
    with pytest.raises(UserError, match="not a readable resume file"):
        load_resume(tmp_path / "resume.pt")


@pytest.mark.parametrize("load", [load_weights, load_resume])
def test_missing_file_is_named(tmp_path, load):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match=f"{path}: no such file"):
            load(path)


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/w\.safetensors"):
        save_weights(tmp_path / "file/w.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(UserError, match=r"cannot write /proc/nowhere"):
        save_resume("/proc/nowhere/resume.pt", {})


def test_full_disk_is_named_and_leaves_the_old_file(tmp_path):
    for path, save in ((tmp_path / "a.pt", save_resume), (tmp_path / "a.safetensors", lambda *args: save_weights(*args, {}))):
        save(path, {"a": torch.zeros(1)})
        old = path.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(UserError, match=f"cannot write {path}"):
                save(path, {"a": torch.zeros(10_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"own": nn.Linear(2, 2), "helper": freeze(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))})


def test_frozen_networks_stay_fixed_and_out_of_checkpoints():
    network = train_(model())
    assert network["own"].training and not network["helper"].training and not network["helper"][1].training
    assert not any(parameter.requires_grad for parameter in network["helper"].parameters())
    assert own_state(network).keys() == {"own.weight", "own.bias"}


def test_frozen_networks_can_be_copied_and_pickled():
    for network in (copy.deepcopy(model()), pickle.loads(pickle.dumps(model()))):
        assert own_state(train_(network)).keys() == {"own.weight", "own.bias"} and not network["helper"].training


def test_own_state_loads_strictly():
    target, source = model(), model()
    helper = target["helper"][0].weight.clone()
    load_own_state(target, own_state(source), "w")
    assert torch.equal(target["own"].weight, source["own"].weight)
    assert torch.equal(target["helper"][0].weight, helper)
    state = own_state(source)
    for wrong in (
        {"own.weight": state["own.weight"]},
        {**state, "more": torch.zeros(1)},
        {**state, "own.bias": torch.zeros(3)},
    ):
        with pytest.raises(UserError, match=r"w: 1 tensors do not fit this model, first '(own\.bias|more)'"):
            load_own_state(target, wrong, "w")


def test_folder_layout(tmp_path):
    folder = CheckpointFolder(tmp_path, "open", "vq")
    assert folder.root == tmp_path / "open/vq"
    assert folder.weights("net_best_fid") == folder.root / "model/net_best_fid.safetensors"
    assert (folder.opt, folder.meta, folder.eval) == (folder.root / "opt.txt", folder.root / "meta", folder.root / "eval")
    assert not folder.has_weights() and not folder.root.exists()
    save_weights(folder.weights("latest"), {"a": torch.zeros(1)}, {})
    assert folder.has_weights()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../../x", "/tmp/x"])
def test_name_outside_the_folder_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="must name a folder inside"):
        CheckpointFolder(tmp_path, "open", name)


def test_git_revision_is_a_commit_or_nothing():
    revision = git_revision().removesuffix("-dirty")
    assert revision == "" or int(revision, 16) >= 0


def test_random_states_round_trip():
    def draws():
        import random

        import numpy as np

        return random.random(), np.random.rand(), torch.rand(2).tolist(), torch.randn(1).item()

    seed_everything(1)
    first = draws()
    seed_everything(1)
    with preserved_random_states():
        assert draws() == first
    assert draws() == first


def test_device_of_gpu_id():
    assert resolve_device(-1) == torch.device("cpu")
    for gpu_id in (torch.cuda.device_count(), -2):
        with pytest.raises(UserError, match=f"--gpu_id {gpu_id}: this machine has"):
            resolve_device(gpu_id)


def test_among_several_best_weights_the_metric_decides_and_not_the_time(tmp_path):
    for name in ("net_best_fid", "latest", "net_best_accuracy", "net_best_loss"):  # the preferred one is the oldest
        save_weights(tmp_path / "model" / f"{name}.safetensors", {"a": torch.zeros(1)}, {})
    assert find_weights(tmp_path).stem == "net_best_fid"
    (tmp_path / "model" / "net_best_fid.safetensors").unlink()
    assert find_weights(tmp_path).stem == "net_best_accuracy"
