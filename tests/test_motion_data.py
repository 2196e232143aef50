"""The motion store and its batches: packing, bad files, normalisation, windows, padded batches."""

import json
import os

import numpy as np
import pytest
import torch

from data import store as motion_module
from data.store import PACK, MotionStore, MotionWindows, Normaliser
from motion.spec import get_spec
from utils.errors import UserError

LENGTHS = {"a": 30, "b": 7, "c": 12, "d": 19}


@pytest.fixture
def spec(tmp_path):
    """A `t2m` folder of four clips; each row starts with (number of the clip, frame) so that rows can be distinguished."""
    spec = get_spec("t2m", tmp_path / "tiny")
    folder = spec.root / "new_joint_vecs"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for clip, (name, length) in enumerate(LENGTHS.items()):
        motion = rng.normal(size=(length, spec.dim)).astype(np.float32)
        motion[:, 0], motion[:, 1] = clip, np.arange(length)
        np.save(folder / f"{name}.npy", motion)
    np.save(spec.root / "Mean.npy", rng.normal(size=spec.dim).astype(np.float32))
    np.save(spec.root / "Std.npy", rng.uniform(0.5, 2, size=spec.dim).astype(np.float32))
    (spec.root / "train.txt").write_text("c\na\nb\n\n")
    return spec


def plain(spec):
    return Normaliser(np.zeros(spec.dim, np.float32), np.ones(spec.dim, np.float32))


def source(spec, name):
    return np.load(spec.root / "new_joint_vecs" / f"{name}.npy")


# The store


def test_pack_holds_every_clip(spec):
    store = MotionStore(spec)
    assert store.names == sorted(LENGTHS) and store.lengths.tolist() == [LENGTHS[name] for name in store.names]
    clips = store.clips(store.split("train"))
    assert clips.names == ["c", "a", "b"]
    for index, name in enumerate(clips.names):
        np.testing.assert_array_equal(clips[index], source(spec, name))


def test_pack_is_written_once_and_again_when_a_file_changes(spec):
    MotionStore(spec)
    first = os.stat(spec.root / PACK).st_ino
    MotionStore(spec)
    assert os.stat(spec.root / PACK).st_ino == first
    np.save(spec.root / "new_joint_vecs" / "e.npy", np.ones((5, spec.dim), np.float32))
    assert "e" in MotionStore(spec)
    os.remove(spec.root / "new_joint_vecs" / "e.npy")
    assert "e" not in MotionStore(spec)


def test_a_damaged_pack_is_rebuilt(spec):
    MotionStore(spec)
    pack = spec.root / PACK
    whole = pack.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"", b"\xff" * 64):
        pack.write_bytes(damaged)
        MotionStore(spec)
        assert pack.read_bytes() == whole


