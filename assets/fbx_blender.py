"""Convert a .glb of this project to .fbx inside Blender: the armature, its body, and an animation with a key in every frame.

    blender --background --python assets/fbx_blender.py -- walk.glb walk.fbx
    python assets/fbx_blender.py walk.glb walk.fbx               # needs `pip install bpy`

Tested with Blender 5.0.1.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import bpy


def main(source: str, target: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    fps = frame_rate(Path(source))
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = round(fps), round(fps) / fps
    bpy.ops.import_scene.gltf(filepath=source, bone_heuristic="TEMPERANCE")
    armature = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    for thing in bpy.data.objects:  # remove the shapes with which the importer draws bones
        if thing.type not in ("ARMATURE", "MESH") or (thing.type == "MESH" and not thing.find_armature()):
            bpy.data.objects.remove(thing)
    first, last = armature.animation_data.action.frame_range
    scene.frame_start, scene.frame_end = round(first), round(last)
    bpy.ops.export_scene.fbx(
        filepath=target, add_leaf_bones=False, bake_anim=True, bake_anim_simplify_factor=0.0, bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
    )  # fmt: skip


def frame_rate(path: Path) -> float:
    """Frames per second of a .glb with evenly spaced keys."""
    content = path.read_bytes()
    document = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    clock = document["accessors"][document["animations"][0]["samplers"][0]["input"]]
    return (clock["count"] - 1) / clock["max"][0] if clock["count"] > 1 else 20.0


if __name__ == "__main__":
    main(*(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]))
