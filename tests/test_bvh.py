"""BVH files: what is written comes back, any channel order means the same motion, and damage is named."""

import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from motion.files.bvh import read_bvh, write_bvh
from motion.files.export import OutputOptions, export
from motion.rotation import euler_to_matrix, qmatrix
from motion.skeleton import HUMANML3D, forward_kinematics
from prepare.synthetic import walker
from utils.errors import UserError

ASSETS = Path(__file__).parent.parent / "assets"
MIXAMO = [
    "Hips", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase",
    "Spine", "Spine1", "Spine2", "Neck", "Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand",
    "RightShoulder", "RightArm", "RightForeArm", "RightHand",
]  # fmt: skip
TWO_BONES = """HIERARCHY
ROOT base
{
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT arm
  {
    OFFSET 0 2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 2 3 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
"""


def motion(frames: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (22, 3), root positions (T, 3) and any local rotations (T, 22, 3, 3) of the 22 joints."""
    generator = torch.Generator().manual_seed(seed)
    turns = F.normalize(torch.randn(frames, 22, 4, generator=generator, dtype=torch.float64), dim=-1)
    root = torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    return HUMANML3D.offsets().double().numpy(), root.numpy(), qmatrix(turns).numpy()


def write(path: Path, seed: int = 0, **kwargs) -> np.ndarray:
    """Write such a motion; returns its joints (T, 22, 3)."""
    offsets, root, turns = motion(seed=seed)
    write_bvh(path, HUMANML3D.bones, HUMANML3D.parents, offsets, root, turns, fps=20, **kwargs)
    arrays = (torch.from_numpy(x) for x in (turns, root, offsets))
    return forward_kinematics(*arrays, HUMANML3D.parents).numpy()


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("XYZ")])
def test_a_written_motion_comes_back(tmp_path, order):
    joints = write(tmp_path / "a.bvh", order=order)
    bvh = read_bvh(tmp_path / "a.bvh")
    by_name = [bvh.names.index(bone) for bone in HUMANML3D.bones]
    assert np.abs(bvh.joints()[:, by_name] - joints).max() < 1e-4
    assert bvh.fps == pytest.approx(20)
    parents = [bvh.names[bvh.parents[joint]] if bvh.parents[joint] >= 0 else None for joint in by_name]
    assert parents == [HUMANML3D.bones[parent] if parent >= 0 else None for parent in HUMANML3D.parents]


def test_rotations_come_back_too(tmp_path):
    write(tmp_path / "a.bvh")
    bvh = read_bvh(tmp_path / "a.bvh")
    by_name = [bvh.names.index(bone) for bone in HUMANML3D.bones]
    assert np.abs(bvh.rotations[:, by_name] - motion()[2]).max() < 1e-4
    assert np.abs(bvh.offsets[by_name] - motion()[0]).max() < 1e-6


def test_an_independent_reader_agrees(tmp_path):
    bvhio = pytest.importorskip("bvhio")
    joints = write(tmp_path / "a.bvh")
    root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
    for frame in range(len(joints)):
        root.loadPose(frame)
        positions = {joint.Name: tuple(joint.PositionWorld) for joint, _, _ in root.layout()}
        assert np.abs(np.array([positions[bone] for bone in HUMANML3D.bones]) - joints[frame]).max() < 1e-3


def test_the_file_is_as_readers_expect(tmp_path):
    write(tmp_path / "a.bvh")
    text = (tmp_path / "a.bvh").read_text()
    assert text.startswith("HIERARCHY\nROOT Hips\n{")
    assert text.count("CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation") == 1
    assert text.count("CHANNELS 3 Zrotation Yrotation Xrotation") == 21
    assert text.count("End Site") == 5  # head, hands, toes
    assert text.count("{") == text.count("}") == 22 + 5
    assert "\nFrames: 7\nFrame Time: 0.05" in text
    listed = re.findall(r"(?:ROOT|JOINT) (\w+)", text)
    depth_first = ["Hips", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "RightUpLeg"]
    assert listed[:6] == depth_first and sorted(listed) == sorted(HUMANML3D.bones)


def test_angles_do_not_jump_where_they_pass_half_a_turn(tmp_path):
    angle = np.deg2rad(np.arange(0, 720, 20))
    turn = np.zeros((len(angle), 1, 3, 3))
    turn[:, 0, 0, 0] = turn[:, 0, 1, 1] = np.cos(angle)
    turn[:, 0, 1, 0], turn[:, 0, 0, 1] = np.sin(angle), -np.sin(angle)
    turn[:, 0, 2, 2] = 1
    write_bvh(tmp_path / "a.bvh", ["base"], [-1], np.zeros((1, 3)), np.zeros((len(angle), 3)), turn, fps=30)
    rows = np.loadtxt((tmp_path / "a.bvh").read_text().splitlines()[-len(angle) :])
    assert np.allclose(np.diff(rows[:, 3]), 20)


def test_known_positions():
    names, positions = read_bvh(io.StringIO(TWO_BONES)).landmarks()
    assert names == ["base", "arm", "arm_end"]
    # Positions of the root take the place of its offset; a quarter turn about z sends +y to -x, the arm's about x +y to +z.
    assert np.allclose(positions, [[[1, 2, 3], [1, 4, 3], [1, 5, 3]], [[1, 2, 3], [-1, 2, 3], [-1, 2, 4]]])


def test_channels_may_come_in_any_order():
    usual = read_bvh(io.StringIO(TWO_BONES))
    shuffled = TWO_BONES.replace("Xposition Yposition Zposition Zrotation Yrotation Xrotation", "Zposition Zrotation Xposition "
                                 "Yrotation Xrotation Yposition").replace("1 2 3 90 0 0 ", "3 90 1 0 0 2 ").replace(
                                     "1 2 3 0 0 0 ", "3 0 1 0 0 2 ")  # fmt: skip
    assert np.allclose(read_bvh(io.StringIO(shuffled)).joints(), usual.joints())


def test_the_order_of_rotations_matters():
    text = TWO_BONES.replace("1 2 3 90 0 0 0 90 0", "1 2 3 90 90 0 0 0 0")
    swapped = text.replace("Zrotation Yrotation Xrotation", "Yrotation Zrotation Xrotation")
    assert np.allclose(read_bvh(io.StringIO(text)).joints()[1, 1], [-1, 2, 3])  # z after y: up ends at -x
    assert np.allclose(read_bvh(io.StringIO(swapped)).joints()[1, 1], [1, 2, 5])  # y after z: -x goes on to +z


def test_position_channels_of_any_joint_replace_its_offset():
    text = TWO_BONES.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 6 Xposition Yposition Zposition Zrotation "
                             "Xrotation Yrotation")  # fmt: skip
    text = text.replace("1 2 3 0 0 0 0 0 0", "1 2 3 0 0 0 0 7 0 0 0 0").replace("1 2 3 90 0 0 0 90 0", "1 2 3 90 0 0 0 7 0 0 0 0")
    assert np.allclose(read_bvh(io.StringIO(text)).joints()[:, 1], [[1, 9, 3], [-6, 2, 3]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.rindex("1 2 3 0")] + "1 2", "truncated"),
        (lambda text: text.replace("1 2 3 90", "1 2 nan 90"), "NaN"),
        (lambda text: text.replace("1 2 3 90", "1 2 inf 90"), "infinite"),
        (lambda text: text.replace("1 2 3 90", "1 2 three 90"), "truncated or damaged"),
        (lambda text: text.replace("1 2 3 0 0", "1 2 3 0"), "row 1 of its motion holds 8 numbers where 9"),
        (lambda text: text.replace("Frames: 2", "Frames: two"), "Frames"),
        (lambda text: text.replace("CHANNELS 3", "CHANNELS -3"), "CHANNELS -3"),
        (lambda text: text.replace("CHANNELS 3", "CHANNELS 4000000000"), "CHANNELS 4000000000"),
        (lambda text: text.replace("3 Zrotation", "3 Wrotation"), "Wrotation"),
        (lambda text: text.replace("OFFSET 9", "OFFSET nan"), "OFFSET nan"),
        (lambda text: text.replace("1 2 3 90", "1 2 1e300 90"), r"1e\+300"),
        (lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (lambda text: text[: text.index("MOTION")], "not a BVH"),
        (lambda text: text.replace("0.0333333", "0"), "Frame Time"),
        (lambda text: text.replace("0.0333333", "fast"), "Frame Time"),
        (lambda text: text.replace("}\nMOTION", "MOTION"), "HIERARCHY"),
        (lambda text: text.replace("OFFSET 0 2 0", "OFFSET 0 2"), "HIERARCHY"),
        (lambda text: "a text about dancing", "not a BVH"),
        (lambda text: "", "not a BVH"),
    ],
)
def test_damage_is_a_user_error_that_names_the_file(tmp_path, damage, message):
    (tmp_path / "bad.bvh").write_text(damage(TWO_BONES))
    with pytest.raises(UserError, match=message) as raised:
        read_bvh(tmp_path / "bad.bvh")
    assert str(tmp_path / "bad.bvh") in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("HIERARCHY", "Hierarchy").replace("MOTION", "motion").replace("ROOT", "root"),
        lambda text: text.replace("Frames:", "Frames").replace("Frame Time:", "Frame  Time :"),
        lambda text: text.replace("Frames: 2", "Frames : 2.0").replace("0.0333333", "0.0333333 30 fps"),
        lambda text: "# exported\n" + text.replace("MOTION", "# rows\nMOTION"),
        lambda text: text.replace("base", "MOTION:base").replace("JOINT arm", "JOINT MOTION arm"),
        lambda text: text.replace("\n", "\r\n") + "\x1a",
        lambda text: text.replace(".", ","),
        lambda text: text.replace("1 2 3 0 0 0 0 0 0\n", "1 2 3 0 0\n0 0 0 0\n"),
        lambda text: "\ufeff" + text,
    ],
)
def test_headers_as_other_programs_write_them(tmp_path, change):
    path = tmp_path / "a.bvh"
    path.write_bytes(change(TWO_BONES).encode())
    bvh = read_bvh(path)
    assert np.array_equal(bvh.joints(), read_bvh(io.StringIO(TWO_BONES)).joints())
    assert bvh.frame_time == 0.0333333


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read(tmp_path, encoding):
    (tmp_path / "a.bvh").write_bytes(TWO_BONES.encode(encoding))
    assert len(read_bvh(tmp_path / "a.bvh").rotations) == 2


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda text: text.replace("Frames: 2", "Frames: 1"), 2),
        (lambda text: text.replace("Frames: 2", "Frames: 9"), 2),
        (lambda text: text[: text.rindex(" 90 0")], 1),
    ],
)
def test_rows_that_are_there_are_read_with_a_note(capsys, change, rows):
    assert len(read_bvh(io.StringIO(change(TWO_BONES))).rotations) == rows
    stderr = capsys.readouterr().err
    assert stderr.startswith("note:") and f"all {rows} rows are read" in stderr


def test_missing_rotations_of_a_hinge_are_zero():
    whole = TWO_BONES.replace("1 2 3 90 0 0 0 90 0", "1 2 3 90 0 0 0 40 0")
    one = whole.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 1 Xrotation")
    one = one.replace("1 2 3 0 0 0 0 0 0", "1 2 3 0 0 0 0").replace("90 0 0 0 40 0", "90 0 0 40")
    two = whole.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 2 Zrotation Xrotation")
    two = two.replace("1 2 3 0 0 0 0 0 0", "1 2 3 0 0 0 0 0").replace("90 0 0 0 40 0", "90 0 0 0 40")
    for text in (one, two):
        np.testing.assert_allclose(read_bvh(io.StringIO(text)).rotations, read_bvh(io.StringIO(whole)).rotations, atol=1e-12)


def test_of_two_people_and_of_two_motions_the_first_is_read(capsys):
    one = read_bvh(io.StringIO(TWO_BONES))
    hierarchy, motion = TWO_BONES.split("MOTION")
    rows = motion.strip().splitlines()
    two = hierarchy + hierarchy.replace("HIERARCHY", "") + "\n".join(["MOTION", *rows[:2], *(f"{row} {row}" for row in rows[2:])])
    for text, word in ((two, "2 people"), (TWO_BONES + TWO_BONES, "several motions")):
        bvh = read_bvh(io.StringIO(text))
        assert bvh.names == one.names and bvh.end_sites.keys() == one.end_sites.keys()
        np.testing.assert_array_equal(bvh.joints(), one.joints())
        assert word in capsys.readouterr().err


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.bvh"):
        read_bvh(tmp_path / "nothing.bvh")


def test_nan_is_not_written(tmp_path):
    offsets, root, turns = motion()
    root[3, 1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_bvh(tmp_path / "a.bvh", HUMANML3D.bones, HUMANML3D.parents, offsets, root, turns, fps=20)
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=["cm", "m"])
def exported(request, tmp_path):
    """A walk (T, 22, 3) as an animator gets it: the independent reader's root joint, the walk, and units in a metre."""
    bvhio = pytest.importorskip("bvhio")
    joints = walker(steps=2)
    export(tmp_path / "walk.bvh", joints, "a person walks", fps=20, options=OutputOptions(unit=request.param))
    return bvhio.readAsHierarchy(str(tmp_path / "walk.bvh")), joints, {"cm": 100, "m": 1}[request.param]


def places(root) -> dict[str, np.ndarray]:
    """Positions of the joints by the independent reader."""
    return {joint.Name: np.array(tuple(joint.PositionWorld)) for joint, _, _ in root.layout()}


def test_an_animators_file_holds_the_motion_in_its_unit(exported):
    root, joints, unit = exported
    for frame in (0, 5, len(joints) - 1):
        root.loadPose(frame)
        positions = np.array([places(root)[bone] for bone in HUMANML3D.bones]) / unit
        assert np.linalg.norm(positions - joints[frame], axis=-1).mean() < 0.01  # the walker's spine is not quite stiff
        np.testing.assert_allclose(positions[0], joints[frame, 0], atol=0.02)


def test_an_animators_file_has_mixamos_names_and_rests_in_a_t_pose(exported):
    root, _, unit = exported
    root.loadRestPose(recursive=True)
    rest = {name: position / unit for name, position in places(root).items()}
    assert sorted(rest) == sorted([*MIXAMO, "HeadTop_End", "LeftToe_End", "RightToe_End"])
    for side, sign in (("Left", 1), ("Right", -1)):
        arm, hand = rest[f"{side}Arm"], rest[f"{side}Hand"]
        np.testing.assert_allclose(hand - arm, [sign * np.linalg.norm(hand - arm), 0, 0], atol=1e-5)  # left is +X
        hip, foot = rest[f"{side}UpLeg"], rest[f"{side}Foot"]
        np.testing.assert_allclose(foot - hip, [0, -np.linalg.norm(foot - hip), 0], atol=1e-5)
        assert rest[f"{side}ToeBase"][2] > foot[2]  # facing +Z
    assert rest["Head"][1] > rest["Neck"][1] > rest["Spine2"][1] > rest["Spine1"][1] > rest["Spine"][1] > rest["Hips"][1]
    assert 1.2 < rest["Head"][1] - rest["LeftFoot"][1] < 1.8


@pytest.mark.parametrize(("fps", "line"), [(20, "Frame Time: 0.05000000"), (12.5, "Frame Time: 0.08000000")])
def test_the_frame_time_is_the_models(tmp_path, fps, line):
    export(tmp_path / "walk.bvh", walker(steps=2), "", fps=fps)
    assert line in (tmp_path / "walk.bvh").read_text().splitlines()


@pytest.mark.parametrize(("file", "prefix"), [("mapping.json", "mixamorig:"), ("mapping6.json", "mixamorig6:")])
def test_keemap_files_pair_every_bone_with_mixamos(file, prefix):
    bones = json.loads((ASSETS / file).read_text())["bones"]
    pairs = {bone["SourceBoneName"]: bone["DestinationBoneName"] for bone in bones}
    assert pairs == {name: prefix + name for name in MIXAMO}
    listed = [HUMANML3D.bones.index(bone["SourceBoneName"]) for bone in bones]
    assert all(HUMANML3D.parents[joint] in [-1, *listed[:at]] for at, joint in enumerate(listed))  # KeeMap goes from top to bottom
    assert [bone["SourceBoneName"] for bone in bones if bone["set_bone_position"]] == ["Hips"]
    for bone in bones:  # both forms of a correction are one rotation
        angles = torch.tensor([[bone[f"CorrectionFactor{axis}"] for axis in "ZYX"]], dtype=torch.float64)
        turn = qmatrix(torch.tensor([[bone[f"QuatCorrectionFactor{axis}"] for axis in "wxyz"]], dtype=torch.float64))
        torch.testing.assert_close(euler_to_matrix(angles, "ZYX"), turn, atol=1e-4, rtol=0)
