"""Build HumanML3D's clips: find captures, cut clips out of them, mirror the clips, and compute features.

The steps are those of Guo et al. (CVPR 2022) and of their public code.

`index.csv` lists the capture and the frames of each clip. A capture is an AMASS `.npz` file, from which SMPL-H computes joints, or
an array of joints (T, 22 or more, 3) in the format of HumanML3D's `pose_data` (20 fps, Y and Z swapped). HumanAct12 is not part of
AMASS and is always read from such arrays. A clip of T frames gives features (T - 1, 263) and joints (T - 1, 22, 3). The mirror
image of each clip is written too. The name of a mirror image is the name of the clip with the prefix M.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from motion.features import features_to_joints, joints_to_features
from motion.files.smpl import BodyModel, read_amass
from motion.skeleton import HUMANML3D
from prepare.folder import write_motion
from utils.errors import UserError

FPS = 20
NUM_JOINTS = HUMANML3D.num_joints
CHUNK = 16  # minimum number of clips whose features are computed in one batch, mirror images not counted
UNCUT = "humanact12"  # dataset whose arrays are complete clips: `cut` returns them unchanged
# Seconds to cut from the start of captures that begin with a standing pose. Frame 0 in index.csv is the first frame after the cut.
LEAD_SECONDS = {"Eyes_Japan_Dataset": 3.0, "MPI_HDM05": 3.0, "TotalCapture": 1.0, "MPI_Limits": 1.0, "Transitions_mocap": 0.5}
RENAMED = {  # folder names in index.csv → folder names in later releases of AMASS
    "BioMotionLab_NTroje": "BMLrub", "DFaust_67": "DFaust", "MPI_HDM05": "HDM05", "MPI_Limits": "PosePrior", "MPI_mosh": "MoSh",
    "SSM_synced": "SSM", "Transitions_mocap": "Transitions",
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One row of HumanML3D's index.csv: frames `start` to `end` - 1 (20 fps) of a capture such as KIT/3/kick_high_left02_poses."""

    name: str
    source: PurePosixPath
    start: int
    end: int

    @property
    def dataset(self) -> str:
        """The dataset within AMASS that contains the capture."""
        return self.source.parts[0]


@dataclass(frozen=True)
class Outcome:
    """The result of building a clip: the kind of problem and its details, both empty if the clip was built."""

    clip: Clip
    problem: str = ""
    detail: str = ""


