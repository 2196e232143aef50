"""A packed dataset gives the same clips again, to a tenth of a millimetre; mirrored clips are computed; errors."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.features import features_to_joints, joints_to_features
from motion.rotation import yaw
from motion.skeleton import HUMANML3D
from prepare import pack
from prepare.captures import mirror
from prepare.folder import write_motion
from prepare.synthetic import walker, write_synthetic
from utils.errors import UserError

CONTACTS = slice(259, 263)


def features_of(joints: np.ndarray) -> torch.Tensor:
    return joints_to_features(torch.from_numpy(joints.astype(np.float32))[None], HUMANML3D)[0][0]


def spinner(turns: float) -> np.ndarray:
    """Someone who walks and turns by `turns`, so that the heading passes -Z."""
    joints = torch.from_numpy(walker(8).astype(np.float32))
    angle = torch.linspace(0, 2 * torch.pi * turns, len(joints))
    forward = torch.stack((angle.sin(), torch.zeros_like(angle), angle.cos()), dim=-1)
    return yaw(joints, forward[:, None]).numpy()


@pytest.fixture
def root(tmp_path) -> Path:
    """A synthetic dataset with the mirror image of one of its clips, and with a clip whose name only looks like one."""
    root = tmp_path / "data"
    write_synthetic(root, clips=8, seed=0)
    name, other = (root / "train.txt").read_text().split()[:2]
    rows = torch.from_numpy(np.load(root / "new_joint_vecs" / f"{name}.npy"))
    image = features_of(mirror(pack.described_joints(rows, 22).numpy()))
    write_motion(root, f"M{name}", image, features_to_joints(image, 22))
    write_motion(root, f"M{other}", rows, features_to_joints(rows, 22))
    for new in (name, other):
        (root / "texts" / f"M{new}.txt").write_text("someone does it mirrored#someone/NOUN#0.0#0.0\n")
    (root / "train.txt").write_text((root / "train.txt").read_text() + f"M{name}\nM{other}\n")
    (root / "actions.csv").write_text("clip,action,source,seconds\n")
    return root


def packed(root: Path) -> Path:
    pack.main(["--data_root", str(root), "--dataset_name", "synthetic", "--out", str(root.parent / "a.pack")])
    return root.parent / "a.pack"


def test_packing_keeps_clips_captions_and_lists(root, tmp_path, capsys):
    file, out = packed(root), tmp_path / "out"
    pack.main(["--unpack", str(file), "--out", str(out), "--workers", "1"])
    names = {name for split in ("train", "val") for name in (root / f"{split}.txt").read_text().split()}
    assert {path.stem for path in (out / "new_joint_vecs").iterdir()} == names
    assert f"{len(names) - 1} clips and 1 mirrored clips" in capsys.readouterr().out
    for name in names:
        unpacked, original = (np.load(folder / "new_joint_vecs" / f"{name}.npy") for folder in (out, root))
        assert unpacked.shape == original.shape and np.abs(unpacked - original)[:, :67].max() < 5e-4, name
        assert (unpacked[:, CONTACTS] != original[:, CONTACTS]).mean() < 0.01
        assert np.abs(np.load(out / "new_joints" / f"{name}.npy") - np.load(root / "new_joints" / f"{name}.npy")).max() < 2e-3
        assert (out / "texts" / f"{name}.txt").read_bytes() == (root / "texts" / f"{name}.txt").read_bytes()
    for name in ("train.txt", "val.txt", "Mean.npy", "Std.npy", "actions.csv"):
        assert (out / name).read_bytes() == (root / name).read_bytes()
    vectors = sum(path.stat().st_size for path in (root / "new_joint_vecs").iterdir())
    assert file.stat().st_size < vectors / 8


@pytest.mark.parametrize("turns", [0.4, 0.9, -1.3])
def test_joints_are_exact_where_the_stored_heading_turns_the_wrong_way(turns):
    features = features_of(spinner(turns))
    joints = pack.described_joints(features, 22)
    assert len(joints) == len(features) + 1
    again = features_of(joints.numpy())
    off = (again - features).abs()
    assert off[:, :193].quantile(0.999) < 1e-3 and off[:, 193:259].max() < 1e-3


def test_planes_and_positions_are_inverse():
    generator = np.random.default_rng(0)
    clips = [generator.integers(-70_000, 70_000, (length, 22, 3)).astype(np.int32) for length in (2, 5)]
    planes = [np.frombuffer(plane, np.uint8).astype(np.int64) << (8 * n) for n, plane in enumerate(pack.planes(clips))]
    values = sum(planes)
    deviations = ((values >> 1) ^ -(values & 1)).reshape(66, -1).T
    for clip, rows in zip(clips, np.split(deviations, [2])):
        joints = pack.positions(rows, HUMANML3D)
        joints[:, 1:] -= joints[:, list(HUMANML3D.parents[1:])]
        assert (joints == clip).all()


def test_errors_are_one_line(root, tmp_path):
    file = packed(root)
    for words in (["--out", ""], ["--unpack", str(root / "train.txt"), "--out", str(tmp_path / "x")]):
        with pytest.raises(SystemExit):
            pack.main(words)
    with pytest.raises(UserError, match="exists"):
        pack.unpack(file, root, 1)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "bad.pack", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == pack.TEXTS:
                content = json.dumps({"../outside": "a#a/DET#0#0"}).encode()
            new.writestr(name, content)
    with pytest.raises(UserError, match="is a path"):
        pack.unpack(tmp_path / "bad.pack", tmp_path / "y", 1)
    assert not (tmp_path / "y").exists()
