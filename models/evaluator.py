"""The text-motion matching evaluator (Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", appendix).

Two encoders embed motions and texts in one space, in which the distance between a text and a motion is small if the text describes
the motion.

    motion  features (B, T, D) without foot contacts → convolutions, one movement vector per 4 frames → bidirectional GRU → (B, E)
    text    word vectors (B, L, W) and one-hot part-of-speech classes (B, L, P) → bidirectional GRU → (B, E)

The parameters have the same names as in the released files.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.layers import valid_mask
from models.linear import Linear
from utils.checkpoint import freeze
from utils.errors import UserError

STRIDE = 4  # frames per movement vector
UNSEEN = 4  # number of foot contacts; they are the last values of a feature vector, and the motion encoder does not use them
SLOPE = 0.2  # slope of leaky ReLU for negative values
DROPOUT = 0.2  # dropout probability after each convolution


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes of an evaluator and settings of its training; the default sizes are those of the released evaluators."""

    dim: int = 263
    movement_hidden: int = 512
    movement_dim: int = 512
    motion_hidden: int = 1024
    text_hidden: int = 512
    embed_dim: int = 512
    word_dim: int = 300
    pos_dim: int = 15
    max_frames: int = 196  # number of frames to which training batches are zero-padded
    margin: float = 10.0  # minimum distance wanted between a text and a motion that do not match
    info_nce: float = 0.0  # weight of the InfoNCE loss, with the negative distance as similarity


class MovementEncoder(nn.Module):
    """Convolutions that encode motion features without foot contacts, (B, T, D − 4), as movement vectors (B, T // 4, C)."""

    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        activation = (nn.Dropout(DROPOUT), nn.LeakyReLU(SLOPE))
        self.main = nn.Sequential(nn.Conv1d(dim, hidden, 4, 2, 1), *activation, nn.Conv1d(hidden, out, 4, 2, 1), *activation)
        self.out_net = Linear(out, out)

    def forward(self, motion: Tensor) -> Tensor:
        return self.out_net(self.main(motion.transpose(1, 2)).transpose(1, 2))


class SequenceEncoder(nn.Module):
    """A bidirectional GRU that embeds sequences (B, L, C) with lengths (B,); its last states give the embeddings (B, E)."""

    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        self.input_emb = Linear(dim, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.hidden = nn.Parameter(torch.zeros(2, 1, hidden))
        last = (nn.LayerNorm(hidden), nn.LeakyReLU(SLOPE), Linear(hidden, out))
        self.output_net = nn.Sequential(Linear(2 * hidden, hidden), *last)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        # Autocast runs GRUs on a GPU in fp16, whose range is too small for training.
        with torch.autocast(x.device.type, enabled=False):
            x = self.input_emb(x.to(self.hidden))
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)  # needs CPU lengths
            _, (forward, backward) = self.gru(packed, self.hidden.expand(-1, len(x), -1).contiguous())  # (B, H) each
            return self.output_net(torch.cat((forward, backward), dim=-1))


