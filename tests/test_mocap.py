"""Captures to the 22 joints: maps by name, the ASF/AMC reader against the definition, and resampling in time."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion.features import bone_lengths
from motion.files.bvh import Bvh, read_bvh
from motion.files.mocap import INCH, JOINT_MAPS, cmu_fps, map_joints, read_asf_amc, resample
from motion.files.trees import joints_of_tree, restore_thorax
from motion.skeleton import HUMANML3D
from utils.errors import UserError

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")

ASF = """# a comment: with a colon
:version 1.10
:name test
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   made by hand
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0 -1 0
     length 4
     axis 0 0 90 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name shin
     direction 0 -1 0
     length 3
     axis 0 0 0 XYZ
    dof rx
    limits (-10.0 170.0)
  end
  begin
     id 3
     name sole
     direction 0 0 1
     length 1
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
    shin sole
  end
"""
AMC = """#!OML:ASF somewhere
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
thigh 0 0 0
shin 0
2
root 1 2 3 0 90 0
thigh 0 90 0
shin 90
"""
UNIT = 0.0254 / 0.45


def asf_amc(asf: str = ASF, amc: str = AMC) -> tuple[list[str], np.ndarray]:
    return read_asf_amc(io.StringIO(asf), io.StringIO(amc))[:2]


def test_every_map_fills_every_joint_with_weights_that_sum_to_one():
    for joint_map in JOINT_MAPS.values():
        assert len(joint_map) == HUMANML3D.num_joints
        for weights in joint_map:
            assert isinstance(weights, str) or sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", JOINT_MAPS)
def test_maps_know_left_from_right(name):
    def other_side(landmark: str) -> str:
        for left, right in (("_L", "_R"), ("Left", "Right")):
            if left in landmark or right in landmark:
                return landmark.replace(left, right) if left in landmark else landmark.replace(right, left)
        sided = landmark[0] in "lr" and landmark not in ("root", "lowerback", "lowerneck")
        return {"l": "r", "r": "l"}[landmark[0]] + landmark[1:] if sided else landmark

    joint_map = [{place: 1.0} if isinstance(place, str) else place for place in JOINT_MAPS[name]]
    for joint, mirrored in enumerate(HUMANML3D.mirror):
        assert {other_side(landmark): weight for landmark, weight in joint_map[joint].items()} == joint_map[mirrored]


def test_a_joint_may_lie_between_landmarks():
    positions = np.random.default_rng(0).normal(size=(5, 3, 3))
    joints = map_joints(["a", "b", "c"], positions, ("c", {"a": 0.25, "b": 0.75}))
    assert np.allclose(joints[:, 0], positions[:, 2])
    assert np.allclose(joints[:, 1], 0.25 * positions[:, 0] + 0.75 * positions[:, 1])


def test_what_is_missing_is_listed():
    names = [name for name in JOINT_MAPS["mixamo"] if name not in ("Head", "LeftToeBase")]
    with pytest.raises(UserError, match=r"clip 7: no joint called Head, LeftToeBase"):
        map_joints(names, np.zeros((2, len(names), 3)), JOINT_MAPS["mixamo"], "clip 7")


def test_asf_amc_by_hand():
    names, positions = asf_amc()
    assert names == ["root", "thigh", "shin", "sole"]
    assert np.allclose(positions[0] / UNIT, [[1, 2, 3], [1, -2, 3], [1, -5, 3], [1, -5, 4]])
    # The thigh turns about its own y axis, which its axes (a quarter turn about z) put along -x: down goes to +z of the body,
    # which the root's quarter turn about y sends to +x. The knee's turn about x undoes the thigh's.
    assert np.allclose(positions[1] / UNIT, [[1, 2, 3], [5, 2, 3], [5, -1, 3], [6, -1, 3]])


def test_asf_amc_turns_x_then_y_then_z_about_each_bones_axes():
    numbers = np.random.default_rng(0).uniform(-180, 180, size=10)
    frame = "1\nroot {} {} {} {} {} {}\nthigh {} {} {}\nshin {}\n".format(*numbers)
    axes = (20.0, -50.0, 110.0)
    _, positions = asf_amc(ASF.replace("axis 0 0 90 XYZ", "axis {} {} {} XYZ".format(*axes)), frame)

    def turn(angles) -> Rotation:
        return Rotation.from_euler("xyz", angles, degrees=True)  # lower case: about fixed axes

    thigh = turn(numbers[3:6]) * turn(axes) * turn(numbers[6:9]) * turn(axes).inv()
    shin = thigh * turn([numbers[9], 0, 0])
    knee = numbers[:3] + thigh.apply([0, -4, 0])
    ankle = knee + shin.apply([0, -3, 0])
    assert np.allclose(positions[0] / UNIT, [numbers[:3], knee, ankle, ankle + shin.apply([0, 0, 1])])


def test_asf_axes_turn_in_the_order_that_the_file_names():
    numbers = np.random.default_rng(1).uniform(-180, 180, size=10)
    frame = "1\nroot {} {} {} {} {} {}\nthigh {} {} {}\nshin {}\n".format(*numbers)
    axes = (20.0, -50.0, 110.0)
    _, positions = asf_amc(ASF.replace("axis 0 0 90 XYZ", "axis {} {} {} ZYX".format(*axes)), frame)
    rest = Rotation.from_euler("zyx", axes[::-1], degrees=True)  # about z first
    fixed = [Rotation.from_euler("xyz", some, degrees=True) for some in (numbers[3:6], numbers[6:9])]
    thigh = fixed[0] * rest * fixed[1] * rest.inv()
    assert np.allclose(positions[0, 1] / UNIT, numbers[:3] + thigh.apply([0, -4, 0]))
    with pytest.raises(UserError, match="order of axes"):
        asf_amc(ASF.replace("axis 0 0 90 XYZ", "axis 0 0 90 XXZ"))


def test_asf_root_has_a_position_an_orientation_and_an_order():
    numbers = np.random.default_rng(2).uniform(-180, 180, size=10)
    frame = "1\nroot {} {} {} {} {} {}\nthigh {} {} {}\nshin {}\n".format(*numbers)
    moved = ASF.replace("position 0 0 0", "position 0 5 0").replace("orientation 0 0 0", "orientation 0 90 0")
    _, positions = asf_amc(moved, frame)
    _, plain = asf_amc(ASF, frame)
    quarter = Rotation.from_euler("y", 90, degrees=True)
    legs = (plain[0, 1:] - plain[0, :1]) / UNIT
    assert np.allclose(positions[0, 0] / UNIT, numbers[:3] + np.array([0, 5, 0]))
    assert np.allclose((positions[0, 1:] - positions[0, :1]) / UNIT, quarter.apply(legs))
    order = ASF.replace("order TX TY TZ RX RY RZ", "order TX TY TZ RZ RY RX")
    _, positions = asf_amc(order, "1\nroot 0 0 0 {} {} {}\nthigh 0 0 0\nshin 0\n".format(*numbers[3:6]))
    turn = Rotation.from_euler("zyx", numbers[3:6], degrees=True)
    assert np.allclose(positions[0, 1] / UNIT, turn.apply([0, -4, 0]))


def test_asf_words_may_be_in_capitals_and_follow_a_byte_order_mark():
    capitals = ASF.replace(":units", ":UNITS").replace(":bonedata", ":BONEDATA")
    assert np.array_equal(asf_amc("\ufeff" + capitals, "\ufeff" + AMC)[1], asf_amc()[1])


def test_frame_rates_of_amc_and_of_cmus_captures():
    content = AMC.replace(":DEGREES", ":SAMPLES-PER-SECOND 60\n:DEGREES") if ":DEGREES" in AMC else ":SAMPLES-PER-SECOND 60\n" + AMC
    assert read_asf_amc(io.StringIO(ASF), io.StringIO(content))[2] == 60
    assert read_asf_amc(io.StringIO(ASF), io.StringIO(AMC))[2] is None
    slow = ("60_01", "61_15", "88_01", "88_11", "90_08", "90_11", "115_01", "115_09", "115_10")
    assert {cmu_fps(name) for name in slow} == {60}
    assert {cmu_fps(name) for name in ("01_01", "90_02", "90_10", "115_11", "160_01", "600_01", "walk")} == {120}


@needs_shared
def test_the_lost_thorax_is_put_back():
    """The bones of CMU's 07_01, converted to BVH for MotionBuilder, match those of the AMC of the same person (07_05)."""
    everyday = SHARED / "data" / "everyday"
    with tarfile.open(everyday / "raw_samples.tar.xz") as archive:
        text = archive.extractfile("cmu_bvh/07_01.bvh").read().decode()
    stream = io.StringIO(text)
    stream.name = "07_01.bvh"
    joints = joints_of_tree(read_bvh(stream), "07_01.bvh").joints[1:] * INCH / 0.45
    with tarfile.open(SHARED / "data" / "cmu" / "asfamc.tar.xz") as archive:
        asf, amc = (archive.extractfile(f"asfamc/07/{name}").read().decode() for name in ("07.asf", "07_05.amc"))
    names, positions, _ = read_asf_amc(io.StringIO(asf), io.StringIO(amc))
    bones = bone_lengths(torch.from_numpy(map_joints(names, positions, JOINT_MAPS["cmu_asf"])), HUMANML3D).median(0).values
    lengths = bone_lengths(torch.from_numpy(joints), HUMANML3D).median(0).values
    # The trunk and the hips; elsewhere the edition places the joints of arms and feet at other spots.
    assert (lengths - bones)[[1, 2, 3, 6, 9, 12, 15]].abs().max() < 0.025
    with tarfile.open(everyday / "joints.tar.xz", "r|xz") as archive:
        member = next(member for member in archive if member.name.endswith("cmu/07_01.npy"))
        reference = np.load(io.BytesIO(archive.extractfile(member).read()))
    every = joints[::6][: len(reference)]
    assert np.linalg.norm(every - reference, axis=-1).max() < 0.008


