"""Procedural people: right bones, planted feet, and the requested motion; and a dataset folder made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text import read_captions
from motion.facts.frames import ANKLES, HIPS, NECK, PELVIS, TOES, WRISTS
from motion.skeleton import HUMANML3D
from motion.spec import get_spec
from prepare.synthetic import HANDS, HEIGHTS, bower, main, raiser, walker, waver, write_synthetic

EVERYONE = {
    "walker": walker(),
    "runner": walker(8, stride=1.0, pace=2.8, run=True),
    "turning walker": walker(7, turn=-135),
    "sidestepper": walker(5, stride=0.4, direction=90),
    "waver": waver("both", 3),
    "raiser": raiser("left", height="chest", times=2),
    "bower": bower(60, 2),
}


@pytest.mark.parametrize("joints", EVERYONE.values(), ids=EVERYONE)
def test_bones_are_as_long_as_humanml3ds(joints):
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])], axis=-1)
    assert np.allclose(bones, HUMANML3D.lengths[1:], atol=1e-5)


@pytest.mark.parametrize("joints", EVERYONE.values(), ids=EVERYONE)
def test_clips_stand_on_the_floor_at_the_origin_facing_z_and_move_smoothly(joints):
    assert joints.dtype == np.float32 and joints.shape[1:] == (22, 3) and np.isfinite(joints).all()
    assert joints[..., 1].min() == pytest.approx(0, abs=1e-6)
    assert np.abs(joints[0, PELVIS, [0, 2]]).max() < 1e-6
    assert joints[0, HIPS[0], 0] > 0 > joints[0, HIPS[1], 0] and abs(joints[0, HIPS[0], 2]) < 1e-6
    assert np.abs(np.diff(joints, axis=0)).max() < 0.5  # metres a frame: 10 m/s


@settings(max_examples=10, deadline=None)
@given(steps=st.integers(2, 9), turn=st.sampled_from([0, 45, -90, 180]), direction=st.sampled_from([0, 180, 90]))
def test_a_walkers_feet_stand_still_while_they_carry(steps, turn, direction):
    joints = walker(steps, stride=0.5, turn=turn, direction=direction)
    moved = np.linalg.norm(np.diff(joints[:, [*ANKLES, *TOES]], axis=0), axis=-1)  # (T - 1, 4)
    moved = np.maximum(moved[:, :2], moved[:, 2:])  # (T - 1, 2), a foot with both its joints
    assert (moved.min(axis=1) < 1e-3).all(), "one foot or the other carries in every frame of a walk"


def test_a_runner_flies():
    lowest = {name: EVERYONE[name][:, list(TOES), 1].min(axis=1).max() for name in ("runner", "walker")}
    assert lowest["runner"] > 0.015 and lowest["walker"] < 0.005


@pytest.mark.parametrize(("direction", "where"), [(0, (0, 1)), (90, (1, 0)), (-90, (-1, 0)), (180, (0, -1))])
def test_a_walker_goes_the_ordered_way_and_distance(direction, where):
    joints = walker(7, stride=0.5, direction=direction)
    assert np.allclose(joints[-1, PELVIS, [0, 2]], 3.0 * np.array(where), atol=1e-3)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("height", HEIGHTS)
def test_a_raiser_raises_the_ordered_hand_only(hand, height):
    wrists = raiser(hand, height=height)[:, list(WRISTS), 1]
    rose = np.ptp(wrists, axis=0) > 0.2
    assert [side in HANDS[hand] for side in (0, 1)] == rose.tolist()


def test_a_bower_bends_as_deep_as_ordered():
    joints = bower(50)
    spine = joints[:, NECK] - joints[:, PELVIS]
    assert np.degrees(np.arctan2(spine[:, 2], spine[:, 1])).max() == pytest.approx(50, abs=1)



@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    write_synthetic(root, clips=10, seed=1)
    return root


def test_the_folder_has_humanml3ds_layout(folder):
    spec = get_spec("synthetic", folder)
    splits = {name: (folder / f"{name}.txt").read_text().split() for name in ("train", "val", "test", "train_val", "all")}
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == splits["all"] and len(splits["all"]) == 10
    assert sorted(splits["train"] + splits["val"]) == sorted(splits["train_val"])
    for name in splits["all"]:
        features, joints = np.load(folder / "new_joint_vecs" / f"{name}.npy"), np.load(folder / "new_joints" / f"{name}.npy")
        assert features.shape == (len(joints), spec.dim) and spec.min_frames <= len(features) < spec.max_frames
        captions = read_captions(folder / "texts" / f"{name}.txt")
        assert len({caption.text for caption in captions}) >= 4 and all("/" in caption.tokens for caption in captions)
    mean, std = np.load(folder / "Mean.npy"), np.load(folder / "Std.npy")
    assert mean.shape == std.shape == (spec.dim,) and (std >= 0).all()


def test_the_same_seed_writes_the_same_folder(folder, tmp_path, capsys):
    main(["--out", str(tmp_path), "--clips", "10", "--seed", "1"])
    assert "10 clips" in capsys.readouterr().out
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files and all((folder / path).read_bytes() == (tmp_path / path).read_bytes() for path in files)


def test_too_few_clips_end_with_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path), "--clips", "3"])
    assert stop.value.code == 2 and "at least 8" in capsys.readouterr().err
