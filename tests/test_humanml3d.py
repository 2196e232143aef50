"""The HumanML3D builder: clips are cut, turned and mirrored as published, the folder is complete, missing clips are reported."""

import shutil
import tarfile
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch

from motion.features import features_to_joints, joints_to_features
from motion.skeleton import HUMANML3D
from prepare import humanml3d
from prepare.captures import Clip, Sources, build_chunk, cut, mirror, read_index
from prepare.stats import mean_std
from tests.test_smpl import amass_arrays, model_arrays, naive_joints, saved
from utils.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")

INDEX = """source_path,start_frame,end_frame,new_name
./pose_data/CMU/01/01_01_poses.npy,5,45,000000.npy
./pose_data/CMU/01/01_01_poses.npy,20,50,000001.npy
./pose_data/MPI_HDM05/dg/HDM_dg_01 a_poses.npy,10,40,000002.npy
./pose_data/humanact12/humanact12/P01.npy,0,-1,000003.npy
"""
CLIPS = ("000000", "000001", "000002", "000003")
LEFT, RIGHT = (1, 4, 7, 10, 13, 16, 18, 20), (2, 5, 8, 11, 14, 17, 19, 21)


@cache
def capture(frames: int = 101, joints: int = 22, seed: int = 0) -> np.ndarray:
    """Joints (T, joints, 3) as in pose_data: a body that sways, Y up, left and right exchanged."""
    arrays = amass_arrays(frames, seed)
    body = naive_joints(model_arrays(), arrays)[..., [0, 2, 1]]
    return np.concatenate((body, np.zeros((frames, joints - 22, 3))), axis=1).astype(np.float32)


@pytest.fixture()
def work(tmp_path) -> Path:
    """A folder with index.csv, captions, splits and a joint array for every source."""
    (tmp_path / "index.csv").write_text(INDEX)
    (tmp_path / "texts").mkdir()
    for name in CLIPS:
        (tmp_path / "texts" / f"{name}.txt").write_text("a person lifts the left hand#a/DET#0.0#0.0\n")
        (tmp_path / "texts" / f"M{name}.txt").write_text("a person lifts the right hand#a/DET#0.0#0.0\n")
    (tmp_path / "train.txt").write_text("000000\nM000000\n000002\nM000002\n000009\n")
    (tmp_path / "val.txt").write_text("000001\nM000001\n")
    (tmp_path / "test.txt").write_text("000003\nM000003\n")
    for seed, source in enumerate(("CMU/01/01_01_poses", "MPI_HDM05/dg/HDM_dg_01 a_poses", "humanact12/humanact12/P01")):
        path = tmp_path / "joints" / f"{source}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, capture(joints=(22, 52, 24)[seed], seed=seed))
    return tmp_path


def run(work: Path, *more: str, sources: tuple[str, ...] = ("--joints", "joints")) -> Path:
    """Build the dataset in this process, from and into the folder `work`."""
    flags = {"--index": "index.csv", "--texts": "texts", "--out": "out", "--workers": "1"}
    flags |= dict(zip(sources[::2], sources[1::2])) | dict(zip(more[::2], more[1::2]))
    paths = [word for flag, value in flags.items() for word in (flag, value if flag == "--workers" else str(work / value))]
    humanml3d.main(paths)
    return work / "out"


def features_of(joints: np.ndarray) -> np.ndarray:
    return joints_to_features(torch.from_numpy(joints.astype(np.float32))[None], HUMANML3D)[0][0].numpy()


def close(path: Path, joints: np.ndarray) -> None:
    """Assert that the file contains the features of these joints, up to rounding, because they were computed in padded batches."""
    np.testing.assert_allclose(np.load(path), features_of(joints), atol=2e-4)


