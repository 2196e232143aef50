"""One small random model of each kind, as objects and as checkpoint folders that the scripts load; and a motion to edit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from models.vqvae import MotionTokeniser, VQConfig
from motion.features import joints_to_features
from motion.skeleton import HUMANML3D
from pipelines.text2motion import TextToMotion
from prepare.synthetic import walker
from utils.checkpoint import CheckpointFolder, save_weights

SMALL = {"latent_dim": 16, "ff_size": 32, "n_layers": 1, "n_heads": 2}
CODES = {"nb_code": 16, "code_dim": 8}
VARIED = ("--topkr", "0", "--temperature", "2")  # random weights are very sure of themselves


def pictures_of(run: Path) -> dict[int, tuple[int, int]]:
    """The pictures that a run's validations sent to TensorBoard: step → width and height."""
    sizes = {}
    for path in (run / "tensorboard").iterdir():
        events = EventAccumulator(str(path), {"images": 0}).Reload()
        if "validation/pictures" in events.Tags()["images"]:
            sizes |= {event.step: (event.width, event.height) for event in events.Images("validation/pictures")}
    return dict(sorted(sizes.items()))


class LetterCounts:
    """A text encoder of width 8 in float64."""

    dim = 8

    def __call__(self, captions: list[str]) -> Tensor:
        return torch.tensor([[float(caption.count(letter)) for letter in "aeinorst"] for caption in captions], dtype=torch.double)


class Sums:
    """An evaluator that embeds a motion as a few sums over its frames and a text as a few counts of letters."""

    name, released = "lamp", False

    def motion(self, features, lengths):
        inside = torch.arange(features.shape[1]) < lengths[:, None]
        return (features[..., :8] * inside[..., None]).sum(1)

    def text(self, captions, tokens):
        return torch.tensor([[float(caption.count(letter)) for letter in "abcdefgh"] for caption in captions])


def models(quantizers: int = 2, cond_dim: int = 384) -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    kinds = {
        "tokeniser": MotionTokeniser(VQConfig(num_quantizers=quantizers, width=16, depth=1, **CODES)),
        "masked": MaskedTransformer(MaskedConfig(cond_dim=cond_dim, **CODES, **SMALL)),
        "residual": ResidualTransformer(ResidualConfig(num_quantizers=quantizers, cond_dim=cond_dim, **CODES, **SMALL)),
        "length": LengthPredictor(LengthConfig(cond_dim=cond_dim, classes=13)),
    }
    for name, buffer in kinds["tokeniser"].named_buffers():
        if name.endswith("codebook"):  # zero until training meets its first batch
            buffer.normal_()
    return kinds


def pipeline(quantizers: int = 3, **changes) -> TextToMotion:
    """All models in float64, in which sums over batches of different sizes come out alike."""
    parts = {kind: model.double().eval() for kind, model in models(quantizers, cond_dim=8).items()}
    for kind in ("masked", "residual"):
        for weight in parts[kind].parameters():
            if weight.ndim > 1:  # as built, all tokens are about equally likely, whatever the text
                weight.data.mul_(10)
    for book in parts["tokeniser"].quantizer.layers:
        book.codebook.mul_(0.3)  # near enough to the encoder's outputs that these differ in code
    mean, std = torch.zeros(263, dtype=torch.double), torch.full((263,), 0.1, dtype=torch.double)
    return TextToMotion(LetterCounts(), mean=mean, std=std, **{**parts, **changes})


def write_checkpoints(root: Path) -> Path:
    """A checkpoints folder for `open`: vq, base, res and len, with the sentence encoder as condition."""
    names = {"tokeniser": "vq", "masked": "base", "residual": "res", "length": "len"}
    for kind, model in models().items():
        folder = CheckpointFolder(root, "open", names[kind])
        metadata = {"kind": kind, "config": asdict(model.config), "vq_name": "vq", "text_encoder": "sentence", "bert": ""}
        save_weights(folder.weights("net_best"), model.state_dict(), metadata)
        folder.meta.mkdir()
        np.save(folder.meta / "mean.npy", np.zeros(263, np.float32))
        np.save(folder.meta / "std.npy", np.full(263, 0.1, np.float32))
    return root


def walk(frames: int = 60) -> np.ndarray:
    """Joints (T, 22, 3) of a person who is still walking in the last frame."""
    return walker(frames // 10 + 2, turn=40)[:frames]


def walking(frames: int = 60) -> torch.Tensor:
    """Features (T, 263) of the same walk."""
    return joints_to_features(torch.from_numpy(walk(frames + 1))[None], HUMANML3D)[0][0]
