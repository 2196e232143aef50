"""The builder of `open`: splits, mirrored clips, unseen combinations that are not in training, a report of omissions."""

import hashlib
import io
import os
import re
import shutil
import signal
import tarfile
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.features import joints_to_features
from motion.files.bvh import write_bvh
from motion.ik import with_standard_hubs
from motion.rotation import euler_to_matrix
from motion.skeleton import HUMANML3D
from prepare import open_dataset
from prepare.clip_files import write_batch
from prepare.open_clips import cut, make_clips
from prepare.open_splits import UNSEEN, draw_splits
from prepare.raw_files import raw_files
from prepare.sides import swap_sides
from prepare.stats import mean_std
from prepare.takes import LONGEST, SHORTEST, Clip, Take
from utils.errors import UserError
from utils.workers import processes

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")

# Bandai-Namco's skeleton: joint, parent, offset in centimetres.
BANDAI = (
    ("joint_Root", -1, (0, 0, 0)), ("Hips", 0, (0, 90, 0)), ("Spine", 1, (0, 15, 0)), ("Chest", 2, (0, 9, 0)),
    ("Neck", 3, (0, 16, 0)), ("Head", 4, (0, 6, 1)), ("Shoulder_L", 3, (5, 13, 0)), ("UpperArm_L", 6, (5, 0, 0)),
    ("LowerArm_L", 7, (0, -24, 0)), ("Hand_L", 8, (0, -22, 0)), ("Shoulder_R", 3, (-5, 13, 0)), ("UpperArm_R", 10, (-5, 0, 0)),
    ("LowerArm_R", 11, (0, -24, 0)), ("Hand_R", 12, (0, -22, 0)), ("UpperLeg_L", 1, (6, -2, 0)), ("LowerLeg_L", 14, (0, -39, 0)),
    ("Foot_L", 15, (0, -41, 0)), ("Toes_L", 16, (0, -6, 12)), ("UpperLeg_R", 1, (-6, -2, 0)), ("LowerLeg_R", 18, (0, -39, 0)),
    ("Foot_R", 19, (0, -41, 0)), ("Toes_R", 20, (0, -6, 12)),
)  # fmt: skip
# CMU's, as Poser has it; the writer closes each foot with an End Site.
CMU = (
    ("hip", -1, (0, 0, 0)), ("abdomen", 0, (0, 20, 0)), ("chest", 1, (0, 12, 0)), ("neck", 2, (0, 22, 0)), ("head", 3, (0, 7, 1)),
    ("lCollar", 2, (3, 19, 0)), ("lShldr", 5, (9, -2, 0)), ("lForeArm", 6, (0, -28, 0)), ("lHand", 7, (0, -22, 0)),
    ("rCollar", 2, (-3, 19, 0)), ("rShldr", 9, (-9, -2, 0)), ("rForeArm", 10, (0, -28, 0)), ("rHand", 11, (0, -22, 0)),
    ("lThigh", 0, (9, 2, 0)), ("lShin", 13, (0, -37, 0)), ("lFoot", 14, (1, -45, 5)),
    ("rThigh", 0, (-9, 2, 0)), ("rShin", 16, (0, -37, 0)), ("rFoot", 17, (-1, -45, 5)),
)  # fmt: skip
TAKES = {
    **{f"dataset-1_walk_normal_{number:03}": 45 + number for number in range(1, 11)},
    **{f"dataset-2_wave-left-hand_normal_{number:03}": 45 + number for number in range(1, 4)},
    "dataset-1_bow_active_001": 60,  # unseen
    "dataset-2_run_elderly_001": 60,  # unseen
    "dataset-1_kick_normal_001": 37,  # 25 frames at 20 fps: as short as may be
    "dataset-1_punch_normal_001": 36,  # a frame too short
    "dataset-1_dance-short_normal_001": 700,  # 467 frames: two whole pieces and 69 frames
}
CAPTION = b"a person lifts the left hand.#a/DET person/NOUN lift/VERB the/DET left/ADJ hand/NOUN#0.0#1.5\n"


