"""Captures to the 22 joints: maps by name, the ASF/AMC reader against the definition, and resampling in time."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from motion.files.bvh import read_bvh
from motion.files.mocap import JOINT_MAPS, map_joints, read_asf_amc, resample
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
    return read_asf_amc(io.StringIO(asf), io.StringIO(amc))


def test_every_map_fills_every_joint_with_weights_that_sum_to_one():
    for joint_map in JOINT_MAPS.values():
        assert len(joint_map) == HUMANML3D.num_joints
        for place in joint_map:
            assert isinstance(place, str) or sum(place.values()) == pytest.approx(1)


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
    names, places = asf_amc()
    assert names == ["root", "thigh", "shin", "sole"]
    assert np.allclose(places[0] / UNIT, [[1, 2, 3], [1, -2, 3], [1, -5, 3], [1, -5, 4]])
    # The thigh turns about its own y axis, which its axes (a quarter turn about z) put along -x: down goes to +z of the body,
    # which the root's quarter turn about y sends to +x. The knee's turn about x undoes the thigh's.
    assert np.allclose(places[1] / UNIT, [[1, 2, 3], [5, 2, 3], [5, -1, 3], [6, -1, 3]])


def test_asf_amc_turns_x_then_y_then_z_about_each_bones_axes():
    numbers = np.random.default_rng(0).uniform(-180, 180, size=10)
    frame = "1\nroot {} {} {} {} {} {}\nthigh {} {} {}\nshin {}\n".format(*numbers)
    axes = (20.0, -50.0, 110.0)
    _, places = asf_amc(ASF.replace("axis 0 0 90 XYZ", "axis {} {} {} XYZ".format(*axes)), frame)

    def turn(angles) -> Rotation:
        return Rotation.from_euler("xyz", angles, degrees=True)  # lower case: about fixed axes

    thigh = turn(numbers[3:6]) * turn(axes) * turn(numbers[6:9]) * turn(axes).inv()
    shin = thigh * turn([numbers[9], 0, 0])
    knee = numbers[:3] + thigh.apply([0, -4, 0])
    ankle = knee + shin.apply([0, -3, 0])
    assert np.allclose(places[0] / UNIT, [numbers[:3], knee, ankle, ankle + shin.apply([0, 0, 1])])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda amc: amc[: amc.rindex("shin")], "cut short"),
        (lambda amc: amc[: amc.rindex(" 0\nshin")], "cut short"),
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
            ours = resample(joints, bvh.fps)[first : first + frames]
            apart = np.abs(ours - arrays[f"in_joints_{index}"])
            assert apart[first % 2 :: 2].max() < 1e-5  # frames of the capture
            assert apart.max() < 0.05  # between them, theirs lie on a straight line
            compared += 1
            if compared == 3:
                break
    assert compared == 3
