"""Read captures for the `open` dataset from folders or archives: Bandai-Namco's BVH, CMU's ASF/AMC or BVH, and HDM05's ASF/AMC.

A capture is returned as a `Take`, with joints (T, 22, 3) at 20 fps in HumanML3D's order, in metres, Y up, at any height. If a
capture cannot be read, the field `problem` of the returned take is set, and the build continues without a `UserError`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from motion.files.bvh import read_bvh
from motion.files.mocap import CMU_FPS, INCH, JOINT_MAPS, cmu_fps, map_joints, read_asf_amc, resample
from motion.files.trees import joints_of_tree
from prepare.captures import read_index
from prepare.hdm05_labels import label_of_class
from prepare.humanml3d import read_splits
from prepare.raw_files import RawFile, raw_files
from prepare.takes import FPS, Segment, Take
from utils.errors import UserError

BANDAI_NAME = re.compile(r"dataset-([12])_([a-z-]+)_([a-z-]+)_(\d+)$")
CMU_NAME = re.compile(r"\d+_\d+$")
HDM05_NAME = re.compile(r"(HDM_([a-z]{2}))_(.+?)_\d+(_\d+)?$")
# Metres per unit in the BVH edition for Poser, computed from the leg lengths of subject 135, who is also recorded in ASF/AMC files.
CMU_POSER_METRES = 0.0101
CMU_METRES = INCH / 0.45  # metres per unit in ASF/AMC files and in the BVH editions for MotionBuilder and 3ds Max
SUBSTITUTES = {"88": "08", "90": "08"}  # subject without an .asf file → subject whose .asf file is used instead
FIRST, FASTEST = 8, 25.0  # a joint that is faster than FASTEST (m/s) within the first FIRST frames is a capture error
DESCRIPTION = re.compile(r"\s*(\d+_\d+)[\s,;]+(.*\w.*?)\s*$")  # for example "14_27 sit on high stool, stand up"

Segments = dict[str, list[Segment]]


@dataclass(frozen=True)
class AmcFile:
    """A capture file to read (.amc or .bvh), its skeleton, and the `Take` that will hold the joints of this capture."""

    motion: RawFile
    skeleton: RawFile | None  # the .asf file of an .amc file
    take: Take


def bandai_files(folder: Path) -> Iterator[RawFile]:
    """The BVH files of Bandai-Namco Research Motiondataset 1 and 2 in `folder` and in its archives."""
    return raw_files(folder, lambda path: path.suffix == ".bvh" and BANDAI_NAME.match(path.stem) is not None)


def read_bandai(file: RawFile) -> Take:
    """Read one Bandai-Namco BVH file (30 fps, centimetres) as a take. Content (the action) and style come from the file name."""
    dataset, content, style, number = BANDAI_NAME.match(file.path.stem).groups()
    properties = {"source": f"bandai {dataset}", "content": content, "style": style}
    name = f"B{dataset}_{content}_{style}_{number}"
    try:
        bvh = read_bvh(file.stream())
        joints = map_joints(bvh.names, bvh.joints(), JOINT_MAPS["bandai"], str(file.path)) / 100
    except UserError as error:
        return Take(name, **properties, problem=str(error))
    return Take(name, **properties, joints=resample(joints, bvh.fps, FPS).astype(np.float32))


def cmu_segments(texts: Path, published: dict[str, bytes]) -> Segments:
    """Return a dictionary from the names of CMU captures (such as 60_01) to HumanML3D's segments (captioned sections) of them.

    The segments are read from index.csv and the split files in the folder `texts`. `published` maps clip names to the content of
    HumanML3D's caption files.
    """
    split_of = {name: split for split, names in read_splits(texts).items() for name in names}
    segments = defaultdict(list)
    for clip in read_index(texts / "index.csv"):
        if clip.dataset == "CMU" and clip.name in split_of:
            capture = clip.source.name.removesuffix("_poses")
            lines = published.get(clip.name, b"").decode("utf-8", errors="replace").splitlines()
            captions = tuple(line.partition("#")[0] for line in lines)
            segments[capture].append(Segment(clip.name, clip.start, clip.end, split_of[clip.name], captions))
    return segments


def cmu_files(folder: Path, segments: Segments) -> Iterator[AmcFile]:
    """Yield the CMU captures under `folder` that have segments (captioned sections) or a description."""
    companions = list(raw_files(folder, lambda path: path.suffix.lower() in (".asf", ".txt", ".csv")))
    skeletons = {file.path.stem: file for file in companions if file.path.suffix.lower() == ".asf"}
    labels = descriptions(file.text for file in companions if file.path.suffix.lower() != ".asf")
    for file in raw_files(folder, lambda path: path.suffix.lower() in (".amc", ".bvh") and bool(CMU_NAME.match(path.stem))):
        capture, subject = file.path.stem, file.path.stem.partition("_")[0]
        skeleton = skeletons.get(subject) or skeletons.get(SUBSTITUTES.get(subject, ""))
        capture_segments = tuple(segments.get(capture, ()))
        take = Take(
            f"cmu_{capture}", "cmu", label=labels.get(capture, ""), actor=subject, segments=capture_segments,
            reserved=frozenset(segment.split for segment in capture_segments),
        )  # fmt: skip
        if capture_segments or take.label:
            yield AmcFile(file, skeleton, take)


def descriptions(texts: Iterable[str]) -> dict[str, str]:
    """Return CMU's descriptions of captures, keyed by the name of the capture.

    `texts` are the contents of text files; the lines with a description match the pattern `DESCRIPTION`.
    """
    matches = (DESCRIPTION.match(line) for text in texts for line in text.splitlines())
    return {match[1]: match[2].strip('"') for match in matches if match}


def read_cmu(file: AmcFile) -> Take:
    """Read the joints of one CMU capture into its take. If the file cannot be read, the take states the problem instead."""
    path = file.motion.path
    try:
        if path.suffix.lower() == ".bvh":
            joints, fps = read_cmu_bvh(file.motion), cmu_fps(path.stem)
        else:
            joints, fps = read_amc(file)
            fps = fps or cmu_fps(path.stem)
    except UserError as error:
        return replace(file.take, problem=str(error))
    return replace(file.take, joints=resample(hold_jumps(joints, fps), fps, FPS).astype(np.float32))


def hold_jumps(joints: np.ndarray, fps: float) -> np.ndarray:
    """Repair a jump at the start of joints (T, 22, 3): the first frame after the jump replaces all frames before the jump.

    Some captures start with a wrong frame, and some conversions start with a transition from a T-pose.
    """
    speed = np.linalg.norm(np.diff(joints[: FIRST + 1], axis=0), axis=-1).max(-1) * fps
    jumps = np.flatnonzero(speed > FASTEST)
    if not len(jumps):
        return joints
    good = jumps[-1] + 1
    return np.concatenate((np.repeat(joints[good : good + 1], good, axis=0), joints[good:]))


def read_cmu_bvh(file: RawFile) -> np.ndarray:
    """Read joints in metres from a BVH conversion of a CMU capture. The first frame, which is the rest pose, is dropped."""
    tree = read_bvh(file.stream())
    metres = CMU_POSER_METRES if "lThigh" in tree.names else CMU_METRES
    return joints_of_tree(tree, str(file.path)).joints[1:] * metres


def read_amc(file: AmcFile) -> tuple[np.ndarray, float | None]:
    """Read joints in metres and the frame rate from an AMC file. The frame rate is None if the file does not state it."""
    path = file.motion.path
    if not file.skeleton:
        raise UserError(f"{path}: the .asf file of its subject is missing; put this .asf file into the same folder or archive")
    names, landmarks, fps = read_asf_amc(file.skeleton.stream(), file.motion.stream())
    return map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path)), fps


def hdm05_files(folder: Path) -> Iterator[AmcFile]:
    """Yield HDM05's takes (captures cut to one action). A file name contains actor and action: the take
    HDM_bd_squat1Reps_004_120.amc shows the actor bd and the action squat1Reps. The skeleton of this take is in HDM_bd.asf."""
    skeletons = {file.path.stem: file for file in raw_files(folder, lambda path: path.suffix.lower() == ".asf")}
    for file in raw_files(folder, lambda path: path.suffix.lower() == ".amc" and HDM05_NAME.match(path.stem) is not None):
        subject, actor, action = HDM05_NAME.match(file.path.stem).groups()[:3]
        take = Take(f"hdm05_{file.path.stem}", "hdm05", label=label_of_class(action), actor=actor)
        yield AmcFile(file, skeletons.get(subject), take)


def read_hdm05(file: AmcFile) -> Take:
    """Read the joints of one HDM05 capture into its take. If the file cannot be read, the take states the problem instead."""
    try:
        joints, fps = read_amc(file)
    except UserError as error:
        return replace(file.take, problem=str(error))
    return replace(file.take, joints=resample(joints, fps or CMU_FPS, FPS).astype(np.float32))
