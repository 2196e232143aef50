"""Writing of animated GLB files (binary glTF 2.0): a capsule body on a skeleton, for Blender, Unity, Unreal, three.js and viewers.

Input: joints (T, J, 3), metres, Y up. Output: a file with a skeleton in a T-pose (facing +Z), a skinned body whose limbs are
tapered capsules with the same radii as in videos, and one animation with the rotations of every bone and the translation of the
root. Specification: Khronos glTF 2.0, without extensions.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from motion.drawing.body import COLOURS, Limbs, body_points, limbs, side
from motion.features import skeleton_for
from motion.files.animation import DEFAULT_RIG, Animation, RigOptions, animate, continuous
from motion.files.names import ENDS
from motion.files.raw import body_size
from motion.rotation import matrixq
from motion.skeleton import Skeleton
from utils.checkpoint import atomic_path
from utils.errors import readable

AROUND, RINGS = 14, 4  # points per ring of a capsule, rings per end of a capsule
BODY = 1.58  # `body_size`, in metres, of a person for whom the radii of `limbs` are right
SEAM = 1.05  # a limb is thicker by this factor where it meets a limb of another colour, because coinciding surfaces flicker
FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT = 5126, 5121, 5123  # glTF's component types
VERTICES, TRIANGLES = 34962, 34963  # glTF's targets of buffer views
VERTEX = np.dtype([("POSITION", "<f4", 3), ("NORMAL", "<f4", 3), ("JOINTS_0", "u1", 4), ("WEIGHTS_0", "u1", 4)])


def write_glb(path: str | Path, joints: np.ndarray, caption: str = "", fps: float = 20, rig: RigOptions = DEFAULT_RIG) -> None:
    """Write joints (T, J, 3), metres, Y up, as an animated GLB. The caption is the name of the animation.

    Raises `UserError` if joints are not finite, if their number is not 22 or 21, or if the file cannot be written.
    """
    skeleton = skeleton_for(joints.shape[1])
    animation = animate(joints, fps, rig)
    first = len(animation.names) - len(skeleton.bones) - len(ENDS)  # index of the hips: 1 if there is a root bone, else 0
    file = Gltf()
    file.json["scene"] = 0
    file.json["scenes"] = [{"nodes": [0, 1], "extras": {"caption": caption}}]
    file.json["materials"] = [material(part) for part in COLOURS]
    file.json["meshes"] = [body_mesh(file, animation.rest[first : first + skeleton.num_joints], skeleton, first)]
    file.json["nodes"] = [{"name": "Body", "mesh": 0, "skin": 0}]  # node 0; the bones follow
    add_bones(file, animation)
    add_animation(file, animation, caption or "motion")
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.to_bytes())


class Gltf:
    """A GLB under construction: its JSON and its binary block."""

    def __init__(self) -> None:
        self.json: dict = {"asset": {"version": "2.0", "generator": "LaMP"}, "bufferViews": [], "accessors": []}
        self.binary = bytearray()

    def add_view(self, array: np.ndarray, **fields: int) -> int:
        """Append the bytes of an array as a buffer view with the JSON properties `fields`; returns the index of the view."""
        self.binary += bytes(-len(self.binary) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes, **fields})
        self.binary += array.tobytes()
        return len(self.json["bufferViews"]) - 1

    def add_accessor(self, view: int, component: int, kind: str, count: int, offset: int = 0, **fields: object) -> int:
        """Add an accessor for `count` elements of buffer view `view`, from byte `offset` on; returns the index of the accessor.

        `component` is glTF's component type, `kind` its element type, such as "VEC3".
        """
        element = {"bufferView": view, "byteOffset": offset, "componentType": component, "type": kind, "count": count}
        self.json["accessors"].append(element | fields)
        return len(self.json["accessors"]) - 1

    def add_floats(self, array: np.ndarray, kind: str, **fields: object) -> int:
        """Add an array of floats, one row per element of type `kind`, as an accessor with its own view; returns its index."""
        return self.add_accessor(self.add_view(array.astype("<f4")), FLOAT, kind, len(array), **fields)

    def to_bytes(self) -> bytes:
        """The bytes of the file: a header, then the JSON padded with spaces, then the binary block padded with zeros."""
        self.json["buffers"] = [{"byteLength": len(self.binary)}]
        text = readable(json.dumps(self.json, ensure_ascii=False, separators=(",", ":"))).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + bytes(-len(self.binary) % 4)
        parts = struct.pack("<I4s", len(text), b"JSON"), text, struct.pack("<I4s", len(binary), b"BIN\0"), binary
        return struct.pack("<4sII", b"glTF", 2, 12 + sum(map(len, parts))) + b"".join(parts)


def body_mesh(file: Gltf, rest: np.ndarray, skeleton: Skeleton, first: int) -> dict:
    """Add the arrays of the body's mesh to `file` and return the mesh, which has one primitive per colour.

    `rest` (J, 3) are the joints of the rest pose; `first` is the index of the hips among the bones.
    """
    body = bone_limbs(skeleton)
    scale = body_size(rest[None]) / BODY
    points, normals = capsules(body_points(rest[None] / scale, skeleton)[0, body.ends], body.radii)  # (N, V, 3)
    points *= scale
    vertices = np.zeros(points.shape[:2], VERTEX)
    vertices["POSITION"], vertices["NORMAL"] = points, normals
    vertices["JOINTS_0"][..., 0] = body.owners[:, None] + first
    vertices["WEIGHTS_0"][..., 0] = 255
    count, low, high = vertices.size, points.min((0, 1)).astype("<f4"), points.max((0, 1)).astype("<f4")
    view = file.add_view(vertices, byteStride=VERTEX.itemsize, target=VERTICES)
    attributes = {
        "POSITION": file.add_accessor(view, FLOAT, "VEC3", count, 0, min=low.tolist(), max=high.tolist()),
        "NORMAL": file.add_accessor(view, FLOAT, "VEC3", count, 12),
        "JOINTS_0": file.add_accessor(view, UNSIGNED_BYTE, "VEC4", count, 24),
        "WEIGHTS_0": file.add_accessor(view, UNSIGNED_BYTE, "VEC4", count, 28, normalized=True),
    }
    triangles = capsule_triangles() + np.arange(len(body.ends))[:, None, None] * points.shape[1]  # (N, triangles, 3)
    primitives = []
    for material, part in enumerate(COLOURS):
        index = triangles[np.array(body.parts) == part].astype("<u2").reshape(-1)
        indices = file.add_accessor(file.add_view(index, target=TRIANGLES), UNSIGNED_SHORT, "SCALAR", len(index))
        primitives.append({"attributes": attributes, "indices": indices, "material": material})
    return {"name": "body", "primitives": primitives}


def bone_limbs(skeleton: Skeleton) -> Limbs:
    """The capsules of the body that are attached to exactly one bone, slightly thicker where they meet another colour."""
    body = limbs(skeleton)
    parents = np.maximum(skeleton.parents, 0)
    rigid = np.array([end >= len(parents) or parents[end] == owner for end, owner in zip(body.ends[:, 1], body.owners)])
    at_seam = [
        start == owner and side(skeleton.bones[owner]) != side(skeleton.bones[parents[owner]])
        for start, owner in zip(body.ends[:, 0], body.owners)
    ]
    body.radii[at_seam, 0] *= SEAM
    parts = [part for part, kept in zip(body.parts, rigid) if kept]
    return Limbs(body.ends[rigid], body.radii[rigid], parts, body.owners[rigid], body.trunk[rigid])


def capsules(ends: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals (N, V, 3) on N capsules. A capsule is the hull of two balls with centres `ends` (2, 3) and `radii` (2,).

    The first two points of a capsule are its poles. All further points form rings, in order from the first pole to the second. Each
    ball has a ring where the cone that connects the balls touches the ball, so normals are exact everywhere.
    """
    axis = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(axis, axis=-1).clip(min=1e-6)
    along = np.where(length[:, None] > 1e-5, axis / length[:, None], (0.0, 0.0, 1.0))  # any axis if the ends coincide
    across = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=-1)])
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    frame = np.stack((across, np.cross(along, across), along), axis=1)  # (N, 3 axes, 3)
    touch = np.arccos(((radii[:, 0] - radii[:, 1]) / length).clip(-1, 1))  # angle from the axis to the normals of the cone
    steps = np.arange(1, RINGS + 1) / RINGS
    angle = np.concatenate((np.pi - (np.pi - touch)[:, None] * steps, touch[:, None] * (1 - steps + 1 / RINGS)), axis=1)
    turn = 2 * np.pi * np.arange(AROUND) / AROUND
    rings = np.stack(np.broadcast_arrays(
        np.sin(angle)[..., None] * np.cos(turn), np.sin(angle)[..., None] * np.sin(turn), np.cos(angle)[..., None]
    ), axis=-1)  # fmt: skip
    poles = np.broadcast_to([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]], (len(ends), 2, 3))
    local = np.concatenate((poles, rearrange(rings, "n ring turn xyz -> n (ring turn) xyz")), axis=1)
    normals = local @ frame
    ball = np.repeat([0, 1, 0, 1], [1, 1, RINGS * AROUND, RINGS * AROUND])  # on which of the two balls each point lies
    return ends[:, ball] + radii[:, ball, None] * normals, normals


