"""Conversion of motion files: all input and output formats, detection of units and axes, and clear errors."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from motion.features import joints_to_features
from motion.files.animation import RigOptions
from motion.files.bvh import read_bvh, write_bvh
from motion.files.convert import main, to_features
from motion.files.export import OutputOptions, export
from motion.files.read import InputOptions, read_motion
from motion.ik import fit_pose
from motion.skeleton import HUMANML3D, KIT, Skeleton
from prepare.synthetic import walker
from utils.errors import UserError

# A CMU skeleton in its own unit and in inches' 1/0.45: each bone's parent and the way to its far end.
CMU = {
    "lhipjoint": ("root", (1.8, -1.6, 0)), "lfemur": ("lhipjoint", (0, -7.5, 0)), "ltibia": ("lfemur", (0, -7.8, 0)),
    "lfoot": ("ltibia", (0, -0.6, 2.2)), "lowerback": ("root", (0, 2, 0)), "upperback": ("lowerback", (0, 2, 0)),
    "thorax": ("upperback", (0, 2, 0)), "lowerneck": ("thorax", (0, 1.6, 0)), "upperneck": ("lowerneck", (0, 1.6, 0)),
    "head": ("upperneck", (0, 1.6, 0)), "lclavicle": ("thorax", (3.3, 0.8, 0)), "lhumerus": ("lclavicle", (5, 0, 0)),
    "lradius": ("lhumerus", (3.5, 0, 0)),
}  # fmt: skip


@pytest.fixture
def clip() -> np.ndarray:
    """A walk (T, 22, 3) whose bones keep their lengths."""
    return fit_pose(torch.from_numpy(walker()), HUMANML3D).joints(HUMANML3D).numpy()


@pytest.fixture
def npy(clip, tmp_path) -> Path:
    np.save(tmp_path / "walk.npy", clip)
    return tmp_path / "walk.npy"


def save_bvh(path: Path, clip: np.ndarray, scale: float = 1.0, names=HUMANML3D.bones, z_up: bool = False) -> Path:
    """Write the clip as a BVH with other names, another unit, another axis up."""
    if z_up:
        clip = clip[..., [0, 2, 1]] * [1, -1, 1]
    pose = fit_pose(torch.from_numpy(clip), HUMANML3D)
    offsets, turns = pose.offsets.numpy(), pose.rotations.numpy()
    if z_up:  # the rest pose stands along Z as well
        stand = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        offsets, turns = offsets @ stand.T, stand @ turns @ stand.T
        turns[:, 0] = turns[:, 0] @ stand @ stand.T
        turns = np.concatenate((pose.rotations.numpy()[:, :1] @ stand.T, turns[:, 1:]), axis=1)
    write_bvh(path, names, HUMANML3D.parents, scale * offsets, scale * pose.root.numpy(), turns, fps=30)
    return path


def write_cmu(folder: Path, frames: int = 24) -> Path:
    """07.asf and 07_01.amc: someone who slides forward, one unit a frame."""
    bones = {**CMU, **{"r" + name[1:]: mirrored(bone) for name, bone in CMU.items() if name[0] == "l" and name[1:4] != "owe"}}
    data = []
    for number, (name, (_, way)) in enumerate(bones.items(), 1):
        length = np.linalg.norm(way)
        direction = " ".join(f"{x:.9f}" for x in np.array(way) / length)
        data.append(f"begin\n id {number}\n name {name}\n direction {direction}\n length {length:.9f}\n axis 0 0 0 XYZ\nend")
    tree = "\n".join(f"{parent} {name}" for name, (parent, _) in bones.items())
    (folder / "07.asf").write_text(
        ":version 1.10\n:units\n mass 1.0\n length 0.45\n angle deg\n:root\n order TX TY TZ RX RY RZ\n axis XYZ\n position 0 0 0\n"
        f" orientation 0 0 0\n:bonedata\n{chr(10).join(data)}\n:hierarchy\nbegin\n{tree}\nend\n"
    )
    motion = "\n".join(f"{frame + 1}\nroot 0 17 {frame} 0 0 0" for frame in range(frames))
    (folder / "07_01.amc").write_text(f":FULLY-SPECIFIED\n:DEGREES\n{motion}\n")
    return folder / "07_01.amc"


def mirrored(bone: tuple[str, tuple[float, float, float]]) -> tuple[str, tuple[float, float, float]]:
    parent, (x, y, z) = bone
    return (parent if parent in ("root", "thorax") else "r" + parent[1:]), (-x, y, z)


def read(path: Path, **options) -> tuple[np.ndarray, float]:
    """A file's joints and frame rate."""
    motion = read_motion(path, InputOptions(**options))
    return motion.joints, motion.fps


def told(*words: str | Path) -> None:
    main([str(word) for word in words])


