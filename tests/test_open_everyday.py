"""Everyday takes in `open`: segments, rests, short clips, idling, and no motion that is in two splits."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.features import facing
from motion.rotation import yaw
from motion.skeleton import HUMANML3D
from prepare import open_dataset
from prepare.clip_files import write_published, write_texts
from prepare.joint_folder import joint_files, read_joint_file
from prepare.open_clips import IDLE_SECONDS, limit_idle, make_clips, take_clips
from prepare.open_dataset import needs_label
from prepare.open_report import report_overlaps
from prepare.synthetic import walker, waver
from prepare.takes import Clip, Segment, Take

WINDOW, SAME = 10, 0.004  # frames; metres a joint is off at most, in the mean over a window, where a motion is a copy


def walk(frames: int, seed: int) -> np.ndarray:
    """Joints of a walk whose stride, turn and direction depend on `seed`."""
    rng = np.random.default_rng(seed)
    joints = walker(60, stride=rng.uniform(0.3, 0.7), turn=rng.uniform(-300, 300), direction=rng.uniform(-40, 40))
    start = rng.integers(len(joints) - frames)
    return joints[start : start + frames].astype(np.float32)


# source/clip: frames, label
CLIPS = {
    **{f"cmu/01_0{n}": (300, "walk") for n in range(1, 7)},
    "cmu/88_01": (60, "backflip"),
    "mass/backflip": (60, "backflip"),  # the same again
    "cmu/14_14": (60, "walk"),
    "cmu/14_14_crop": (40, "walk"),
    **{f"hdm05/HDM_bd_hopBothLegs1hops_00{n}_120": (14, "hop on both legs, 1 hop") for n in range(1, 4)},
    "hdm05/HDM_tr_squat1Reps_041_120": (32, "squat, 1 repetition"),
}
PAIRS = (  # id, capture, start, end, split
    ("000101", "01_01", 0, 100, "train"), ("000102", "01_02", 40, 140, "test"), ("000103", "01_03", 100, 300, "val"),
    ("000104", "14_14", 0, 60, "test"),
)  # fmt: skip


@pytest.fixture(scope="module")
def everyday(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("everyday")
    arrays = {clip: walk(frames, seed) for seed, (clip, (frames, _)) in enumerate(CLIPS.items())}
    arrays["mass/backflip"] = arrays["cmu/88_01"] * 1.1 + np.float32([1, 0, 2])
    arrays["cmu/14_14_crop"] = arrays["cmu/14_14"][10:50]
    for clip, joints in arrays.items():
        (folder / clip).parent.mkdir(exist_ok=True)
        np.save(folder / f"{clip}.npy", joints)
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "clip", "frames", "label", "note"))
        writer.writerows((*clip.split("/"), frames, label, "") for clip, (frames, label) in CLIPS.items())
    keys = ("id", "cmu", "start_frame", "end_frame", "split")
    pairs = [dict(zip(keys, pair)) | {"captions": ["a person walks to the left."]} for pair in PAIRS]
    (folder / "pairs.json").write_text(json.dumps({"pairs": pairs}))
    return folder


@pytest.fixture(scope="module")
def dataset(everyday, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "Open"
    open_dataset.main([f"--joints={everyday}", f"--out={out}", "--workers=1", "--compositions=0.2"])
    return out


def names(dataset: Path, split: str) -> list[str]:
    path = dataset / f"{split}.txt"
    return path.read_text().split() if path.exists() else []


def windows(dataset: Path, clips: list[str]) -> tuple[torch.Tensor, list[str]]:
    """Stretches of moving people (N, WINDOW * 66), relative to their start, with the clip of each."""
    result, owners = [], []
    for clip in clips:
        joints = torch.from_numpy(np.load(dataset / "new_joints" / f"{clip}.npy"))
        starts = torch.arange(len(joints) - WINDOW + 1)
        clip_windows = joints[starts[:, None] + torch.arange(WINDOW)]  # (N, WINDOW, 22, 3)
        ahead = facing(joints, HUMANML3D)[starts][:, None, None].expand(*clip_windows.shape[:3], 3)
        clip_windows = yaw(clip_windows - clip_windows[:, :1, :1], ahead).flatten(1)
        result.append(clip_windows)
        owners += [clip] * len(clip_windows)
    return torch.cat(result), owners


def copies(dataset: Path, held_out: list[str], train: list[str]) -> set[tuple[str, str]]:
    """Pairs of clips that share a stretch of motion."""
    (held_out_windows, owners), (train_windows, train_owners) = windows(dataset, held_out), windows(dataset, train)
    distances, nearest = torch.cdist(held_out_windows, train_windows).min(1)
    same = distances / (WINDOW * 22) ** 0.5 < SAME
    return {(owners[i], train_owners[nearest[i]]) for i in same.nonzero()[:, 0].tolist()}


def test_no_motion_is_in_train_and_elsewhere(dataset):
    held_out = sorted(set(names(dataset, "all")) - set(names(dataset, "train")))
    plain = [clip for clip in held_out if not clip.startswith("M")]
    assert copies(dataset, plain, names(dataset, "train")) == set()


def test_a_copy_would_be_found(dataset):
    """Tests the comparison itself on a copy that is scaled, turned and moved, and on a crop."""
    assert ("cmu_88_01", "mass_backflip") in copies(dataset, ["cmu_88_01"], ["mass_backflip"])
    assert ("cmu_14_14_crop", "000104") in copies(dataset, ["cmu_14_14_crop"], ["000104"])


def test_segments_keep_split_and_captions_and_rests_have_labels(dataset):
    assert {"000101", "M000101"} <= set(names(dataset, "train"))
    assert all("000102" in names(dataset, split) for split in ("test", "test_cmu", "test_everyday"))
    assert (dataset / "texts" / "000101.txt").read_text().startswith("a person walks to the left.#")
    assert (dataset / "texts" / "M000101.txt").read_text().startswith("a person walks to the right.#")
    rests = [clip for clip in names(dataset, "all") if clip.startswith("cmu_01_02")]
    assert rests and set(rests) <= set(names(dataset, "test_everyday")) and not set(rests) & set(names(dataset, "test"))
    assert all(len((dataset / "texts" / f"{clip}.txt").read_text().splitlines()) >= 6 for clip in rests)
    assert {clip for clip in names(dataset, "val") if clip.startswith("cmu_01_03")}


def test_crops_of_a_test_take_and_the_actor_are_held_out(dataset):
    assert {"cmu_14_14_crop", "hdm05_HDM_tr_squat1Reps_041_120"} <= set(names(dataset, "test_everyday"))
    everywhere = [clip for split in ("train", "val", "test", "test_unseen") for clip in names(dataset, split)]
    assert len(everywhere) == len(set(everywhere))


def test_short_clips_are_joined_not_dropped(dataset):
    hops = [clip for clip in names(dataset, "all") if clip.startswith("hdm05_HDM_bd")]
    assert hops and all(clip.endswith("_x2") for clip in hops)
    assert "joined from takes shorter than 25 frames" in (dataset / "report.txt").read_text()


def test_compositions_are_for_training_alone(dataset):
    composed = names(dataset, "composed")
    assert composed and set(composed) <= set(names(dataset, "train"))
    assert all(clip.startswith(("C", "MC")) for clip in composed)


def test_every_clip_has_its_action(dataset):
    with (dataset / "actions.csv").open() as file:
        rows = {row["clip"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == names(dataset, "all")
    assert rows["hdm05_HDM_tr_squat1Reps_041_120"] | {"clip": ""} == {
        "clip": "", "action": "squat", "source": "hdm05", "seconds": "1.55",
    }  # fmt: skip
    assert rows["000101"]["action"] == "walk"


def test_frames_outside_segments_are_used_once():
    segments = (Segment("1", 50, 120, "train"), Segment("2", 100, 200, "train"))
    take = Take("cmu_1", "cmu", label="walk", joints=walk(400, 0), segments=segments)
    clips = {clip.name: clip.joints for clip in take_clips(take, "train")}
    assert list(clips) == ["1", "2", "cmu_1"]  # 50 frames before them are too few
    assert np.array_equal(clips["cmu_1"], take.joints[200:])
    assert list(take_clips(Take("own", "own", joints=take.joints), "train")) == []  # neither label nor segment


def test_idling_is_limited_and_shared_out():
    def idle(take: str, number: int) -> Clip:
        return Clip(f"{take}{number}", "", "", "idle", "train", np.zeros((200, 22, 3)), "idle", ("idle",), take=take)

    clips = [idle(f"take{n}", number) for n in range(10) for number in range(6)]
    kept = limit_idle(clips)
    assert len(kept) == IDLE_SECONDS * 20 // 199
    counts = {clip.take: sum(other.take == clip.take for other in kept) for clip in clips}
    assert set(counts.values()) == {3}


def test_an_array_with_holes_is_reported_and_left_out(tmp_path, capsys):
    (tmp_path / "cmu").mkdir()
    for name, value in (("01_01", 0), ("01_02", np.nan)):
        joints = walk(60, 1)
        joints[30:31] += value
        np.save(tmp_path / "cmu" / f"{name}.npy", joints)
    (tmp_path / "clips.csv").write_text("source,clip,label\ncmu,01_01,walk\ncmu,01_02,walk\ncmu,01_03,walk\n")
    open_dataset.main([f"--joints={tmp_path}", f"--out={tmp_path / 'Open'}", "--workers=1"])
    report = capsys.readouterr().out
    assert "left out: cmu_01_02" in report and "left out: cmu_01_03" in report
    assert names(tmp_path / "Open", "all") == ["Mcmu_01_01", "cmu_01_01"]


def test_a_mirrored_label_has_its_sides_exchanged():
    take = Take("hdm05_1", "hdm05", label="kick to the front with the left foot", joints=waver().astype(np.float32))
    labels = {clip.name: clip.label for clip in make_clips([take])}
    assert labels == {"hdm05_1": take.label, "Mhdm05_1": "kick to the front with the right foot"}


def test_a_leading_t_pose_is_dropped_where_the_note_says_so(tmp_path):
    joints = waver("both", height="shoulder").astype(np.float32)
    arms = joints[:10, [16, 17]] + np.float32([[[0.3, 0, 0], [-0.3, 0, 0]]])
    posed = joints[:10].copy()
    posed[:, [18, 19]], posed[:, [20, 21]] = arms, 2 * arms - joints[:10, [16, 17]]
    (tmp_path / "cmu").mkdir()
    np.save(tmp_path / "cmu" / "01_01.npy", np.concatenate((posed, joints)))
    for note, frames in (("starts in a T-pose", len(joints)), ("", len(joints) + 10)):
        (tmp_path / "clips.csv").write_text(f"source,clip,label,note\ncmu,01_01,wave,{note}\n")
        (take,) = map(read_joint_file, joint_files(tmp_path))
        assert len(take.joints) == frames


def test_segments_that_overlap_across_splits_are_counted():
    segments = (Segment("1", 0, 100, "train"), Segment("2", 90, 180, "test"), Segment("3", 100, 200, "train"))
    (line,) = report_overlaps([Take("cmu_1", "cmu", segments=segments)])
    assert line.startswith("2 pairs")
    assert report_overlaps([Take("cmu_1", "cmu", segments=segments[::2])]) == []


@pytest.mark.parametrize(
    ("label", "split", "needed"),
    [
        ("basketball - forward dribble", "train", True), ("soccer - kick ball", "train", True), ("slow walk", "train", False),
        ("Run Turn Left", "train", False), ("sit, stand up", "train", False), ("drink soda", "test", False), ("", "train", False),
    ],
)  # fmt: skip
def test_segments_of_one_action_get_captions_from_their_label(label, split, needed):
    clip = Clip("000001", "", "", "cmu", split, np.zeros((30, 22, 3), np.float32), label, segment=True)
    assert needs_label(clip) is needed


def test_generated_captions_follow_published_ones(tmp_path):
    write_published(["000001"], {"000001": b"he plays.#he/PRON play/VERB#0.0#0.0"}, tmp_path)
    write_texts({"000001": ("a person dribbles",)}, tmp_path, map)
    lines = (tmp_path / "texts" / "000001.txt").read_text().splitlines()
    assert [line.split("#")[0] for line in lines] == ["he plays.", "a person dribbles"]
