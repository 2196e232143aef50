"""Run in Blender's Python: writes a skinned character in a T-pose, with other proportions than our skeleton.

python tests/blender_character.py joints.json PREFIX character.fbx
`joints.json` holds "names", "parents" and "places" (metres, Y up) of the bones.
"""

import json
import sys
from pathlib import Path

import bpy

source, prefix, target = sys.argv[1:]
data = json.loads(Path(source).read_text())
bpy.ops.wm.read_factory_settings(use_empty=True)
armature = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
bpy.context.scene.collection.objects.link(armature)
bpy.context.view_layer.objects.active = armature
bpy.ops.object.mode_set(mode="EDIT")
places = [(x, -z, y) for x, y, z in data["places"]]  # Blender has Z up
bones = []
for name, parent, place in zip(data["names"], data["parents"], places):
    bone = armature.data.edit_bones.new(prefix + name)
    bone.head, bone.tail = place, (place[0], place[1], place[2] + 0.05)
    children = [places[child] for child, above in enumerate(data["parents"]) if above == len(bones)]
    if len(children) == 1:
        bone.tail = children[0]
    if parent >= 0:
        bone.parent = bones[parent]
    bones.append(bone)
bpy.ops.object.mode_set(mode="OBJECT")
points, faces, owners = [], [], []
for bone in armature.data.bones:  # one prism around each bone
    for end in (bone.head_local, bone.tail_local):
        for x, y in ((-0.03, -0.03), (0.03, -0.03), (0.03, 0.03), (-0.03, 0.03)):
            points.append((end[0] + x, end[1] + y, end[2] + (x + y) / 4))
            owners.append(bone.name)
    first = len(points) - 8
    sides = (0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (2, 3, 7, 6), (1, 2, 6, 5), (3, 0, 4, 7)
    faces += [[first + corner for corner in side] for side in sides]
mesh = bpy.data.meshes.new("Body")
mesh.from_pydata(points, [], faces)
body = bpy.data.objects.new("Body", mesh)
bpy.context.scene.collection.objects.link(body)
for name in {*owners}:
    group = body.vertex_groups.new(name=name)
    group.add([point for point, owner in enumerate(owners) if owner == name], 1.0, "REPLACE")
body.parent = armature
body.modifiers.new("Armature", "ARMATURE").object = armature
if target.endswith(".fbx"):
    bpy.ops.export_scene.fbx(filepath=target, add_leaf_bones=False)
elif target.endswith(".blend"):
    bpy.ops.wm.save_as_mainfile(filepath=target)
else:
    bpy.ops.export_scene.gltf(filepath=target, export_format="GLB")