def test_an_interrupted_build_leaves_nothing(spec, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(motion_module, "_motion", stop)
    with pytest.raises(KeyboardInterrupt):
        MotionStore(spec)
    assert not [path for path in spec.root.iterdir() if "pack" in path.name]


def test_read_only_folder_is_packed_in_the_cache(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert MotionStore(spec).names == sorted(LENGTHS)
    assert not (spec.root / PACK).exists() and len(list((tmp_path / "cache").rglob(PACK))) == 1


def test_bad_files_are_named_and_skipped(spec, capsys):
    folder = spec.root / "new_joint_vecs"
    bad = source(spec, "a")
    bad[3, 5] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "narrow.npy", bad[:, :251])
    np.save(folder / "empty.npy", bad[:0])
    (folder / "cut.npy").write_bytes((folder / "a.npy").read_bytes()[:5000])
    (folder / "text.npy").write_text("not an array")
    (folder / "nothing.npy").write_bytes(b"")
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    np.save(folder / "words.npy", np.full((9, spec.dim), "walk"))
    np.savez(folder / "archive", bad)
    os.rename(folder / "archive.npz", folder / "archive.npy")
    (folder / "folder.npy").mkdir()
    store = MotionStore(spec)
    assert store.names == sorted(LENGTHS)
    bad_names = {"nan", "narrow", "empty", "cut", "text", "nothing", "objects", "words", "archive", "folder"}
    assert {name.removesuffix(".npy") for name in store.skipped} == bad_names
    assert "NaN" in store.skipped["nan.npy"] and "251" in store.skipped["narrow.npy"]
    line = capsys.readouterr().err.strip()
    assert "skipped 10 of 14" in line and "archive.npy" in line and "and 5 more" in line and "\n" not in line
    MotionStore(spec)
    assert "skipped 10 of 14" in capsys.readouterr().err  # said again when the pack is reused


def test_names_without_motion_are_counted(spec, capsys):
    clips = MotionStore(spec).clips(["a", "ghost", "b"])
    assert clips.names == ["a", "b"]
    assert "1 of 3 names have no usable motion: ghost" in capsys.readouterr().err


def test_missing_parts_are_user_errors(spec, tmp_path):
    with pytest.raises(UserError, match=r"no such folder.*--data_root"):
        MotionStore(get_spec("t2m", tmp_path / "nowhere"))
    store = MotionStore(spec)
    with pytest.raises(UserError, match=r"val.txt: no such split.*train"):
        store.split("val")
    with pytest.raises(UserError, match="none of the requested names"):
        store.clips(["ghost"])
    with pytest.raises(UserError, match=r"no usable motion.*expected \(frames, 251\).*'kit'"):
        MotionStore(get_spec("kit", spec.root))


# The normaliser


def test_bias_divides_std_of_root_and_contacts_only(spec):
    std, normaliser = np.load(spec.root / "Std.npy"), Normaliser.from_dataset(spec)
    ratio = std / normaliser.std
    np.testing.assert_allclose(ratio[:4], 5, rtol=1e-6)
    np.testing.assert_allclose(ratio[-4:], 5, rtol=1e-6)
    np.testing.assert_array_equal(ratio[4:-4], 1)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_normalise_has_an_inverse(spec, convert):
    normaliser = Normaliser.from_dataset(spec)
    motion = convert(source(spec, "a"))
    normalised = normaliser.normalise(motion)
    assert type(normalised) is type(motion) and normalised.dtype == motion.dtype
    np.testing.assert_allclose(normaliser.denormalise(normalised), motion, atol=2e-5)


def test_saved_normaliser_is_the_same(spec, tmp_path):
    normaliser = Normaliser.from_dataset(spec)
    normaliser.save(tmp_path / "meta")
    loaded = Normaliser.load(tmp_path / "meta")
    np.testing.assert_array_equal(loaded.mean, normaliser.mean)
    np.testing.assert_array_equal(loaded.std, normaliser.std)
    assert sorted(os.listdir(tmp_path / "meta")) == ["mean.npy", "std.npy"]


def test_bad_statistics_are_user_errors(spec, tmp_path):
    with pytest.raises(UserError, match="width 263, but the statistics have 3"):
        Normaliser(np.zeros(3), np.ones(3)).normalise(source(spec, "a"))
    with pytest.raises(UserError, match="mean has width 3, std 4"):
        Normaliser(np.zeros(3), np.ones(4))
    with pytest.raises(UserError, match="std at dimension 1 is not positive"):
        Normaliser(np.zeros(3), np.array([1, 0, 1]))
    with pytest.raises(UserError, match="width 263, but dataset 'kit' has 251"):
        Normaliser.from_dataset(get_spec("kit", spec.root))
    with pytest.raises(UserError, match=r"mean.npy: no such file"):
        Normaliser.load(tmp_path)
    (spec.root / "Std.npy").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"Std.npy: not a readable"):
        Normaliser.from_dataset(spec)
    np.save(spec.root / "Mean.npy", np.full(spec.dim, np.nan))
    with pytest.raises(UserError, match=r"Mean.npy: expected one row of finite numbers"):
        Normaliser.from_dataset(spec)
    os.remove(spec.root / "Mean.npy")
    with pytest.raises(UserError, match=r"Mean.npy: no such file; copy"):
        Normaliser.from_dataset(spec)


# Windows


def windows_of(spec, **options):
    store = MotionStore(spec)
    return MotionWindows(store.clips(store.names), plain(spec), **{"window": 10, "batch_size": 4, **options})


