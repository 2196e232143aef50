"""A dataset of a user's own motions: any format, any rate, captions as written, splits, warnings, errors."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from motion.files.export import export
from prepare import own_dataset
from prepare.own_clips import draw_own_splits
from prepare.synthetic import bower, walker, waver
from prepare.takes import Segment, Take

HEADER = "file,caption,label,start,end,split\n"


@pytest.fixture
def motions(tmp_path) -> Path:
    """Three arrays, one of them long, and a BVH of 30 frames a second."""
    folder = tmp_path / "motions"
    (folder / "sub").mkdir(parents=True)
    np.save(folder / "walk.npy", walker(8).astype(np.float32))
    np.save(folder / "sub" / "wave left.npy", waver("left").astype(np.float32))
    np.save(folder / "long.npy", walker(60).astype(np.float32))
    np.save(folder / "short.npy", walker(8).astype(np.float32)[:20])
    return folder


def build(motions: Path, table: str, *more: str) -> Path:
    out = motions.parent / "Mine"
    (motions.parent / "captions.csv").write_text(HEADER + table)
    flags = [f"--motions={motions}", f"--captions={motions.parent / 'captions.csv'}", f"--out={out}", "--workers=1"]
    own_dataset.main([*flags, *more])
    return out


def captions(out: Path, clip: str) -> list[str]:
    return [line.partition("#")[0] for line in (out / "texts" / f"{clip}.txt").read_text().splitlines()]


def listed(out: Path, split: str) -> list[str]:
    return (out / f"{split}.txt").read_text().split()


def test_captions_stay_as_written_and_labels_become_captions(motions, capsys):
    rows = ("walk.npy,Somebody walks to the LEFT,,,,train", "walk.npy,they stroll,,,,train", "sub/wave left.npy,,wave,,,val")
    out = build(motions, "\n".join(rows))
    assert captions(out, "own_walk") == ["Somebody walks to the LEFT", "they stroll"]
    assert captions(out, "Mown_walk") == ["Somebody walks to the right", "they stroll"]
    generated = captions(out, "own_sub_wave_left")
    assert len(generated) >= 6 and sum("wav" in caption for caption in generated) >= 3
    assert listed(out, "train") == ["Mown_walk", "own_walk"] and listed(out, "val") == ["Mown_sub_wave_left", "own_sub_wave_left"]
    assert capsys.readouterr().err.splitlines()[-1].startswith("warning: 2 clips,")


def test_stretches_become_clips_and_long_ones_are_cut(motions):
    table = "long.npy,a person walks,,0,3,train\nlong.npy,a person goes on,,3,,train\n"
    out = build(motions, table)
    frames = {clip: len(np.load(out / "new_joint_vecs" / f"{clip}.npy")) for clip in listed(out, "train") if clip[0] != "M"}
    assert frames.pop("own_long_1") == 59
    assert frames and all(re.fullmatch("own_long_2[a-z]?", clip) and 24 <= count <= 199 for clip, count in frames.items())
    assert all(captions(out, clip) == ["a person goes on"] for clip in frames)


def test_other_frame_rates_become_twenty(motions):
    joints = bower().astype(np.float32)
    export(motions / "bow.bvh", joints, "", 20)
    text = (motions / "bow.bvh").read_text()
    (motions / "bow.bvh").write_text(re.sub(r"Frame Time: \S+", "Frame Time: 0.1", text))  # the same frames, 10 a second
    out = build(motions, "bow.bvh,a person bows,,,,train\n")
    assert abs(len(np.load(out / "new_joint_vecs" / "own_bow.npy")) - 2 * len(joints)) <= 3


def test_the_folder_holds_what_scripts_read(motions):
    out = build(motions, "walk.npy,a person walks,,,,train\n")
    assert {"Mean.npy", "Std.npy", "train.txt", "val.txt", "test.txt", "actions.csv"} <= {path.name for path in out.iterdir()}
    with (out / "actions.csv").open() as file:
        assert [row["action"] for row in csv.DictReader(file)] == ["walk", "walk"]


def test_files_that_name_no_split_are_drawn():
    takes = [Take(f"own_{n}", "own", segments=(Segment(f"own_{n}", 0, 50),)) for n in range(40)]
    splits = list(draw_own_splits(takes).values())
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (32, 4, 4)
    assert draw_own_splits(takes[::-1]) == draw_own_splits(takes)
    assert set(draw_own_splits(takes[:2]).values()) == {"train"}


def test_files_that_cannot_be_used_are_named(motions, capsys):
    out = build(motions, "walk.npy,a person walks,,,,\nshort.npy,a person walks,,,,\ngone.npy,a person walks,,,,\n")
    report = capsys.readouterr().out
    assert "left out because no section has 25 frames at 20 fps: own_short" in report
    assert re.search("left out: .*gone.npy", report)
    assert listed(out, "all") == ["Mown_walk", "own_walk"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("walk.npy,,,,,\n", "line 2 has neither a caption nor a label"),
        ("walk.npy,a person walks,,3,2,\n", "line 2 ends before it starts"),
        ("walk.npy,a person walks,,soon,,\n", "'soon' is not a time"),
        ("walk.npy,a person walks,,,,training\n", "split 'training'"),
        ("walk.npy,a person walks,,,,test\n", "no clip for training"),
        ("gone.npy,a person walks,,,,\n", "none of the 1 files"),
        ("sub/wave.npy,a,,,,\nsub_wave.npy,b,,,,\n", "same name"),
        ("", "no rows"),
    ],
)
def test_a_wrong_table_is_a_user_error(motions, capsys, table, message):
    with pytest.raises(SystemExit) as stop:
        build(motions, table)
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and error.startswith("error:") and message in error
    assert not (motions.parent / "Mine").exists()


def test_another_folder_is_not_replaced(motions, capsys):
    (motions.parent / "Mine").mkdir()
    (motions.parent / "Mine" / "diary.txt").write_text("private")
    with pytest.raises(SystemExit):
        build(motions, "walk.npy,a person walks,,,,\n")
    assert "not built by this script" in capsys.readouterr().err