@pytest.mark.parametrize("suffix", ["npy", "bvh", "glb", "html", "png", "gif"])
def test_every_format_is_written(npy, clip, tmp_path, capsys, suffix):
    told(npy, tmp_path / "out" / f"walk.{suffix}", "--caption", "a person walks")
    assert (tmp_path / "out" / f"walk.{suffix}").stat().st_size > 1000
    output = capsys.readouterr().out
    assert f"22 joints, {len(clip)} frames at 20 fps, in metres, Y up" in output and "from foot to head" in output


@pytest.mark.parametrize("unit", ["cm", "m"])
def test_there_and_back_through_bvh(npy, clip, tmp_path, unit):
    told(npy, tmp_path / "walk.bvh", "--unit", unit, "--skeleton", "fitted")
    joints, fps = read(tmp_path / "walk.bvh")
    assert fps == pytest.approx(20) and joints.dtype == np.float32
    np.testing.assert_allclose(joints, clip, atol=1e-4)
    height = read_bvh(tmp_path / "walk.bvh").joints()[:, 0, 1].mean()
    assert height == pytest.approx(clip[:, 0, 1].mean() * {"cm": 100, "m": 1}[unit], rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
def test_units_are_told_by_the_size_of_the_body(clip, tmp_path, scale):
    joints, _ = read(save_bvh(tmp_path / "walk.bvh", clip, scale))
    np.testing.assert_allclose(joints, clip, atol=1e-3)
    np.save(tmp_path / "walk.npy", scale * clip)
    np.testing.assert_allclose(read(tmp_path / "walk.npy")[0], clip, atol=1e-4)


@pytest.mark.parametrize("rename", ["mixamorig:{}", "mixamorig6:{}", "mixamorig_{}", "character:{}", "{}"])
def test_prefixes_do_not_matter(clip, tmp_path, rename):
    for toe in ("Toe", "ToeBase"):
        names = [rename.format(bone.replace("ToeBase", toe)) for bone in HUMANML3D.bones]
        joints, fps = read(save_bvh(tmp_path / "walk.bvh", clip, names=names))
        assert fps == pytest.approx(30)
        np.testing.assert_allclose(joints, clip, atol=1e-4)


def test_a_file_with_z_up_is_turned(clip, tmp_path, capsys):
    told(save_bvh(tmp_path / "walk.bvh", clip, z_up=True), tmp_path / "out.npy")
    assert "Z up" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), clip, atol=1e-4)


def test_someone_who_lies_is_not_turned(clip, tmp_path):
    lying = clip[..., [0, 2, 1]] * [1, -1, 1] + [0, 1, 0]
    np.testing.assert_allclose(read(save_bvh(tmp_path / "sleep.bvh", lying))[0], lying, atol=1e-4)


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=["22 joints", "21 joints"])
def test_our_own_files_of_both_skeletons_come_back(clip, tmp_path, skeleton: Skeleton):
    names = [bone.replace("MidFoot", "ToeBase") for bone in skeleton.bones]  # KIT's instep: the toe's place will do
    joints = clip[:, [HUMANML3D.bones.index(bone) for bone in names]].copy()
    for bone in ("LeftToeBase", "RightToeBase"):
        joints[:, skeleton.bones.index(bone)] += 0.05 * (skeleton is KIT)
    export(tmp_path / "walk.bvh", joints, "", fps=12.5, options=OutputOptions(rig=RigOptions(skeleton="fitted")))
    loaded, fps = read(tmp_path / "walk.bvh")
    assert fps == pytest.approx(12.5)
    assert np.abs(loaded - joints).max() < (0.02 if skeleton is KIT else 1e-4)


def test_cmu_captures_find_their_skeleton(tmp_path):
    joints, fps = read(write_cmu(tmp_path))
    assert fps == 120 and joints.shape == (24, 22, 3)
    metres = 0.0254 / 0.45
    root, knee = joints[:, 0], joints[:, HUMANML3D.bones.index("LeftLeg")]
    np.testing.assert_allclose(root, np.stack([np.zeros(24), np.full(24, 17), np.arange(24)], axis=1) * metres, atol=1e-5)
    np.testing.assert_allclose(knee - root, np.tile(np.array([1.8, -9.1, 0]) * metres, (24, 1)), atol=1e-5)
    (tmp_path / "07.asf").rename(tmp_path / "only.asf")
    np.testing.assert_array_equal(read(tmp_path / "07_01.amc", fps=60)[0], joints)
    (tmp_path / "only.asf").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"no skeleton 07\.asf in its folder"):
        read_motion(tmp_path / "07_01.amc")
    assert read(tmp_path / "07_01.amc", fps=60, asf=tmp_path / "away")[1] == 60


