"""Retarget a .bvh of this project to a character, without opening Blender's window.

    blender --background --python assets/retarget_blender.py -- walk.bvh character.fbx walk_character.fbx
    python assets/retarget_blender.py walk.bvh character.fbx walk_character.glb       # needs `pip install bpy`

The character (.fbx, .glb, .gltf or .blend) has a T-pose as its rest pose, as Mixamo's characters do. A KeeMap file lists pairs of
corresponding bones. Each bone of the character gets the rotation that the corresponding bone of the .bvh has relative to its rest
pose. The path of the hips is scaled by the ratio of the leg lengths. See docs/blender.md.

Tested with Blender 5.0.1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import bpy
from mathutils import Matrix, Quaternion

MAPPING = Path(__file__).with_name("mapping.json")
MOTIONS, CHARACTERS, OUTPUTS = (".bvh",), (".fbx", ".glb", ".gltf", ".blend"), (".fbx", ".glb", ".blend")
METRES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048, "cmu": 0.0254 / 0.45}
AXES = {"y": ("-Z", "Y"), "z": ("Y", "Z")}  # forward and up axis, in Blender's notation
PREFIX = re.compile(r"^(.*:|mixamorig\d*_?)")

# Settings that a KeeMap file repeats for every bone, and settings of the whole transfer.
KEEMAP_BONE = {
    "label": "", "description": "", "keyframe_this_bone": True, "set_bone_rotation": True, "bone_rotation_application_axis": "XYZ",
    "has_twist_bone": False, "TwistBoneName": "", "position_gain": 1.0, "position_pole_distance": 0.3,
    "position_correction_factorX": 0.0, "position_correction_factorY": 0.0, "position_correction_factorZ": 0.0,
    "postion_type": "SINGLE_BONE_OFFSET", "set_bone_scale": False, "scale_gain": 1.0, "scale_max": 1.0, "scale_min": 0.5,
    "bone_scale_application_axis": "Y", "scale_secondary_bone_name": "",
}  # fmt: skip
KEEMAP_TRANSFER = {"keyframe_every_n_frames": 1, "bone_rotation_mode": "EULER"}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="retarget_blender.py", description="Put a .bvh motion onto a character.")
    parser.add_argument("motion", type=Path, help=".bvh of this project")
    parser.add_argument("character", type=Path, help=".fbx, .glb, .gltf or .blend with an armature in T-pose")
    parser.add_argument("output", type=Path, help=".fbx, .glb or .blend to write")
    parser.add_argument("--mapping", type=Path, default=MAPPING, help="KeeMap file that pairs the bones; default: Mixamo's names")
    parser.add_argument("--input_unit", "--bvh_unit", choices=METRES, default="cm", help="unit of the .bvh; default: cm")
    parser.add_argument("--input_up", choices=AXES, default="y", help="axis that points up in the .bvh; default: y")
    parser.add_argument("--save_mapping", type=Path, help="also write a KeeMap file with the corrections of these two skeletons")
    flags = parser.parse_args(argv)
    for path, suffixes in ((flags.motion, MOTIONS), (flags.character, CHARACTERS), (flags.output, OUTPUTS)):
        if path.suffix.lower() not in suffixes:
            fail(f"{path}: its suffix is not one of {' '.join(suffixes)}")
    for path in (flags.motion, flags.character, flags.mapping):
        if not path.is_file():
            fail(f"{path}: no such file")

    bpy.ops.wm.read_factory_settings(use_empty=True)
    source = read_motion(flags.motion, METRES[flags.input_unit], *AXES[flags.input_up])
    target = read_character(flags.character, source)
    pairs = pair_bones(json.loads(flags.mapping.read_text(encoding="utf-8")), source, target)
    if flags.save_mapping:
        flags.save_mapping.write_text(json.dumps(keemap(pairs, source, target), indent=1) + "\n", encoding="utf-8")
    first, last = (round(frame) for frame in source.animation_data.action.frame_range)
    bake(source, target, pairs, range(first, last + 1))
    bpy.data.actions.remove(source.animation_data.action)
    bpy.data.objects.remove(source)
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = first, last
    write(flags.output)
    print(f"{flags.output}: {len(pairs)} bones, {last - first + 1} frames")


def fail(message: str) -> None:
    """Print an error on one line and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_motion(path: Path, scale: float, forward: str, up: str) -> bpy.types.Object:
    """Import a .bvh file, set the scene's frame rate to that of the file, and return the armature."""
    axes = {"axis_forward": forward, "axis_up": up, "global_scale": scale}
    try:
        bpy.ops.import_anim.bvh(filepath=str(path), update_scene_fps=True, update_scene_duration=True, **axes)
    except RuntimeError as error:
        fail(f"{path}: Blender cannot read it ({str(error).strip().splitlines()[0]})")
    return bpy.context.object


def read_character(path: Path, source: bpy.types.Object) -> bpy.types.Object:
    """Import a character file, and return its armature. If there are several, return the armature with the most bones."""
    fps = bpy.context.scene.render.fps, bpy.context.scene.render.fps_base
    try:
        match path.suffix.lower():
            case ".fbx":
                bpy.ops.import_scene.fbx(filepath=str(path), use_anim=False)
            case ".blend":
                with bpy.data.libraries.load(str(path)) as (there, here):
                    here.objects = there.objects
                for thing in here.objects:
                    bpy.context.scene.collection.objects.link(thing)
            case _:
                bpy.ops.import_scene.gltf(filepath=str(path))
    except (RuntimeError, OSError) as error:
        fail(f"{path}: Blender cannot read it ({str(error).strip().splitlines()[0]})")
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = fps
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE" and thing is not source]
    if not armatures:
        fail(f"{path}: no armature in it; export the character with its skeleton")
    target = max(armatures, key=lambda armature: len(armature.data.bones))
    target.animation_data_clear()
    for bone in target.pose.bones:
        bone.matrix_basis.identity()
    return target


