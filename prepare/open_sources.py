"""Raw captures of the `open` dataset: Bandai-Namco's BVH and CMU's ASF/AMC or BVH, from folders or their archives, at 20 fps.

Everything comes out as a `Take`: joints (T, 22, 3) in HumanML3D's order, metres, Y up, not yet on the floor. The functions that
read a file run in other processes, so they return what went wrong instead of raising it.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from motion.files.bvh import read_bvh, read_text
from motion.files.mocap import JOINT_MAPS, map_joints, read_asf_amc, resample
from prepare.captures import read_index
from prepare.humanml3d import read_splits
from utils.errors import UserError

FPS = 20
BANDAI_NAME = re.compile(r"dataset-([12])_([a-z-]+)_([a-z-]+)_(\d+)$")
ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar")


CMU_SLOW = ("60", "61")  # subjects captured at 60 frames a second; all others at 120, whatever a BVH header says
CMU_BVH_METRES = 0.0101  # its unit, by the legs of subject 135, who is there as ASF/AMC too

Segment = tuple[str, int, int, str]  # HumanML3D's number, first frame, last frame + 1, split
Segments = dict[str, list[Segment]]


@dataclass(frozen=True)
class Take:
    """One capture; of CMU, one segment of HumanML3D's index. What cannot be used has a `problem` and no joints."""

    name: str  # B1_walk_active_001, or HumanML3D's number
    source: str  # "bandai 1", "bandai 2" or "cmu"
    content: str = ""
    style: str = ""
    split: str = ""  # where the source has splits of its own
    joints: np.ndarray | None = None  # (T, 22, 3) float32
    problem: str = ""


@dataclass(frozen=True)
class RawFile:
    """A file with its text."""

    path: PurePosixPath
    text: str

    def stream(self) -> io.StringIO:
        stream = io.StringIO(self.text)
        stream.name = str(self.path)
        return stream


@dataclass(frozen=True)
class CmuFile:
    """A CMU capture with what is to be cut from it."""

    motion: RawFile
    skeleton: RawFile | None  # of an AMC
    segments: list[Segment]


def raw_files(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[RawFile]:
    """The wanted files of a folder and of the .tar.* archives that lie directly in it; of equal names (stems) the first.

    Raises:
        UserError: the folder is missing, or an archive cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    seen = set()

    def new(path: PurePosixPath) -> bool:
        fresh = path.stem not in seen and not path.name.startswith(".") and wanted(path)
        seen.update([path.stem] if fresh else [])
        return fresh

    for path in sorted(folder.rglob("*")):
        if path.is_file() and new(PurePosixPath(path)):
            yield RawFile(PurePosixPath(path), read_text(path)[1])
    for archive in sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES)):
        try:
            with tarfile.open(archive, "r|*") as members:  # as a stream: seeking in an .xz starts over each time
                for member in members:
                    if member.isfile() and new(PurePosixPath(member.name)):
                        text = members.extractfile(member).read().decode("utf-8", errors="replace")
                        yield RawFile(PurePosixPath(member.name), text)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
            raise UserError(f"{archive}: cannot be read to its end ({error}); download it again") from None


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


def cmu_segments(texts: Path) -> Segments:
    """By capture (60_01), what HumanML3D's index.csv in `texts` cuts from it, with the splits beside it."""
    split_of = {name: split for split, names in read_splits(texts).items() for name in names}
    segments = defaultdict(list)
    for clip in read_index(texts / "index.csv"):
        if clip.dataset == "CMU" and clip.name in split_of:
            segments[clip.source.name.removesuffix("_poses")].append((clip.name, clip.start, clip.end, split_of[clip.name]))
    return segments


def cmu_files(folder: Path, segments: Segments) -> Iterator[CmuFile]:
    """The CMU captures under `folder` that have segments."""
    skeletons = {file.path.stem: file for file in raw_files(folder, lambda path: path.suffix == ".asf")}
    for file in raw_files(folder, lambda path: path.suffix in (".amc", ".bvh") and path.stem in segments):
        subject = file.path.stem.partition("_")[0]
        yield CmuFile(file, skeletons.get(subject) if file.path.suffix == ".amc" else None, segments[file.path.stem])


def read_cmu(file: CmuFile) -> list[Take]:
    """The segments of one CMU capture."""
    path = file.motion.path
    try:
        if path.suffix == ".bvh":
            names, landmarks = read_bvh(file.motion.stream()).landmarks()
            landmarks = landmarks[1:]  # the first frame is the rest pose
            joints = map_joints(names, landmarks, JOINT_MAPS["cmu_bvh"], str(path)) * CMU_BVH_METRES
        elif file.skeleton:
            names, landmarks = read_asf_amc(file.skeleton.stream(), file.motion.stream())
            joints = map_joints(names, landmarks, JOINT_MAPS["cmu_asf"], str(path))
        else:
            raise UserError(f"{path}: no skeleton {path.stem.partition('_')[0]}.asf for it")
    except UserError as error:
        return [Take(name, "cmu", split=split, problem=str(error)) for name, _, _, split in file.segments]
    fps = 60 if path.stem.startswith(tuple(f"{subject}_" for subject in CMU_SLOW)) else 120
    joints = resample(joints, fps, FPS).astype(np.float32)
    return [Take(name, "cmu", split=split, joints=joints[start:end]) for name, start, end, split in file.segments]
