"""The properties of each dataset: folder, joints, frame rate, unit, clip lengths. No other module depends on dataset names.

A motion row is HumanML3D's feature vector of one frame, for J joints:
root 4 (angular velocity, linear velocity x z, height) | local joints 3(J-1) | 6D rotations 6(J-1) | velocities 3J | contacts 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from utils.errors import UserError
from utils.textfiles import bounded_text


@dataclass(frozen=True)
class DatasetSpec:
    """The properties of one dataset: folder, number of joints, frame rate, unit, lengths of clips in frames.

    `unit_scale` converts the dataset's unit to metres. Following the published protocol, only clips with
    `min_frames <= T < max_frames` are kept. The models process at most `max_motion` frames.
    `cache_dir` is the folder for caches; None: the dataset folder or, if the dataset folder is read-only, the user's cache folder.
    `feat_bias` divides the standard deviation of the root and foot-contact features (HumanML3D's and MoMask's convention).
    """

    name: str
    root: Path
    num_joints: int
    fps: float
    unit_scale: float
    min_frames: int
    max_frames: int = 200
    max_motion: int = 196
    feat_bias: float = 5.0
    cache_dir: Path | None = None

    @property
    def dim(self) -> int:
        """Number D of features per frame: 263 for 22 joints, 251 for 21."""
        return self.contacts_slice.stop

    @property
    def slices(self) -> dict[str, slice]:
        """The feature columns of each group of features, in order, keyed by the name of the group, such as "root"."""
        J = self.num_joints
        widths = {"root": 4, "joints": 3 * (J - 1), "rotations": 6 * (J - 1), "velocities": 3 * J, "contacts": 4}
        return {name: slice(end - widths[name], end) for name, end in zip(widths, accumulate(widths.values()))}

    @property
    def root_slice(self) -> slice:
        """Feature columns of the root: angular velocity, linear velocity x and z, height."""
        return self.slices["root"]

    @property
    def joints_slice(self) -> slice:
        """Feature columns of the local joint positions."""
        return self.slices["joints"]

    @property
    def rotations_slice(self) -> slice:
        """Feature columns of the local joint rotations, 6D."""
        return self.slices["rotations"]

    @property
    def velocities_slice(self) -> slice:
        """Feature columns of the joint velocities."""
        return self.slices["velocities"]

    @property
    def contacts_slice(self) -> slice:
        """Feature columns of the foot contacts."""
        return self.slices["contacts"]


SPECS = {
    spec.name: spec
    for spec in (
        DatasetSpec("t2m", Path("dataset/HumanML3D"), num_joints=22, fps=20, unit_scale=1.0, min_frames=40),
        DatasetSpec("kit", Path("dataset/KIT-ML"), num_joints=21, fps=12.5, unit_scale=0.001, min_frames=24),
        DatasetSpec("open", Path("dataset/Open"), num_joints=22, fps=20, unit_scale=1.0, min_frames=24),
        DatasetSpec("synthetic", Path("dataset/Synthetic"), num_joints=22, fps=20, unit_scale=1.0, min_frames=24),
    )
}

# Names of folders in the archives of the released evaluators. RELEASED_EVALUATOR and RELEASED_STATISTICS are unpacked into
# <checkpoints_dir>/<dataset_name>/; the folder GLOVE contains the word vectors.
RELEASED_EVALUATOR = "text_mot_match"
RELEASED_STATISTICS = ("Comp_v6_KLD01", "Comp_v6_KLD005")
GLOVE = Path("glove")


def get_spec(name: str, root: str | Path | None = None, cache_dir: str | Path | None = None) -> DatasetSpec:
    """The properties of the dataset `name`, with folders `root` and `cache_dir` if given. Raises `UserError` for unknown names."""
    if name not in SPECS:
        raise UserError(f"unknown dataset '{name}': choose one of {', '.join(SPECS)}")
    folders = {"root": root, "cache_dir": cache_dir}
    return replace(SPECS[name], **{field: Path(path) for field, path in folders.items() if path})


def listed_names(path: Path) -> list[str]:
    """The clip names in the file of a split, such as train.txt.

    A byte order mark is ignored; bytes that are not UTF-8 are kept as surrogate escapes, as in file names. Raises `UserError` if
    the file cannot be read.
    """
    try:
        return bounded_text(path, encoding="utf-8-sig", errors="surrogateescape").split()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a list of clip names") from None