def test_cmu_captures_are_converted_at_another_rate(tmp_path):
    told(write_cmu(tmp_path), tmp_path / "slide.mp4", "--fps", "30")
    with av.open(str(tmp_path / "slide.mp4")) as video:
        assert video.streams.video[0].average_rate == 30
        assert len(list(video.decode(video=0))) == 6


def test_features_come_back_as_the_joints_they_describe(clip, tmp_path):
    features, joints = joints_to_features(torch.from_numpy(clip).float()[None], HUMANML3D)
    np.save(tmp_path / "features.npy", features[0])
    loaded, fps = read(tmp_path / "features.npy")
    assert fps == 20
    np.testing.assert_allclose(loaded, joints[0, :-1], atol=1e-4)


def test_features_of_the_small_skeleton_are_told_in_metres(tmp_path):
    features = np.zeros((10, 251), np.float32)
    features[:, 3] = 900
    np.save(tmp_path / "kit.npy", features)
    joints, fps = read(tmp_path / "kit.npy")
    assert joints.shape == (10, 21, 3) and fps == 12.5
    np.testing.assert_allclose(joints[:, 0, 1], 0.9)


def test_the_models_features_are_made_at_any_rate(clip, npy, tmp_path):
    features = to_features(clip, fps=20)
    np.testing.assert_array_equal(features, joints_to_features(torch.from_numpy(clip).float()[None], HUMANML3D)[0][0])
    np.testing.assert_array_equal(to_features(np.repeat(clip, 3, axis=0), fps=60), features)
    told(npy, tmp_path / "features.npy", "--features")
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), features)
    told(npy, tmp_path / "slow.npy", "--features", "--input_fps", "10")
    assert len(np.load(tmp_path / "slow.npy")) == 2 * len(clip) - 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nothing.npy out.bvh", r"nothing\.npy: cannot be read"),
        ("nothing.bvh out.npy", r"nothing\.bvh: cannot be read"),
        ("walk.txt out.npy", r"walk\.txt: motions are read from"),
        ("walk.npy out.txt", "unknown format '.txt'"),
        ("walk.npy walk.npy", "is the input file itself"),
        ("walk.npy out.bvh --features", "features are written as .npy"),
        ("walk.npy out.npy --fps 0", "--fps 0.0: must be from 1"),
        ("walk.npy out.npy --input_fps nan", "--input_fps nan: must be a finite number"),
        ("nan.npy out.bvh", r"nan\.npy: NaN"),
        ("nan_features.npy out.bvh", r"nan_features\.npy: holds NaN"),
        ("words.npy out.bvh", r"words\.npy: cannot be read|words\.npy: holds"),
        ("half.npy out.bvh", r"half\.npy: cannot be read"),
        ("shape.npy out.bvh", r"shape\.npy: of shape \(4, 22\)"),
        ("scalar.npy out.bvh", r"scalar\.npy: of shape \(\)"),
        ("empty.npy out.bvh", r"empty\.npy: holds float64 of shape \(0, 22, 3\)"),
        ("giant.npy out.bvh", r"giant\.npy: .* no person"),
        ("chain.bvh out.npy", r"chain\.bvh: none of the joint maps fits its joints \(a, b, b_end\)"),
        ("pose.npy out.npy --features", "too short for features"),
    ],
)
def test_bad_input_is_one_clear_line(npy, clip, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    nan = clip.copy()
    nan[2, 3, 1] = np.nan
    arrays = {
        "nan": nan, "nan_features": np.full((9, 263), np.nan), "words": np.array(["a", "b"]), "shape": np.zeros((4, 22)),
        "scalar": np.array(1.0), "empty": np.zeros((0, 22, 3)), "giant": clip * 5, "pose": clip[:1],
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    Path("half.npy").write_bytes(npy.read_bytes()[:300])
    write_bvh("chain.bvh", ["a", "b"], [-1, 0], np.eye(3)[:2], np.zeros((2, 3)), np.tile(np.eye(3), (2, 2, 1, 1)), fps=20)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as ended:
        told(*words.split())
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ") and stderr.count("\n") == 1
    assert re.search(message, stderr), stderr
    assert sorted(tmp_path.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize("kind", ["joints", "features"])
def test_a_part_of_a_motion_is_converted(clip, tmp_path, kind):
    np.save(tmp_path / "walk.npy", clip if kind == "joints" else to_features(clip, 20))
    main([str(tmp_path / "walk.npy"), str(tmp_path / "part.npy"), "--start", "0.5", "--end", "1.5"])
    part, whole = (read_motion(tmp_path / name, InputOptions()).joints for name in ("part.npy", "walk.npy"))
    assert len(part) == 20
    np.testing.assert_allclose(part - part[0, 0], whole[10:30] - whole[10, 0], atol=1e-3)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "walk.npy"), str(tmp_path / "none.npy"), "--start", "5", "--end", "2"])
