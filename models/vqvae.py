"""The motion tokeniser: a convolutional VQ-VAE with a residual quantiser (LaMP section 3.1; MoMask section 3.1).

Normalised motion `(B, T, D)` is encoded to latents `(B, L, C)`, quantised to codes `(B, L, Q)` and decoded to motion, where L =
⌊T/2^down_t⌋. With one quantiser, the model is LaMP's VQ-VAE; with six quantisers, it is MoMask's RVQ-VAE. If the argument
`lengths` is given, the padding of a batch does not affect the result of any clip. All tensors are (B, time, channels).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from models.body import BodyConstraints, BodyLoss, joint_count, masked_mean
from models.layers import valid_mask
from models.linear import linear
from models.quantize import Quantised, ResidualQuantizer
from utils.errors import UserError

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


@dataclass(frozen=True)
class VQConfig:
    """Sizes of the tokeniser and weights of its loss terms. The defaults come from the paper.

    If `decoder_width` is 0, the decoder has the width of the encoder. If `rigid_bones` is set, the last layer of the decoder is
    `models.body.BodyConstraints`, which fixes bone lengths. If `planted_feet` is set too, this layer also corrects sliding toes.
    """

    dim: int = 263
    num_quantizers: int = 6
    nb_code: int = 512
    code_dim: int = 512
    down_t: int = 2
    width: int = 512
    decoder_width: int = 0
    depth: int = 3
    dilation_growth_rate: int = 3
    vq_act: str = "relu"
    vq_norm: str = "none"
    quantize_dropout_prob: float = 0.2
    shared_codebook: bool = False
    mu: float = 0.99
    loss_joints: float = 0.5
    commit: float = 0.02
    rigid_bones: bool = False
    planted_feet: bool = False
    loss_positions: float = 0.0
    loss_path: float = 0.0
    loss_bones: float = 0.0
    loss_velocity: float = 0.0
    loss_acceleration: float = 0.0
    loss_feet: float = 0.0

    def __post_init__(self):
        for field in ("dim", "num_quantizers", "nb_code", "code_dim", "width", "depth", "dilation_growth_rate"):
            if getattr(self, field) < 1:
                raise UserError(f"--{field} {getattr(self, field)}: must be at least 1")
        for field in ("decoder_width", *(f"loss_{name}" for name in BodyLoss.TERMS)):
            if not getattr(self, field) >= 0:
                raise UserError(f"--{field} {getattr(self, field)}: must not be negative")
        if self.planted_feet and not self.rigid_bones:
            raise UserError("--planted_feet: needs --rigid_bones")
        if self.vq_act not in ACTIVATIONS:
            raise UserError(f"--vq_act '{self.vq_act}': choose one of {', '.join(ACTIVATIONS)}")


def frame_mask(lengths: Tensor | None, frames: int) -> Tensor | None:
    """A bool mask (B, frames, 1), True before each clip's end; None if `lengths` is None."""
    return None if lengths is None else valid_mask(lengths, frames).unsqueeze(-1)


def zero_masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set x to zero where the mask is False."""
    return x if mask is None else x * mask


class Conv(nn.Conv1d):
    """Zero-padded convolution of (B, T, C) over time, computed as one matrix product over the windows of all frames.

    Before the convolution, frames where `mask` (B, T, 1) is False are set to zero.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        (width,), (stride,), (dilation,), (padding,) = self.kernel_size, self.stride, self.dilation, self.padding
        x = F.pad(zero_masked(x, mask), (0, 0, padding, padding))
        last = x.shape[1] - dilation * (width - 1)  # start of the last window, plus one
        taps = [x[:, dilation * k : dilation * k + last : stride] for k in range(width)]
        window = torch.cat(taps, dim=-1) if width > 1 else taps[0]  # (B, T', width × C)
        return linear(window, rearrange(self.weight, "out channels k -> out (k channels)"), self.bias)


