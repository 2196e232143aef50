"""A random BERT folder in Hugging Face's layout, for tests."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from safetensors.torch import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.digits, *string.punctuation]


def write_bert(folder: Path, words: list[str], *, width: int = 16, layers: int = 2) -> Path:
    """A vocabulary of letters and `words`, [PAD] first as always, and weights as a pretrained file has them."""
    pieces = list(dict.fromkeys([SPECIAL[0], "[unused0]", *SPECIAL[1:], *LETTERS, *words]))
    config = {
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": len(pieces), "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 2 * width, "max_position_embeddings": 40, "type_vocab_size": 2,
    }  # fmt: skip
    rows = {"word": len(pieces), "position": 40, "token_type": 2}
    torch.manual_seed(0)
    state = {f"bert.embeddings.{name}_embeddings.weight": 0.1 * torch.randn(size, width) for name, size in rows.items()}
    state |= {"cls.predictions.bias": torch.randn(len(pieces)), "bert.pooler.dense.weight": torch.randn(width, width)}
    norms = ["bert.embeddings"]
    for layer in (f"bert.encoder.layer.{number}" for number in range(layers)):
        linear = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (width, width)}
        linear |= {"intermediate.dense": (2 * width, width), "output.dense": (width, 2 * width)}
        for name, shape in linear.items():
            state[f"{layer}.{name}.weight"] = torch.randn(shape) / shape[1] ** 0.5
            state[f"{layer}.{name}.bias"] = 0.1 * torch.randn(shape[0])
        norms += [f"{layer}.attention.output", f"{layer}.output"]
    for name in norms:
        state[f"{name}.LayerNorm.weight"], state[f"{name}.LayerNorm.bias"] = torch.ones(width), torch.zeros(width)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(pieces))
    return folder