def test_only_conversions_that_lost_the_thorax_get_one():
    names, parents = ["Hips", "Spine", "Spine1", "Neck", "LeftShoulder", "RightShoulder"], [-1, 0, 1, 2, 2, 2]
    turns = np.tile(np.eye(3), (2, 6, 1, 1))
    for neck, expected in ((0.0, 3.0), (0.5, 2.5)):
        offsets = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, neck, 0], [0, neck, 0], [0, neck, 0]], float)
        tree = Bvh(list(names), list(parents), offsets, np.tile(offsets, (2, 1, 1)), turns, 1 / 30)
        restore_thorax(tree)
        assert tree.joints()[1, 3, 1] == tree.joints()[1, 4, 1] == expected


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda amc: amc[: amc.rindex("shin")], "truncated"),
        (lambda amc: amc[: amc.rindex(" 0\nshin")], "truncated"),
        (lambda amc: amc.replace("shin 90", "shin nan"), "NaN"),
        (lambda amc: amc.replace("shin 90", "shin bent"), "damaged"),
        (lambda amc: amc.replace("shin", "wing"), "of the same subject"),
        (lambda amc: "", "no frames"),
    ],
)
def test_a_damaged_motion_is_a_user_error(tmp_path, damage, message):
    (tmp_path / "a.asf").write_text(ASF)
    (tmp_path / "a.amc").write_text(damage(AMC))
    with pytest.raises(UserError, match=message) as raised:
        read_asf_amc(tmp_path / "a.asf", tmp_path / "a.amc")
    assert str(tmp_path / "a.amc") in str(raised.value)


