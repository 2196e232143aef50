"""LaMP's released captioner in place of ours: it reads motions with an encoder and queries of its own.

Its candidates are ranked by the matching head of LaMP's released model where one is downloaded, else they stay in the order of the
search.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from data.store import Normaliser
from models.caption_opt import CaptionOPT
from models.loading import Loader
from models.opt import find_tokenizer
from options.common import Common
from pipelines.language_motion import LanguageMotion
from pipelines.motion2text import VQ_FLAGS, Matcher, MotionToText
from pipelines.runs import LAMP, Run, runs_in
from utils.errors import UserError

SHARED = ("lamp", "tokeniser")  # kinds of released runs whose statistics are those of the captioner


class ReleasedCaptioner(MotionToText):
    """The captioner of a run. Raises `UserError` where OPT's tokeniser or the statistics are missing.

    Args:
        captioner, run: what `pipelines.runs` found and loaded.
        loader: loads the LaMP that ranks.
        checkpoints_dir: where other released models are.
        lm: folder of OPT's tokeniser; "": the run's own, or `<checkpoints_dir>/opt-2.7b`.
    """

    def __init__(self, captioner: CaptionOPT, run: Run, loader: Loader, checkpoints_dir: Path, lm: str = ""):
        self.run, self.loader, self.checkpoints_dir = run, loader, checkpoints_dir
        weights = run.weights()
        self.folder = weights.parent.parent if weights.parent.name == "model" else weights.parent
        tokenizer = find_tokenizer(lm, self.folder, checkpoints_dir, captioner.config.opt_vocab)
        self.captioner = captioner.use_tokenizer_(tokenizer).eval()
        statistics = Normaliser.load(self._statistics_folder())
        if statistics.dim != captioner.config.dim:
            raise UserError(
                f"{run}: the released captioner reads {captioner.config.dim} features (t2m), not the {statistics.dim} of "
                f"{run.dataset_name}; give --dataset_name t2m"
            )
        self.mean, self.std = (torch.as_tensor(row, device=loader.device) for row in statistics.rows)

    def _statistics_folder(self) -> Path:
        """The folder of mean.npy and std.npy: the run's, else one of another released model of the dataset."""
        own = self.folder / "meta"
        others = [run.folder / "meta" for run in runs_in(self.checkpoints_dir, self.run.dataset_name, SHARED, released=True)]
        return next((folder for folder in [own, *others] if (folder / "mean.npy").is_file()), own)

    @property
    def stride(self) -> int:
        """Frames a token of the motion."""
        return self.captioner.stride

    @cached_property
    def ranker(self) -> LanguageMotion | None:
        """The only released LaMP of the dataset, if there is one."""
        runs = runs_in(self.checkpoints_dir, self.run.dataset_name, LAMP.kinds, released=True)
        return LanguageMotion.load(*runs[0].address, loader=self.loader) if len(runs) == 1 else None

    def read(self, motion: Tensor, lengths: Tensor, ranked: bool) -> tuple[Tensor, None, Matcher | None]:
        """Queries (B, P, H) of normalised motions; no codes; how captions are matched, if there are several to rank."""
        ranker = self.ranker if ranked else None
        lengths = lengths // self.stride * self.stride
        queries = self.captioner.read(motion, lengths)
        if ranker is None:
            return queries, None, None
        mean, std = (torch.as_tensor(row, device=motion.device) for row in (ranker.mean, ranker.std))
        valid = torch.arange(motion.shape[1], device=motion.device) < lengths[:, None]
        theirs = (motion * self.std + self.mean - mean) / std * valid[..., None]
        latents, tokens = ranker.latents(theirs, lengths)
        return queries, None, lambda texts, rows: ranker.match_latents(texts, latents[rows], tokens[rows])

    def check(self, config: Common, sizes: dict[str, str]) -> None:
        """Print a note for flags of the GPT and the tokeniser that the captioner does not use.

        Raises `UserError` for a size that is not the motion encoder's.
        """
        for flag in VQ_FLAGS:
            given, ours = config.legacy.get(flag), getattr(self.captioner.config, flag, None)
            if given is not None and ours is not None and given != ours:
                raise UserError(f"--{flag} {given}: the captioner's motion encoder has {ours}; leave the flag out, or give {ours}")
        unused = [flag for flag in (*sizes, "resume_pth", "vq_name") if config.legacy.get(flag) is not None]
        if unused:
            flags = ", ".join(f"--{flag}" for flag in unused)
            print(f"note: {flags}: no effect, the released captioner brings its own motion encoder and writes with OPT")
