"""SMPL bodies without meshes: joints from SMPL and AMASS motions (Loper et al. 2015; Romero et al. 2017; Mahmood et al. 2019).

Rest joints are linear in the vertices, and the vertices are linear in the shape coefficients, so a model reduces to the rest joints
of its mean body (22, 3) and their change with each of 10 coefficients (22, 3, 10). Forward kinematics poses the 22 joints of the
body. The positions of these 22 joints do not depend on other joints, such as fingers. Positions are in metres, in AMASS's axes (Z
up). Without a body model, the rest pose is the T-pose of the uniform skeleton (HumanML3D's bone lengths), with the pelvis at the
origin.

Files are never unpickled, because unpickling could run code.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from motion.files.raw import Raw
from motion.rest import offsets_of, standard_rest
from motion.rotation import rotation_vectors_to_matrices
from motion.skeleton import HUMANML3D, forward_kinematics
from utils.errors import UserError, note

NUM_JOINTS = HUMANML3D.num_joints
NUM_BETAS = 10
REST = "rest_joints"  # array (22, 3) in files that this project wrote without a body model; AMASS's files do not contain it
RATES = ("mocap_framerate", "mocap_frame_rate")  # name of the frame rate in AMASS, and in its later releases
DEFAULT_FPS = 30.0  # frame rate assumed for files that state no rate


@dataclass(frozen=True)
class AmassMotion:
    """One AMASS file: rotation vectors (T, 22, 3), root translation (T, 3), shape (10,), frames per second, gender."""

    rotations: Tensor
    translation: Tensor
    betas: Tensor
    fps: float
    gender: str

    def every(self, step: int) -> AmassMotion:
        """Every `step`-th frame of the motion, starting with the first."""
        return AmassMotion(self.rotations[::step], self.translation[::step], self.betas, self.fps / step, self.gender)


@dataclass(frozen=True)
class BodyModel:
    """Rest joints of the mean body (22, 3), and their change with each shape coefficient (22, 3, 10)."""

    rest: Tensor
    shape: Tensor

    def joints(self, motion: AmassMotion) -> Tensor:
        """Joints (T, 22, 3) of this body in the motion, in metres, in AMASS's axes (Z up)."""
        rest = self.rest + self.shape @ motion.betas  # (22, 3)
        matrices = rotation_vectors_to_matrices(motion.rotations)  # (T, 22, 3, 3)
        return forward_kinematics(matrices, rest[0] + motion.translation, offsets_of(rest, HUMANML3D), HUMANML3D.parents)


def uniform_body(offsets: np.ndarray | None = None) -> BodyModel:
    """The body model used without an SMPL file: a T-pose with the given `offsets` (22, 3) of joints from their parents, by default
    with HumanML3D's bone lengths."""
    offsets = torch.from_numpy(standard_rest(HUMANML3D) if offsets is None else offsets).float()
    return fixed_body(torch.tensor(HUMANML3D.paths)[:, 1:] @ offsets[1:])


def fixed_body(rest: Tensor) -> BodyModel:
    """Return a body model that has the rest joints `rest` (22, 3) whatever the shape coefficients of a motion are."""
    return BodyModel(rest, torch.zeros(*rest.shape, NUM_BETAS))


