"""Text to motion, the whole pipeline: captions → condition → length → base tokens → residual tokens → motion.

Prompts (B strings) and perhaps lengths (B,) in frames give features (B, T, D) in the dataset's own units, zero beyond each
motion's end, and lengths (B,). A prompt's motion depends on the seed and on its sample number, not on the prompts beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.conditioner import SentenceEncoder
from models.length import LengthPredictor
from models.loading import load_model
from models.masked import MaskedTransformer
from models.residual import ResidualTransformer
from models.vqvae import MotionTokeniser
from utils.checkpoint import CheckpointFolder
from utils.errors import UserError

SHARED = ("stride", "nb_code", "num_quantizers")  # sizes that a transformer and its tokeniser have in common


class TextToMotion:
    """`mean`, `std` (D,) are the statistics that the tokeniser's motions are normalised with.

    Without `residual`, the base layer alone is decoded; without `length`, lengths must be given. Raises `UserError` if the
    parts do not fit each other.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        tokeniser: MotionTokeniser,
        mean: Tensor,
        std: Tensor,
        masked: MaskedTransformer,
        residual: ResidualTransformer | None = None,
        length: LengthPredictor | None = None,
    ):
        self.encoder, self.tokeniser, self.mean, self.std = encoder, tokeniser, mean, std
        self.masked, self.residual, self.length = masked, residual, length
        width = tokeniser.config.dim
        if {tuple(mean.shape), tuple(std.shape)} != {(width,)}:
            raise UserError(f"mean.npy, std.npy: {len(mean)} and {len(std)} numbers, the tokeniser needs {width}; use its own")
        for kind, model in (("masked", masked), ("residual", residual), ("length", length)):
            if model is not None:
                self._check_fit(kind, model.config)

    def _check_fit(self, kind: str, config) -> None:
        for size in SHARED:
            theirs, ours = getattr(config, size, None), getattr(self.tokeniser, size)
            if theirs not in (None, ours):
                raise UserError(f"the {kind} model was trained on a tokeniser of {size} {theirs}, this one has {ours}; use its own")
        if config.cond_dim != self.encoder.dim:
            raise UserError(
                f"the {kind} model takes conditions of width {config.cond_dim}, the text encoder gives {self.encoder.dim}; "
                "use the one it was trained with"
            )

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str,
        res_name: str | None = None,
        length_name: str | None = None,
        device: torch.device | str = "cpu",
        tag: str | None = None,
    ) -> TextToMotion:
        """The masked model called `name`, the tokeniser and text encoder it was trained with, and the other models named.

        `tag` says which weights of the masked model, such as "latest"; None: the best. Raises `UserError` for what is missing
        or does not fit.
        """

        def folder(name: str) -> CheckpointFolder:
            return CheckpointFolder(checkpoints_dir, dataset_name, name)

        def load(kind: str, name: str, tag: str | None = None):
            model, metadata = load_model(folder(name).root, tag)
            if metadata["kind"] != kind:
                raise UserError(f"{folder(name).root}: holds a {metadata['kind']} model, a {kind} model is needed; check the name")
            return model.to(device), metadata

        masked, metadata = load("masked", name, tag)
        vq_name = metadata["vq_name"]
        parts = {}
        for kind, other in (("residual", res_name), ("length", length_name)):
            if other:
                parts[kind], other_metadata = load(kind, other)
                for key in ("vq_name", "text_encoder"):
                    if other_metadata[key] != metadata[key]:
                        theirs, ours = other_metadata[key], metadata[key]
                        raise UserError(f"'{other}' was trained with {key} {theirs}, '{name}' with {ours}; pair like with like")
        tokeniser = load("tokeniser", vq_name)[0]
        mean, std = (_statistics(folder(vq_name).meta / f"{part}.npy").to(device) for part in ("mean", "std"))
        return cls(SentenceEncoder(metadata["bert"] or None, device), tokeniser, mean, std, masked, **parts)

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[str],
        lengths: Tensor | None = None,
        *,
        time_steps: int = 10,
        cond_scale: float = 4.0,
        res_cond_scale: float = 5.0,
        temperature: float = 1.0,
        topkr: float = 0.9,
        seed: int = 0,
        first_sample: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Motions of the prompts; `lengths` (B,) in frames are cut to whole tokens, None: predicted.

        Returns features (B, T, D) and lengths (B,). Raises `UserError` for an empty prompt, or a length under one token.
        """
        condition = self.encoder(prompts)  # (B, C)
        draw = {"seed": seed, "first_sample": first_sample}
        tokens = self._tokens(condition, lengths, draw)
        draw |= {"temperature": temperature, "topkr": topkr}
        codes = self.masked.generate(condition, tokens, time_steps=time_steps, cond_scale=cond_scale, **draw)  # (B, L)
        if self.residual is None:
            codes = codes[..., None]
        else:
            codes = self.residual.generate(codes, condition, tokens, cond_scale=res_cond_scale, **draw)
        frames = tokens * self.tokeniser.stride
        motion = self.tokeniser.decode(codes, frames) * self.std + self.mean  # (B, T, D)
        inside = torch.arange(motion.shape[1], device=motion.device) < frames[:, None]
        return motion * inside[..., None], frames

    def _tokens(self, condition: Tensor, lengths: Tensor | None, draw: dict) -> Tensor:
        """Lengths in tokens."""
        if lengths is not None:
            tokens = lengths.to(condition.device) // self.tokeniser.stride
            if bool((tokens < 1).any()):
                raise UserError(f"{int(lengths.min())} frames are less than one token; ask for {self.tokeniser.stride} or more")
            return tokens
        if self.length is None:
            raise UserError("no length predictor is here: give each prompt a length in frames, or train one with --stage length")
        return self.length.predict(condition, **draw)


def _statistics(path: Path) -> Tensor:
    """The row of numbers (D,) in a `.npy` file."""
    try:
        return torch.from_numpy(np.load(path).astype(np.float32))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}); copy it from the tokeniser's training") from None