def write_capture(path: Path, skeleton, frames: int, fps: float, seed: int) -> None:
    """Someone who sways and swings legs and arms while going ahead."""
    names, parents, offsets = zip(*skeleton)
    time = np.arange(frames) / fps
    phases = np.random.default_rng(seed).uniform(0, 6, size=(len(names), 3))
    angles = 0.2 * np.sin(5 * time[:, None, None] + phases)
    angles[:, 0] = 0
    root = np.stack((3 * np.sin(time), 2 * np.cos(time), 100 * time), axis=-1)
    write_bvh(path, names, parents, np.array(offsets, float), root, euler_to_matrix(torch.from_numpy(angles), "ZYX").numpy(), fps)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Folders bandai, cmu and texts."""
    root = tmp_path_factory.mktemp("sources")
    for folder in ("bandai/data", "cmu", "texts/texts"):
        (root / folder).mkdir(parents=True)
    for seed, (name, frames) in enumerate(TAKES.items()):
        write_capture(root / "bandai" / "data" / f"{name}.bvh", BANDAI, frames, 30, seed)
    (root / "bandai" / "data" / "dataset-2_walk_normal_001.bvh").write_text("HIERARCHY\nMOTION\n")
    (root / "bandai" / "README.md").write_text("not a motion")
    write_capture(root / "cmu" / "60_01.bvh", CMU, 400, 120, seed=99)  # 60 fps in truth
    texts = root / "texts"
    (texts / "index.csv").write_text(
        "source_path,start_frame,end_frame,new_name\n"
        "./pose_data/CMU/60/60_01_poses.npy,10,60,000001.npy\n"
        "./pose_data/CMU/60/60_01_poses.npy,100,120,000002.npy\n"  # too short
        "./pose_data/CMU/60/60_01_poses.npy,60,120,000003.npy\n"
        "./pose_data/CMU/99/99_01_poses.npy,0,60,000004.npy\n"  # not here
        "./pose_data/KIT/3/kick_poses.npy,0,60,000005.npy\n"
    )
    (texts / "train.txt").write_text("000001\nM000001\n000002\nM000002\n000004\nM000004\n000005\nM000005\n")
    (texts / "val.txt").write_text("")
    (texts / "test.txt").write_text("000003\nM000003\n")
    for number in range(1, 6):
        (texts / "texts" / f"00000{number}.txt").write_bytes(CAPTION)
        (texts / "texts" / f"M00000{number}.txt").write_bytes(CAPTION.replace(b"left", b"right"))
    return root


def build(sources: Path, out: Path, *more: str) -> Path:
    folders = [f"--{flag}={sources / flag}" for flag in ("bandai", "cmu", "texts")]
    open_dataset.main([*folders, f"--out={out}", "--workers=1", *more])
    return out


@pytest.fixture(scope="module")
def dataset(sources, tmp_path_factory) -> Path:
    return build(sources, tmp_path_factory.mktemp("built") / "Open")


def names(dataset: Path, split: str) -> list[str]:
    return (dataset / f"{split}.txt").read_text().split()


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_clip_has_its_files_in_humanml3ds_layout(dataset):
    clips = names(dataset, "all")
    assert len(clips) == len(set(clips)) == 2 * (10 + 3 + 1 + 1 + 1 + 3 + 2)
    for folder, suffix in (("new_joint_vecs", ".npy"), ("new_joints", ".npy"), ("texts", ".txt")):
        assert sorted(path.name for path in (dataset / folder).iterdir()) == sorted(clip + suffix for clip in clips)
    for clip in clips:
        features, joints = (np.load(dataset / folder / f"{clip}.npy") for folder in ("new_joint_vecs", "new_joints"))
        assert features.dtype == joints.dtype == np.float32
        assert SHORTEST <= len(features) <= LONGEST and features.shape[1] == 263 and joints.shape == (len(features), 22, 3)
        assert np.isfinite(features).all()


def test_motions_stand_on_the_floor_at_the_origin_and_face_ahead(dataset):
    for clip in names(dataset, "all"):
        joints = np.load(dataset / "new_joints" / f"{clip}.npy")
        assert -1e-3 < joints[..., 1].min() < 0.05
        assert np.abs(joints[0, 0, [0, 2]]).max() < 1e-6
        across = joints[0, 1] - joints[0, 2] + joints[0, 16] - joints[0, 17]
        assert across[0] > 0.3 and abs(across[2]) < 1e-3  # left is +x, so the front is +z


def test_a_walk_of_known_speed(dataset):
    """The captures move at 1 m/s with legs of 80 cm; the legs of the dataset are 81.6 cm."""
    joints = np.load(dataset / "new_joints" / "B1_walk_normal_010.npy")
    speed = np.linalg.norm((joints[-1, 0] - joints[0, 0])[[0, 2]]) / (len(joints) - 1) * 20
    assert speed == pytest.approx(0.8158 / 0.80, rel=0.05)


def test_mirrors_are_mirrors(dataset):
    for clip in ("B1_walk_normal_003", "000001"):
        joints, mirrored = (np.load(dataset / "new_joints" / f"{name}.npy") for name in (clip, f"M{clip}"))
        flipped = joints[:, list(HUMANML3D.mirror)] * [-1, 1, 1]
        assert np.abs(mirrored - flipped).max() < 0.06  # the uniform skeleton's sides differ by up to a centimetre a bone


def test_long_takes_are_cut_and_short_ones_left_out(dataset):
    clips = names(dataset, "all")
    dance = [clip for clip in clips if clip.startswith("B1_dance")]
    assert dance == [f"B1_dance-short_normal_001{letter}" for letter in "abc"]
    assert [len(np.load(dataset / "new_joints" / f"{clip}.npy")) for clip in dance] == [199, 199, 68]
    assert "B1_kick_normal_001" in clips and "B1_punch_normal_001" not in clips
    report = (dataset / "report.txt").read_text()
    assert "1 left out because shorter than 25 frames: B1_punch_normal_001" in report
    assert "1 left out because shorter than 25 frames: 000002" in report
    assert "1 cut because longer than 200 frames" in report
    assert "HumanML3D's segments of CMU: 4, 1 without a file (1 captures: 99_01)" in report
    assert re.search("left out: B2_walk_normal_001: .*dataset-2_walk_normal_001.bvh: not a BVH file", report)


def test_pieces_go_on_where_the_last_ended():
    joints = np.arange(467 * 66, dtype=np.float32).reshape(467, 22, 3)
    pieces = cut(joints)
    assert [len(piece) for piece in pieces] == [200, 200, 69]
    assert np.array_equal(pieces[0][-1], pieces[1][0])
    assert [len(piece) for piece in cut(joints[:240])] == [200]  # the rest only shows the end
    assert [len(cut(joints[:frames])) for frames in (24, 25, 200)] == [1, 1, 1]


def test_no_take_and_no_mirror_crosses_splits(dataset):
    split_of = {}
    for split in ("train", "val", "test", "test_unseen"):
        for name in names(dataset, split):
            assert name not in split_of
            split_of[name] = split
    assert sorted(split_of) == names(dataset, "all")
    assert names(dataset, "train_val") == sorted(names(dataset, "train") + names(dataset, "val"))
    takes = {}
    for name, split in split_of.items():
        takes.setdefault(re.sub("[a-z]$", "", name.removeprefix("M")), set()).add(split)
    assert all(len(splits) == 1 for splits in takes.values())


def test_cmu_keeps_its_split_and_its_captions(dataset):
    assert {"000001", "M000001"} <= set(names(dataset, "train"))
    assert {"000003", "M000003"} <= set(names(dataset, "test"))
    assert names(dataset, "test_cmu") == [name for name in names(dataset, "test") if not name.startswith(("B", "MB"))]
    assert (dataset / "texts" / "000001.txt").read_bytes() == CAPTION
    assert b"right hand" in (dataset / "texts" / "M000001.txt").read_bytes()
    # 50 frames at 20 fps, cut from a capture of 60 fps after its rest pose: one metre a second would be 2.5 m at 120.
    joints = np.load(dataset / "new_joints" / "000001.npy")
    assert len(joints) == 49
    assert np.linalg.norm(joints[-1, 0, [0, 2]]) == pytest.approx(48 * 3 / 120, rel=0.1)


def test_captions_have_tokens_and_whole_clip_tags(dataset):
    for clip in names(dataset, "all"):
        if clip.startswith(("B", "MB")):
            lines = (dataset / "texts" / f"{clip}.txt").read_text().splitlines()
            assert len(lines) >= 4
            for line in lines:
                caption, tokens, start, end = line.split("#")
                assert caption and (start, end) == ("0.0", "0.0")
                assert all(re.fullmatch("[^/ ]+/[A-Z]+", token) for token in tokens.split())


def test_statistics_come_from_train_alone(dataset):
    mean, std = mean_std(np.load(dataset / "new_joint_vecs" / f"{name}.npy") for name in names(dataset, "train"))
    assert np.array_equal(np.load(dataset / "Mean.npy"), mean) and np.array_equal(np.load(dataset / "Std.npy"), std)
    assert len(np.unique(std)) == 7  # one deviation a group
    everything = mean_std(np.load(dataset / "new_joint_vecs" / f"{name}.npy") for name in names(dataset, "all"))[0]
    assert not np.array_equal(everything, mean)


def test_deviations_are_averaged_in_humanml3ds_groups():
    clips = [np.random.default_rng(seed).normal(size=(50, 263)) * np.arange(1, 264) for seed in range(4)]
    bad = np.full((50, 263), np.nan)
    mean, std = mean_std([*clips, bad])
    frames = np.concatenate(clips)
    assert np.allclose(mean, frames.mean(0), atol=1e-4)
    for start, stop in ((0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263)):
        assert np.allclose(std[start:stop], frames.std(0)[start:stop].mean(), rtol=1e-5)
    with pytest.raises(UserError, match="width 5"):
        mean_std([np.zeros((3, 5))])
    with pytest.raises(UserError, match="NaN"):
        mean_std([bad])


def test_the_unseen_combinations_are_unseen(dataset):
    assert {source: len(combinations) for source, combinations in UNSEEN.items()} == {"bandai 1": 12, "bandai 2": 4}
    unseen = ["B1_bow_active_001", "B2_run_elderly_001", "MB1_bow_active_001", "MB2_run_elderly_001"]
    assert names(dataset, "test_unseen") == unseen


def test_no_mirror_of_a_seen_take_shows_an_unseen_combination():
    for combinations in UNSEEN.values():
        for content, style in combinations:
            assert (swap_sides(content), style) in combinations


@needs_shared
def test_no_unseen_combination_is_seen_in_the_other_dataset():
    same = {"elderly": "old", "masculine": "masculinity"}
    archive = SHARED / "bandai" / "Bandai-Namco-Research-Motiondataset-1.tar.xz"
    with tarfile.open(archive, "r|xz") as members:
        matches = [re.search(r"dataset-1_([a-z-]+)_([a-z-]+)_\d+\.bvh", member.name) for member in members]
    first = {match.groups() for match in matches if match}
    # Dataset 2 has every content in every style; walk and run are in both.
    styles = ("active", "elderly", "exhausted", "feminine", "masculine", "normal", "youthful")
    second = {(content, same.get(style, style)) for content in ("walk", "run") for style in styles}
    assert set(UNSEEN["bandai 1"]) <= first - second
    assert not {(content, same.get(style, style)) for content, style in UNSEEN["bandai 2"]} & first


def test_shares_of_a_large_content():
    takes = [Take(f"B1_walk_normal_{number:03}", "bandai 1", "walk", "normal") for number in range(200)]
    splits = list(draw_splits(takes).values())
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (160, 10, 30)
    assert draw_splits(takes[::-1]) == draw_splits(takes)


def test_a_rare_content_stays_in_train():
    takes = [Take(f"B1_punch_normal_{number:03}", "bandai 1", "punch", "normal") for number in range(2)]
    assert set(draw_splits(takes).values()) == {"train"}


def test_a_mirrored_clip_does_the_mirrored_thing():
    joints = np.zeros((30, 22, 3), np.float32)
    clips = make_clips([Take("B2_walk-turn-left_normal_001", "bandai 2", "walk-turn-left", "normal", joints=joints)])
    assert [(clip.name[0], clip.content) for clip in clips] == [("B", "walk-turn-left"), ("M", "walk-turn-right")]
    assert swap_sides("left right") == "right left"


def test_padding_in_a_batch_changes_nothing(dataset, tmp_path):
    rng = np.random.default_rng(0)
    clips = [Clip(str(size), "", "", "", "", rng.normal(size=(size, 22, 3)).astype(np.float32)) for size in (30, 90)]
    for folder in ("new_joint_vecs", "new_joints"):
        (tmp_path / folder).mkdir()
    write_batch(clips, tmp_path)
    joints = with_standard_hubs(clips[0].joints.astype(np.float64), HUMANML3D)
    alone, _ = joints_to_features(torch.from_numpy(joints).float()[None], HUMANML3D)
    assert np.abs(np.load(tmp_path / "new_joint_vecs" / "30.npy") - alone[0].numpy()).max() < 1e-4


def test_the_same_bytes_again_from_archives_and_by_two_processes_in_place_of_an_older_build(sources, dataset, tmp_path):
    packed = tmp_path / "packed"
    for flag in ("bandai", "cmu"):
        (packed / flag).mkdir(parents=True)
        with tarfile.open(packed / flag / "all.tar.xz", "w:xz") as archive:
            archive.add(sources / flag, flag)
    shutil.copytree(sources / "texts", packed / "texts")
    with tarfile.open(packed / "texts" / "texts.tar.gz", "w:gz") as archive:
        archive.add(packed / "texts" / "texts", "./texts")
    shutil.rmtree(packed / "texts" / "texts")
    shutil.copytree(dataset, tmp_path / "Open")
    (tmp_path / "Open" / "old.npy").touch()
    again = digests(build(packed, tmp_path / "Open", "--workers=2"))
    first = digests(dataset)
    assert again.pop("report.txt") != first.pop("report.txt")  # it names the unreadable file where it lies
    assert again == first


def killed(job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_read_jobs_lazily_and_keep_their_order():
    with processes(2) as process:
        assert list(islice(process(abs, count(-3)), 6)) == [3, 2, 1, 0, 1, 2]


def test_a_killed_worker_ends_the_build():
    with pytest.raises(UserError, match=r"--workers 2: .* killed.*; use fewer --workers"), processes(2) as process:
        list(process(killed, range(9)))


def test_a_folder_of_something_else_is_not_replaced(sources, tmp_path, capsys):
    out = tmp_path / "Open"
    out.mkdir()
    (out / "report.txt").write_text("my diary")
    with pytest.raises(SystemExit):
        build(sources, out)
    assert "not built by this script" in capsys.readouterr().err
    assert (out / "report.txt").read_text() == "my diary" and len(list(tmp_path.iterdir())) == 1


def test_a_failed_build_leaves_the_old_one(sources, dataset, tmp_path, capsys):
    out = shutil.copytree(dataset, tmp_path / "Open")
    bad = tmp_path / "bad"
    shutil.copytree(sources / "bandai", bad / "bandai")
    (bad / "bandai" / "more.tar.xz").write_bytes(b"no archive at all")
    with pytest.raises(SystemExit) as stop:
        open_dataset.main([f"--bandai={bad / 'bandai'}", f"--out={out}", "--workers=1"])
    assert stop.value.code == 2 and "more.tar.xz" in capsys.readouterr().err
    assert digests(out) == digests(dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Open", "bad"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--bandai"),
        (["--bandai=EMPTY"], "no dataset-"),
        (["--bandai=EMPTY/nothing"], "no such folder"),
        (["--cmu=EMPTY"], "--texts"),
        (["--cmu=EMPTY", "--texts=EMPTY"], "texts.tar.gz"),
        (["--cmu=EMPTY", "--texts=TEXTS"], "no capture"),
        (["--bandai=EMPTY", "--workers=0"], "--workers"),
    ],
)
def test_wrong_flags_are_user_errors(sources, tmp_path, capsys, flags, message):
    (tmp_path / "empty").mkdir()
    flags = [flag.replace("EMPTY", str(tmp_path / "empty")).replace("TEXTS", str(sources / "texts")) for flag in flags]
    with pytest.raises(SystemExit) as stop:
        open_dataset.main([*flags, f"--out={tmp_path / 'Open'}", *(["--workers=1"] if "--workers=0" not in flags else [])])
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and error.startswith("error:") and message in error
    assert not (tmp_path / "Open").exists()


@needs_shared
def test_real_captures(tmp_path):
    """Two takes of Bandai-Namco, one CMU capture as ASF/AMC and one as BVH, cut as HumanML3D does."""
    for flag, archive, wanted in (
        ("bandai", "bandai/Bandai-Namco-Research-Motiondataset-1.tar.xz", ("dataset-1_bow_angry_001", "dataset-1_bow_giant_001")),
        ("cmu", "cmu/asfamc.tar.xz", ("131", "131_04")),
        ("cmu", "cmu/bvh.tar.xz", ("61_09",)),
    ):
        (tmp_path / flag).mkdir(exist_ok=True)
        with tarfile.open(SHARED / archive, "r|xz") as members:
            files = (member for member in members if member.isfile() and Path(member.name).stem in wanted)
            for _, member in zip(wanted, files):
                (tmp_path / flag / Path(member.name).name).write_bytes(members.extractfile(member).read())
    (tmp_path / "texts" / "texts").mkdir(parents=True)
    for name in ("index.csv", "train.txt", "val.txt", "test.txt"):
        shutil.copy(SHARED / "humanml3d" / name, tmp_path / "texts")
    for name in ("002086", "003483", "009142"):
        for version in (name, f"M{name}"):
            (tmp_path / "texts" / "texts" / f"{version}.txt").write_bytes(CAPTION)
    build(tmp_path, tmp_path / "Open")
    assert [name for name in names(tmp_path / "Open", "all") if name[0] != "M"] == [
        "002086", "003483", "009142", "B1_bow_angry_001", "B1_bow_giant_001",
    ]  # fmt: skip
    assert {"003483", "M003483"} == set(names(tmp_path / "Open", "test"))
    published = np.load(SHARED / "humanml3d" / "Mean.npy")
    for name in names(tmp_path / "Open", "all"):
        features = np.load(tmp_path / "Open" / "new_joint_vecs" / f"{name}.npy")
        assert np.abs(features.mean(0) - published)[4:67].max() < 0.7  # a person of HumanML3D's build, the right way up
        assert (np.load(tmp_path / "Open" / "new_joints" / f"{name}.npy")[:, 15, 1] > 0.4).all()


def test_of_equal_names_the_first_counts(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.bvh").write_text(folder)
    assert [file.text for file in raw_files(tmp_path, lambda path: path.suffix == ".bvh")] == ["a"]
    assert isinstance(next(raw_files(tmp_path, lambda path: True)).stream(), io.StringIO)
