"""Motion captioning: a frozen LaMP encodes a motion, and a language model generates a caption from the query outputs (LaMP
section 3.4).

`MotionReader` is the base class of captioners. `CaptionGPT` is a pre-norm GPT (Radford et al. 2019) that is trained from scratch.
The GPT has the WordPiece vocabulary of LaMP's backbone, and its prefix is computed from LaMP's query outputs. A captioner with a
pretrained LM is in `models/caption_lm.py`.

A batch from `data.pairs` contains, for B motions, latents (B, N, C), base codes (B, N) and lengths (B,) in tokens. For the captions
of the motions, the batch contains WordPiece ids (B, L) of "[CLS] … [SEP]", padded with 0, and numbers of ids, text_lengths (B,).
Batches for pretraining a GPT on captions without motions come from `data.sentences` and contain only ids and text_lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.bert import token_ids
from models.decoding import Search, write
from models.lamp import LaMP
from models.layers import Cache, Dropout, accuracy, attend, counted, extended, init_weights_, sinusoidal_positions, valid_mask
from models.linear import Linear, linear
from utils.checkpoint import freeze, train_
from utils.errors import UserError


class MotionReader(nn.Module):
    """Base class of captioners that encode motions with a frozen LaMP (a Q-Former). Subclasses compute the loss of given captions
    and generate new captions."""

    lamp: LaMP  # set by `read_with_`; not part of the captioner's checkpoint
    reads_codes = False  # whether the captioner takes the motion's base codes as input, in addition to query outputs

    def train(self, mode: bool = True) -> MotionReader:
        """Set the training mode; frozen networks stay in eval mode."""
        return train_(self, mode)

    def read_with_(self, lamp: LaMP) -> MotionReader:
        """Set the trained LaMP that encodes motions, and freeze it. Returns self."""
        self.lamp = freeze(lamp)
        return self

    @torch.no_grad()
    def queries(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Outputs (B, P, H) of LaMP's P queries for motions: tokeniser latents (B, N, C) with `lengths` (B,) in tokens."""
        return self.lamp.qformer.queries(*self.lamp.motion_context(latents, lengths))[0]

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy over the words of the captions in a batch, and values to log."""
        queries = self.queries(batch["latents"], batch["lengths"]) if "latents" in batch else None
        codes = batch.get("codes") if self.reads_codes else None
        return self.text_loss(queries, batch["ids"], batch["text_lengths"], codes)

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """Token ids of each caption."""
        raise NotImplementedError

    def text_loss(
        self, queries: Tensor | None, ids: Tensor, lengths: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of captions with token ids (B, L) and `lengths` (B,), and values to log.

        They are predicted from the outputs `queries` (B, P, H) of LaMP's queries and, if given, the motions' base `codes` (B, N).
        """
        raise NotImplementedError

    def write(
        self, queries: Tensor, search: Search, count: int = 1, codes: Tensor | None = None, numbers: Tensor | None = None
    ) -> list[list[str]]:
        """Generate `count` captions per motion, from outputs `queries` (B, P, H) of LaMP's queries and, if used, base codes (B, N).

        Beam search returns the best caption first. With nucleus sampling, the random numbers for a motion depend on its entry in
        `numbers` (B,), which is by default its index in the batch.
        """
        raise NotImplementedError