@pytest.mark.parametrize("section", [":units", ":root", ":bonedata", ":hierarchy"])
def test_a_damaged_skeleton_is_a_user_error(section):
    with pytest.raises(UserError, match="not an ASF"):
        asf_amc(asf=ASF.replace(section, ":other"))


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("line", ["length 0.45", "length 1", "axis 0 0 90 XYZ", "position 0 0 0"])
def test_infinite_numbers_in_a_skeleton_are_a_user_error(line, number):
    assert line in ASF
    word, _, *rest = line.split()
    with pytest.raises(UserError, match=r"infinite or NaN|above 0"):
        asf_amc(asf=ASF.replace(line, " ".join((word, number, *rest)), 1))


def test_rates_that_divide_keep_frames():
    positions = np.random.default_rng(0).normal(size=(121, 22, 3))
    assert np.array_equal(resample(positions, 120), positions[::6])
    assert np.array_equal(resample(positions, 60.0001), positions[::3])


@pytest.mark.parametrize("frames", [2, 3, 4, 31, 90, 91, 92, 1900])
def test_thirty_to_twenty(frames):
    """Every third frame is on the old grid and stays; a smooth arc is met between frames; nothing lies beyond the end."""
    time = np.arange(frames) / 30
    arc = np.stack((np.cos(5 * time), np.sin(5 * time), time), axis=-1)[:, None]
    slow = resample(arc, 1 / 0.0333333)
    now = np.arange(len(slow)) / 20
    assert now[-1] <= time[-1] + 1e-9 < now[-1] + 1 / 20
    assert np.allclose(slow[::2], arc[::3])
    if frames > 30:
        assert np.abs(slow - np.stack((np.cos(5 * now), np.sin(5 * now), now), axis=-1)[:, None]).max() < 1e-3


@needs_shared
def test_bandai_joints_are_those_of_the_parity_clips():
    meta = json.loads((SHARED / "parity" / "kinematics" / "meta.json").read_text())
    clips = {name: (index, *frames) for index, (name, *frames) in enumerate(meta["dims"]["clips (name, first frame, frames)"])}
    compared = 0
    archive = SHARED / "data" / "bandai" / "Bandai-Namco-Research-Motiondataset-1.tar.xz"  # the small one of the two
    with np.load(SHARED / "parity" / "kinematics" / "io.npz") as arrays, tarfile.open(archive, "r|xz") as members:
        for member in members:
            if Path(member.name).stem not in clips:
                continue
            index, first, frames = clips[Path(member.name).stem]
            bvh = read_bvh(io.StringIO(members.extractfile(member).read().decode()))
            joints = map_joints(bvh.names, bvh.joints(), JOINT_MAPS["bandai"]) / 100
            resampled = resample(joints, bvh.fps)[first : first + frames]
            apart = np.abs(resampled - arrays[f"in_joints_{index}"])
            assert apart[first % 2 :: 2].max() < 1e-5  # frames of the capture
            assert apart.max() < 0.05  # between them, theirs lie on a straight line
            compared += 1
            if compared == 3:
                break
    assert compared == 3
