"""LaMP's released captioner (`m2t.pth`): a motion encoder and a Q-Former of its own, whose queries OPT reads as if they were words.

    motion → encoder → projection → queries → linear → [queries, </s>, a, man, is, caption …, newline]

It reads a motion without lengths or masks, so motions of different lengths are encoded separately. Captions end with a newline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.decoding import Search, write
from models.opt import END, MARKS, OPT, OPTConfig, Running
from models.qformer import QFormer, QFormerConfig
from models.vqvae import Encoder, VQConfig

PROMPT = "a man is"
PLACES = 100  # of a sequence, queries included
ROWS = 48  # sequences written at a time: their keys and values take 2 MB a place in OPT-2.7B


@dataclass(frozen=True)
class CaptionOPTConfig(QFormerConfig):
    """Sizes of the Q-Former, of the motion encoder (as in `VQConfig`) and of OPT (`opt_…`, as in `OPTConfig`)."""

    dim: int = 263
    code_dim: int = 512
    width: int = 512
    depth: int = 3
    down_t: int = 2
    dilation_growth_rate: int = 3
    vq_act: str = "relu"
    vq_norm: str = "none"
    opt_vocab: int = 50_272
    opt_hidden: int = 2560
    opt_ff: int = 10_240
    opt_layers: int = 32
    opt_heads: int = 32
    opt_positions: int = 2048
    lora_r: int = 16
    lora_alpha: int = 32

    @property
    def encoder(self) -> VQConfig:
        """Sizes of the motion encoder."""
        names = ("dim", "code_dim", "width", "depth", "down_t", "dilation_growth_rate", "vq_act", "vq_norm")
        return VQConfig(**{name: getattr(self, name) for name in names})

    @property
    def opt(self) -> OPTConfig:
        """Sizes of the language model."""
        return OPTConfig(
            self.opt_vocab, self.opt_hidden, self.opt_ff, self.opt_layers, self.opt_heads, self.opt_positions,
            self.lora_r, self.lora_alpha,
        )  # fmt: skip


class CaptionOPT(nn.Module):
    """Motions (B, T, D) are normalised, lengths (B,) in frames; queries are (B, P, H)."""

    reads_codes = False

    def __init__(self, config: CaptionOPTConfig):
        super().__init__()
        self.config = c = config
        self.tokenizer: Tokenizer | None = None  # OPT's, by `use_tokenizer_`
        self.encoder = Encoder(c.encoder)
        self.motion_projection = nn.Linear(c.code_dim, c.cross_width, bias=False)
        self.qformer = QFormer(c)
        self.projection = nn.Linear(c.hidden_size, c.opt_hidden)
        self.opt = OPT(c.opt)

    @property
    def stride(self) -> int:
        """Frames per token of the motion."""
        return 2**self.config.down_t

    @property
    def longest(self) -> int:
        """Most tokens of a caption that the released code writes."""
        return max(1, PLACES - self.config.num_queries - 1 - len(PROMPT.split()))

    def use_tokenizer_(self, tokenizer: Tokenizer) -> CaptionOPT:
        """Take OPT's tokeniser."""
        self.tokenizer = tokenizer
        return self

    @torch.no_grad()
    def read(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """What the queries find in motions (B, T, D) of `lengths` (B,): (B, P, H). A motion has at least one token."""
        queries = motion.new_empty(len(motion), self.config.num_queries, self.config.hidden_size)
        for frames in lengths.unique().tolist():
            rows = (lengths == frames).nonzero()[:, 0]
            queries[rows] = self.queries(self.context(self.encoder(motion[rows, :frames], None)))
        return queries

    def context(self, latents: Tensor) -> Tensor:
        """The encoder's latents (B, N, C) as the queries read them: (B, N, cross_width)."""
        return self.motion_projection(latents)

    def queries(self, context: Tensor) -> Tensor:
        """The queries' outputs (B, P, H) after reading a motion's context (B, N, cross_width), all of it."""
        return self.qformer.queries(context, torch.ones_like(context[..., 0], dtype=torch.bool))[0]

    def prefix(self, queries: Tensor) -> Tensor:
        """Queries (B, P, H) as OPT's words: (B, P, W)."""
        return self.projection(queries)

    @torch.no_grad()
    def write(
        self, queries: Tensor, search: Search, count: int = 1, codes: Tensor | None = None, numbers: Tensor | None = None
    ) -> list[list[str]]:
        """`count` captions of each of B motions, best first; what is drawn goes by the motions' `numbers` (B,)."""
        numbers = torch.arange(len(queries)) if numbers is None else numbers
        start, *prompt = self.token_ids("</s>", PROMPT)
        (end,) = self.token_ids(END)
        ids = torch.tensor([start, *prompt], device=queries.device)
        size, captions = max(1, ROWS // max(search.beams, count)), []
        for rows, chosen in zip(queries.split(size), numbers.split(size)):
            found = self.search(rows, ids, end, search.within(self.longest), count, chosen)
            captions += [[self.words(row) for row in several] for several in found.tolist()]
        return captions

    def search(self, queries: Tensor, prompt: Tensor, end: int, search: Search, count: int, numbers: Tensor) -> Tensor:
        """Ids (B, count, L) that follow queries (B, P, H) and a prompt (L,), best first; `end` at and after each one's end."""
        before = self.opt.embed(prompt[:-1]).expand(len(queries), -1, -1)
        running = Running(self.opt, torch.cat((self.prefix(queries), before), dim=1))
        return write(running, numbers, int(prompt[-1]), end, search, count)

    def token_ids(self, *texts: str) -> list[int]:
        """Ids of texts, one after another; a text that is a mark is one id."""
        assert self.tokenizer is not None, "use_tokenizer_ comes first"
        return [
            piece
            for text in texts
            for piece in ([self.tokenizer.token_to_id(text)] if text in MARKS else self._encoded(text))
        ]  # fmt: skip

    def words(self, ids: list[int]) -> str:
        """A caption, the prompt in front, of the ids after the prompt."""
        (end,) = self.token_ids(END)
        ids = ids[: ids.index(end)] if end in ids else ids
        marks = set(self.token_ids(*MARKS))
        return " ".join([PROMPT, *self.tokenizer.decode([piece for piece in ids if piece not in marks]).split()])

    def _encoded(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids
