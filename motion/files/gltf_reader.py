"""Reading of animated glTF scenes (.glb, .gltf): the node tree as a posed skeleton, sampled at the keys of its animation.

Only the first animation is read. The channel with the most keys defines the frames: each key is one frame, and the keys must be
evenly spaced in time. Channels with fewer keys are interpolated. Cubic splines and morph targets are not supported.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from pathlib import Path

import numpy as np
import torch

from motion.files.animation import continuous
from motion.files.bvh import Bvh
from motion.files.raw import Raw
from motion.files.text import LARGEST
from motion.files.trees import joints_of_tree
from motion.rotation import qmatrix
from utils.errors import UserError

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
FLOAT = 5126


def read_gltf(path: Path, joint_map: str | Path | None = None) -> Raw:
    """Read the joints of the motion in a `.glb` or `.gltf` file, in metres, Y up. Raises `UserError` if it has no animation.

    `joint_map` is a JSON file that defines each joint by nodes of the scene; by default, a built-in map is chosen.
    """
    try:
        document, buffers = parts_of(path)
        tree = posed_tree(document, buffers)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise UserError(f"{path}: not a glTF file with an evenly sampled animation ({error})") from None
    raw = joints_of_tree(tree, str(path), joint_map)
    return Raw(raw.joints, raw.fps, "m", "y", raw.rest)


def parts_of(path: Path) -> tuple[dict, list[bytes]]:
    """The JSON document and the binary buffers of a glTF file."""
    content = path.read_bytes()
    binary = b""
    if content[:4] == b"glTF":
        size = struct.unpack_from("<I", content, 12)[0]
        document = json.loads(content[20 : 20 + size])
        binary = content[28 + size :]
    else:
        document = json.loads(content)
    buffers = []
    for buffer in document.get("buffers", []):
        uri = buffer.get("uri")
        if uri is None:
            buffers.append(binary)
        elif uri.startswith("data:"):
            buffers.append(b64decode(uri.partition(",")[2]))
        else:
            buffer_path = path.parent / uri
            if buffer_path.name != uri or not buffer_path.is_file() or buffer_path.stat().st_size > LARGEST:
                raise ValueError(f"buffer {uri[:80]} is not a file in the same folder")
            buffers.append(buffer_path.read_bytes())
    return document, buffers


def values(document: dict, buffers: list[bytes], index: int) -> np.ndarray:
    """The values (count, width) of the glTF accessor with this index. Raises `ValueError` if they are not floats."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    if accessor["componentType"] != FLOAT:
        raise ValueError("its keys are not floating-point numbers")
    width, count = WIDTHS[accessor["type"]], accessor["count"]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    stride = view.get("byteStride", 4 * width)
    return np.ndarray((count, width), "<f4", buffers[view["buffer"]], start, (stride, 4)).astype(np.float64)


def posed_tree(document: dict, buffers: list[bytes]) -> Bvh:
    """The nodes of a glTF document as a skeleton, parents first, posed in every frame of the first animation."""
    nodes = document["nodes"]
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    order: list[int] = []
    pending = [number for number in range(len(nodes)) if number not in parents]
    while pending:
        order.append(number := pending.pop())
        pending += nodes[number].get("children", [])
    if not document.get("animations"):
        raise ValueError("it has no animation")
    animation = document["animations"][0]
    clocks = {sampler["input"] for sampler in animation["samplers"]}
    times = values(document, buffers, max(clocks, key=lambda clock: document["accessors"][clock]["count"]))[:, 0]
    steps = np.diff(times)
    if (len(times) > 1 and not (steps > 0).all()) or (len(times) > 2 and np.ptp(steps) > 1e-3):
        raise ValueError("its keys are not evenly spaced in time")
    position_in_order = {number: position for position, number in enumerate(order)}
    rest = np.array([nodes[number].get("translation", (0, 0, 0)) for number in order], np.float64)
    rest_turns = np.array([nodes[number].get("rotation", (0, 0, 0, 1)) for number in order], np.float64)  # quaternions x y z w
    positions, turns = (np.tile(part, (len(times), 1, 1)) for part in (rest, rest_turns))
    for channel in animation["channels"]:
        sampler, path = animation["samplers"][channel["sampler"]], channel["target"]["path"]
        if path not in ("rotation", "translation"):
            continue
        if sampler.get("interpolation") == "CUBICSPLINE":
            raise ValueError("its animation has cubic splines")
        clock, keys = values(document, buffers, sampler["input"])[:, 0], values(document, buffers, sampler["output"])
        keys = continuous(keys) if path == "rotation" else keys
        keys = np.stack([np.interp(times, clock, column) for column in keys.T], axis=1)
        (turns if path == "rotation" else positions)[:, position_in_order[channel["target"]["node"]]] = keys
    turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
    matrices = qmatrix(torch.from_numpy(turns[..., [3, 0, 1, 2]])).numpy()
    names = [nodes[number].get("name", f"node{number}") for number in order]
    parent_indices = [position_in_order[parents[number]] if number in parents else -1 for number in order]
    return Bvh(names, parent_indices, rest, positions, matrices, float(steps.mean()) if len(steps) else 0.05)