def word_loss(logits: Tensor, ids: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the cross-entropy of logits (B, L, V) for word ids (B, L), and values to log: cross-entropy and accuracy.

    Only positions where `valid` (B, L) is True count.
    """
    logits, ids = counted(valid, logits, ids)
    loss = F.cross_entropy(logits.float(), ids)
    return loss, {"caption_ce": loss.detach(), "accuracy": accuracy(logits, ids)}


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a captioning GPT and of its input."""

    vocab_size: int
    prefix_dim: int = 768  # width of LaMP's query outputs
    num_queries: int = 49
    nb_code: int = 0  # codebook size, if the GPT reads query outputs and base codes; 0: the GPT reads only query outputs
    max_codes: int = 49
    embed_dim: int = 1024
    num_layers: int = 12
    num_heads: int = 16
    ff_rate: int = 4
    block_size: int = 51  # maximum number of tokens in a caption, including [SEP]
    dropout: float = 0.1
    pkeep: float = 1.0  # fraction of input words that are kept in training; random words replace the other input words

    def __post_init__(self):
        for flag, value in (("num_layers", self.num_layers), ("ff_rate", self.ff_rate), ("n_head_gpt", self.num_heads)):
            if value < 1:
                raise UserError(f"--{flag} {value}: must be at least 1")
        if self.embed_dim < 1 or self.embed_dim % self.num_heads:
            heads = f"--n_head_gpt {self.num_heads}"
            raise UserError(f"--embed_dim_gpt {self.embed_dim}: must be a multiple of {heads}; change one of the two flags")
        if self.block_size < 2 or not 0 < self.pkeep <= 1:
            flags = f"--block_size {self.block_size} --pkeep {self.pkeep:g}"
            raise UserError(f"{flags}: --block_size must be at least 2, --pkeep above 0 and at most 1")


class CaptionGPT(MotionReader):
    """A causal transformer over a sequence of the outputs of LaMP's queries, optional base codes of the motion, and the caption."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.tokenizer: Tokenizer | None = None  # the tokenizer of LaMP's backbone, set by `use_tokenizer_`
        self.config = c = config
        self.words = nn.Embedding(c.vocab_size, c.embed_dim)
        self.positions = nn.Embedding(c.block_size, c.embed_dim)
        self.prefix = Linear(c.prefix_dim, c.embed_dim)
        self.codes = nn.Embedding(c.nb_code, c.embed_dim) if c.nb_code else None
        self.blocks = nn.ModuleList(Block(c.embed_dim, c.num_heads, c.ff_rate, c.dropout) for _ in range(c.num_layers))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.dropout = Dropout(c.dropout)
        self.apply(init_weights_)
        self.query_positions = nn.Parameter(0.02 * torch.randn(c.num_queries, c.embed_dim))
        self.reads_codes = self.codes is not None

    @property
    def capturable(self) -> bool:
        """Whether training steps may be captured as CUDA graphs (see `training.update`).

        The value is False with LaMP's released weights, because their outputs depend on the padding.
        """
        lamp = getattr(self, "lamp", None)
        return lamp is None or not lamp.config.released

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """Token ids of each caption: [CLS], the caption in lower case, [SEP]. At most `block_size` + 1 ids are kept."""
        return token_ids(self.tokenizer, [caption.lower() for caption in captions], self.config.block_size + 1)

    def use_tokenizer_(self, tokenizer: Tokenizer) -> CaptionGPT:
        """Set the WordPiece tokenizer; returns self."""
        self.tokenizer = tokenizer
        return self

    def context(self, queries: Tensor, codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the prefix (B, P, D) that precedes the captions, and the mask (B, P) of the prefix.

        The prefix is computed from outputs `queries` (B, Q, H) of LaMP's queries and, if given, base codes (B, N), −1 at padding.
        """
        x = self.prefix(queries) + self.query_positions
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if codes is not None:
            codes = codes[:, : self.config.max_codes]
            embedded = self.codes(codes.clamp(min=0))
            positions = sinusoidal_positions(*embedded.shape[1:], embedded.device, embedded.dtype)
            x = torch.cat((x, embedded + 0.02 * positions), dim=1)
            valid = torch.cat((valid, codes >= 0), dim=1)
        return x, valid

    def forward(self, ids: Tensor, valid: Tensor, prefix: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits (B, L, V) of the word after each position, from token ids (B, L), their mask (B, L), and `prefix` from
        `context`."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        if prefix is not None:
            x, valid = torch.cat((prefix[0], x), dim=1), torch.cat((prefix[1], valid), dim=1)
        return self.logits(self.run(x, causal_mask(valid))[0][:, -ids.shape[1] :])

    def run(self, x: Tensor, mask: Tensor, past: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Apply all blocks to the inputs x (B, L, D) of new positions; `mask` (B, 1, L, past + L) is the attention mask.

        `past` holds, for each block, the keys and values of earlier positions. The second result holds the keys and values of
        earlier and new positions.
        """
        x, caches = self.dropout(x), []
        for number, block in enumerate(self.blocks):
            x, cache = block(x, mask, past[number] if past else None)
            caches.append(cache)
        return x, caches

    def logits(self, x: Tensor) -> Tensor:
        """Logits (..., V) of words, from outputs (..., D) of the last block; the output layer is tied to the word embeddings."""
        return linear(self.norm(x), self.words.weight)

    def text_loss(
        self, queries: Tensor | None, ids: Tensor, lengths: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of the captions' words, and values to log. Arguments as in `MotionReader.text_loss`.

        If `queries` is None, the GPT is trained as a plain language model.
        """
        ids = ids[:, : self.config.block_size + 1]  # the padding (see `utils.padding`) can exceed the block size
        valid = valid_mask(lengths, ids.shape[1])
        inputs = ids[:, :-1]
        if self.training and self.config.pkeep < 1:
            kept = torch.rand(inputs.shape, device=ids.device) < self.config.pkeep
            kept[:, :1].fill_(True)  # [CLS]
            inputs = torch.where(kept, inputs, torch.randint_like(inputs, self.config.vocab_size))
        prefix = None if queries is None else self.context(queries, codes)
        return word_loss(self(inputs, valid[:, :-1], prefix), ids[:, 1:], valid[:, 1:])

    @torch.no_grad()
    def write(
        self, queries: Tensor, search: Search, count: int = 1, codes: Tensor | None = None, numbers: Tensor | None = None
    ) -> list[list[str]]:
        """Generate `count` captions per motion from the outputs (B, Q, H) of LaMP's queries; see `MotionReader.write`."""
        numbers = torch.arange(len(queries)) if numbers is None else numbers
        start, end = (self.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        state = GPTState(self, *self.context(queries, codes))
        search = search.within(self.config.block_size)
        sequences = write(state, numbers, start, end, search, count)  # (B, count, L)
        texts = self.tokenizer.decode_batch(sequences.flatten(0, 1).tolist())  # omits special tokens
        return [texts[first : first + count] for first in range(0, len(texts), count)]


class GPTState:
    """Decoding state of a GPT (`models.decoding.DecodingState`): cached keys and values of all positions so far."""

    def __init__(self, model: CaptionGPT, prefix: Tensor, valid: Tensor):
        self.model, self.valid, self.device, self.words = model, valid, prefix.device, 0
        self.caches = model.run(prefix, causal_mask(valid))[1]

    def next(self, ids: Tensor) -> Tensor:
        """Append the word `ids[b]` to each caption b; returns logits (B, V) of the words that follow."""
        x = self.model.words(ids)[:, None] + self.model.positions.weight[self.words]
        self.valid = F.pad(self.valid, (0, 1), value=True)
        x, self.caches = self.model.run(x, self.valid[:, None, None, :], self.caches)
        self.words += 1
        return self.model.logits(x[:, 0])

    def reorder(self, rows: Tensor) -> None:
        """Keep only the captions with the indices `rows`, in the order of `rows`."""
        self.valid = self.valid[rows]
        self.caches = [(keys[rows], values[rows]) for keys, values in self.caches]


class Block(nn.Module):
    """Causal self-attention and a GELU feed-forward, both pre-norm with residual connections."""

    def __init__(self, dim: int, heads: int, ff_rate: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = Linear(dim, 3 * dim), Linear(dim, dim)
        self.ff1, self.ff2 = Linear(dim, ff_rate * dim), Linear(ff_rate * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Apply the block to x (B, L, D); `mask` (B, 1, L, past + L) is True at visible positions.

        `past` holds the keys and values of earlier positions; the second result holds those of earlier and new positions.
        """
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        k, v = extended(past, k, v)
        mixed = attend(q, k, v, mask)
        x = x + self.dropout(self.out(rearrange(mixed, "b h l d -> b l (h d)")))
        return x + self.dropout(self.ff2(self.ff1(self.norm2(x), gelu=True))), (k, v)


def causal_mask(valid: Tensor) -> Tensor:
    """The mask (B, 1, L, L) with which each position attends to itself and to the valid positions before it; `valid` is (B, L)."""
    size = valid.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril()
    return (valid[:, None, None, :] & earlier) | torch.eye(size, dtype=torch.bool, device=valid.device)
