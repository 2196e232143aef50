"""Motion files of other programs: every family of names, units, axes and odd arrays gives the same motion, or one clear line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from data.windows import read_motions
from motion.files import convert
from motion.files.bvh import write_bvh
from motion.files.maps import MORE_MAPS, find_map, joints_of
from motion.files.mocap import map_joints
from motion.files.raw import UNITS
from motion.files.read import InputOptions, read_motion
from motion.ik import fit_pose
from motion.skeleton import HUMANML3D
from motion.spec import get_spec
from options.cli import parse
from options.evaluate import EvalRetrieval
from options.generate import EditT2M, GenM2T
from tests.tiny import walk, walking
from utils.errors import UserError

BONES = HUMANML3D.bones
META = Path(__file__).parents[1] / "assets" / "demo" / "open" / "vq" / "meta"
CASES = Path(__file__).parents[2] / "shared" / "cases"


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return walk(40)


def write_tree(
    path: Path, joints: np.ndarray, scale: float = 100.0, rename=str, frames_before: int = 0, world: np.ndarray | None = None
) -> Path:
    """Joints (T, 22, 3) as a BVH file of their own bones, after frames in the rest pose at the origin; `world` (3, 3) turns all."""
    pose = fit_pose(torch.from_numpy(joints.astype(np.float64)), HUMANML3D)
    world = np.eye(3) if world is None else world
    root = np.concatenate((np.zeros((frames_before, 3)), pose.root)) * scale @ world.T
    turns = np.concatenate((np.tile(np.eye(3), (frames_before, 22, 1, 1)), pose.rotations))
    offsets = np.asarray(pose.offsets) * scale @ world.T
    write_bvh(path, [rename(bone) for bone in BONES], HUMANML3D.parents, offsets, root, world @ turns @ world.T, fps=20)
    return path


Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # turns a world with Y up into one with Z up


@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig1:", "mixamorig_", "mixamorig.", "mixamorig", "Character1_", "A|B:"])
def test_prefixes_do_not_matter(clip, tmp_path, prefix):
    path = write_tree(tmp_path / "a.bvh", clip, rename=lambda bone: prefix + bone)
    assert np.abs(read_motion(path).joints - clip).max() < 0.02


@pytest.mark.parametrize("title", MORE_MAPS)
@pytest.mark.parametrize("change", [str, str.lower, lambda name: f"Bip001 {name}", lambda name: f"DEF-{name}"])
def test_every_family_of_names_is_found(title, change):
    names = [change(name) for name in joints_of(MORE_MAPS[title])]
    family, joint_map = find_map([change("World"), *names])
    assert family == title and set(joints_of(joint_map)) == set(names)
    ones = map_joints(names, np.ones((1, len(names), 3)), joint_map)
    np.testing.assert_allclose(ones, 1)


@pytest.mark.parametrize(
    ("scale", "size", "unit"),
    [(1, 1, "m"), (100, 1, "cm"), (1000, 1, "mm"), (10, 1, "dm"), (1 / 0.0254, 1, "in"), (1 / 0.0254, 0.8, "in"), (100, 0.7, "cm")],
)
def test_units_follow_from_the_size(clip, tmp_path, scale, size, unit):
    np.save(tmp_path / "a.npy", clip * size * scale)
    motion = read_motion(tmp_path / "a.npy")
    assert motion.unit == unit and np.abs(motion.joints - clip * size).max() < 1e-4


def test_cmus_unit_is_for_cmus_names_only(clip, tmp_path, capsys):
    scale = 0.45 / 0.0254
    with pytest.raises(UserError, match="--input_unit"):
        read_motion(write_tree(tmp_path / "a.bvh", clip, scale))
    motion = read_motion(tmp_path / "a.bvh", InputOptions(unit="cmu"))
    assert motion.unit == "cmu" and np.abs(motion.joints - clip).max() < 0.02


def test_a_body_of_an_odd_size_gets_a_note(clip, tmp_path, capsys):
    np.save(tmp_path / "a.npy", clip * 0.45)
    read_motion(tmp_path / "a.npy")
    assert "--input_unit" in capsys.readouterr().err
    read_motion(tmp_path / "a.npy", InputOptions(unit="m"))
    assert not capsys.readouterr().err


def test_rest_frames_at_the_start_are_left_out(clip, tmp_path, capsys):
    plain = read_motion(write_tree(tmp_path / "a.bvh", clip + np.array([0, 1, 0]))).joints
    for count in (1, 3):
        path = write_tree(tmp_path / "b.bvh", clip + np.array([0, 1, 0]), frames_before=count)
        np.testing.assert_allclose(read_motion(path).joints, plain, atol=1e-5)
        assert "--skip_frames 0" in capsys.readouterr().err
        assert len(read_motion(path, InputOptions(skip_frames=0)).joints) == len(plain) + count
    assert len(read_motion(path, InputOptions(skip_frames=5)).joints) == len(plain) - 2


def test_the_rest_pose_says_which_axis_is_up(clip, tmp_path, capsys):
    standing = read_motion(write_tree(tmp_path / "a.bvh", clip, world=Z_UP))
    assert standing.up == "z" and np.abs(standing.joints - clip).max() < 0.02
    assert not capsys.readouterr().err
    for back in (Z_UP, Z_UP.T):  # lying on the back and on the belly
        lying = clip @ back.T
        motion = read_motion(write_tree(tmp_path / "b.bvh", lying, world=Z_UP))
        assert motion.up == "z" and np.abs(motion.joints - lying).max() < 0.02
    np.save(tmp_path / "c.npy", clip @ Z_UP.T)
    assert read_motion(tmp_path / "c.npy").up == "y" and "--input_up z" in capsys.readouterr().err
    turned = read_motion(tmp_path / "c.npy", InputOptions(up="z"))
    assert np.abs(turned.joints - clip).max() < 1e-5 and not capsys.readouterr().err


def test_normalised_features_are_refused_and_twice_denormalised_ones_named(tmp_path, capsys):
    features = walking(60).numpy()
    np.save(tmp_path / "once.npy", features)
    read_motion(tmp_path / "once.npy")
    assert not capsys.readouterr().err
    mean, std = (np.load(META / f"{name}.npy") for name in ("mean", "std"))
    np.save(tmp_path / "normed.npy", (features - mean) / std)
    with pytest.raises(UserError, match="normalised"):
        read_motion(tmp_path / "normed.npy")
    np.save(tmp_path / "twice.npy", features * std + mean)
    read_motion(tmp_path / "twice.npy")
    assert "denormalise the features once" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [">f4", np.longdouble, np.float64])
def test_numbers_of_every_kind_are_read(clip, tmp_path, dtype):
    np.save(tmp_path / "a.npy", clip.astype(dtype))
    assert np.abs(read_motion(tmp_path / "a.npy").joints - clip).max() < 1e-5


def test_half_millimetres_archives_and_pointers(clip, tmp_path):
    np.save(tmp_path / "a.npy", (clip * 1000).astype(np.float16))
    assert np.abs(read_motion(tmp_path / "a.npy").joints - clip).max() < 2e-3
    with open(tmp_path / "b.npy", "wb") as file:
        np.savez(file, clip)
    assert np.abs(read_motion(tmp_path / "b.npy").joints - clip).max() < 1e-5
    (tmp_path / "c.npy").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(UserError, match="Git LFS"):
        read_motion(tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", clip * 0)
    with pytest.raises(UserError, match="contains no motion"):
        read_motion(tmp_path / "d.npy")
    os.mkfifo(tmp_path / "e.npy")
    with pytest.raises(UserError, match="not a regular file"):
        read_motion(tmp_path / "e.npy")


def test_unknown_joints_are_named_by_a_file(clip, tmp_path, capsys):
    path = write_tree(tmp_path / "a.bvh", clip, rename=lambda bone: f"b{BONES.index(bone)}")
    with pytest.raises(UserError, match=r"--joint_map FILE\.json"):
        read_motion(path)
    table = {bone: f"b{number}" for number, bone in enumerate(BONES)}
    (tmp_path / "map.json").write_text(json.dumps(table))
    convert.main([str(path), str(tmp_path / "a.npy"), "--joint_map", str(tmp_path / "map.json")])
    assert np.abs(np.load(tmp_path / "a.npy") - clip).max() < 0.02
    config = GenM2T(joint_map=str(tmp_path / "map.json"))
    (motion,) = read_motions([path], get_spec("open"), InputOptions.of(config)).values()
    assert motion.shape == (len(clip), 263)
    for content, message in ((table | {"Hips": "nobody"}, "has no joint nobody"), ({"Hips": "b0"}, "missing"), ([], "not a JSON")):
        (tmp_path / "map.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            read_motion(path, InputOptions(joint_map=tmp_path / "map.json"))


def test_skip_frames_reaches_every_reader(clip, tmp_path, capsys):
    """Without the flag frames in the rest pose are left out, in each script that reads motions; 0 keeps them."""
    path = write_tree(tmp_path / "a.bvh", clip + np.array([0, 1, 0]), frames_before=2)
    for flags, frames in (([], len(clip)), (["--skip_frames", "0"], len(clip) + 2), (["--skip_frames", "12"], len(clip) - 10)):
        convert.main([str(path), str(tmp_path / "out.npy"), *flags])
        assert len(np.load(tmp_path / "out.npy")) == frames
        for script in (GenM2T, EditT2M, EvalRetrieval):
            motion = read_motion(path, InputOptions.of(parse(script, flags)))
            assert len(motion) == frames
    with pytest.raises(SystemExit):
        convert.main([str(path), str(tmp_path / "out.npy"), "--skip_frames", "-1"])
    assert "--skip_frames -1" in capsys.readouterr().err


@pytest.mark.parametrize("unit", UNITS)
def test_a_stated_unit_wins(clip, tmp_path, unit):
    np.save(tmp_path / "a.npy", clip / UNITS[unit])
    assert np.abs(read_motion(tmp_path / "a.npy", InputOptions(unit=unit)).joints - clip).max() < 1e-4
    convert.main([str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--input_unit", unit, "--unit", unit])
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), clip / UNITS[unit], rtol=1e-4, atol=1e-4 / UNITS[unit])


def test_one_of_several_motions_is_read_with_a_note(clip, tmp_path, capsys):
    np.save(tmp_path / "joints.npy", np.stack((clip, clip[::-1])))
    features = np.stack((walking(40).numpy(), walking(80).numpy()[40:]))
    np.save(tmp_path / "features.npy", features)
    assert np.array_equal(read_motion(tmp_path / "joints.npy", InputOptions(sample=1)).joints, clip[::-1].astype(np.float32))
    assert np.array_equal(read_motion(tmp_path / "features.npy").file_features, features[0])
    assert capsys.readouterr().err.count("--input_sample") == 2
    with pytest.raises(UserError, match="--input_sample 2"):
        read_motion(tmp_path / "features.npy", InputOptions(sample=2))


@pytest.mark.parametrize("more", ["60", "(30 fps)", "0.0333333 30", "# fps"])
def test_what_follows_the_frame_time_is_no_row(clip, tmp_path, more):
    path = write_tree(tmp_path / "a.bvh", clip)
    (tmp_path / "b.bvh").write_text(re.sub(r"(Frame Time: \S+)", rf"\1 {more}", path.read_text()))
    np.testing.assert_array_equal(read_motion(tmp_path / "b.bvh").joints, read_motion(path).joints)


SAME = {  # cases whose motion is another file's
    **{f"bvh-header-variants/{name}.bvh": "bvh-input-fps/base.bvh" for name in ("comment", "frames_float", "lower", "nocolon")},
    "bvh-header-variants/frametime2.bvh": "bvh-input-fps/base.bvh",
    "bvh-bom/bom.bvh": "bvh-input-fps/base.bvh",
    "bvh-motion-in-name/motionname.bvh": "bvh-input-fps/base.bvh",
    "bvh-rokoko-frames/frames_rokoko_plus1.bvh": "bvh-input-fps/base.bvh",
    "bvh-tpose-first/tpose_first.bvh": "bvh-tpose-first/base.bvh",
    "bvh-zup-lying/lie_zup_0.bvh": "bvh-zup-lying/lie_yup_0.bvh",
    "npy-odd/be32.npy": "npy-zup/f32.npy",
    "npy-odd/npz_named.npy": "npy-zup/f32.npy",
}


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("case", SAME)
def test_shared_cases_of_equal_motion(case):
    loaded, expected = (read_motion(CASES / path).joints for path in (case, SAME[case]))
    np.testing.assert_allclose(loaded, expected, atol=1e-5)
