"""Joint maps: definitions of HumanML3D's 22 joints by the joints of other skeletons.

Some maps are built in, and users can write further maps. Joint names are compared without case, spaces and punctuation. A prefix
that all joint names of a file share (`mixamorig:`, `Character1_`, `Bip01 `, …) is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from motion.files.mocap import JOINT_MAPS, JointSource
from motion.files.names import known_names
from motion.skeleton import HUMANML3D
from utils.errors import UserError
from utils.textfiles import bounded_text

PUNCTUATION = re.compile(r"[\s_.\-:|]+")
CMU = ("cmu_bvh", "cmu_motionbuilder")  # maps of files that may use CMU's unit of length


def both_sides(
    hips: JointSource, spine: Sequence[JointSource], neck: JointSource, head: JointSource, limbs: str
) -> tuple[JointSource, ...]:
    """Build a joint map, which names a joint (or weighted joints) of another skeleton for each of the 22 joints.

    `spine` has three joints. `limbs` are the names of upper leg, knee, ankle, toe, collar, shoulder, elbow and wrist, separated by
    spaces, with a placeholder for the side: {} is replaced by `L` or `R`, {side} by `Left` or `Right`.
    """
    leg, knee, ankle, toe, collar, shoulder, elbow, wrist = (
        [limb.format(letter, side=side) for letter, side in (("L", "Left"), ("R", "Right"))] for limb in limbs.split()
    )
    lower, middle, upper = spine
    return (hips, *leg, lower, *knee, middle, *ankle, upper, *toe, neck, *collar, head, *shoulder, *elbow, *wrist)


MORE_MAPS: dict[str, tuple[JointSource, ...]] = {
    "xsens": both_sides(
        "Hips", ("Chest", {"Chest2": 0.5, "Chest3": 0.5}, "Chest4"), "Neck", "Head",
        "{side}Hip {side}Knee {side}Ankle {side}Toe {side}Collar {side}Shoulder {side}Elbow {side}Wrist",
    ),
    "rokoko": both_sides(
        "Hips", ("Spine1", "Spine2", "Spine3"), "Neck", "Head",
        "{side}Thigh {side}Shin {side}Foot {side}Toe {side}Shoulder {side}Arm {side}ForeArm {side}Hand",
    ),
    "smpl": both_sides(
        "Pelvis", ("Spine1", "Spine2", "Spine3"), "Neck", "Head",
        "{}_Hip {}_Knee {}_Ankle {}_Foot {}_Collar {}_Shoulder {}_Elbow {}_Wrist",
    ),
    "biped": both_sides(  # 3ds Max; spaces in joint names ("L Thigh") are ignored
        "Pelvis", ("Spine", "Spine1", "Spine2"), "Neck", "Head",
        "{}Thigh {}Calf {}Foot {}Toe0 {}Clavicle {}UpperArm {}Forearm {}Hand",
    ),
    "secondlife": both_sides(
        "mPelvis", ("mTorso", {"mTorso": 0.5, "mChest": 0.5}, "mChest"), "mNeck", "mHead",
        "mHip{side} mKnee{side} mAnkle{side} mFoot{side} mCollar{side} mShoulder{side} mElbow{side} mWrist{side}",
    ),
    "rigify": both_sides(
        "spine", ("spine.001", "spine.002", "spine.003"), "spine.004", "spine.006",
        "thigh.{} shin.{} foot.{} toe.{} shoulder.{} upper_arm.{} forearm.{} hand.{}",
    ),
    "motive": both_sides(  # OptiTrack
        "Hip", ("Ab", {"Ab": 0.5, "Chest": 0.5}, "Chest"), "Neck", "Head",
        "{}Thigh {}Shin {}Foot {}Toe {}Shoulder {}UArm {}FArm {}Hand",
    ),
    "no_toes": both_sides(  # Mixamo's names without toes; the End Site of the foot replaces the toe joint
        "Hips", ("Spine", "Spine1", "Spine2"), "Neck", "Head",
        "{side}UpLeg {side}Leg {side}Foot {side}Foot_end {side}Shoulder {side}Arm {side}ForeArm {side}Hand",
    ),
    "one_chest": both_sides(
        "Hips", ("Chest", {"Chest": 0.65, "Neck": 0.35}, {"Chest": 0.5, "Neck": 0.5}), "Neck", "Head",
        "{side}Hip {side}Knee {side}Ankle {side}Ankle_end {side}Collar {side}Shoulder {side}Elbow {side}Wrist",
    ),
}  # fmt: skip


def all_maps() -> dict[str, tuple[JointSource, ...]]:
    """All joint maps, keyed by title, in the order in which they are tried. KIT-ML's come first, because files with KIT-ML's
    skeleton also fit other maps."""
    written = [(f"written{number}", names) for number, names in enumerate(known_names())]  # names in files that this project writes
    return dict([*written[:3], *JOINT_MAPS.items(), *written[3:], *MORE_MAPS.items()])


def plain(name: str) -> str:
    """A joint name in lower case, without spaces and punctuation, for comparison."""
    return PUNCTUATION.sub("", name).lower()


def find_map(names: Sequence[str]) -> tuple[str, tuple[JointSource, ...]] | None:
    """Find the first joint map that fits a file with the joints `names`; None if no map fits.

    Returns (title, entries): the title of the map, and its 22 entries with the map's joint names replaced by those of the file.
    """
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    for title, joint_map in all_maps().items():
        needed = joints_of(joint_map)
        for prefix in prefixes(by_plain, plain(needed[0])):
            if all(prefix + plain(joint) in by_plain for joint in needed):
                file_names = {joint: by_plain[prefix + plain(joint)] for joint in needed}
                return title, tuple(renamed(source, file_names) for source in joint_map)
    return None


def prefixes(names: Mapping[str, str], root: str) -> Iterator[str]:
    """Yield candidates for a prefix that all joint names share: the part before `root` of each name that ends with `root`.

    The prefixes of shorter names come first.
    """
    return (name.removesuffix(root) for name in sorted(names, key=len) if name.endswith(root))


def renamed(source: JointSource, names: Mapping[str, str]) -> JointSource:
    """The entry `source` of a joint map, with each joint name replaced by `names[joint name]`, the name that the file uses."""
    return names[source] if isinstance(source, str) else {names[joint]: weight for joint, weight in source.items()}


def joints_of(joint_map: Sequence[JointSource]) -> list[str]:
    """The joint names that a joint map uses, each once, in order."""
    return list(dict.fromkeys(name for source in joint_map for name in ([source] if isinstance(source, str) else source)))


def read_map(path: str | Path) -> tuple[JointSource, ...]:
    """Read a joint map from a JSON file, which maps each of Mixamo's 22 names to a joint of the motion, or to weighted joints.

    Raises `UserError` if the file cannot be read, if names are missing or unknown, or if weights do not sum to 1.
    """
    try:
        content = json.loads(bounded_text(path, encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--joint_map {path}: cannot be read ({error}); {EXAMPLE}") from None
    if not isinstance(content, dict):
        raise UserError(f"--joint_map {path}: not a JSON object; {EXAMPLE}")
    if wrong := sorted(set(content) ^ set(HUMANML3D.bones)):
        raise UserError(f"--joint_map {path}: missing or unknown: {', '.join(wrong[:5])}; {EXAMPLE}")
    for bone, source in content.items():
        weights = {source: 1.0} if isinstance(source, str) else source
        if not isinstance(weights, dict) or not all(type(weight) in (int, float) for weight in weights.values()):
            raise UserError(f"--joint_map {path}: {bone} must be a joint name, or an object of joint names and weights; {EXAMPLE}")
        if abs(sum(weights.values()) - 1) > 1e-3:
            raise UserError(f"--joint_map {path}: the weights of {bone} sum to {sum(weights.values()):g}, not to 1")
    return tuple(content[bone] for bone in HUMANML3D.bones)


EXAMPLE = f'write {{"Hips": "pelvis", "LeftUpLeg": {{"thigh": 0.9, "hip": 0.1}}, …}} with all of {", ".join(HUMANML3D.bones)}'