def failure(capsys, work: Path, *more: str, **settings) -> str:
    """The one line of a run that ends with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        run(work, *more, **settings)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# Cutting and mirroring.


@pytest.mark.parametrize(
    ("dataset", "lead"),
    [("CMU", 0), ("Eyes_Japan_Dataset", 60), ("MPI_HDM05", 60), ("TotalCapture", 20), ("MPI_Limits", 20), ("Transitions_mocap", 10)]
)
def test_a_clip_is_counted_from_after_the_lead_and_x_is_negated(dataset, lead):
    joints = np.arange(200 * 66, dtype=np.float32).reshape(200, 22, 3)
    clip = cut(joints, Clip("000000", PurePosixPath(dataset, "a_poses"), 5, 25))
    np.testing.assert_array_equal(clip, joints[lead + 5 : lead + 25] * (-1, 1, 1))


def test_humanact12_is_taken_as_it_is():
    joints = np.ones((50, 22, 3), np.float32)
    assert cut(joints, Clip("000001", PurePosixPath("humanact12/humanact12/P01"), 0, -1)) is joints


def test_mirroring_exchanges_sides_and_undoes_itself():
    joints = np.random.default_rng(0).normal(size=(10, 22, 3)).astype(np.float32)
    mirrored = mirror(joints)
    for left, right in zip(LEFT, RIGHT):
        np.testing.assert_array_equal(mirrored[:, left], joints[:, right] * (-1, 1, 1))
    np.testing.assert_array_equal(mirrored[:, 15], joints[:, 15] * (-1, 1, 1))  # the head stays the head
    np.testing.assert_array_equal(mirror(mirrored), joints)


def test_the_index_is_read_and_wrong_lines_are_named(work):
    clips = read_index(work / "index.csv")
    assert clips[2] == Clip("000002", PurePosixPath("MPI_HDM05/dg/HDM_dg_01 a_poses"), 10, 40)
    with (work / "index.csv").open("a") as file:
        file.write("./pose_data/CMU/02/02_01_poses.npy,here,45,000004.npy\n")
    with pytest.raises(UserError, match=r"index\.csv: line 6"):
        read_index(work / "index.csv")


# From arrays of joints.


def test_features_are_those_of_the_cut_clip_and_of_its_mirror(work):
    out = run(work)
    joints = np.load(work / "joints/CMU/01/01_01_poses.npy")
    close(out / "new_joint_vecs/000000.npy", joints[5:45] * (-1, 1, 1))
    close(out / "new_joint_vecs/000001.npy", joints[20:50] * (-1, 1, 1))
    close(out / "new_joint_vecs/M000000.npy", mirror(joints[5:45] * np.float32([-1, 1, 1])))
    close(out / "new_joint_vecs/000002.npy", np.load(work / "joints/MPI_HDM05/dg/HDM_dg_01 a_poses.npy")[70:100, :22] * (-1, 1, 1))
    ready = np.load(work / "joints/humanact12/humanact12/P01.npy")[:, :22]
    close(out / "new_joint_vecs/000003.npy", ready)
    close(out / "new_joint_vecs/M000003.npy", mirror(ready))


def test_new_joints_are_what_the_features_tell(work):
    out = run(work)
    for file in (out / "new_joint_vecs").iterdir():
        joints = np.load(out / "new_joints" / file.name)
        assert joints.dtype == np.float32 and joints.shape == (len(np.load(file)), 22, 3)
        np.testing.assert_allclose(joints, features_to_joints(torch.from_numpy(np.load(file)), 22).numpy(), atol=1e-5)


def test_the_mirrored_clip_is_the_clip_seen_in_a_mirror(work):
    out = run(work)
    joints = np.load(out / "new_joints/000000.npy")
    assert (joints[:, 1, 0] > joints[:, 2, 0])[0], "the left hip of a person who faces +Z is on the side of +X"
    # Not to the last millimetre: both are given the same skeleton, whose two sides differ by up to a centimetre.
    np.testing.assert_allclose(np.load(out / "new_joints/M000000.npy"), mirror(joints), atol=0.03)


def test_captions_splits_and_statistics(work):
    out = run(work)
    for name in CLIPS:
        for version in (name, f"M{name}"):
            assert (out / "texts" / f"{version}.txt").read_bytes() == (work / "texts" / f"{version}.txt").read_bytes()
    splits = {split: (out / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert splits["train"] == ["000000", "M000000", "000002", "M000002"], "a name without a motion is left out"
    assert (out / "all.txt").read_text().split() == [name for names in splits.values() for name in names]
    assert splits["val"] == ["000001", "M000001"] and splits["test"] == ["000003", "M000003"]

    mean, std = mean_std(np.load(file) for file in sorted((out / "new_joint_vecs").iterdir()))
    np.testing.assert_allclose(np.load(out / "Mean.npy"), mean, atol=1e-5)
    np.testing.assert_allclose(np.load(out / "Std.npy"), std, atol=1e-5)


def test_captions_come_from_a_folder_or_an_archive(work):
    expected = humanml3d.read_captions(work / "texts")
    assert sorted(expected) == sorted([*CLIPS, *(f"M{name}" for name in CLIPS)])
    with zipfile.ZipFile(work / "texts.zip", "w") as archive:
        for name, text in expected.items():
            archive.writestr(f"texts/{name}.txt", text)
        archive.writestr("__MACOSX/texts/._000000.txt", b"junk")
    with tarfile.open(work / "texts.tar.gz", "w:gz") as archive:
        archive.add(work / "texts", "./texts")
        archive.add(work / "train.txt", "./train.txt")
    assert humanml3d.read_captions(work / "texts.zip") == expected
    assert humanml3d.read_captions(work / "texts.tar.gz") == expected

    broken = work / "broken.tar.gz"
    broken.write_bytes((work / "texts.tar.gz").read_bytes()[:300])
    with pytest.raises(UserError, match=r"broken\.tar\.gz: cannot be read"):
        humanml3d.read_captions(broken)


# From AMASS.


def amass_folder(work: Path) -> dict[str, np.ndarray]:
    """Models and one motion of 120 frames a second in `work`; returns the motion's arrays."""
    saved(work / "smplh/male/model.npz", model_arrays(1))
    saved(work / "smplh/female/model.npz", model_arrays(2))
    motion = amass_arrays(frames=301, gender=np.array("female"))
    saved(work / "amass/CMU/01/01_01_poses.npz", motion)
    return motion


