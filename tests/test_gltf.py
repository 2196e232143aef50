"""GLB files: valid, small, quick to write; bones stand where the joints do, and the body is a closed skin around them.

The file is read back by the specification, with nothing of the writer's. Khronos' validator runs where Node finds it
(`npm install --no-save gltf-validator`).
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from motion.files.gltf import write_glb
from motion.files.names import ENDS
from motion.skeleton import HUMANML3D, KIT
from prepare.synthetic import walker
from utils.errors import UserError

TYPES = {5126: "<f4", 5121: "u1", 5123: "<u2"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
VALIDATE = """
for (const path of process.argv.slice(1))
    require("gltf-validator").validateBytes(new Uint8Array(require("fs").readFileSync(path)))
        .then(report => console.log(JSON.stringify(report)))
"""


class Glb:
    """A GLB file, read as the specification says."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
        assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
        self.json = json.loads(data[20 : 20 + size])
        assert struct.unpack_from("<I4s", data, 20 + size) == (len(data) - 28 - size, b"BIN\0")
        self.binary = data[28 + size :]

    def read(self, number: int) -> np.ndarray:
        """The elements (count, width) of an accessor."""
        accessor = self.json["accessors"][number]
        view = self.json["bufferViews"][accessor["bufferView"]]
        kind, width = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
        start = view["byteOffset"] + accessor["byteOffset"]
        stride = view.get("byteStride", kind.itemsize * width)
        return np.ndarray((accessor["count"], width), kind, self.binary, start, (stride, kind.itemsize))

    def world(self, frame: int | None) -> dict[int, np.ndarray]:
        """The world matrix (4, 4) of each node, in a frame of the animation or in the rest pose."""
        nodes = [{"translation": [0, 0, 0], "rotation": [0, 0, 0, 1]} | node for node in self.json["nodes"]]
        animation = self.json["animations"][0]
        for channel in animation["channels"] if frame is not None else []:
            values = self.read(animation["samplers"][channel["sampler"]]["output"])
            nodes[channel["target"]["node"]][channel["target"]["path"]] = values[frame]
        placed: dict[int, np.ndarray] = {}

        def place(number: int, parent: np.ndarray) -> None:
            local = np.eye(4)
            local[:3, :3], local[:3, 3] = Rotation.from_quat(nodes[number]["rotation"]).as_matrix(), nodes[number]["translation"]
            placed[number] = parent @ local
            for child in nodes[number].get("children", []):
                place(child, placed[number])

        for root in self.json["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        return placed

    def bones(self, frame: int | None) -> np.ndarray:
        """Matrices (J, 4, 4) of the skin's joints."""
        world = self.world(frame)
        return np.stack([world[joint] for joint in self.json["skins"][0]["joints"]])

    def vertices(self, frame: int | None) -> np.ndarray:
        """The body's vertices (V, 3), moved by its skin."""
        attributes = self.json["meshes"][0]["primitives"][0]["attributes"]
        inverse = self.read(self.json["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        skin = self.bones(frame) @ inverse
        weights = self.read(attributes["WEIGHTS_0"]) / 255
        matrices = np.einsum("vw,vwij->vij", weights, skin[self.read(attributes["JOINTS_0"])])
        points = np.pad(self.read(attributes["POSITION"]), ((0, 0), (0, 1)), constant_values=1)
        return np.einsum("vij,vj->vi", matrices, points)[:, :3]


def kit_walker() -> np.ndarray:
    """A walk of the 21 joints (T, 21, 3): those of the 22 that bear the same names, feet with a joint in between."""
    joints = walker()
    at = {bone: joints[:, number] for number, bone in enumerate(HUMANML3D.bones)}
    for side in ("Left", "Right"):
        at[f"{side}MidFoot"] = (at[f"{side}Foot"] + at[f"{side}ToeBase"]) / 2 - [0, 0.01, 0]
    return np.stack([at[bone] for bone in KIT.bones], axis=1)


@pytest.fixture(params=["22 joints", "21 joints"])
def clip(request) -> np.ndarray:
    return walker() if request.param == "22 joints" else kit_walker()


@pytest.fixture
def glb(clip, tmp_path) -> Glb:
    write_glb(tmp_path / "walk.glb", clip, "a person walks", fps=20)
    return Glb(tmp_path / "walk.glb")


def test_bones_stand_where_the_joints_do(glb, clip):
    for frame in range(0, len(clip), 7):
        assert np.abs(glb.bones(frame)[: clip.shape[1], :3, 3] - clip[frame]).max() < 0.02  # the walker's spine is not quite stiff
    error = np.stack([glb.bones(frame)[: clip.shape[1], :3, 3] for frame in range(len(clip))]) - clip
    assert np.linalg.norm(error, axis=-1).mean() < 0.005


def test_the_rest_pose_is_a_t_pose_on_the_floor_that_faces_forward(glb):
    names = [glb.json["nodes"][joint]["name"] for joint in glb.json["skins"][0]["joints"]]
    rest = dict(zip(names, glb.bones(None)[:, :3, 3]))
    assert min(position[1] for position in rest.values()) == pytest.approx(0, abs=1e-6)
    assert rest["LeftHand"][0] > rest["LeftArm"][0] > rest["RightArm"][0] > rest["RightHand"][0]
    assert rest["LeftHand"][1] == pytest.approx(rest["LeftArm"][1], abs=1e-6)
    assert rest["LeftToeBase"][2] > rest["LeftFoot"][2] + 0.05
    assert np.allclose(glb.bones(None)[:, :3, :3], np.eye(3))


def test_names_and_tree_are_the_skeletons(glb, clip):
    skeleton = HUMANML3D if clip.shape[1] == 22 else KIT
    nodes, joints = glb.json["nodes"], glb.json["skins"][0]["joints"]
    assert [nodes[joint]["name"] for joint in joints][: len(skeleton.bones)] == list(skeleton.bones)
    parent = {child: joint for joint in joints for child in nodes[joint].get("children", [])}
    above = [joints.index(parent[joint]) if joint in parent else -1 for joint in joints]
    assert above[: len(skeleton.bones)] == list(skeleton.parents)


def test_the_skin_does_not_deform_the_rest_pose(glb):
    positions = glb.read(glb.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"])
    np.testing.assert_allclose(glb.vertices(None), positions, atol=1e-6)


def test_the_skin_follows_the_motion(glb, clip):
    """In every pose the body surrounds the joints: no vertex is far from all joints, and no joint is outside the body."""
    for frame in (0, len(clip) // 2):
        distance = np.linalg.norm(glb.vertices(frame)[:, None] - clip[frame], axis=-1)  # (V, J)
        assert distance.min(axis=1).max() < 0.35 and distance.min(axis=0).max() < 0.16


def test_the_skin_is_closed_and_its_normals_point_outward(glb):
    primitives = glb.json["meshes"][0]["primitives"]
    triangles = np.concatenate([glb.read(primitive["indices"]).reshape(-1, 3) for primitive in primitives]).astype(int)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # each way along an edge once …
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}  # … and once the other way
    attributes = primitives[0]["attributes"]
    points, normals = glb.read(attributes["POSITION"])[triangles], glb.read(attributes["NORMAL"])
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    facing = (across * normals[triangles].mean(axis=1)).sum(-1)
    assert (facing[np.linalg.norm(across, axis=-1) > 1e-9] > 0).all()


def test_taller_people_are_thicker(tmp_path):
    extents = []
    for size in (1.0, 1.5):
        write_glb(tmp_path / "walk.glb", size * walker(), "", fps=20)
        extents.append(np.ptp(Glb(tmp_path / "walk.glb").vertices(None), axis=0))
    np.testing.assert_allclose(extents[1], 1.5 * extents[0], atol=1e-4)


def test_quaternions_are_unit_and_neighbours_lie_near_each_other(glb, clip):
    animation = glb.json["animations"][0]
    outputs = {channel["target"]["path"]: [] for channel in animation["channels"]}
    for channel in animation["channels"]:
        outputs[channel["target"]["path"]].append(glb.read(animation["samplers"][channel["sampler"]]["output"]))
    turns = np.stack(outputs["rotation"])  # (J, T, 4)
    assert turns.shape == (clip.shape[1] + len(ENDS), len(clip), 4) and len(outputs["translation"]) == 1
    assert np.allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-6)
    assert (turns[:, 1:] * turns[:, :-1]).sum(-1).min() > 0.7


def test_the_clock_runs_at_the_frame_rate(clip, tmp_path):
    write_glb(tmp_path / "walk.glb", clip, "", fps=12.5)
    glb = Glb(tmp_path / "walk.glb")
    seconds = glb.read(glb.json["animations"][0]["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(seconds, np.arange(len(clip)) * 0.08, atol=1e-6)


def test_a_caption_names_the_animation(tmp_path):
    caption = 'someone says "olá" – twice\n'
    write_glb(tmp_path / "walk.glb", walker(), caption, fps=20)
    content = Glb(tmp_path / "walk.glb").json
    assert content["animations"][0]["name"] == content["scenes"][0]["extras"]["caption"] == caption


def test_one_frame_is_enough(tmp_path):
    write_glb(tmp_path / "pose.glb", walker()[:1], "", fps=20)
    assert np.abs(Glb(tmp_path / "pose.glb").bones(0)[:22, :3, 3] - walker()[0]).max() < 0.01


def test_the_longest_clip_is_small_and_quick(tmp_path):
    clip = np.resize(walker(steps=12), (196, 22, 3))
    write_glb(tmp_path / "walk.glb", clip, "a person walks", fps=20)
    began = time.process_time()
    write_glb(tmp_path / "walk.glb", clip, "a person walks", fps=20)
    assert time.process_time() - began < 0.2
    assert (tmp_path / "walk.glb").stat().st_size < 320_000


def test_nan_is_not_written(tmp_path):
    clip = walker()
    clip[3, 4, 1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_glb(tmp_path / "walk.glb", clip, "", fps=20)
    assert not list(tmp_path.iterdir())


def test_the_khronos_validator_has_nothing_to_say(tmp_path):
    if not shutil.which("node") or subprocess.run(["node", "-e", 'require("gltf-validator")'], capture_output=True).returncode:
        pytest.skip("needs Node and gltf-validator")
    clips = {"22": (walker(), "a person walks – “far”"), "21": (kit_walker(), ""), "pose": (walker()[:1], "")}
    for name, (clip, caption) in clips.items():
        write_glb(tmp_path / f"{name}.glb", clip, caption, fps=20)
    answer = subprocess.run(["node", "-e", VALIDATE, *tmp_path.glob("*.glb")], capture_output=True, text=True, check=True)
    assert [json.loads(line)["issues"]["messages"] for line in answer.stdout.splitlines()] == [[]] * len(clips)
