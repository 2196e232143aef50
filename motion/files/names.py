"""Bone names of other programs. Inside the project, bones have Mixamo's names."""

from __future__ import annotations

from motion.skeleton import HUMANML3D, KIT

STYLES = ("mixamo", "mixamorig", "plain", "unreal")
ENDS = {"Head": "HeadTop_End", "LeftToeBase": "LeftToe_End", "RightToeBase": "RightToe_End"}  # Mixamo's leaf bones
PLAIN = {  # SMPL's names without the side
    "Hips": "pelvis", "UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "MidFoot": "midfoot", "ToeBase": "foot",
    "Toe_End": "toe_end", "Spine": "spine1", "Spine1": "spine2", "Spine2": "spine3", "Neck": "neck", "Head": "head",
    "HeadTop_End": "head_end", "Shoulder": "collar", "Arm": "shoulder", "ForeArm": "elbow", "Hand": "wrist",
}  # fmt: skip
UNREAL = {  # names of Unreal's mannequin, without the side
    "Hips": "pelvis", "UpLeg": "thigh", "Leg": "calf", "Foot": "foot", "MidFoot": "midfoot", "ToeBase": "ball",
    "Toe_End": "ball_end", "Spine": "spine_01", "Spine1": "spine_02", "Spine2": "spine_03", "Neck": "neck_01", "Head": "head",
    "HeadTop_End": "head_end", "Shoulder": "clavicle", "Arm": "upperarm", "ForeArm": "lowerarm", "Hand": "hand",
}  # fmt: skip


def renamed(bone: str, style: str) -> str:
    """The name of Mixamo's bone `bone` in the naming style "mixamo", "mixamorig", "plain" or "unreal"."""
    side = next((side for side in ("Left", "Right") if bone.startswith(side)), "")
    match style:
        case "mixamorig":
            return f"mixamorig:{bone}"
        case "plain":
            plain = PLAIN.get(bone.removeprefix(side), bone)
            return f"{side.lower()}_{plain}" if side else plain
        case "unreal":
            unreal = UNREAL.get(bone.removeprefix(side), bone)
            return f"{unreal}_{side[0].lower()}" if side else unreal
    return bone


def known_names() -> list[tuple[str, ...]]:
    """The joint names, in joint order, of KIT's and then of HumanML3D's skeleton, in each naming style except "mixamorig"."""
    styles = ("mixamo", "plain", "unreal")
    return [tuple(renamed(bone, style) for bone in skeleton.bones) for skeleton in (KIT, HUMANML3D) for style in styles]
