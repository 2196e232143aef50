"""Motion files as windows: what is found in folders, where motions are cut, how windows are batched."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.windows import batches, cut, motion_files, named_files, read_motions, windows_of
from motion.spec import get_spec
from prepare.synthetic import walker
from utils.errors import UserError

SPEC = get_spec("synthetic")


@given(frames=st.integers(8, 5000), window=st.integers(24, 196), stride=st.sampled_from([1, 4, 8]))
def test_windows_cover_a_motion_evenly(frames, window, stride):
    pieces = cut(frames, window, stride)
    lengths = [end - start for start, end in pieces]
    assert pieces[0][0] == 0 and pieces[-1][1] == frames
    assert all(end == start for (_, end), (start, _) in pairwise(pieces))
    assert all(start % stride == 0 for start, _ in pieces)
    assert max(lengths) <= window
    assert max(lengths) - min(lengths) < 2 * stride
    assert len(pieces) == -(-frames // (window // stride * stride))  # no more of them than must be


@pytest.mark.parametrize(
    "frames, window, stride, expected",
    [
        (8, 196, 4, [(0, 8)]),
        (196, 196, 4, [(0, 196)]),
        (197, 196, 4, [(0, 100), (100, 197)]),
        (391, 196, 4, [(0, 196), (196, 391)]),
        (100, 50, 4, [(0, 36), (36, 68), (68, 100)]),  # 48 frames are the most whole tokens in 50
        (65, 64, 64, [(0, 64)]),  # the last frame is no token
        (40, 196, 64, []),
    ],
)
def test_where_motions_are_cut(frames, window, stride, expected):
    assert cut(frames, window, stride) == expected


def test_windows_are_pieces_of_the_features_in_order(capsys):
    motions = {Path(name): np.random.rand(frames, 3) for name, frames in (("a", 70), ("b", 3), ("c", 30))}
    windows = windows_of(motions, 32, 4)
    assert [(str(window.file), window.start, window.end) for window in windows] == [
        ("a", 0, 24), ("a", 24, 48), ("a", 48, 70), ("c", 0, 30),
    ]  # fmt: skip
    assert all((window.features == motions[window.file][window.start : window.end]).all() for window in windows)
    assert capsys.readouterr().err == "skipped 1 of 3 files: b: 3 frames, 4 or more are needed\n"
    with pytest.raises(UserError, match="b: 3 frames"):
        windows_of({Path("b"): motions[Path("b")]}, 32, 4)
    with pytest.raises(UserError, match="--window 32"):
        windows_of(motions, 32, 64)


def test_batches_hold_every_piece_once_with_others_about_as_long():
    pieces = [np.full((length, 2), length, np.float32) for length in (9, 30, 8, 30, 12)]
    seen = []
    for positions, features, lengths in batches(pieces, 2):
        seen += positions
        assert features.shape == (len(positions), max(lengths), 2)
        for position, row, length in zip(positions, features.numpy(), lengths):
            assert (row[:length] == pieces[position]).all()
            assert not row[length:].any()
    assert seen == [2, 0, 4, 1, 3]


# Files


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.npy", "a/z.BVH", "a/y.amc", "a/y.asf", ".hidden.npy", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folders_are_walked_in_order(folder):
    assert [str(Path(file).relative_to(folder)) for file in motion_files(folder)] == ["a/y.amc", "a/z.BVH", "b.npy"]
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.npy.* or \.gltf file"):
        motion_files(folder / "empty")
    with pytest.raises(UserError, match="no such folder"):
        motion_files(folder / "none")


def test_files_come_as_they_are_named_and_each_once(folder):
    files = named_files([str(folder / "b.npy"), str(folder), str(folder / "a" / ".." / "b.npy")])
    assert files == [folder / "b.npy", folder / "a" / "y.amc", folder / "a" / "z.BVH"]
    with pytest.raises(UserError, match=r"none\.npy: no such file"):
        named_files([str(folder / "b.npy"), "none.npy"])


def test_files_without_motion_are_named(tmp_path, capsys):
    joints = walker(4)
    for name, array in (("good", joints), ("short", joints[:5]), ("nan", joints * np.nan), ("kit", joints[:, :21])):
        np.save(tmp_path / f"{name}.npy", array)
    files = named_files([str(tmp_path)])
    motions = read_motions(files, SPEC)
    assert {file.name: motion.shape for file, motion in motions.items()} == {"good.npy": (len(joints), SPEC.dim)}
    stderr = capsys.readouterr().err
    assert "skipped 3 of 4 files: " in stderr
    assert all(f"{name}.npy" in stderr for name in ("short", "nan", "kit"))
    with pytest.raises(UserError, match=r"nan\.npy: NaN"):
        read_motions([tmp_path / "nan.npy"], SPEC)
    with pytest.raises(UserError, match=r"none of 2 files.* and 1 more"):
        read_motions([tmp_path / "nan.npy", tmp_path / "short.npy"], SPEC)
    assert capsys.readouterr().err == ""
