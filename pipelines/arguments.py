"""Check arguments of the Python API (strings, numbers, lists, arrays, tensors) and convert them to settings of the scripts.

Every function raises `UserError` for an invalid argument. The parameter `name` is the argument's name in the error message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from data.prompts import checked
from models.configs import shown
from motion.clip import Motion
from motion.features import features_to_joints
from motion.files.read import FileMotion
from motion.spec import DatasetSpec
from options.generate import Sampling
from pipelines.sampling import SamplingSettings
from pipelines.setup import check_flags
from utils.errors import UserError

Config = TypeVar("Config", bound=Sampling)
ARGUMENTS = {
    "mask_edit_section": "frames", "text_prompt": "prompt", "motion_length": "length", "repeat_times": "samples",
}  # flag → argument, if the names differ  # fmt: skip
SETTINGS = {field.name: type(field.default) for field in fields(SamplingSettings)}


@contextmanager
def as_arguments() -> Iterator[None]:
    """A context in which error messages name the arguments of the Python API instead of flags."""
    try:
        yield
    except UserError as error:
        raise UserError(re.sub(r"--(\w+)", lambda flag: ARGUMENTS.get(flag[1], flag[1]), str(error))) from None


def strings(value: Any, name: str) -> tuple[list[str], bool]:
    """Convert a string or a list of strings to a list. Returns the list, and whether `value` is a single string.

    `name` is the argument's name in error messages.
    """
    is_single = isinstance(value, str)
    texts = [value] if is_single else value
    if not isinstance(texts, (Sequence, np.ndarray)) or len(texts) == 0 or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name}: {short(value)}; give a string, or a list of strings")
    return [checked(str(text), name) for text in texts], is_single


def whole(value: Any, name: str) -> int:
    """Convert a whole number, or a tensor or array with one element, to an int. `name` is its name in error messages."""
    number = real(value, name)
    if number != int(number):
        raise UserError(f"{name}: {short(value)} is not a whole number")
    return int(number)


def real(value: Any, name: str) -> float | int:
    """Convert a finite number, or a tensor or array with one element, to a Python number. `name` is its name in error messages."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and np.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise UserError(f"{name}: {short(value)} is not a number")
    return value


def truth(value: Any, name: str) -> bool:
    """Convert True or False (Python or NumPy) to a bool. `name` is the argument's name in the error for any other value."""
    if not isinstance(value, (bool, np.bool_)):
        raise UserError(f"{name}: {short(value)}; give True or False")
    return bool(value)


def lengths(value: Any, count: int) -> list[int | None]:
    """Return the lengths of `count` prompts in frames.

    `value` is one number for all prompts, a list with one number per prompt, or None to predict the lengths.
    """
    if value is None:
        return [None] * count
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return [whole(value, "frames")] * count
    if len(value) != count:
        raise UserError(f"frames: {len(value)} lengths for {count} prompt{'s'[: count != 1]}; give one number, or one per prompt")
    return [None if item is None else whole(item, "frames") for item in value]


def sections(value: Any) -> list[str]:
    """Convert the `frames` argument of `Lamp.edit` (one pair, or several pairs) to values of --mask_edit_section."""
    if value is None:
        return []
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = value.tolist()
    pairs = [value] if isinstance(value, (list, tuple)) and len(value) == 2 and not isinstance(value[0], (list, tuple)) else value
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise UserError(f"frames: {short(value)}; give (first, end), such as (40, 80) in frames or (0.3, 0.6) as fractions")
    return [",".join(str(real(edge, "frames")) for edge in pair) for pair in pairs]


def settings(config_class: type[Config], sampling: dict[str, Any], **overrides: Any) -> Config:
    """Build a `config_class`, the dataclass of a script's flags.

    `overrides`, and the sampling settings in `sampling` that are not None, replace the defaults of the flags.
    """
    known = [name for name in SETTINGS if name in {field.name for field in fields(config_class)}]
    if unknown := sorted(set(sampling) - set(known)):
        raise UserError(f"unknown argument '{unknown[0]}'; arguments for sampling: {', '.join(known)}")
    convert = {int: whole, float: real, bool: truth}
    given = {name: convert[SETTINGS[name]](value, name) for name, value in sampling.items() if value is not None}
    config = config_class(**given, **overrides)
    check_flags(config)
    return config


def as_motion(value: Any, spec: DatasetSpec) -> Motion:
    """Convert a `Motion`, a motion file or an array to a `Motion`.

    An array contains either features (T, D) or joints (T, J, 3) in metres, at the dataset's frame rate.
    """
    if isinstance(value, Motion):
        return value
    if isinstance(value, (str, Path)):
        return Motion.load(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        rows = torch.as_tensor(value).detach().cpu().float()
        if rows.ndim == 3 and rows.shape[1:] == (spec.num_joints, 3):
            return Motion(rows.numpy(), spec.fps)
        if rows.ndim == 2 and rows.shape[1] == spec.dim:
            joints = features_to_joints(rows, spec.num_joints) * spec.unit_scale
            return FileMotion(joints.numpy(), spec.fps, file_features=rows.numpy())
    shapes = f"joints (T, {spec.num_joints}, 3) or features (T, {spec.dim})"
    raise UserError(f"motion: {short(value)}; give a Motion, a motion file, or an array of {shapes}")


def short(value: Any) -> str:
    """A short description of a value for an error message."""
    if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim:
        return f"an array of shape {tuple(value.shape)}"
    return shown(value)
