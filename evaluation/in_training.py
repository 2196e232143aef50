"""FID, R-precision and MM-Dist during training (`--eval_fid`): the scoring functions that the training scripts pass to the trainer.

An evaluation is one pass over the validation split, always with the same clips, crops, captions and random draws. The evaluated
motions depend on the stage:
- tokeniser: reconstructions;
- masked transformer: motions decoded from generated base tokens, without residual tokens;
- residual transformer: motions decoded from the base tokens of real motions and the residual tokens that the transformer predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from data.store import Normaliser
from data.text import CaptionedClips
from evaluation.judges import Judge, load_judge
from evaluation.protocol import Sample, SplitEvaluation
from evaluation.report import FEW
from evaluation.tokeniser import reconstructor
from models.loading import Loader
from models.vqvae import MotionTokeniser
from options.train import Evaluated
from pipelines.conditioner import Conditioner
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion
from utils.errors import UserError, note
from utils.runtime import autocast

NAMES = {
    "FID": "fid", "R@1": "r1", "R@2": "r2", "R@3": "r3", "MM-Dist": "mm_dist", "Diversity": "diversity",
}  # names of metrics in the protocol → names in logs and checkpoints  # fmt: skip
SIZE = 256  # motions per generated batch

Score = Callable[[nn.Module], dict[str, float]]


def judge_of(config: Evaluated, device: torch.device) -> Judge | None:
    """The evaluator for --eval_fid; None without the flag. Raises `UserError` if no evaluator is available."""
    if not config.eval_fid:
        return None
    flag = f"--eval_fid {config.eval_fid}"
    if config.evaluator == "none":
        raise UserError(f"{flag}: needs an evaluator; leave out --evaluator none")
    try:
        return load_judge(config.evaluator, config.checkpoints_dir, config.dataset_name, config.evaluator_name, Loader(device))
    except UserError as error:
        raise UserError(f"{flag}: {error}") from error


def validation_pass(config: Evaluated, clips: CaptionedClips, judge: Judge) -> SplitEvaluation:
    """Set up the evaluation of motions on the validation clips. Prints a note if the clips are too few for a reliable FID."""
    if len(clips) < FEW:
        note(f"--eval_fid {config.eval_fid}: the validation split has {len(clips)} clips; FID is not reliable below {FEW} clips")
    return SplitEvaluation(clips, judge, batches=config.eval_batches, seed=config.seed, physical=False)


def scores(protocol: SplitEvaluation, sample: Sample) -> dict[str, float]:
    """The metrics of generated or reconstructed motions, whose embeddings `sample` contains, under the names that logs use."""
    real = protocol.real(0)
    values = protocol.scores(real, sample, real.sample.motion, 0)
    return {short: values[name] for name, short in NAMES.items()}


def of_reconstructions(protocol: SplitEvaluation, normaliser: Normaliser) -> Score:
    """Return a function that takes a tokeniser and returns the metrics of its reconstructions."""
    return lambda tokeniser: scores(protocol, protocol.reconstructed(reconstructor(tokeniser, normaliser), 0))


class CachedConditioner:
    """Wraps a text encoder, and keeps the encoded text (condition) of each caption in memory."""

    def __init__(self, conditioner: Conditioner):
        self.conditioner, self.dim, self.cache = conditioner, conditioner.dim, {}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Encoded captions (B, C), or (B, 1 + W, C) if the text encoder also returns outputs for up to W word pieces."""
        if new := sorted(set(captions) - self.cache.keys()):
            self.cache |= zip(new, self.conditioner(new))
        return pad_sequence([self.cache[caption] for caption in captions], batch_first=True)


class Generator:
    """Generates motion with a transformer that is being trained, its tokeniser and its text encoder."""

    def __init__(
        self,
        tokeniser: MotionTokeniser,
        normaliser: Normaliser,
        encoder: Conditioner,
        sampling: SamplingSettings,
        precision: str = "fp32",
    ):
        self.tokeniser, self.normaliser, self.sampling, self.precision = tokeniser, normaliser, sampling, precision
        self.encoder = CachedConditioner(encoder)
        self.device = next(tokeniser.parameters()).device

    def pipeline(self, masked: nn.Module) -> TextToMotion:
        """A text-to-motion pipeline that decodes the base tokens of a masked transformer."""
        mean, std = (torch.from_numpy(row).to(self.device) for row in self.normaliser.rows)
        return TextToMotion(self.encoder, self.tokeniser, mean, std, masked, precision=self.precision)

    def complete(self, residual: nn.Module) -> Callable[[Tensor, Tensor, list[str]], Tensor]:
        """Return a function that replaces the residual tokens of motions with tokens that `residual` predicts.

        The function maps features (B, T, D) in the dataset's units, lengths (B,) in frames and captions to features (B, T, D).
        """
        s = self.sampling

        @torch.no_grad()
        def completed(features: Tensor, lengths: Tensor, captions: list[str]) -> Tensor:
            motion, frames = self.normaliser.normalise(features).to(self.device), lengths.to(self.device)
            base = self.tokeniser.encode(motion, frames)[..., 0]
            draw = {"cond_scale": s.res_cond_scale, "temperature": s.temperature, "topkr": s.topkr, "seed": s.seed}
            with autocast(self.device, self.precision):
                codes = residual.generate(base, self.encoder(captions), frames // self.tokeniser.stride, **draw)
            return self.normaliser.denormalise(self.tokeniser.decode(codes, frames)).cpu()

        return completed


def of_generated(protocol: SplitEvaluation, generator: Generator, stage: str) -> Score:
    """Return a function that takes a masked or residual transformer (see `stage`) and returns the metrics of its motions."""
    if stage == "residual":
        return lambda residual: scores(protocol, protocol.reconstructed(generator.complete(residual), 0))

    def score(masked: nn.Module) -> dict[str, float]:
        generated = protocol.generated(generator.pipeline(masked), protocol.real(0), 0, SIZE, generator.sampling)
        return scores(protocol, generated)

    return score
