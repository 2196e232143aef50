"""Trials: motions that were generated for training captions and do what the caption says, as additional training samples.

`python -m prepare.trials` generates, checks and writes them. Fine-tuning a generator on its own successes is called
rejection-sampling fine-tuning (RAFT, Dong et al., TMLR 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils.checkpoint import load_weights, save_weights
from utils.errors import UserError


@dataclass(frozen=True)
class Trials:
    """M motions that were generated for N captions.

    Attributes:
        captions: N captions.
        index: (M,) index of each motion's caption.
        tokens: (M,) lengths in tokens.
        codes: (R, Q) int16, the codes of all motions, one motion after the other.
        weights: (M,) sampling weights, which sum to 1 for each caption.
        tokeniser: fingerprint of the tokeniser that the codes belong to.
    """

    captions: list[str]
    index: np.ndarray
    tokens: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    tokeniser: str

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def captions_of_motions(self) -> list[str]:
        """The caption of each motion."""
        return [self.captions[index] for index in self.index]

    def save(self, path: Path) -> None:
        """Write the trials to a .safetensors file."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("index", "tokens", "codes", "weights")}
        save_weights(path, arrays, {"kind": "trials", "captions": self.captions, "tokeniser": self.tokeniser})

    @classmethod
    def load(cls, path: Path, tokeniser: str) -> Trials:
        """Read trials. Raises `UserError` if the file has none, or if `tokeniser` is not the fingerprint of their tokeniser."""
        tensors, metadata = load_weights(path)
        if metadata.get("kind") != "trials" or not len(tensors.get("tokens", ())):
            raise UserError(f"{path}: contains no trials; write them with python -m prepare.trials")
        if metadata["tokeniser"] != tokeniser:
            raise UserError(f"{path}: its codes are of another tokeniser; run python -m prepare.trials again")
        return cls(metadata["captions"], **{name: value.numpy() for name, value in tensors.items()}, tokeniser=tokeniser)
