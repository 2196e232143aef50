"""LaMP's released captioner. It encodes motions with its own encoder and queries, and needs no LaMP run.

If LaMP's released model has been downloaded, its matching head ranks the candidate captions. Otherwise, the captions keep the order
of the beam search.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from data.store import Normaliser
from models.caption_opt import CaptionOPT
from models.layers import valid_mask
from models.loading import Loader
from models.opt import find_tokenizer
from models.upstream.released import run_folder
from options.common import Common
from pipelines.language_motion import LanguageMotion
from pipelines.motion2text import VQ_FLAGS, Matcher, MotionToText
from pipelines.runs import LAMP, Run, runs_in
from utils.errors import UserError, note

SHARED = ("lamp", "tokeniser")  # kinds of released runs that have the same feature statistics as the captioner


class ReleasedCaptioner(MotionToText):
    """LaMP's released captioner. Raises `UserError` if OPT's tokeniser or the feature statistics are missing.

    Args:
        captioner: the loaded model.
        run: the run (folder with weights) of the captioner.
        loader: loads the LaMP that ranks captions.
        checkpoints_dir: folder of the other released models.
        lm: folder of OPT's tokeniser; "": the folder of the run, or `<checkpoints_dir>/opt-2.7b`.
    """

    def __init__(self, captioner: CaptionOPT, run: Run, loader: Loader, checkpoints_dir: Path, lm: str = ""):
        self.run, self.loader, self.checkpoints_dir = run, loader, checkpoints_dir
        self.folder = run_folder(run.weights())
        tokenizer = find_tokenizer(lm, self.folder, checkpoints_dir, captioner.config.opt_vocab)
        self.captioner = captioner.use_tokenizer_(tokenizer).eval()
        statistics = Normaliser.load(self._statistics_folder())
        if statistics.dim != captioner.config.dim:
            raise UserError(
                f"{run}: the released captioner needs {captioner.config.dim} features (t2m), but {run.dataset_name} has "
                f"{statistics.dim}; give --dataset_name t2m"
            )
        self.mean, self.std = (torch.as_tensor(row, device=loader.device) for row in statistics.rows)

    def _statistics_folder(self) -> Path:
        """The folder of mean.npy and std.npy, in the folder of the run or of another released model of the dataset."""
        default = self.folder / "meta"
        shared = [run.folder / "meta" for run in runs_in(self.checkpoints_dir, self.run.dataset_name, SHARED, released=True)]
        return next((folder for folder in [default, *shared] if (folder / "mean.npy").is_file()), default)

    @property
    def stride(self) -> int:
        """Frames per motion token."""
        return self.captioner.stride

    @cached_property
    def ranker(self) -> LanguageMotion | None:
        """LaMP's released model for the dataset, which ranks captions; None if this model is missing or there are several."""
        runs = runs_in(self.checkpoints_dir, self.run.dataset_name, LAMP.kinds, released=True)
        return LanguageMotion.load(*runs[0].address, loader=self.loader) if len(runs) == 1 else None

    def read(self, motion: Tensor, lengths: Tensor, ranked: bool) -> tuple[Tensor, None, Matcher | None]:
        """Encode normalised motions for the captioner.

        Returns query outputs (B, P, H), None, and, if captions are ranked and a LaMP model can rank them, a `Matcher`, which
        computes log-odds that texts match these motions.
        """
        ranker = self.ranker if ranked else None
        lengths = lengths // self.stride * self.stride
        queries = self.captioner.read(motion, lengths)
        if ranker is None:
            return queries, None, None
        mean, std = (torch.as_tensor(row, device=motion.device) for row in (ranker.mean, ranker.std))
        renormalised = (motion * self.std + self.mean - mean) / std * valid_mask(lengths, motion.shape[1])[..., None]
        latents, tokens = ranker.latents(renormalised, lengths)
        return queries, None, lambda texts, rows: ranker.match_latents(texts, latents[rows], tokens[rows])

    def check(self, config: Common, sizes: dict[str, str]) -> None:
        """Raise `UserError` if a tokeniser flag (`VQ_FLAGS`) differs from the corresponding size of the captioner's motion encoder.

        For the flags in `sizes`, --resume_pth and --vq_name, a note is printed, because they have no effect.
        """
        for flag in VQ_FLAGS:
            given, actual = config.legacy.get(flag), getattr(self.captioner.config, flag, None)
            if given is not None and actual is not None and given != actual:
                raise UserError(
                    f"--{flag} {given}: the captioner's motion encoder has {actual}; leave the flag out, or give {actual}"
                )
        unused = [flag for flag in (*sizes, "resume_pth", "vq_name") if config.legacy.get(flag) is not None]
        if unused:
            flags = ", ".join(f"--{flag}" for flag in unused)
            note(f"{flags}: no effect, because the released captioner has its own motion encoder and language model")