def pair_bones(mapping: dict, source: bpy.types.Object, target: bpy.types.Object) -> dict[str, str]:
    """Return the source bone of each target bone. If no target bone has exactly the name in the mapping, names are compared without
    their prefixes, such as "mixamorig:"."""
    plain, sources = ({bare(bone.name): bone.name for bone in armature.data.bones} for armature in (target, source))
    pairs = {}
    for bone in mapping["bones"]:
        wanted = bone["DestinationBoneName"]
        found = wanted if wanted in target.data.bones else plain.get(bare(wanted))
        partner = sources.get(bare(bone["SourceBoneName"]))
        if found and partner:
            pairs[found] = partner
    missing = {"Hips", "LeftFoot", "RightFoot"} - set(map(bare, pairs.values()))
    if missing:
        names = ", ".join(bone.name for bone in target.data.bones[:8])
        fail(f"{target.name}: the mapping finds no {', '.join(sorted(missing))} in it ({names}, ...); --mapping gives another")
    return pairs


def bare(name: str) -> str:
    """A bone's name without its prefix: "mixamorig:", "mixamorig7:", "mixamorig_", "mixamorig", or any other before a colon."""
    return PREFIX.sub("", name)


def rest_turn(armature: bpy.types.Object, bone: str) -> Quaternion:
    """A bone's orientation in world space in the rest pose."""
    return (armature.matrix_world @ armature.data.bones[bone].matrix_local).to_quaternion()


def bake(source: bpy.types.Object, target: bpy.types.Object, pairs: dict[str, str], frames: range) -> None:
    """Insert keyframes of the target's bones in every frame."""
    corrections = {bone: rest_turn(source, pairs[bone]).inverted() @ rest_turn(target, bone) for bone in pairs}
    hips = next(bone for bone, partner in pairs.items() if bare(partner) == "Hips")
    growth = rest_height(target, pairs) / rest_height(source, {bone: bone for bone in pairs.values()})
    home = target.matrix_world.inverted()
    for bone in pairs:
        target.pose.bones[bone].rotation_mode = "QUATERNION"
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        placed: dict[str, Matrix] = {}  # target bone → its matrix in the armature; parents first
        for bone in target.pose.bones:
            rest = bone.bone.matrix_local
            if bone.parent:
                rest = placed[bone.parent.name] @ bone.parent.bone.matrix_local.inverted() @ rest
            placed[bone.name] = rest
            if bone.name not in pairs:
                continue
            partner = source.matrix_world @ source.pose.bones[pairs[bone.name]].matrix
            turn = home.to_quaternion() @ partner.to_quaternion() @ corrections[bone.name]
            place = home @ (partner.translation * growth) if bone.name == hips else rest.translation
            placed[bone.name] = Matrix.LocRotScale(place, turn, rest.to_scale())
            bone.matrix_basis = rest.inverted() @ placed[bone.name]
            bone.keyframe_insert("rotation_quaternion", frame=frame)
            if bone.name == hips:
                bone.keyframe_insert("location", frame=frame)


def rest_height(armature: bpy.types.Object, pairs: dict[str, str]) -> float:
    """Height of the hips above the feet in the rest pose, in metres."""
    heights = {bare(pairs[bone]): (armature.matrix_world @ armature.data.bones[bone].head_local).z for bone in pairs}
    return heights["Hips"] - (heights["LeftFoot"] + heights["RightFoot"]) / 2


def keemap(pairs: dict[str, str], source: bpy.types.Object, target: bpy.types.Object) -> dict:
    """Return the content of a KeeMap file for these two skeletons. KeeMap copies the world orientation of a source bone to its
    target bone, and then applies the correction."""
    bones = []
    for bone, partner in pairs.items():
        turn = rest_turn(source, partner).inverted() @ rest_turn(target, bone)
        angles = {f"CorrectionFactor{axis}": round(angle, 5) + 0.0 for axis, angle in zip("XYZ", turn.to_euler("XYZ"))}
        quaternion = {f"QuatCorrectionFactor{axis}": round(part, 6) + 0.0 for axis, part in zip("wxyz", turn)}
        names = {"name": partner, "SourceBoneName": partner, "DestinationBoneName": bone}
        bones.append(names | angles | quaternion | KEEMAP_BONE | {"set_bone_position": bare(partner) == "Hips"})
    frames = round(source.animation_data.action.frame_range[1])
    rigs = {"source_rig_name": source.name, "destination_rig_name": target.name}
    return {"bones": bones, "start_frame_to_apply": 1, "number_of_frames_to_apply": frames} | rigs | KEEMAP_TRANSFER


def write(path: Path) -> None:
    """Save the scene in the format given by the file suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix.lower():
        case ".fbx":
            bpy.ops.export_scene.fbx(filepath=str(path), add_leaf_bones=False, bake_anim=True, bake_anim_simplify_factor=0.0)
        case ".glb":
            bpy.ops.export_scene.gltf(filepath=str(path), export_format="GLB")
        case ".blend":
            bpy.ops.wm.save_as_mainfile(filepath=str(path))


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