def capsule_triangles() -> np.ndarray:
    """Vertex indices (triangles, 3) of a capsule's triangles, counter-clockwise as seen from outside."""
    ring = 2 + np.arange(2 * RINGS * AROUND).reshape(2 * RINGS, AROUND)
    following = np.roll(ring, -1, axis=1)
    first, last = np.zeros(AROUND, int), np.ones(AROUND, int)
    quads = ring[:-1], following[:-1], following[1:], ring[1:]
    return np.concatenate((
        np.stack((first, following[0], ring[0]), axis=-1),
        np.stack((quads[0], quads[1], quads[2]), axis=-1).reshape(-1, 3),
        np.stack((quads[0], quads[2], quads[3]), axis=-1).reshape(-1, 3),
        np.stack((last, ring[-1], following[-1]), axis=-1),
    ))  # fmt: skip


def material(part: str) -> dict:
    """A matt glTF material in the colour of a part of the body, such as "left" or "face"."""
    red, green, blue = (np.array(COLOURS[part]) / 255) ** 2.2  # glTF colours are linear
    factors = {"baseColorFactor": [red, green, blue, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.75}
    return {"name": part, "pbrMetallicRoughness": factors}


def add_bones(file: Gltf, animation: Animation) -> None:
    """Add one node per bone, in the order of the bones, and the skin that binds the body to the bones."""
    first = len(file.json["nodes"])
    for bone, (name, offset) in enumerate(zip(animation.names, animation.offsets.tolist())):
        children = [first + child for child, parent in enumerate(animation.parents) if parent == bone]
        file.json["nodes"].append({"name": name, "translation": offset} | ({"children": children} if children else {}))
    inverse = np.tile(np.eye(4), (len(animation.names), 1, 1))
    inverse[:, 3, :3] = -animation.rest  # glTF stores matrices by columns
    bound = file.add_floats(inverse.reshape(-1, 16), "MAT4")
    joints = [first + bone for bone in range(len(animation.names))]
    file.json["skins"] = [{"inverseBindMatrices": bound, "joints": joints, "skeleton": first}]


def add_animation(file: Gltf, animation: Animation, name: str) -> None:
    """Add the rotations of all bones and the translation of the first bone.

    If the first bone is a separate root bone, the second bone, which is then the hips, is translated too.
    """
    frames, bones = len(animation.root), len(animation.names)
    first = len(file.json["nodes"]) - bones
    seconds = np.arange(frames) / animation.fps
    clock = file.add_floats(seconds, "SCALAR", min=[0.0], max=[float(np.float32(seconds[-1]))])
    turns = continuous(matrixq(torch.from_numpy(animation.rotations)).numpy())[..., [1, 2, 3, 0]]  # x y z w
    turns = rearrange(turns, "t b q -> b t q")
    outputs = [(first, "translation", file.add_floats(animation.root, "VEC3"))]
    if animation.moving is not None:
        outputs.append((first + 1, "translation", file.add_floats(animation.moving, "VEC3")))
    view = file.add_view(turns.astype("<f4"))
    for bone in range(bones):
        rotation = file.add_accessor(view, FLOAT, "VEC4", frames, offset=16 * frames * bone)
        outputs.append((first + bone, "rotation", rotation))
    file.json["animations"] = [{
        "name": name,
        "samplers": [{"input": clock, "output": output} for _, _, output in outputs],
        "channels": [
            {"sampler": sampler, "target": {"node": node, "path": path}} for sampler, (node, path, _) in enumerate(outputs)
        ],
    }]  # fmt: skip
