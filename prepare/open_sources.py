"""Raw captures of the `open` dataset: Bandai-Namco's BVH, CMU's ASF/AMC or BVH, HDM05's ASF/AMC, from folders or their archives.

Everything is returned as a `Take`: joints (T, 22, 3) at 20 fps in HumanML3D's order, metres, Y up, not yet on the floor. Functions
that read a file run in other processes, so they return errors instead of raising them.
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
CMU_POSER_METRES = 0.0101  # the unit of the BVH edition for Poser, by the legs of subject 135, who is there as ASF/AMC too
CMU_METRES = INCH / 0.45  # that of the editions for MotionBuilder and 3ds Max, as in ASF/AMC
STAND_INS = {"88": "08", "90": "08"}  # subjects without a skeleton of their own, and whose fits
FIRST, FASTEST = 8, 25.0  # frames at the start in which a joint faster than this (m/s) is a capture error
DESCRIPTION = re.compile(r"\s*(\d+_\d+)[\s,;]+(.*\w.*?)\s*$")  # 14_27 sit on high stool, stand up

Segments = dict[str, list[Segment]]


@dataclass(frozen=True)
class AmcFile:
    """A capture as ASF/AMC or BVH, with its label and segments."""

    motion: RawFile
    skeleton: RawFile | None  # of an AMC
    take: Take


def bandai_files(folder: Path) -> Iterator[RawFile]:
    """The BVH files of Bandai-Namco Research Motiondataset 1 and 2."""
    return raw_files(folder, lambda path: path.suffix == ".bvh" and BANDAI_NAME.match(path.stem) is not None)


def read_bandai(file: RawFile) -> Take:
    """The take of one Bandai-Namco BVH file (30 fps, centimetres); content and style come from its name."""
    dataset, content, style, number = BANDAI_NAME.match(file.path.stem).groups()
    about = {"source": f"bandai {dataset}", "content": content, "style": style}
    name = f"B{dataset}_{content}_{style}_{number}"
    try:
        bvh = read_bvh(file.stream())
        joints = map_joints(bvh.names, bvh.joints(), JOINT_MAPS["bandai"], str(file.path)) / 100
    except UserError as error:
        return Take(name, **about, problem=str(error))
    return Take(name, **about, joints=resample(joints, bvh.fps, FPS).astype(np.float32))


def cmu_segments(texts: Path, published: dict[str, bytes]) -> Segments:
    """HumanML3D's segments by capture (60_01), from index.csv and the splits in `texts`, with their captions."""
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
    """The CMU captures under `folder` that have segments or a description."""
    beside = list(raw_files(folder, lambda path: path.suffix.lower() in (".asf", ".txt", ".csv")))
    skeletons = {file.path.stem: file for file in beside if file.path.suffix.lower() == ".asf"}
    words = descriptions(file.text for file in beside if file.path.suffix.lower() != ".asf")
    for file in raw_files(folder, lambda path: path.suffix.lower() in (".amc", ".bvh") and bool(CMU_NAME.match(path.stem))):
        capture, subject = file.path.stem, file.path.stem.partition("_")[0]
        skeleton = skeletons.get(subject) or skeletons.get(STAND_INS.get(subject, ""))
        cuts = tuple(segments.get(capture, ()))
        take = Take(
            f"cmu_{capture}", "cmu", label=words.get(capture, ""), actor=subject, segments=cuts,
            reserved=frozenset(segment.split for segment in cuts),
        )  # fmt: skip
        if cuts or take.label:
            yield AmcFile(file, skeleton, take)


def descriptions(texts: Iterable[str]) -> dict[str, str]:
    """CMU's descriptions by capture, from text files with lines such as "14_27 sit on high stool, stand up"."""
    matches = (DESCRIPTION.match(line) for text in texts for line in text.splitlines())
    return {match[1]: match[2].strip('"') for match in matches if match}


def read_cmu(file: AmcFile) -> Take:
    """One CMU capture."""
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
    """Joints (T, 22, 3) with discontinuous first frames replaced by the first continuous one.

    Some captures start with a stray frame, some conversions with a transition from a T-pose.
    """
    speed = np.linalg.norm(np.diff(joints[: FIRST + 1], axis=0), axis=-1).max(-1) * fps
    jumps = np.flatnonzero(speed > FASTEST)
    if not len(jumps):
        return joints
    good = jumps[-1] + 1
    return np.concatenate((np.repeat(joints[good : good + 1], good, axis=0), joints[good:]))


def read_cmu_bvh(file: RawFile) -> np.ndarray:
    """Joints of a conversion of CMU's captures to BVH, whose first frame is the rest pose."""
    tree = read_bvh(file.stream())
    metres = CMU_POSER_METRES if "lThigh" in tree.names else CMU_METRES
    return joints_of_tree(tree, str(file.path)).joints[1:] * metres


def read_amc(file: AmcFile) -> tuple[np.ndarray, float | None]:
    """Joints of an AMC at its frame rate, and the rate if the file states it."""
    path = file.motion.path
    if not file.skeleton:
        raise UserError(f"{path}: no skeleton for it; put the .asf of its subject into the same folder or archive")
    names, landmarks, fps = read_asf_amc(file.skeleton.stream(), file.motion.stream())
    return map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path)), fps


def hdm05_files(folder: Path) -> Iterator[AmcFile]:
    """HDM05's cut takes as ASF/AMC; the action is in the file's name: HDM_bd_squat1Reps_004_120.amc, with HDM_bd.asf."""
    skeletons = {file.path.stem: file for file in raw_files(folder, lambda path: path.suffix.lower() == ".asf")}
    for file in raw_files(folder, lambda path: path.suffix.lower() == ".amc" and HDM05_NAME.match(path.stem) is not None):
        subject, actor, action = HDM05_NAME.match(file.path.stem).groups()[:3]
        take = Take(f"hdm05_{file.path.stem}", "hdm05", label=label_of_class(action), actor=actor)
        yield AmcFile(file, skeletons.get(subject), take)


def read_hdm05(file: AmcFile) -> Take:
    """One take of HDM05."""
    try:
        joints, fps = read_amc(file)
    except UserError as error:
        return replace(file.take, problem=str(error))
    return replace(file.take, joints=resample(joints, fps or CMU_FPS, FPS).astype(np.float32))
