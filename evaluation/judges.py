"""Who judges whether texts and motions belong together: both as points of one space, for R-precision, FID and their like.

A judge takes motions in the dataset's own units, features (B, T, D) with lengths (B,) in frames, and captions with their tokens
(`word/POS`), and gives (B, E) each, in the order they came in; nearness is Euclidean. `GuoJudge` is the field's matching evaluator,
`LampJudge` is LaMP (paper's table 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from data.store import Normaliser
from models.evaluator import Evaluator, fused
from models.loading import Loader
from models.words import FILE, Words
from motion.spec import GLOVE, RELEASED_EVALUATOR, RELEASED_STATISTICS
from options.common import Judged
from pipelines.language_motion import LanguageMotion
from pipelines.runs import EVALUATOR, MissingRun, resolve
from utils.errors import UserError

BATCH = 256  # clips at a time: enough for matrix products at full speed


class Judge(Protocol):
    """What evaluation asks of a judge."""

    name: str
    released: bool  # whether it is the one that published numbers were measured with

    def motion(self, features: Tensor, lengths: Tensor) -> Tensor: ...

    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor: ...


class GuoJudge:
    """An evaluator with the statistics (D,) of its motions and the words of its texts.

    Raises `UserError` if they do not fit each other, and in use for motions of another width, under 4 frames, or over 196.
    """

    name = "guo"

    def __init__(self, evaluator: Evaluator, mean: Tensor, std: Tensor, words: Words, released: bool = False):
        config = evaluator.config
        for what, theirs, ours in (("statistics", len(mean), config.dim), ("words", words.dim, config.word_dim)):
            if theirs != ours:
                raise UserError(f"evaluator: it takes {what} of width {ours}, these have {theirs}; use the files that came with it")
        self.evaluator = fused(evaluator)
        self.mean, self.std, self.words, self.released = mean, std, words, released

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        device: torch.device | str = "cpu",
        tag: str | None = None,
        loader: Loader | None = None,
    ) -> GuoJudge:
        """The evaluator run `name`, or the one that `pipelines.runs` finds.

        Raises `UserError` if there is none, saying how to get one, or for files that are missing or do not fit.
        """
        run = resolve(EVALUATOR, checkpoints_dir, dataset_name, name)
        path, loader = run.weights(tag), loader or Loader(device)
        model, metadata = loader(path)
        if metadata["kind"] != "evaluator":
            raise UserError(f"{path}: holds a {metadata['kind']} model, not an evaluator; {EVALUATOR.remedy}")
        meta, words = run.folder / "meta", None
        if run.name == RELEASED_EVALUATOR:
            words = Words.from_glove(GLOVE)
            folders = (run.folder.parent / part / "meta" for part in RELEASED_STATISTICS)
            meta = next((path for path in folders if path.is_dir()), meta)
        mean, std = (torch.from_numpy(row).to(loader.device) for row in Normaliser.load(meta).rows)
        return cls(model, mean, std, words or Words.load(run.folder / FILE), run.name == RELEASED_EVALUATOR)

    @torch.no_grad()
    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, E). Raises `UserError` for a motion that the evaluator cannot see."""

        def embed(features: Tensor, lengths: Tensor) -> Tensor:
            return self.evaluator.embed_motion((features.to(self.mean) - self.mean) / self.std, lengths)

        return by_length(embed, features, lengths)

    @torch.no_grad()
    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """(B, E), from the tokens alone."""
        embeddings = []
        for start in range(0, len(tokens), BATCH):
            batch = {name: value.to(self.mean.device) for name, value in self.words(tokens[start : start + BATCH]).items()}
            embeddings.append(self.evaluator.embed_text(batch["words"], batch["pos"], batch["text_lengths"]))
        return torch.cat(embeddings)


class LampJudge:
    """LaMP as its authors judge with it: a motion is the mean of its queries' projections; neither side is made a unit vector."""

    name = "lamp"

    def __init__(self, lamp: LanguageMotion):
        self.lamp, self.released = lamp, lamp.lamp.tokeniser is not None  # released files bring their tokeniser
        self.mean, self.std = (torch.as_tensor(row, device=lamp.device) for row in (lamp.mean, lamp.std))

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        device: torch.device | str = "cpu",
        tag: str | None = None,
        loader: Loader | None = None,
    ) -> LampJudge:
        """The LaMP run `name`, or the one that `pipelines.runs` finds. Raises `UserError` as `LanguageMotion.load` does."""
        return cls(LanguageMotion.load(checkpoints_dir, dataset_name, name, device, tag, loader))

    @torch.no_grad()
    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, E)."""

        def embed(features: Tensor, lengths: Tensor) -> Tensor:
            return self.lamp.project_motions((features.to(self.mean) - self.mean) / self.std, lengths).mean(1)

        return by_length(embed, features, lengths)

    @torch.no_grad()
    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """(B, E), from the captions alone."""
        return self.lamp.project_texts(captions)


class NoJudge:
    """Says nothing, where nobody who can judge is there."""

    name, released = "none", False

    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, 0)."""
        return features.new_zeros(len(features), 0)

    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """(B, 0)."""
        return torch.zeros(len(captions), 0)


def by_length(embed: Callable[[Tensor, Tensor], Tensor], features: Tensor, lengths: Tensor) -> Tensor:
    """`embed(features (b, t, D), lengths (b,))` of all clips in their order; batches are of like length, cut to the longest."""
    lengths = lengths.cpu()
    order = lengths.argsort()
    embeddings = [
        embed(features[rows.to(features.device), : int(lengths[rows].max())], lengths[rows]) for rows in order.split(BATCH)
    ]
    embeddings = torch.cat(embeddings)
    return embeddings[order.argsort().to(embeddings.device)]


def choose_judge(config: Judged, loader: Loader) -> GuoJudge | LampJudge | NoJudge:
    """The judge that the flags ask for; where nothing is named and none is there, nobody, with a note.

    Raises `UserError` for one that is named and not there, and for a damaged one.
    """
    if config.evaluator == "none":
        return NoJudge()
    try:
        return load_judge(config.evaluator, config.checkpoints_dir, config.dataset_name, config.evaluator_name, loader)
    except MissingRun as error:
        if config.evaluator_name:
            raise
        print(f"note: no FID, R-precision and MM-Dist: {error}")
        return NoJudge()


def load_judge(kind: str, checkpoints_dir: str | Path, dataset_name: str, name: str, loader: Loader) -> GuoJudge | LampJudge:
    """The judge of `kind` guo or lamp; `name` is its run. Raises `MissingRun` where there is none, saying how to get one."""
    return {"guo": GuoJudge, "lamp": LampJudge}[kind].load(checkpoints_dir, dataset_name, name, loader=loader)
