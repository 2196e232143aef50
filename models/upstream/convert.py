"""Convert a released model to our checkpoint format: weights and config as safetensors, and copies of accompanying files.

The file of LaMP's Q-Former also contains a tokeniser, which is written to a separate folder, `<OUT>_vq`. The text encoder in the
file of LaMP's masked transformer is stored together with the transformer's weights.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from models.lamp import LaMP
from models.upstream.released import run_folder
from utils.checkpoint import CheckpointFolder, own_state, save_weights
from utils.errors import UserError

ACCOMPANYING = ("opt.txt", "meta/mean.npy", "meta/std.npy", "vocab.txt", "tokenizer.json", "vocab.json", "merges.txt")


def convert(model: nn.Module, metadata: dict[str, Any], out: Path) -> list[Path]:
    """Write the result of `load_released` to the checkpoint folder `out`; returns the folders written.

    Raises `UserError` if the folder already contains weights or cannot be written.
    """
    keys = ("kind", "config", "source", "released", "dataset_name", "epoch", "step", "vq_name", "text_encoder")
    kept = {name: metadata[name] for name in keys if metadata.get(name) is not None}
    if not isinstance(model, LaMP):
        condition = getattr(model, "text", None)
        state = own_state(model)
        if condition is not None:
            state |= {f"text.{name}": value for name, value in condition.state_dict().items()}
            kept["text"] = asdict(condition.qformer.config)
        return [_write(out, state, kept)]
    vq = out.with_name(f"{out.name}_vq")
    tokeniser = {"kind": "tokeniser", "config": asdict(model.tokeniser.config), "source": kept["source"]}
    folders = [_write(vq, own_state(model.tokeniser), tokeniser), _write(out, own_state(model), kept | {"vq_name": vq.name})]
    return folders[::-1]


def _write(out: Path, state: dict, metadata: dict[str, Any]) -> Path:
    folder = CheckpointFolder(out.parent, "", out.name)
    if folder.has_weights():
        raise UserError(f"{folder.root}: already holds weights; choose another folder")
    source_folder = run_folder(Path(metadata["source"]))
    save_weights(folder.weights("net_best"), state, metadata)
    for name in ACCOMPANYING:
        if (source_folder / name).is_file():
            (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source_folder / name, folder.root / name)
    return folder.root
