"""Motions in NumPy files, recognised by their content, not by their suffix.

A file may contain:

- joints (T, 22 or 21, 3), or SMPL's joints (T, 24 or 52, 3);
- features (T, 263 or 251) that are not normalised;
- several motions as joints (N, T, J, 3) or features (N, T, D);
- a dictionary with `motion` (N, J, 3, T) and `lengths` (N,), as in MDM's results.npy;
- SMPL rotations in AMASS's layout (`poses`, `trans`).

Dictionaries are unpickled without running code: only NumPy's own classes are allowed.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

from motion.features import features_to_joints
from motion.files.raw import BODIES, Raw, body_size
from motion.files.smpl import is_amass, read_smpl
from motion.files.text import LARGEST
from motion.ik import check_joints
from motion.skeleton import HUMANML3D
from motion.spec import SPECS
from utils.archives import Limits, check_zip
from utils.errors import UserError, note

SMPL_COUNTS = (24, 52)  # numbers of joints of SMPL and SMPL-H; the first 22 joints of both are HumanML3D's joints
FEATURES = {spec.dim: spec for spec in SPECS.values()}  # by number of features
RATES = {spec.num_joints: spec.fps for spec in SPECS.values()}
PICKLED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
    (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
}


def read_array(path: Path, smpl: str | Path | None = None, sample: int = 0) -> Raw:
    """Read the joints of the motion in a NumPy file (.npy or .npz). Raises `UserError` if the file contains no motion.

    If the file contains several motions, `sample` is the index of the motion to read. `smpl` is the file (or folder) of the body
    model for SMPL rotations.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if start[:2] == b"PK":
        check_archive(path)
        if is_amass(path):
            return read_smpl(path, smpl)
        return from_joints_or_features(only_array(path), path, sample)
    if start != b"\x93NUMPY":
        raise UserError(f"{path}: cannot be read: not a NumPy file; the file may be damaged, or a Git LFS pointer to the real file")
    content = load(path)
    if isinstance(content, dict):
        return from_results(content, path, sample)
    return from_joints_or_features(content, path, sample)


def check_archive(path: Path) -> None:
    """Raise `UserError` if an .npz is damaged, or unpacks to more than 2 GiB."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, path, Limits(size=LARGEST))
    except UserError:
        raise
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}); it may be damaged") from None


def load(path: Path) -> np.ndarray | dict:
    """The array or the dictionary in a `.npy` file."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, dtype = header(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            content = SafeUnpickler(file).load()
    except pickle.UnpicklingError as error:
        remedy = "save the joints again as a plain array: np.save('motion.npy', joints)"
        raise UserError(f"{path}: holds pickled objects, which could run code and are not opened ({error}); {remedy}") from None
    except Exception as error:  # a damaged pickle may raise any exception
        raise UserError(f"{path}: cannot be read ({error}); it may be damaged") from None
    content = content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds Python objects, not a motion; save the joints as a plain array")
    return content


class SafeUnpickler(pickle.Unpickler):
    """Unpickles arrays, numbers, strings, lists and dictionaries, and refuses all other classes."""

    def find_class(self, module: str, name: str) -> object:
        """The class `module.name`. Raises `UnpicklingError` unless it is listed in `PICKLED`, as NumPy's classes are."""
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def only_array(path: Path) -> np.ndarray:
    """The only array in an `.npz`. Raises `UserError` if the file contains several arrays or none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if len(archive.files) != 1:
                expected = "one array of joints, or SMPL's poses and trans"
                raise UserError(f"{path}: holds {', '.join(archive.files) or 'nothing'}; expected {expected}")
            return archive[archive.files[0]]
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds of exceptions
        raise UserError(f"{path}: cannot be read ({error}); it may be damaged") from None


def from_results(content: dict, path: Path, sample: int) -> Raw:
    """The motion with index `sample` in `content`, MDM's results.npy: `motion` (N, J, 3, T) in metres, and `lengths` (N,)."""
    motions = content.get("motion")
    if not isinstance(motions, np.ndarray) or motions.ndim != 4 or motions.shape[2] != 3:
        raise UserError(f"{path}: a dictionary without 'motion' (N, joints, 3, T); its keys are {', '.join(map(str, content))}")
    motion = chosen(motions, path, sample)
    lengths = np.ravel(content.get("lengths", [motion.shape[-1]] * len(motions)))
    return from_joints_or_features(motion[..., : int(lengths[sample])].transpose(2, 0, 1), path, 0)


def chosen(motions: np.ndarray, path: Path, sample: int) -> np.ndarray:
    """The motion with index `sample` in `motions`, which `path` contains. Prints a note if there are several motions."""
    if not 0 <= sample < len(motions):
        raise UserError(f"--input_sample {sample}: {path} holds {len(motions)} motions; give an index from 0 to {len(motions) - 1}")
    if len(motions) > 1:
        note(f"{path} holds {len(motions)} motions; reading the one with index {sample}; --input_sample selects another")
    return motions[sample]


def from_joints_or_features(array: np.ndarray, path: Path, sample: int) -> Raw:
    """The motion in an array of joints or features. If the array contains several motions, the one with index `sample` is read."""
    if array.dtype.kind != "f" or not array.size:
        raise UserError(f"{path}: holds {array.dtype} of shape {array.shape}; expected a motion of floating-point numbers")
    array = array.astype(np.float64)
    if array.ndim == 4 or (array.ndim == 3 and array.shape[2] in FEATURES):
        array = chosen(array, path, sample)
    if array.ndim == 2 and array.shape[1] in FEATURES:
        if not np.isfinite(array).all():
            raise UserError(f"{path}: holds NaN or infinite numbers; the file is damaged")
        spec = FEATURES[array.shape[1]]
        joints = features_to_joints(torch.from_numpy(array), spec.num_joints) * spec.unit_scale
        check_features(array, joints.numpy(), str(path))
        return Raw(joints.numpy(), spec.fps, "m", "y", features=array.astype(np.float32))
    if array.ndim == 3 and array.shape[1] in SMPL_COUNTS:
        array = array[:, : HUMANML3D.num_joints]
    if array.ndim != 3 or array.shape[1] not in RATES or array.shape[2] != 3:
        raise UserError(f"{path}: of shape {array.shape}; expected joints (T, 22, 21, 24 or 52, 3) or features (T, 263 or 251)")
    check_joints(array, name=str(path))
    return Raw(array, RATES[array.shape[1]])


def check_features(features: np.ndarray, joints: np.ndarray, name: str) -> None:
    """Check features (T, D) and the joints (T, J, 3) computed from them.

    Raises `UserError` if the joints do not have the size of a person, as is the case for normalised features. Prints a note if
    the rotations are invalid, as is the case for features that were denormalised twice.
    """
    size = body_size(joints)
    remedy = "denormalise the features once: features * std + mean"
    if not BODIES[0] <= size <= BODIES[1]:
        raise UserError(f"{name}: its features give a body of {size:.3g} m from foot to head; if they are normalised, {remedy}")
    spec = FEATURES[features.shape[1]]
    columns = features[:, spec.rotations_slice].reshape(-1, 3)
    if np.abs(np.linalg.norm(columns, axis=-1) - 1).mean() > 0.08:  # 0 for captured motions, 0.13 after denormalising twice
        note(f"{name}: the rotations in its features are invalid; {remedy}")
