"""LaMP's released captioner (`m2t.pth`): a motion encoder, a Q-Former and OPT. OPT's prefix is the projected query outputs.

    motion → encoder → projection → queries → linear → [queries, </s>, a, man, is, caption …, newline]

The encoder takes neither lengths nor masks, so motions of different lengths are encoded separately. OPT ends every caption with a
newline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.decoding import Search, write
from models.opt import END, OPT, SPECIAL_TOKENS, OPTConfig, OPTState
from models.qformer import QFormer, QFormerConfig
from models.vqvae import Encoder, VQConfig

PROMPT = "a man is"
MAX_POSITIONS = 100  # maximum length of the input sequence in the released code, including queries
MAX_SEQUENCES = 48  # number of sequences decoded at a time; limits the memory for keys and values


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
        """Sizes of OPT and of its LoRA matrices."""
        return OPTConfig(
            self.opt_vocab, self.opt_hidden, self.opt_ff, self.opt_layers, self.opt_heads, self.opt_positions,
            self.lora_r, self.lora_alpha,
        )  # fmt: skip


class CaptionOPT(nn.Module):
    """LaMP's released captioner. Motions (B, T, D) are normalised, lengths (B,) are in frames, query outputs are (B, P, H)."""

    reads_codes = False

    def __init__(self, config: CaptionOPTConfig):
        super().__init__()
        self.config = c = config
        self.tokenizer: Tokenizer | None = None  # OPT's tokeniser, set by `use_tokenizer_`
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
        """Maximum number of tokens after the fixed prompt "a man is", as in the released code."""
        return max(1, MAX_POSITIONS - self.config.num_queries - 1 - len(PROMPT.split()))

    def use_tokenizer_(self, tokenizer: Tokenizer) -> CaptionOPT:
        """Set OPT's tokeniser; returns self."""
        self.tokenizer = tokenizer
        return self

    @torch.no_grad()
    def read(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Outputs (B, P, H) of the Q-Former's queries for motions (B, T, D) with `lengths` (B,), each at least `stride`."""
        queries = motion.new_empty(len(motion), self.config.num_queries, self.config.hidden_size)
        for frames in lengths.unique().tolist():
            rows = (lengths == frames).nonzero()[:, 0]
            queries[rows] = self.queries(self.context(self.encoder(motion[rows, :frames], None)))
        return queries

    def context(self, latents: Tensor) -> Tensor:
        """Project the encoder's latents (B, N, C) to the context (B, N, cross_width) that the Q-Former's queries attend to."""
        return self.motion_projection(latents)

    def queries(self, context: Tensor) -> Tensor:
        """Outputs (B, P, H) of the Q-Former's queries for motion contexts (B, N, cross_width) without padding."""
        return self.qformer.queries(context, torch.ones_like(context[..., 0], dtype=torch.bool))[0]

    def prefix(self, queries: Tensor) -> Tensor:
        """Project outputs (B, P, H) of the Q-Former's queries to the space of OPT's word embeddings: (B, P, W)."""
        return self.projection(queries)

    @torch.no_grad()
    def write(
        self, queries: Tensor, search: Search, count: int = 1, codes: Tensor | None = None, numbers: Tensor | None = None
    ) -> list[list[str]]:
        """Generate `count` captions for each of B motions; see `models.caption.MotionReader.write`."""
        numbers = torch.arange(len(queries)) if numbers is None else numbers
        start, *prompt = self.token_ids("</s>", PROMPT)
        (end,) = self.token_ids(END)
        ids = torch.tensor([start, *prompt], device=queries.device)
        size, captions = max(1, MAX_SEQUENCES // max(search.beams, count)), []
        for rows, chosen in zip(queries.split(size), numbers.split(size)):
            sequences = self.search(rows, ids, end, search.within(self.longest), count, chosen)
            captions += [[self.words(row) for row in candidates] for candidates in sequences.tolist()]
        return captions

    def search(self, queries: Tensor, prompt: Tensor, end: int, search: Search, count: int, numbers: Tensor) -> Tensor:
        """Decode `count` captions per motion. OPT's input is the projected query outputs (B, P, H), then the token ids `prompt`.

        Returns the ids after the prompt, (B, count, L). Positions after a caption's last word contain `end`. `numbers`: see
        `models.decoding.write`.
        """
        prompt_words = self.opt.embed(prompt[:-1]).expand(len(queries), -1, -1)
        state = OPTState(self.opt, torch.cat((self.prefix(queries), prompt_words), dim=1))
        return write(state, numbers, int(prompt[-1]), end, search, count)

    def token_ids(self, *texts: str) -> list[int]:
        """Concatenated token ids of all texts; a text that is a special token, such as "</s>", gives one id."""
        assert self.tokenizer is not None, "call use_tokenizer_ first"
        ids = []
        for text in texts:
            special = text in SPECIAL_TOKENS
            ids += [self.tokenizer.token_to_id(text)] if special else self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def words(self, ids: list[int]) -> str:
        """Decode `ids`, the token ids after the prompt, up to the first newline; returns the caption with the prompt in front."""
        (end,) = self.token_ids(END)
        ids = ids[: ids.index(end)] if end in ids else ids
        special = set(self.token_ids(*SPECIAL_TOKENS))
        return " ".join([PROMPT, *self.tokenizer.decode([piece for piece in ids if piece not in special]).split()])