class ResidualBlock(nn.Module):
    """A residual block: activation, dilated convolution, activation, 1×1 convolution."""

    def __init__(self, width: int, dilation: int, config: VQConfig):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width) if config.vq_norm == "LN" else nn.Identity() for _ in range(2))
        self.activation = ACTIVATIONS[config.vq_act]()
        self.conv1 = Conv(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = Conv(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = self.conv1(self.activation(self.norm1(x)), mask)
        return x + self.conv2(self.activation(self.norm2(h)))


def residual_blocks(width: int, config: VQConfig) -> nn.ModuleList:
    """A stack of `config.depth` residual blocks, the widest dilation first."""
    dilations = [config.dilation_growth_rate**index for index in reversed(range(config.depth))]
    return nn.ModuleList(ResidualBlock(width, dilation, config) for dilation in dilations)


class Encoder(nn.Module):
    """Encodes motion (B, T, D) to (B, ⌊T / 2^down_t⌋, C). Each stage halves the number of frames, then applies residual blocks."""

    def __init__(self, config: VQConfig):
        super().__init__()
        self.first = Conv(config.dim, config.width, 3, padding=1)
        self.halve = nn.ModuleList(Conv(config.width, config.width, 4, stride=2, padding=1) for _ in range(config.down_t))
        self.refine = nn.ModuleList(residual_blocks(config.width, config) for _ in range(config.down_t))
        self.last = Conv(config.width, config.code_dim, 3, padding=1)

    def forward(self, motion: Tensor, lengths: Tensor | None) -> Tensor:
        mask = frame_mask(lengths, motion.shape[1])
        x = F.relu(self.first(motion, mask))
        for halve, blocks in zip(self.halve, self.refine):
            x = halve(x, mask)  # (B, T/2, width)
            lengths = None if lengths is None else lengths // 2
            mask = frame_mask(lengths, x.shape[1])
            for block in blocks:
                x = block(x, mask)
        return zero_masked(self.last(x, mask), mask)


class Decoder(nn.Module):
    """Decodes (B, L, C) to motion (B, L × 2^down_t, D). Each stage: residual blocks, doubling of frames, convolution."""

    def __init__(self, config: VQConfig):
        super().__init__()
        width = config.decoder_width or config.width
        self.first = Conv(config.code_dim, width, 3, padding=1)
        self.refine = nn.ModuleList(residual_blocks(width, config) for _ in range(config.down_t))
        self.smooth = nn.ModuleList(Conv(width, width, 3, padding=1) for _ in range(config.down_t))
        self.before_last = Conv(width, width, 3, padding=1)
        self.last = Conv(width, config.dim, 3, padding=1)
        self.body = BodyConstraints(config.dim) if config.rigid_bones else None
        self.gates = Conv(width, 2, 3, padding=1) if config.planted_feet else None
        if self.gates is not None:
            nn.init.constant_(self.gates.bias, -2.0)  # start with almost no correction of the root

    def forward(self, vectors: Tensor, lengths: Tensor | None) -> Tensor:
        """Decode quantised latents (B, L, C); `lengths` (B,) is in tokens."""
        mask = frame_mask(lengths, vectors.shape[1])
        x = F.relu(self.first(vectors, mask))
        for blocks, smooth in zip(self.refine, self.smooth):
            for block in blocks:
                x = block(x, mask)
            x = repeat(x, "b l c -> b (l two) c", two=2)
            lengths = None if lengths is None else lengths * 2
            mask = frame_mask(lengths, x.shape[1])
            x = smooth(x, mask)
        x = F.relu(self.before_last(x, mask))
        motion = self.last(x, mask)
        if self.body is not None:
            motion = self.body(motion, None if self.gates is None else self.gates(x, mask), mask)
        return zero_masked(motion, mask)


class MotionTokeniser(nn.Module):
    """Encodes motion to codes and decodes codes to motion.

    `lengths` (B,) is always in frames; None: all T frames of every clip are valid.
    """

    capturable = True  # training steps may be captured as CUDA graphs (see `training.update`)

    def __init__(self, config: VQConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = ResidualQuantizer(
            config.num_quantizers,
            config.nb_code,
            config.code_dim,
            mu=config.mu,
            dropout=config.quantize_dropout_prob,
            shared=config.shared_codebook,
        )
        self.decoder = Decoder(config)
        self.body: BodyLoss | None = None  # if set, its terms are added to the loss

    @property
    def stride(self) -> int:
        """Number of frames per token."""
        return 2**self.config.down_t

    @property
    def num_quantizers(self) -> int:
        """Number of quantisers Q, i.e. codes per token."""
        return self.config.num_quantizers

    @property
    def nb_code(self) -> int:
        """Number of codes per codebook."""
        return self.config.nb_code

    def encode(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode motion (B, T, D) to codes (B, L, Q), -1 beyond each clip's ⌊length / stride⌋ tokens."""
        return self.quantise(motion, lengths).codes

    def encode_latent(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode motion (B, T, D) to latents (B, L, C), zero beyond each clip's tokens."""
        frames, dim = motion.shape[1:]
        if dim != self.config.dim:
            raise UserError(f"motion: width {dim}, but this tokeniser needs {self.config.dim}; use a tokeniser of the same dataset")
        if frames < self.stride:
            raise UserError(f"motion: {frames} frames, but one token covers {self.stride} frames; use longer motions")
        return self.encoder(motion, shorter_than(frames, lengths))

    def quantise(self, motion: Tensor, lengths: Tensor | None = None) -> Quantised:
        """Encode motion (B, T, D) to latents, and quantise the latents."""
        lengths = shorter_than(motion.shape[1], lengths)
        latents = self.encode_latent(motion, lengths)
        mask = None if lengths is None else valid_mask(lengths // self.stride, latents.shape[1])  # (B, L)
        return self.quantizer(latents, mask)

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Decode codes (B, L, Q') with Q' ≤ Q to motion (B, L × stride, D). A code of -1 adds a zero vector.

        With `lengths`, frames beyond each clip's last whole token are zero and do not affect earlier frames.
        """
        if codes.ndim != 3 or not 1 <= codes.shape[2] <= self.num_quantizers:
            raise UserError(f"codes: shape {tuple(codes.shape)}, expected (clips, tokens, 1 to {self.num_quantizers} layers)")
        if codes.max() >= self.nb_code:
            raise UserError(f"codes: {int(codes.max())} is not below {self.nb_code}, the size of this tokeniser's codebook")
        return self.decode_vectors(self.code_vectors(codes), lengths)

    def code_vectors(self, codes: Tensor) -> Tensor:
        """The quantised latents (B, L, C) of codes (B, L, Q'): the sum of the code vectors over the quantisers."""
        return self.quantizer.vectors(codes)

    def decode_vectors(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Decode quantised latents (B, L, C) to motion (B, L × stride, D)."""
        lengths = shorter_than(vectors.shape[1] * self.stride, lengths)
        return self.decoder(vectors, None if lengths is None else lengths // self.stride)

    def forward(self, motion: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Quantised]:
        """Reconstruct motion (B, T, D): returns the reconstruction (B, L × stride, D), and the result of the quantiser."""
        quantised = self.quantise(motion, lengths)
        return self.decode_vectors(quantised.vectors, lengths), quantised

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the weighted loss terms, and a dict of the terms, keyed by name.

        The terms are the smooth-L1 losses on features and on joint positions, the commitment loss and, if set, the terms of
        `models.body.BodyLoss`. Padding is ignored.

        `batch`: motion (B, T, D), lengths (B,). Frames beyond the last whole token are not reconstructed and do not count.
        """
        motion = batch["motion"]
        lengths = shorter_than(motion.shape[1], batch.get("lengths"))
        reconstructed, quantised = self(motion, lengths)
        frames = reconstructed.shape[1]
        error = F.smooth_l1_loss(reconstructed.to(motion), motion[:, :frames], reduction="none")  # (B, L × stride, D)
        mask = None if lengths is None else frame_mask(lengths // self.stride * self.stride, frames)
        joints = slice(4, 4 + 3 * (joint_count(self.config.dim) - 1))  # the positions of all joints but the root
        terms = {
            "reconstruction": masked_mean(error, mask),
            "joints": masked_mean(error[..., joints], mask),
            "commitment": quantised.commitment,
        }
        loss = terms["reconstruction"] + self.config.loss_joints * terms["joints"] + self.config.commit * terms["commitment"]
        if self.body is not None:
            body = self.body(reconstructed, motion[:, :frames], mask)
            loss = loss + sum(getattr(self.config, f"loss_{name}") * value for name, value in body.items())
            terms |= body
        return loss, {**{name: term.detach() for name, term in terms.items()}, "perplexity": quantised.perplexity.mean()}


@torch.no_grad()
def widen_from_(model: MotionTokeniser, start: MotionTokeniser) -> None:
    """Copy the weights of `start` so that `model`, whose decoder may be wider, computes the same function (Net2Net, Chen et al.
    2016).

    New decoder channels keep their initialisation, but their weights into copied channels are zero. `model` may also have body
    constraints that `start` lacks. Raises `UserError` if `model` differs from `start` in anything else.
    """
    weights, old = model.state_dict(), start.state_dict()
    optional = [name for name in weights if name.startswith(("decoder.body.", "decoder.gates."))]
    wrong = sorted(old.keys() - weights.keys()) + [name for name in weights if name not in old and name not in optional]
    for name in old.keys() & weights.keys():
        wider = name.startswith("decoder.") and all(small <= large for small, large in zip(old[name].shape, weights[name].shape))
        if old[name].shape != weights[name].shape and not wider:
            wrong.append(name)
    if wrong:
        raise UserError(f"--init: tensor '{wrong[0]}' does not fit; use the flags of the --init run (or a larger --decoder_width)")
    for name, value in old.items():
        weights[name][: len(value)] = 0
        weights[name][tuple(slice(size) for size in value.shape)] = value


def shorter_than(frames: int, lengths: Tensor | None) -> Tensor | None:
    """Return `lengths` if a clip is shorter than `frames`. Otherwise return None, because no mask is needed.

    Lengths on a GPU are returned without this check: the check would have to wait for the GPU, and a mask costs little on a GPU.
    """
    on_cpu = lengths is not None and lengths.device.type == "cpu"
    return None if lengths is None or (on_cpu and bool((lengths >= frames).all())) else lengths
