"""A fixture folder: reading it, recomputing its outputs, comparing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.loading import load_model
from tests.parity import captioner, evaluator, kinematics, lamp, metrics, tokeniser, transformers
from utils.checkpoint import RELEASED
from utils.errors import UserError

ATOL, RTOL = 2e-4, 2e-5  # floats; integers and booleans are equal
# What no tensor's shape tells.
SETTINGS = ("n_heads", "bert_heads", "opt_heads", "lora_alpha", "dilation_growth_rate", "vq_act", "dataset_name")

Inputs = dict[str, Tensor]
Recompute = dict[str, Callable[[], Tensor]]  # name of an output → how we compute it

# Kind of model → what its fixture's outputs are.
MODELS: dict[str, Callable[[nn.Module, Inputs], Recompute]] = {
    "tokeniser": tokeniser.outputs,
    "lamp": lamp.outputs,
    "masked": transformers.masked,
    "residual": transformers.residual,
    "length": transformers.length,
    "evaluator": evaluator.embeddings,
    "caption_opt": captioner.outputs,
}
# Fixtures without a model, identified by the name of an input.
FUNCTIONS: dict[str, Callable[[Inputs, Path], Recompute]] = {
    "joints_0": lambda inputs, _: kinematics.outputs(inputs),
    "mm_act": lambda inputs, _: metrics.outputs(inputs),
    "token_strings": evaluator.captions,
}


@dataclass(frozen=True)
class Result:
    """How one output compares."""

    name: str
    passed: bool
    error: float  # largest absolute difference; NaN where there is nothing to compare
    note: str

    def __str__(self) -> str:
        return f"  {'PASS' if self.passed else 'FAIL'}  {self.name:<28} max error {self.error:<10.3g} {self.note}"


def check(folder: str | Path) -> Iterator[Result]:
    """Recompute every output of a fixture and compare. Raises `UserError` for a folder that is not a fixture."""
    folder = Path(folder)
    inputs, expected, settings = _read(folder)
    with torch.no_grad():
        recompute, reason = _attempt(lambda: _recompute(folder, inputs, settings))
    for name, truth in expected.items():
        value = None
        if recompute and name in recompute:
            with torch.no_grad():
                value, reason = _attempt(recompute[name])
        yield Result(name, False, float("nan"), reason or "not recomputed") if value is None else compare(name, value, truth)


def _attempt(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function gives, or None and why: a fixture may lack an input that the function needs, or hold one that cannot be."""
    try:
        return function(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def compare(name: str, value: Tensor, truth: np.ndarray) -> Result:
    values = value.detach().numpy()
    if values.shape != truth.shape:
        return Result(name, False, float("nan"), f"shape {values.shape}, expected {truth.shape}")
    exact = not np.issubdtype(truth.dtype, np.floating)
    difference = np.abs(values.astype(np.float64) - truth.astype(np.float64))
    allowed = 0 if exact else ATOL + RTOL * np.abs(truth)
    note = "tolerance: equal" if exact else f"tolerance {ATOL:g} + {RTOL:g}·|value|"
    return Result(name, bool((difference <= allowed).all()), float(difference.max(initial=0)), note)  # NaN is never within


def _read(folder: Path) -> tuple[Inputs, dict[str, np.ndarray], dict]:
    try:
        with np.load(folder / "io.npz") as file:
            arrays = dict(file)
        dims = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["dims"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder}: not a fixture ({error}); expected io.npz and meta.json with 'dims'") from error
    inputs = {name.removeprefix("in_"): torch.from_numpy(value) for name, value in arrays.items() if name.startswith("in_")}
    expected = {name.removeprefix("out_"): value for name, value in arrays.items() if name.startswith("out_")}
    return inputs, expected, {name: dims[name] for name in SETTINGS if name in dims}


def _recompute(folder: Path, inputs: Inputs, settings: dict) -> Recompute:
    checkpoints = [path for path in folder.iterdir() if path.suffix in RELEASED]
    if not checkpoints:
        kind = next((FUNCTIONS[name] for name in FUNCTIONS if name in inputs), None)
        return kind(inputs, folder) if kind else {}
    model, metadata = load_model(checkpoints[0], **settings)
    return MODELS[metadata["kind"]](model, inputs) if metadata["kind"] in MODELS else {}