class TextEncoder(SequenceEncoder):
    """A `SequenceEncoder` of texts: word vectors (B, L, W) plus embeddings of one-hot part-of-speech classes (B, L, P)."""

    def __init__(self, word_dim: int, pos_dim: int, hidden: int, out: int):
        super().__init__(word_dim, hidden, out)
        self.pos_emb = Linear(pos_dim, word_dim)

    def forward(self, words: Tensor, pos: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(words + self.pos_emb(pos), lengths)


class Evaluator(nn.Module):
    """The text-motion matching evaluator, which embeds texts and motions in one space."""

    def __init__(self, config: EvaluatorConfig):
        super().__init__()
        self.config = c = config
        self.movement_encoder = MovementEncoder(c.dim - UNSEEN, c.movement_hidden, c.movement_dim)
        self.motion_encoder = SequenceEncoder(c.movement_dim, c.motion_hidden, c.embed_dim)
        self.text_encoder = TextEncoder(c.word_dim, c.pos_dim, c.text_hidden, c.embed_dim)

    def embed_motion(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, E) of motions (B, T, D) with `lengths` (B,) in frames.

        The motions must be normalised with the evaluator's own mean and standard deviation. Frames beyond a clip's end have no
        effect on its embedding. Raises `UserError` for a wrong feature width or a length out of range.
        """
        on_cpu = lengths.cpu()  # copied once for all uses, because each copy from a GPU waits for the GPU
        movements = self.movement_encoder(self._followed_by_zeros(motion, lengths.to(motion.device), on_cpu)[..., :-UNSEEN])
        return self.motion_encoder(movements, on_cpu // STRIDE)

    def embed_text(self, words: Tensor, pos: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, E) of texts, from word vectors (B, L, W) and one-hot part-of-speech classes (B, L, P).

        The lengths (B,) include the start and end tokens, sos and eos.
        """
        return self.text_encoder(words, pos, lengths)

    def _followed_by_zeros(self, motion: Tensor, lengths: Tensor, on_cpu: Tensor) -> Tensor:
        """Set frames after each clip's end to zero, and zero-pad the longest clip by `STRIDE` frames, one movement vector.

        The convolutions reach at most `STRIDE` frames beyond a clip's end. The padded batch has at most `max_frames` frames.
        `on_cpu` is a copy of the lengths (B,) on the CPU.
        """
        shortest, longest, limit = int(on_cpu.min()), int(on_cpu.max()), min(motion.shape[1], self.config.max_frames)
        if motion.shape[2] != self.config.dim:
            raise UserError(f"motion: width {motion.shape[2]}, but the evaluator needs {self.config.dim}; use its dataset")
        if not STRIDE <= shortest <= longest <= limit:
            span = f"{shortest} to {longest} frames"
            raise UserError(f"motions of {span}: the evaluator takes {STRIDE} to {limit} frames; omit or cut other motions")
        width = min(longest + STRIDE, self.config.max_frames)
        motion = motion[:, :width].masked_fill(~valid_mask(lengths, min(width, motion.shape[1]))[..., None], 0)
        return F.pad(motion, (0, 0, 0, width - motion.shape[1]))

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the contrastive loss of Hadsell et al. 2006, with which the evaluator's authors trained, and values to log.

        Matching pairs of text and motion are pulled to distance 0, and mismatched pairs are pushed to a distance of at least
        `config.margin`.

        The authors pair each text with one wrong motion, by a random shift of the batch. This function computes the mean over all
        shifts, which is a less noisy estimate of the authors' loss. A text and the motion of another clip with an equal text are
        not used as a mismatched pair.

        If `info_nce` is set, the InfoNCE loss (van den Oord et al. 2018) in both directions is added. Unlike the mean over all
        pairs, InfoNCE emphasises hard negatives, such as the same action in another mood.

        `batch`: {'motion' (B, T, D), 'lengths' (B,), 'words' (B, L, W), 'pos' (B, L, P), 'text_lengths' (B,), 'caption' (B,), an id
        shared by equal texts}. The values to log are all terms, and the fraction of texts whose nearest motion is their own.
        """
        motion = self.embed_motion(batch["motion"], batch["lengths"])
        text = self.embed_text(batch["words"], batch["pos"], batch["text_lengths"])
        distance = torch.cdist(text, motion, compute_mode="donot_use_mm_for_euclid_dist")  # (B, B), exact near 0
        negative = batch["caption"][:, None] != batch["caption"]
        match = distance.diagonal().square().mean()
        mismatch = (F.relu(self.config.margin - distance).square() * negative).sum() / negative.sum().clamp(min=1)
        target = torch.arange(len(text), device=text.device)
        logs = {"match": match, "mismatch": mismatch, "accuracy": (distance.argmin(1) == target).float().mean()}
        loss = match + mismatch
        if self.config.info_nce:
            same_caption = ~negative & ~torch.eye(len(text), dtype=torch.bool, device=text.device)
            logits = -distance.masked_fill(same_caption, torch.inf)
            logs["info_nce"] = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            loss = loss + self.config.info_nce * logs["info_nce"]
        return loss, {name: value.detach() for name, value in logs.items()}


@torch.no_grad()
def fused(model: Evaluator) -> Evaluator:
    """A frozen copy of `model` that computes the embeddings of `model` with a quarter fewer multiplications per motion.

    The GRU's input layer and the two linear layers before it are merged into one layer.
    """
    model = copy.deepcopy(model)
    first, second, gru = model.movement_encoder.out_net, model.motion_encoder.input_emb, model.motion_encoder.gru
    weight = second.weight @ first.weight
    bias = second.weight @ first.bias + second.bias
    state = gru.state_dict()
    for direction in ("", "_reverse"):
        input_weight = state[f"weight_ih_l0{direction}"]
        state[f"weight_ih_l0{direction}"] = input_weight @ weight
        state[f"bias_ih_l0{direction}"] = input_weight @ bias + state[f"bias_ih_l0{direction}"]
    model.movement_encoder.out_net = model.motion_encoder.input_emb = nn.Identity()
    model.motion_encoder.gru = nn.GRU(first.in_features, gru.hidden_size, batch_first=True, bidirectional=True).to(weight)
    model.motion_encoder.gru.load_state_dict(state)
    return freeze(model)