def standing(motion: dict[str, np.ndarray], step: int) -> np.ndarray:
    """Every `step`-th frame of a motion as joints (T, 22, 3) with Y up, by the plain loop."""
    fewer = {**motion, "poses": motion["poses"][::step], "trans": motion["trans"][::step]}
    x, y, z = np.moveaxis(naive_joints(model_arrays(2), fewer), -1, 0)
    return np.stack((-x, z, y), axis=-1)  # exchange y and z, then negate x


def test_amass_clips_are_posed_reduced_turned_and_cut(work):
    joints = standing(amass_folder(work), step=6)  # 120 → 20 fps
    out = run(work, sources=("--amass", "amass", "--smplh", "smplh"))
    assert sorted(file.stem for file in (out / "new_joints").iterdir()) == ["000000", "000001", "M000000", "M000001"]
    close(out / "new_joint_vecs/000000.npy", joints[5:45])
    close(out / "new_joint_vecs/000001.npy", joints[20:50])


def test_a_lifted_left_arm_is_still_the_left_one(work):
    poses = np.zeros((301, 156))
    poses[:, 0] = np.pi / 2
    poses[:, 3 * 16 + 2] = np.pi / 2  # arms hang in this body's rest pose; the left one is lifted to the side
    amass_folder(work)
    saved(work / "amass/CMU/01/01_01_poses.npz", amass_arrays(poses=poses, trans=np.zeros((301, 3)), betas=np.zeros(16)))
    out = run(work, sources=("--amass", "amass", "--smplh", "smplh"))
    for name, lifted, hanging in (("000000", 20, 21), ("M000000", 21, 20)):
        joints = np.load(out / "new_joints" / f"{name}.npy")
        assert (joints[:, lifted, 1] > joints[:, hanging, 1] + 0.3).all()


