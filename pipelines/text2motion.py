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

from models.bert import find_tokenizer
from models.layers import valid_mask
from models.length import LengthPredictor
from models.loading import load_model
from models.masked import MaskedTransformer
from models.residual import ResidualTransformer
from models.vqvae import MotionTokeniser
from pipelines.conditioner import Conditioner, OwnText, load_conditioner
from utils.checkpoint import CheckpointFolder, find_weights
from utils.errors import UserError
from utils.runtime import autocast

CONDITION = ("text_encoder", "lamp_name", "no_query", "bert")  # metadata that tell which conditioner a model was trained with
SHARED = ("stride", "nb_code", "num_quantizers")  # sizes that a transformer and its tokeniser have in common


class TextToMotion:
    """`mean`, `std` (D,) are the statistics that the tokeniser's motions are normalised with.

    Without `residual`, the base layer alone is decoded; without `length`, lengths must be given. `length_encoder`: what `length`
    was trained with, if it is not `encoder`. Tokens are drawn in `precision` (`utils.runtime.autocast`), all else is float32.
    Raises `UserError` if the parts do not fit each other.
    """

    precision = "fp32"

    def __init__(
        self,
        encoder: Conditioner,
        tokeniser: MotionTokeniser,
        mean: Tensor,
        std: Tensor,
        masked: MaskedTransformer,
        residual: ResidualTransformer | None = None,
        length: LengthPredictor | None = None,
        length_encoder: Conditioner | None = None,
    ):
        self.length_encoder = length_encoder or encoder
        self.encoder, self.tokeniser, self.mean, self.std = encoder, tokeniser, mean, std
        self.masked, self.residual, self.length = masked, residual, length
        self.sources: list[Path] = []  # the weights files that `load` read
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
        encoder = self.length_encoder if kind == "length" else self.encoder
        if config.cond_dim != encoder.dim:
            raise UserError(
                f"the {kind} model takes conditions of width {config.cond_dim}, the text encoder gives {encoder.dim}; "
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

        sources: list[Path] = []

        def folder(name: str) -> CheckpointFolder:
            return CheckpointFolder(checkpoints_dir, dataset_name, name)

        def load(kind: str, name: str, tag: str | None = None):
            sources.append(find_weights(folder(name).root, tag))
            model, metadata = load_model(sources[-1])
            if metadata["kind"] != kind:
                raise UserError(f"{folder(name).root}: holds a {metadata['kind']} model, a {kind} model is needed; check the name")
            return model.to(device), metadata

        def encoder_of(metadata: dict) -> Conditioner:
            if metadata["text_encoder"] == "own":  # a released masked transformer that brings its own
                pieces = masked.text.qformer.config.vocab_size - 1  # the last one is [DEC]
                return OwnText(masked.text, find_tokenizer(folder(name).root, checkpoints_dir, pieces))
            return load_conditioner(
                metadata["text_encoder"], checkpoints_dir, dataset_name, device=device,
                lamp_name=metadata.get("lamp_name", ""), query=not metadata.get("no_query"), bert=metadata.get("bert", ""),
            )  # fmt: skip

        masked, metadata = load("masked", name, tag)
        vq_name = metadata.get("vq_name")
        if not vq_name:
            raise UserError(f"{folder(name).root}: names no tokeniser; write a line 'vq_name: NAME' to {folder(name).opt}")
        parts = {}
        for kind, other in (("residual", res_name), ("length", length_name)):
            if other:
                parts[kind], theirs = load(kind, other)
                if kind == "length" and theirs.get("released"):  # a released one serves all released models
                    if theirs["text_encoder"] != metadata["text_encoder"]:
                        parts["length_encoder"] = encoder_of(theirs)
                else:
                    _check_pair(other, theirs, name, metadata)
        tokeniser = load("tokeniser", vq_name)[0]
        mean, std = (_statistics(folder(vq_name).meta / f"{part}.npy").to(device) for part in ("mean", "std"))
        model = cls(encoder_of(metadata), tokeniser, mean, std, masked, **parts)
        model.sources = sources
        return model

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], lengths: Tensor | None = None, *, seed: int = 0, first_sample: int = 0, **sampling
    ) -> tuple[Tensor, Tensor]:
        """Motions of the prompts; `lengths` (B,) in frames are cut to whole tokens, None: predicted. `sampling` as in `draw`.

        Returns features (B, T, D) and lengths (B,). Raises `UserError` for an empty prompt, or a length under one token.
        """
        condition = self.encoder(prompts)  # (B, C)
        noise = {"seed": seed, "first_sample": first_sample}
        tokens = self.count_tokens(condition, lengths, prompts, **noise)
        return self.features(self.draw(condition, tokens, **noise, **sampling), tokens)

    def count_tokens(
        self, condition: Tensor, lengths: Tensor | None, prompts: Sequence[str] | None = None, **noise: int
    ) -> Tensor:
        """Lengths (B,) in tokens from `lengths` in frames, or predicted from the prompts, whose condition is (B, C)."""
        if lengths is not None:
            tokens = lengths.to(condition.device) // self.tokeniser.stride
            if bool((tokens < 1).any()):
                raise UserError(f"{int(lengths.min())} frames are less than one token; ask for {self.tokeniser.stride} or more")
            return tokens
        if self.length is None:
            raise UserError("no length predictor is here: give each prompt a length in frames, or train one with --stage length")
        if self.length_encoder is not self.encoder:
            condition = self.length_encoder(prompts)
        return self.length.predict(condition, **noise)

    @torch.no_grad()
    def draw(
        self,
        condition: Tensor,
        tokens: Tensor,
        given: Tensor | None = None,
        *,
        time_steps: int = 10,
        cond_scale: float = 4.0,
        res_cond_scale: float = 5.0,
        temperature: float = 1.0,
        topkr: float = 0.9,
        seed: int = 0,
        first_sample: int = 0,
    ) -> Tensor:
        """Codes (B, L, Q), or (B, L, 1) without a residual model, of motions that are `tokens` (B,) long, −1 beyond.

        Codes that are `given` (B, L, Q) are kept, on all layers; −1 is where some are wanted.
        """
        draw = {"temperature": temperature, "topkr": topkr, "seed": seed, "first_sample": first_sample}
        base = None if given is None else given[..., 0]
        with autocast(condition.device, self.precision):
            codes = self.masked.generate(condition, tokens, base, time_steps=time_steps, cond_scale=cond_scale, **draw)  # (B, L)
            if self.residual is None:
                return codes[..., None]
            return self.residual.generate(codes, condition, tokens, given, cond_scale=res_cond_scale, **draw)

    @torch.no_grad()
    def features(self, codes: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) in the dataset's own units, zero beyond each motion's end, and lengths (B,) in frames."""
        frames = tokens * self.tokeniser.stride
        motion = self.tokeniser.decode(codes, frames) * self.std + self.mean
        return motion * valid_mask(frames, motion.shape[1])[..., None], frames


def _check_pair(other: str, theirs: dict, name: str, ours: dict) -> None:
    """Raises `UserError` if the metadata of two models tell of different tokenisers or conditions."""
    for key in ("vq_name", *CONDITION):
        if (theirs.get(key) or "") != (ours.get(key) or ""):
            said = f"'{other}' was trained with {key} {theirs.get(key)}, '{name}' with {ours.get(key)}"
            raise UserError(f"{said}; pair like with like")


def _statistics(path: Path) -> Tensor:
    """The row of numbers (D,) in a `.npy` file."""
    try:
        return torch.from_numpy(np.load(path).astype(np.float32))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}); copy it from the tokeniser's training") from None