def seen(batch):
    """(clip, first frame, length) of each window, read from the marks in the first two dimensions."""
    return [(int(row[0, 0]), int(row[0, 1]), int(length)) for row, length in zip(batch["motion"], batch["lengths"])]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_visits_every_window_once(spec, world):
    ranks = [windows_of(spec, rank=rank, world=world) for rank in range(world)]
    expected = [(clip, start, min(T, 10)) for clip, T in enumerate(LENGTHS.values()) for start in range(max(T - 10, 0) + 1)]
    assert ranks[0].num_windows == len(expected) and ranks[0].steps_per_epoch == -(-len(expected) // (4 * world))
    stream = [window for step in range(3 * ranks[0].steps_per_epoch) for rank in ranks for window in seen(rank.batch(step))]
    first, second = stream[: len(expected)], stream[len(expected) : 2 * len(expected)]
    assert sorted(first) == sorted(expected) == sorted(second)
    assert first != second and first != sorted(first)  # shuffled, and anew each epoch


def test_windows_are_slices_of_their_clip_and_short_ones_are_zero_padded(spec):
    normaliser = Normaliser.from_dataset(spec)
    store = MotionStore(spec)
    windows = MotionWindows(store.clips(store.names), normaliser, window=10, batch_size=64)
    batch = windows.batch(0)
    motions = [normaliser.normalise(source(spec, name)) for name in LENGTHS]
    marks = {**batch, "motion": normaliser.denormalise(batch["motion"]).round()}
    for (clip, start, length), window in zip(seen(marks), batch["motion"]):
        np.testing.assert_array_equal(window[:length], motions[clip][start : start + length])
        assert not window[length:].any()
    assert {7, 10} == set(batch["lengths"].tolist())
    assert batch["motion"].dtype == torch.float32 and batch["lengths"].dtype == torch.int64
    assert batch["motion"].is_contiguous() and batch["motion"].shape == (64, 10, spec.dim)


def test_batch_depends_on_the_step_alone(spec):
    used, fresh = windows_of(spec, seed=1), windows_of(spec, seed=1)
    for step in (30, 2, 9):
        used.batch(step)
    for step in (9, 0, 30):
        assert torch.equal(used.batch(step)["motion"], fresh.batch(step)["motion"])
    assert not torch.equal(fresh.batch(0)["motion"], windows_of(spec, seed=2).batch(0)["motion"])


def test_a_batch_may_be_larger_than_the_data(spec):
    windows = windows_of(spec, batch_size=100)
    assert windows.steps_per_epoch == 1 and len(set(seen(windows.batch(0)))) == windows.num_windows


# Whole clips in padded batches


@pytest.mark.parametrize(("max_clips", "max_rows"), [(256, 16_384), (2, 16_384), (256, 40), (256, 1), (1, 1000)])
def test_batches_hold_every_clip_once_within_bounds(spec, max_clips, max_rows):
    store = MotionStore(spec)
    clips = store.clips(store.names)
    visited = []
    for batch in clips.batches(plain(spec), max_clips=max_clips, max_rows=max_rows):
        size, width, _ = batch["motion"].shape
        assert size == 1 or (size <= max_clips and size * width <= max_rows)
        assert width == batch["lengths"].max()
        for index, motion, length in zip(batch["index"].tolist(), batch["motion"], batch["lengths"].tolist()):
            np.testing.assert_array_equal(motion[:length], source(spec, clips.names[index]))
            assert not motion[length:].any()
            visited.append(clips.names[index])
    assert sorted(visited) == sorted(LENGTHS) and visited == sorted(visited, key=LENGTHS.get)


def test_index_says_what_the_pack_holds(spec):
    """The layout stated at the top of the file, read independently."""
    MotionStore(spec)
    pack = (spec.root / PACK).read_bytes()
    size = int.from_bytes(pack[-8:], "little")
    index = json.loads(pack[-8 - size : -8])
    rows = np.frombuffer(pack[: -8 - size], "<f4").reshape(sum(index["lengths"]), spec.dim)
    np.testing.assert_array_equal(rows, np.concatenate([source(spec, name) for name in index["names"]]))
