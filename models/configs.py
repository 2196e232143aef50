"""Check a config read from a file against the file's tensors before a model is built.

A config is a dataclass. Types, ranges and sizes are checked. A damaged or malicious file can therefore neither request a model that
is far larger than the file, nor request a model that takes forever to build.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from utils.errors import UserError

# Maximum values of settings that do not occur as the size of a tensor. The models in use stay far below these maxima.
MAXIMUM = {"dilation_growth_rate": 16, "down_t": 8, "stride": 1024}
SMALL_SIZE = 1024  # sizes up to this value need not occur in a tensor, because a model of such sizes is small
# Exceptions that can occur when a model is built from unsuitable values.
BUILD_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def checked_config(config_class: type, values: Any, state: Mapping[str, Tensor], source: str | Path) -> Any:
    """Create a config of class `config_class` from a file's `values`, and check it against the file's tensors, `state`.

    Raises `UserError`, naming the file `source` and the first invalid value.
    """
    if not isinstance(values, dict):
        raise UserError(f"{source}: its config is {type(values).__name__}, not a dict of settings; the file is damaged")
    hints = typing.get_type_hints(config_class)
    # Tensors may have up to two additional rows for special tokens, which the sizes in the config do not include.
    sizes = {size - special for value in state.values() for size in value.shape for special in (0, 1, 2)}
    for field in fields(config_class):
        if field.name not in values:
            continue
        value = values[field.name]
        if not of_type(value, hints[field.name]):
            raise UserError(f"{source}: its config has {field.name} = {shown(value)}, of the wrong type; the file is damaged")
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if not in_range(field.name, number, sizes, len(state)):
                raise UserError(f"{source}: its config has {field.name} = {shown(value)}, which does not fit its tensors")
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        kind = config_class.__name__
        raise UserError(f"{source}: its config does not fit {kind} ({error}); another version of the code wrote it") from error


def of_type(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON has the type `hint` of a config field."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(of_type(value, part) for part in typing.get_args(hint))
    if origin in (list, tuple):
        parts = typing.get_args(hint)
        return isinstance(value, (list, tuple)) and all(of_type(item, parts[0]) for item in value)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return type(value) in (int, float)
    if hint in (int, bool, str, types.NoneType):
        return type(value) is hint
    return True


def in_range(name: str, value: Any, sizes: set[int], tensors: int) -> bool:
    """Whether the config field `name` may have this value, given the dimensions (`sizes`) and the number of the file's tensors."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return not isinstance(value, str) or len(value) <= 4096
    if "drop" in name or "prob" in name:
        return 0 <= value <= 1
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < 1e6
    if name in MAXIMUM:
        return 0 <= value <= MAXIMUM[name]
    if "layers" in name or name in ("depth", "num_quantizers"):
        return 0 <= value <= tensors  # every layer has at least one tensor
    return 0 <= value <= SMALL_SIZE or value in sizes


def built(build: Callable[[Any], nn.Module], config: Any, source: str | Path) -> nn.Module:
    """Build a model from a checked config. Raises `UserError` if it cannot be built."""
    try:
        return build(config)
    except UserError:
        raise
    except BUILD_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{source}: no model can be built from its config ({reason}); the file is damaged") from error


def shown(value: Any) -> str:
    """The representation of a value, shortened to 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer with thousands of digits
        text = "a very long number"
    return text if len(text) <= 60 else f"{text[:57]}…"