def read_index(path: Path) -> list[Clip]:
    """Read the clips that HumanML3D's `index.csv` lists.

    Raises `UserError` if the file or a column is missing, or if a row is malformed.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected the index.csv of HumanML3D's repository") from None
    clips = []
    for line, row in enumerate(rows, start=2):
        try:
            source = PurePosixPath(row["source_path"]).with_suffix("")
            parts = source.parts[source.parts[0] == "pose_data" :]
            clips.append(Clip(Path(row["new_name"]).stem, PurePosixPath(*parts), int(row["start_frame"]), int(row["end_frame"])))
        except (KeyError, TypeError, ValueError, IndexError):
            columns = "source_path,start_frame,end_frame,new_name"
            raise UserError(f"{path}: line {line} is not an entry of HumanML3D's index ({columns})") from None
    return clips


@dataclass(frozen=True)
class Sources:
    """What captures are read from: a folder of joint arrays, a folder of AMASS motions, and one body model per gender."""

    joints: Path | None = None
    amass: Path | None = None
    models: dict[str, BodyModel] = field(default_factory=dict)

    def find(self, source: PurePosixPath) -> Path | None:
        """Return the file of the capture `source` (a path without suffix, as in index.csv), or None if there is no file.

        A joint array is preferred to an AMASS motion.
        """
        renamed = PurePosixPath(RENAMED.get(source.parts[0], source.parts[0]), *source.parts[1:])
        underscored = [str(name).replace(" ", "_") for name in (source, renamed)]
        paths = [self.joints / f"{source}.npy"] if self.joints else []
        paths += [self.amass / f"{name}.npz" for name in (source, renamed, *underscored)] if self.amass else []
        return next((path for path in paths if path.is_file()), None)

    def load(self, path: Path) -> np.ndarray:
        """Read the joints (T, 22, 3) float32 of a capture in the format of HumanML3D's folder `pose_data`.

        In this format, joints are in metres at 20 fps, on AMASS's axes with Y and Z swapped. After this swap, Y is up, and the
        motion is mirrored.
        """
        if path.suffix == ".npy":
            return load_joints(path)
        motion = read_amass(path)
        if not motion.fps >= FPS:
            raise UserError(f"{path}: {motion.fps:g} frames per second; expected at least {FPS}")
        model = self.models["male" if motion.gender == "male" else "female"]  # the published code uses no neutral model
        return model.joints(motion.every(int(motion.fps / FPS))).numpy()[..., [0, 2, 1]]


def load_joints(path: Path) -> np.ndarray:
    """Read the first 22 joints (T, 22, 3) float32 of an array file. Raises `UserError` if the file contains no joints."""
    try:
        joints = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if joints.ndim != 3 or joints.shape[1] < NUM_JOINTS or joints.shape[2] != 3 or joints.dtype.kind != "f":
        raise UserError(f"{path}: {joints.dtype} of shape {joints.shape}; expected joints of shape (T, {NUM_JOINTS} or more, 3)")
    return joints[:, :NUM_JOINTS].astype(np.float32)


def cut(capture: np.ndarray, clip: Clip) -> np.ndarray:
    """Cut a clip out of its capture (T, 22, 3), and negate x, because the swap of Y and Z (`Sources.load`) has mirrored the
    capture.

    Clips of HumanAct12 are returned unchanged.
    """
    if clip.dataset == UNCUT:
        return capture
    lead = int(LEAD_SECONDS.get(clip.dataset, 0) * FPS)
    return capture[lead:][clip.start : clip.end] * np.float32([-1, 1, 1])


def mirror(joints: np.ndarray) -> np.ndarray:
    """Mirror joints (T, 22, 3): negate x and exchange left and right joints."""
    return joints[:, list(HUMANML3D.mirror)] * np.float32([-1, 1, 1])


def chunks(clips: list[Clip]) -> Iterator[list[Clip]]:
    """Split clips into chunks, which are lists of at least `CHUNK` clips; the last list may be shorter.

    All clips of a capture are in the same list, so that the capture is read only once.
    """
    chunk = []
    for _, of_capture in groupby(sorted(clips, key=attrgetter("source", "name")), key=attrgetter("source")):
        chunk.extend(of_capture)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def build_chunk(clips: list[Clip], sources: Sources, out: Path) -> list[Outcome]:
    """Cut clips out of their captures, and write features and joints of the clips and of their mirror images.

    The output folders are `out`/new_joint_vecs and `out`/new_joints. Returns one outcome per clip.
    """
    outcomes, good = [], []
    for source, group in groupby(clips, key=attrgetter("source")):
        of_capture = list(group)
        path = sources.find(source)
        if path is None:
            outcomes += [Outcome(clip, "source missing", str(source)) for clip in of_capture]
            continue
        try:
            capture = sources.load(path)
        except UserError as error:
            outcomes += [Outcome(clip, "source unreadable", str(error)) for clip in of_capture]
            continue
        for clip in of_capture:
            joints = cut(capture, clip)
            if len(joints) < 2:
                outcomes.append(Outcome(clip, "too short", f"{clip.name}: {len(joints)} frame(s)"))
            elif not np.isfinite(joints).all():
                outcomes.append(Outcome(clip, "not a number", clip.name))
            else:
                good.append((clip, joints))
    return outcomes + (write_clips(good, out) if good else [])


def write_clips(clips: list[tuple[Clip, np.ndarray]], out: Path) -> list[Outcome]:
    """Write features and joints of clips (T, 22, 3) and of their mirror images. All features are computed in one batch."""
    versions = [torch.from_numpy(version) for _, joints in clips for version in (joints, mirror(joints))]
    lengths = torch.tensor([len(joints) for joints in versions])
    features, _ = joints_to_features(pad_sequence(versions, batch_first=True), HUMANML3D, lengths)  # (2B, T - 1, 263)
    recovered = features_to_joints(features, NUM_JOINTS)
    outcomes = []
    for index, (clip, joints) in enumerate(clips):
        pair, frames = slice(2 * index, 2 * index + 2), slice(len(joints) - 1)
        if not features[pair, frames].isfinite().all():
            outcomes.append(Outcome(clip, "not a number", clip.name))
            continue
        for row, name in enumerate((clip.name, f"M{clip.name}"), start=2 * index):
            write_motion(out, name, features[row, frames], recovered[row, frames])
        outcomes.append(Outcome(clip))
    return outcomes
