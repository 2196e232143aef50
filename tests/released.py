"""Fixtures of released transformers (`../shared/parity`), for the tests of our own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.upstream_transformers import length_from, masked_from, residual_from

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "parity"


def fixture(name: str) -> tuple[nn.Module, dict[str, Tensor], dict[str, np.ndarray]]:
    """The model of a fixture, its inputs, and the released code's outputs."""
    folder = FIXTURES / name
    (path,) = folder.glob("*.tar")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    heads = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["dims"].get("n_heads")
    if "t2m_transformer" in checkpoint:
        model = masked_from(checkpoint["t2m_transformer"], n_heads=heads)
    elif "res_transformer" in checkpoint:
        model = residual_from(checkpoint["res_transformer"], n_heads=heads)
    else:
        model = length_from(checkpoint["estimator"])
    with np.load(folder / "io.npz") as arrays:
        inputs = {key.removeprefix("in_"): torch.from_numpy(arrays[key]) for key in arrays if key.startswith("in_")}
        outputs = {key.removeprefix("out_"): arrays[key] for key in arrays if key.startswith("out_")}
    return model, inputs, outputs
