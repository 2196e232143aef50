"""A small random LaMP run on disk, with its tokeniser, for the tests of what uses one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from models.lamp import LaMP, LaMPConfig
from models.vqvae import MotionTokeniser, VQConfig
from utils.checkpoint import CheckpointFolder, own_state, save_weights

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "bows", "jump", "##s", "left", "right"]
WIDTH = 16
SIZES = {
    "vocab_size": len(WORDS) + 1, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 12, "num_queries": 5, "cross_width": 20, "latent_dim": 8, "nb_code": 16, "embed_dim": 10,
    "max_text": 10,
}  # fmt: skip


def write_lamp(checkpoints_dir: Path, dataset_name: str, name: str = "lamp", vq_name: str = "vq", seed: int = 0) -> LaMP:
    """Writes the runs `name` and, if it is not there, `vq_name`."""
    torch.manual_seed(seed)
    model = LaMP(LaMPConfig(**SIZES))
    folder = CheckpointFolder(checkpoints_dir, dataset_name, name)
    metadata = {"kind": "lamp", "config": asdict(model.config), "vq_name": vq_name, "step": 1}
    save_weights(folder.weights("net_best_r1"), own_state(model), metadata)
    (folder.root / "vocab.txt").write_text("\n".join(WORDS))
    folder.meta.mkdir()
    for part in ("mean", "std"):
        np.save(folder.meta / f"{part}.npy", np.ones(263, np.float32))
    vq_folder = CheckpointFolder(checkpoints_dir, dataset_name, vq_name)
    if not vq_folder.has_weights():
        tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
        save_weights(vq_folder.weights("latest"), own_state(tokeniser), {"kind": "tokeniser", "config": asdict(tokeniser.config)})
    return model.eval()
