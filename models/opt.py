"""OPT (Zhang et al. 2022), the language model of LaMP's released captioner, with low-rank matrices (Hu et al. 2021) beside its
queries and values.

A decoder of pre-norm layers with ReLU and learned positions; the head is tied to the word embeddings. Weights stay in the precision
of their file, float16 in the release, so that OPT-2.7B takes 5.3 GB; arithmetic is float32, as in the release.

    embed(ids (B, L), first)          words at positions `first`, …                (B, L, W)
    run(x (B, L, W), mask, past)      all layers, and the keys and values of all    (B, L, W), caches
    logits(x (…, W))                  of the next word                              (…, V)
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

from models.layers import attend
from utils.errors import UserError

Cache = tuple[Tensor, Tensor]  # keys and values of a layer, (B, heads, L, W / heads) each

FIRST_POSITION = 2  # row of the position table that belongs to the first place
SLICE = 1 << 19  # weights made float32 at a time on a CPU: they fit in its cache, which is as fast as keeping all in float32
FOLDER = "opt-2.7b"
END, MARKS = "\n", ("<s>", "<pad>", "</s>", "<unk>")


@dataclass(frozen=True)
class OPTConfig:
    """Sizes of OPT-2.7B and of LoRA in the release. LoRA's output is multiplied by `lora_alpha / lora_r`."""

    vocab_size: int = 50_272
    hidden_size: int = 2560
    ff_size: int = 10_240
    num_layers: int = 32
    num_heads: int = 32
    num_positions: int = 2048
    lora_r: int = 16
    lora_alpha: int = 32


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` in float32 of weights in any precision, (..., in) → (..., out)."""
    bias = None if bias is None else bias.float()
    if weight.dtype == torch.float32 or x.device.type != "cpu":
        return F.linear(x, weight.float(), bias)
    rows = max(1, SLICE // weight.shape[1])
    out = torch.cat([F.linear(x, part.float()) for part in weight.split(rows)], dim=-1)
    return out if bias is None else out + bias


class Linear(nn.Linear):
    """A linear layer in float32, whatever its weights are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Norm(nn.LayerNorm):
    """Layer normalisation in float32, whatever its weights are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


class LoRALinear(Linear):
    """W x + b + scale · B A x."""

    def __init__(self, dim: int, rank: int, scale: float):
        super().__init__(dim, dim)
        self.scale = scale
        self.lora_a = nn.Parameter(torch.empty(rank, dim))
        self.lora_b = nn.Parameter(torch.zeros(dim, rank))
        nn.init.kaiming_uniform_(self.lora_a, 5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * linear(linear(x, self.lora_a), self.lora_b)


class Layer(nn.Module):
    """Causal self-attention and a feed-forward of ReLU, each on normalised input and added to it."""

    def __init__(self, config: OPTConfig):
        super().__init__()
        dim, self.heads = config.hidden_size, config.num_heads
        self.q, self.v = (LoRALinear(dim, config.lora_r, config.lora_alpha / config.lora_r) for _ in range(2))
        self.k, self.out = Linear(dim, dim), Linear(dim, dim)
        self.ff1, self.ff2 = Linear(dim, config.ff_size), Linear(config.ff_size, dim)
        self.norm1, self.norm2 = Norm(dim), Norm(dim)

    def forward(self, x: Tensor, mask: Tensor | None, past: Cache | None) -> tuple[Tensor, Cache]:
        """x (B, L, W); `mask` is broadcastable to (B, heads, L, past + L), True = may be seen."""
        h = self.norm1(x)
        q, k, v = (rearrange(part(h), "b l (h d) -> b h l d", h=self.heads) for part in (self.q, self.k, self.v))
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        x = x + self.out(rearrange(attend(q, k, v, mask), "b h l d -> b l (h d)"))
        return x + self.ff2(F.relu(self.ff1(self.norm2(x)))), (k, v)


class OPT(nn.Module):
    """The decoder; see the module's docstring."""

    def __init__(self, config: OPTConfig):
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = nn.Embedding(c.num_positions + FIRST_POSITION, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_layers))
        self.norm = Norm(c.hidden_size)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids (..., L) → (..., L, W), without positions."""
        return self.words(ids).float()

    def run(self, x: Tensor, places: Tensor, mask: Tensor | None, past: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """All layers over x (B, L, W), which stands at `places` (L,) or (B, L), from 0. Returns the caches of all places too."""
        x, caches = x + self.positions(places + FIRST_POSITION).float(), []
        for number, layer in enumerate(self.layers):
            x, cache = layer(x, mask, past[number] if past else None)
            caches.append(cache)
        return x, caches

    def logits(self, x: Tensor) -> Tensor:
        """Outputs (..., W) → logits of the next word (..., V)."""
        return linear(self.norm(x), self.words.weight)


class Running:
    """OPT in the middle of texts: keys and values of all places so far (`models.decoding.WordModel`)."""

    def __init__(self, model: OPT, x: Tensor):
        """`x` (N, L, W): what stands before the texts, without positions."""
        self.model, self.device, self.places = model, x.device, x.shape[1]
        places = torch.arange(self.places, device=x.device)
        self.caches = model.run(x, places, places[:, None] >= places)[1]

    def next(self, ids: Tensor) -> Tensor:
        """Append words (N,) and return the logits (N, V) of the words after them."""
        place = torch.tensor([self.places], device=self.device)
        x, self.caches = self.model.run(self.model.embed(ids[:, None]), place, None, self.caches)
        self.places += 1
        return self.model.logits(x[:, 0])

    def reorder(self, rows: Tensor) -> None:
        """Keep the texts `rows`, in this order."""
        self.caches = [(keys[rows], values[rows]) for keys, values in self.caches]


# Words


def find_tokenizer(given: str, folder: Path, checkpoints_dir: str | Path, pieces: int) -> Tokenizer:
    """OPT's byte-pair tokeniser: in the folder `given`, else in `folder`, the run's, or in `<checkpoints_dir>/opt-2.7b`.

    `pieces`: the most that it may have. Raises `UserError`, saying what to put where, if it is not there or is another model's.
    """
    default = Path(checkpoints_dir) / FOLDER
    needed = "needs OPT's tokeniser: vocab.json and merges.txt (or tokenizer.json) of facebook/opt-2.7b"
    remedy = f"put them into {default} (prepare/download_models.sh --captioner downloads them), or name their folder with --lm DIR"
    for place in [Path(given)] if given else [folder, default]:
        if (place / "tokenizer.json").is_file() or all((place / name).is_file() for name in ("vocab.json", "merges.txt")):
            return read_tokenizer(place, pieces)
    raise UserError(f"--lm {given}: not there; the released captioner {needed}" if given else f"{folder}: {needed}; {remedy}")


def read_tokenizer(folder: Path, pieces: int) -> Tokenizer:
    """The tokeniser in a folder. Raises `UserError` for one that is damaged or not OPT's."""
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the library raises bare Exception
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{folder}: its tokeniser cannot be read ({reason}); copy the files of facebook/opt-2.7b again") from None
    marks = [tokenizer.token_to_id(mark) for mark in MARKS]
    size = max(tokenizer.get_vocab().values(), default=0) + 1
    if None in marks or len(tokenizer.encode(END, add_special_tokens=False).ids) != 1 or size > pieces:
        raise UserError(f"{folder}: not the tokeniser of OPT; copy vocab.json and merges.txt of facebook/opt-2.7b")
    return tokenizer
