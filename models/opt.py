"""OPT (Zhang et al. 2022), the language model of LaMP's released captioner, with LoRA (Hu et al. 2021) on its query and value
projections.

The model is a decoder of pre-norm layers with ReLU and learned positions. The head shares its weights with the word embeddings.
Weights keep the precision of their file. In the released file, this precision is float16, so OPT-2.7B takes 5.3 GB of memory.
Computation is in float32, as in the released code.

    embed(ids (…, L))                        word embeddings without position embeddings   (…, L, W)
    run(x (B, L, W), positions, mask, past)  outputs of the last layer, keys and values    (B, L, W), caches
    logits(x (…, W))                         logits of the next word                       (…, V)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from tokenizers import Tokenizer
from tokenizers.implementations import ByteLevelBPETokenizer
from torch import Tensor, nn

from models.layers import Cache, attend, extended
from utils.errors import UserError

FIRST_POSITION = 2  # row of the position table for the first position
SLICE = 1 << 19  # number of weights that are converted to float32 at a time on a CPU; more do not fit in the CPU's cache
FOLDER = "opt-2.7b"
END, SPECIAL_TOKENS = "\n", ("<s>", "<pad>", "</s>", "<unk>")


@dataclass(frozen=True)
class OPTConfig:
    """Sizes of OPT and of LoRA; the defaults are those of OPT-2.7B and of the LoRA matrices in the released captioner.

    LoRA's output is multiplied by `lora_alpha / lora_r`.
    """

    vocab_size: int = 50_272
    hidden_size: int = 2560
    ff_size: int = 10_240
    num_layers: int = 32
    num_heads: int = 32
    num_positions: int = 2048
    lora_r: int = 16
    lora_alpha: int = 32


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply `F.linear` in float32 to x (..., in), with weights of any precision; returns (..., out)."""
    bias = None if bias is None else bias.float()
    if weight.dtype == torch.float32 or x.device.type != "cpu":
        return F.linear(x, weight.float(), bias)
    rows = max(1, SLICE // weight.shape[1])
    out = torch.cat([F.linear(x, part.float()) for part in weight.split(rows)], dim=-1)
    return out if bias is None else out + bias


class Linear(nn.Linear):
    """A linear layer computed in float32, with weights of any precision."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Norm(nn.LayerNorm):
    """Layer normalisation computed in float32, with weights of any precision."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


class LoRALinear(Linear):
    """A linear layer with LoRA: W x + b + scale · B A x."""

    def __init__(self, dim: int, rank: int, scale: float):
        super().__init__(dim, dim)
        self.scale = scale
        self.lora_a = nn.Parameter(torch.empty(rank, dim))
        self.lora_b = nn.Parameter(torch.zeros(dim, rank))
        nn.init.kaiming_uniform_(self.lora_a, 5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * linear(linear(x, self.lora_a), self.lora_b)


class Layer(nn.Module):
    """Causal self-attention and a ReLU feed-forward, both pre-norm with residual connections."""

    def __init__(self, config: OPTConfig):
        super().__init__()
        dim, self.heads = config.hidden_size, config.num_heads
        self.q, self.v = (LoRALinear(dim, config.lora_r, config.lora_alpha / config.lora_r) for _ in range(2))
        self.k, self.out = Linear(dim, dim), Linear(dim, dim)
        self.ff1, self.ff2 = Linear(dim, config.ff_size), Linear(config.ff_size, dim)
        self.norm1, self.norm2 = Norm(dim), Norm(dim)

    def forward(self, x: Tensor, mask: Tensor | None, past: Cache | None) -> tuple[Tensor, Cache]:
        """Apply the layer to x (B, L, W); `mask`, broadcastable to (B, heads, L, past + L), is True at visible positions.

        `past` holds the keys and values of earlier positions; the second result holds those of earlier and new positions.
        """
        h = self.norm1(x)
        q, k, v = (rearrange(part(h), "b l (h d) -> b h l d", h=self.heads) for part in (self.q, self.k, self.v))
        k, v = extended(past, k, v)
        x = x + self.out(rearrange(attend(q, k, v, mask), "b h l d -> b l (h d)"))
        return x + self.ff2(F.relu(self.ff1(self.norm2(x)))), (k, v)


class OPT(nn.Module):
    """The OPT decoder."""

    def __init__(self, config: OPTConfig):
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = nn.Embedding(c.num_positions + FIRST_POSITION, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_layers))
        self.norm = Norm(c.hidden_size)

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (..., L, W) of token ids (..., L), without position embeddings."""
        return self.words(ids).float()

    def run(
        self, x: Tensor, positions: Tensor, mask: Tensor | None, past: list[Cache] | None = None
    ) -> tuple[Tensor, list[Cache]]:
        """Apply all layers to x (B, L, W) at `positions` (L,) or (B, L), counted from 0.

        For each layer, `past` holds the keys and values of earlier positions; the second result also holds those of x.
        """
        x, caches = x + self.positions(positions + FIRST_POSITION).float(), []
        for number, layer in enumerate(self.layers):
            x, cache = layer(x, mask, past[number] if past else None)
            caches.append(cache)
        return x, caches

    def logits(self, x: Tensor) -> Tensor:
        """Logits (..., V) of the next word, from outputs (..., W) of the last layer."""
        return linear(self.norm(x), self.words.weight)


class OPTState:
    """Decoding state of OPT (`models.decoding.DecodingState`): cached keys and values of all positions so far."""

    def __init__(self, model: OPT, x: Tensor):
        """`x` (N, L, W): embeddings of the prefix that precedes the text tokens, without position embeddings."""
        self.model, self.device, self.length = model, x.device, x.shape[1]
        positions = torch.arange(self.length, device=x.device)
        self.caches = model.run(x, positions, positions[:, None] >= positions)[1]

    def next(self, ids: Tensor) -> Tensor:
        """Append the word `ids[n]` to each text n; returns logits (N, V) of the words that follow."""
        position = torch.tensor([self.length], device=self.device)
        x, self.caches = self.model.run(self.model.embed(ids[:, None]), position, None, self.caches)
        self.length += 1
        return self.model.logits(x[:, 0])

    def reorder(self, rows: Tensor) -> None:
        """Keep only the texts with the indices `rows`, in the order of `rows`."""
        self.caches = [(keys[rows], values[rows]) for keys, values in self.caches]


# Tokeniser


def find_tokenizer(given: str, folder: Path, checkpoints_dir: str | Path, pieces: int) -> Tokenizer:
    """Load OPT's byte-pair tokeniser from the folder `given`. If `given` is empty, the tokeniser is searched for in `folder`, the
    folder of the captioner, and then in `<checkpoints_dir>/opt-2.7b`.

    `pieces` is the maximum vocabulary size. Raises `UserError`, naming the required files, if there is no tokeniser, or if the
    tokeniser belongs to another model.
    """
    default = Path(checkpoints_dir) / FOLDER
    needed = "needs OPT's tokeniser: vocab.json and merges.txt (or tokenizer.json) of facebook/opt-2.7b"
    remedy = f"put them into {default} (prepare/download_models.sh --captioner downloads them), or name their folder with --lm DIR"
    for candidate in [Path(given)] if given else [folder, default]:
        if (candidate / "tokenizer.json").is_file() or all((candidate / name).is_file() for name in ("vocab.json", "merges.txt")):
            return read_tokenizer(candidate, pieces)
    if given:
        raise UserError(f"--lm {given}: no tokeniser in this folder; the released captioner {needed}")
    raise UserError(f"{folder}: {needed}; {remedy}")


def read_tokenizer(folder: Path, pieces: int) -> Tokenizer:
    """Load the tokeniser in a folder. Raises `UserError` if the tokeniser is damaged or belongs to another model than OPT."""
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the library raises bare Exception
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{folder}: its tokeniser cannot be read ({reason}); copy the files of facebook/opt-2.7b again") from None
    special = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
    size = max(tokenizer.get_vocab().values(), default=0) + 1
    if None in special or len(tokenizer.encode(END, add_special_tokens=False).ids) != 1 or size > pieces:
        raise UserError(f"{folder}: not the tokeniser of OPT; copy vocab.json and merges.txt of facebook/opt-2.7b")
    return tokenizer