@pytest.mark.parametrize(("fps", "step"), [(60.0, 3), (59.99, 2), (250, 12)])
def test_frames_are_taken_at_whole_steps(work, fps, step):
    motion = {**amass_folder(work), "mocap_framerate": np.array(fps)}
    saved(work / "amass/CMU/01/01_01_poses.npz", motion)
    out = run(work, sources=("--amass", "amass", "--smplh", "smplh"))
    close(out / "new_joint_vecs/000000.npy", standing(motion, step)[5:45])


def test_later_names_of_amass_folders_are_found(work):
    motion = amass_folder(work)
    saved(work / "amass/HDM05/dg/HDM_dg_01_a_poses.npz", {**motion, "mocap_framerate": np.array(20.0)})
    out = run(work, sources=("--amass", "amass", "--smplh", "smplh"))
    assert (out / "new_joints/000002.npy").exists()


def test_joints_and_amass_together_make_the_whole(work):
    amass_folder(work)
    shutil.rmtree(work / "joints/CMU")
    out = run(work, sources=("--amass", "amass", "--smplh", "smplh", "--joints", "joints"))
    assert len(list((out / "new_joints").iterdir())) == 8


# What goes wrong.


def test_what_is_left_out_is_counted_and_named(work, capsys):
    bad = capture(seed=1).copy()
    bad[80, 3, 1] = np.nan
    np.save(work / "joints/MPI_HDM05/dg/HDM_dg_01 a_poses.npy", bad)
    (work / "joints/humanact12/humanact12/P01.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")
    with (work / "index.csv").open("a") as file:
        file.write("./pose_data/KIT/9/Turn_poses.npy,0,60,000004.npy\n./pose_data/KIT/3/kick_poses.npy,0,60,000005.npy\n")
        file.write("./pose_data/CMU/01/01_01_poses.npy,0,1,000006.npy\n./pose_data/CMU/01/01_01_poses.npy,0,60,000007.npy\n")
    for name in ("000004", "000005", "000006"):
        (work / "texts" / f"{name}.txt").touch()
        (work / "texts" / f"M{name}.txt").touch()
    out = run(work)
    assert sorted(file.stem for file in (out / "texts").iterdir()) == ["000000", "000001", "M000000", "M000001"]
    output = capsys.readouterr().out
    assert "2 of 8 clips built" in output
    assert "2 left out, source missing: KIT 2\n    KIT/3/kick_poses, KIT/9/Turn_poses\n" in output
    assert "1 left out, source unreadable: humanact12 1" in output and "P01.npy" in output
    assert "1 left out, not a number: MPI_HDM05 1\n    000002\n" in output
    assert "1 left out, too short: CMU 1\n    000006: 1 frame(s)\n" in output
    assert "1 left out, no captions: CMU 1\n    000007\n" in output


@pytest.mark.parametrize(
    "array", [np.zeros((60, 21, 3)), np.zeros((60, 66)), np.zeros((60, 22, 3), int), np.array([None]), np.zeros((60, 22, 4))]
)
def test_arrays_that_are_no_joints_are_unreadable(work, capsys, array):
    np.save(work / "joints/CMU/01/01_01_poses.npy", array)
    run(work)
    assert "2 left out, source unreadable: CMU 2" in capsys.readouterr().out


def test_nothing_built_is_an_error_and_leaves_nothing(work, capsys):
    shutil.rmtree(work / "joints")
    (work / "joints").mkdir()
    assert "no clip could be built" in failure(capsys, work)
    assert not list(work.glob("*out*")) and not list(work.glob(".*"))