def is_amass(path: Path) -> bool:
    """Whether an `.npz` contains SMPL rotations: the arrays `poses` and `trans`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"poses.npy", "trans.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_smpl(path: Path, smpl: str | Path | None = None) -> Raw:
    """Read an SMPL motion as joints in metres, Y up. `smpl` is the body model: a file, or a folder with one model per gender.

    Without `smpl`, the rest pose is the array `rest_joints` of the file or, if there is none, a T-pose with HumanML3D's bone
    lengths. The file may lack gender, shape and frame rate. Raises `UserError` for a damaged file.
    """
    arrays = read_npz(path, ("poses", "trans", "betas", "gender", REST, *RATES))
    poses = leading(path, "poses", arrays["poses"], (None,), 3 * NUM_JOINTS)
    if "betas" in arrays:
        arrays["betas"] = np.resize(np.append(np.ravel(arrays["betas"])[:NUM_BETAS], np.zeros(NUM_BETAS)), NUM_BETAS)
    rates = [float(arrays[name].item()) for name in RATES if name in arrays and arrays[name].size == 1]
    if not rates:
        note(f"{path}: no frame rate; assuming {DEFAULT_FPS:g} frames per second; --input_fps sets another rate")
    motion = AmassMotion(
        rearrange(poses, "t (j xyz) -> t j xyz", xyz=3).float(),
        leading(path, "trans", arrays["trans"], (len(poses),), 3).float(),
        torch.from_numpy(arrays.get("betas", np.zeros(NUM_BETAS))).float(),
        rates[0] if rates else DEFAULT_FPS,
        text_of(arrays.get("gender", np.array("neutral"))),
    )
    if smpl is None and REST in arrays:
        body = fixed_body(leading(path, REST, arrays[REST], (NUM_JOINTS,), 3).float())
    else:
        body = body_model(smpl, motion.gender)
    joints = body.joints(motion).double().numpy()
    if not np.isfinite(joints).all():
        raise UserError(f"{path}: its poses or trans hold NaN or infinite numbers")
    return Raw(joints[..., [0, 2, 1]] * (-1, 1, 1), motion.fps, "m", "y")


@cache
def note_no_model() -> None:
    """Print a note that no body model is used; once per process."""
    note("no SMPL model (--smpl FILE): rotations of SMPL files refer to the T-pose of the uniform skeleton")


def text_of(array: np.ndarray) -> str:
    """The text in an array with one element; "" if the array has another size."""
    word = array.item() if array.size == 1 else ""
    return word.decode() if isinstance(word, bytes) else str(word)


def body_model(smpl: str | Path | None, gender: str = "neutral") -> BodyModel:
    """The body model in the file `smpl` or, if `smpl` is a folder, in its <gender>/model.npz; None: a T-pose."""
    if smpl is None:
        note_no_model()
        return uniform_body()
    path = Path(smpl)
    return read_body_model(path / gender / "model.npz" if path.is_dir() else path)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the arrays `names` of an `.npz`; arrays that the file does not contain are left out.

    Raises `UserError` if the file needs unpickling or is damaged.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):  # devices are rejected, because reading them may never end
        raise UserError(f"{path}: {'not a complete .npz file' if path.exists() else 'no such file'}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            remedy = f"save {', '.join(names)} again as plain arrays"
            raise UserError(f"{path}: holds pickled objects, which could run code and are not opened; {remedy}") from None
        raise UserError(f"{path}: cannot be read ({error}); it may be truncated") from None


def leading(path: Path, name: str, array: np.ndarray, shape: tuple[int | None, ...], count: int) -> Tensor:
    """The first `count` entries along the last axis of an array of shape (*shape, count or more).

    None in `shape` stands for any size. Raises `UserError` if the array has another shape, or does not contain numbers.
    """
    fits = array.ndim == len(shape) + 1 and all(expected in (None, size) for expected, size in zip(shape, array.shape))
    if not fits or array.shape[-1] < count or array.dtype.kind not in "fiu":
        expected = ", ".join(["T" if size is None else str(size) for size in shape] + [f"at least {count}"])
        raise UserError(f"{path}: '{name}' is {array.dtype} of shape {array.shape}; expected numbers of shape ({expected})")
    return torch.from_numpy(array[..., :count].astype(np.float64))


def read_body_model(path: Path) -> BodyModel:
    """Read the model in an SMPL-H `model.npz`. Raises `UserError` for any other file."""
    names = ("J_regressor", "v_template", "shapedirs", "kintree_table")
    arrays = read_npz(path, names)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UserError(f"{path}: no {', '.join(missing)} in it; expected an SMPL-H model.npz")
    regressor = leading(path, "J_regressor (transposed)", arrays["J_regressor"].T, (None,), NUM_JOINTS)  # (vertices, 22)
    vertices = len(regressor)
    template = leading(path, "v_template", arrays["v_template"], (vertices,), 3)
    shapes = leading(path, "shapedirs", arrays["shapedirs"], (vertices, 3), NUM_BETAS)
    tree = leading(path, "kintree_table", arrays["kintree_table"], (2,), NUM_JOINTS)
    if tuple(tree[0, 1:].tolist()) != HUMANML3D.parents[1:]:
        raise UserError(f"{path}: its first {NUM_JOINTS} joints are not SMPL's body; expected an SMPL-H model.npz")
    return BodyModel((regressor.T @ template).float(), torch.einsum("vj,vcs->jcs", regressor, shapes).float())


def read_body_models(folder: Path) -> dict[str, BodyModel]:
    """The models `male/model.npz` and `female/model.npz` of a folder, keyed by gender. AMASS's motions have no other gender."""
    return {gender: read_body_model(folder / gender / "model.npz") for gender in ("male", "female")}


def read_amass(path: Path) -> AmassMotion:
    """Read the motion in an AMASS `.npz`. Raises `UserError` for any other file."""
    arrays = read_npz(path, ("poses", "trans", "betas", "gender", *RATES))
    rates = [arrays[name] for name in RATES if name in arrays]
    missing = [name for name in ("poses", "trans", "betas", "gender") if name not in arrays] + ["mocap_framerate"] * (not rates)
    if missing:
        raise UserError(f"{path}: no {', '.join(missing)} in it; expected an AMASS motion")
    if arrays["gender"].size != 1 or rates[0].size != 1 or rates[0].dtype.kind not in "fiu":
        raise UserError(f"{path}: gender must be one word and mocap_framerate one number")
    poses = leading(path, "poses", arrays["poses"], (None,), 3 * NUM_JOINTS)
    return AmassMotion(
        rearrange(poses, "t (j xyz) -> t j xyz", xyz=3).float(),
        leading(path, "trans", arrays["trans"], (len(poses),), 3).float(),
        leading(path, "betas", arrays["betas"], (), NUM_BETAS).float(),
        float(rates[0].item()),
        text_of(arrays["gender"]),
    )