def test_an_interrupted_build_leaves_nothing(work, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(humanml3d, "report", interrupt)
    with pytest.raises(SystemExit) as end:
        run(work)
    assert end.value.code == 130
    assert not list(work.glob("*out*")) and not list(work.glob(".*"))


def test_an_existing_dataset_is_not_overwritten(work, capsys):
    (work / "out").mkdir()
    (work / "out/Mean.npy").touch()
    assert "exists already" in failure(capsys, work)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--index", "none.csv"), "none.csv"),
        (("--texts", "none.zip"), "none.zip"),
        (("--splits", "joints"), "--splits"),
        (("--joints", "none"), "no such folder"),
        (("--amass", "joints"), "--smplh"),
        (("--amass", "joints", "--smplh", "joints"), "male/model.npz: no such file"),
        (("--workers", "0"), "--workers 0"),
    ],
)
def test_wrong_flags_are_named(work, capsys, flags, message):
    assert message in failure(capsys, work, *flags)
    assert not (work / "out").exists()


def test_no_sources_at_all(work, capsys):
    assert "--amass" in failure(capsys, work, sources=())


def test_a_slow_capture_is_unreadable(work, capsys):
    motion = amass_folder(work)
    saved(work / "amass/CMU/01/01_01_poses.npz", {**motion, "mocap_framerate": np.array(10.0)})
    assert "no clip could be built" in failure(capsys, work, sources=("--amass", "amass", "--smplh", "smplh"))


def test_two_processes_write_the_same_bytes(work):
    first = {file.relative_to(work / "out"): file.read_bytes() for file in run(work).rglob("*.*")}
    shutil.move(work / "out", work / "one")
    second = {file.relative_to(work / "out"): file.read_bytes() for file in run(work, "--workers", "2").rglob("*.*")}
    assert first == second and len(first) == 3 * 8 + 7


# The published sample.


@needs_shared
def test_the_published_clip_comes_out_as_published(tmp_path):
    published = np.load(SHARED / "golden/012314_new_joints.npy")  # 170 frames; the 171st is not known
    clip = next(clip for clip in read_index(SHARED / "humanml3d/index.csv") if clip.name == "012314")
    source = tmp_path / "joints" / f"{clip.source}.npy"
    source.parent.mkdir(parents=True)
    source_joints = np.concatenate((np.repeat(published[:1], 3 * 20 + clip.start, axis=0), published)) * np.float32([-1, 1, 1])
    np.save(source, source_joints)
    for folder in ("new_joint_vecs", "new_joints"):
        (tmp_path / folder).mkdir()
    (outcome,) = build_chunk([clip], Sources(joints=tmp_path / "joints"), tmp_path)
    assert not outcome.problem
    features, expected = np.load(tmp_path / "new_joint_vecs/012314.npy"), np.load(SHARED / "golden/012314_new_joint_vecs.npy")[:169]
    np.testing.assert_array_equal(features[:, -4:], expected[:, -4:])
    np.testing.assert_allclose(features, expected, atol=0.015)
    np.testing.assert_allclose(np.load(tmp_path / "new_joints/012314.npy"), published[:169], atol=1e-4)


@needs_shared
def test_every_mirrored_clip_of_the_splits_has_captions():
    captions = humanml3d.read_captions(SHARED / "humanml3d/texts.tar.gz")
    splits = humanml3d.read_splits(SHARED / "humanml3d")
    names = {name for split in splits.values() for name in split}
    assert len(captions) == 29_232 and names <= captions.keys()
    assert {f"M{name}" for name in names if name[0] != "M"} == {name for name in names if name[0] == "M"}
    assert {clip.name for clip in read_index(SHARED / "humanml3d/index.csv")} == {name.removeprefix("M") for name in captions}
    assert b"left hand" in captions["M012314"] and b"right hand" in captions["012314"]
    assert all(b"#" in captions[name] for name in names)
