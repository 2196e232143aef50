"""Evaluators ("judges"): they embed texts and motions in one space, for R-precision, FID and related metrics.

Motions are features (B, T, D) in the dataset's units, with lengths (B,) in frames; texts are captions with their `word/POS` tokens.
Embeddings are (B, E), in the order of the input, and are compared by Euclidean distance. `GuoJudge` is the matching evaluator of
Guo et al. that most publications use; `LampJudge` is LaMP, which table 2 of LaMP's paper uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from data.store import Normaliser
from models.evaluator import Evaluator, fused
from models.loading import Loader, require_kind
from models.words import FILE, Words
from motion.spec import GLOVE, RELEASED_EVALUATOR, RELEASED_STATISTICS
from options.common import Judged
from pipelines.language_motion import LanguageMotion
from pipelines.runs import EVALUATOR, MissingRun, resolve
from utils.checkpoint import fingerprint
from utils.errors import UserError, note

BATCH = 256  # clips per batch; enough to run matrix products at full speed


class Judge(Protocol):
    """An evaluator, a model that embeds texts and motions in one space."""

    name: str
    released: bool  # whether this is the released evaluator, with which published results were computed

    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, E) of features (B, T, D) in the dataset's units, with `lengths` (B,) in frames."""

    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """Embeddings (B, E) of captions; `tokens` holds the HumanML3D `word/POS` tokens of each caption."""


class GuoJudge:
    """The matching evaluator of Guo et al., with its word vectors and the mean and standard deviation (D,) of its input features.

    `folder` is the folder of the evaluator's run. Raises `UserError` if the width of `mean` or of the word vectors does not fit the
    evaluator. `motion` raises `UserError` for features of the wrong width, and for clips with fewer than 4 or more than 196 frames.
    """

    name = "guo"

    def __init__(self, evaluator: Evaluator, mean: Tensor, std: Tensor, words: Words, folder: Path | None = None):
        config = evaluator.config
        for kind, actual, expected in (("statistics", len(mean), config.dim), ("words", words.dim, config.word_dim)):
            if actual != expected:
                problem = f"the evaluator takes {kind} of width {expected}, but the given {kind} have width {actual}"
                raise UserError(f"{problem}; use the files that came with the evaluator")
        # A hash of the weights and statistics, computed before `fused`, because processors round its products differently.
        self.fingerprint = fingerprint(evaluator, mean.cpu().numpy(), std.cpu().numpy())[:16]
        self.evaluator = fused(evaluator)
        self.mean, self.std, self.words, self.folder = mean, std, words, folder

    @property
    def released(self) -> bool:
        """Whether the run has the name of the released evaluator."""
        return self.folder is not None and self.folder.name == RELEASED_EVALUATOR

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        loader: Loader | None = None,
    ) -> GuoJudge:
        """Load the evaluator run `name`. If `name` is empty, `pipelines.runs` selects the run.

        Raises `UserError` if there is no such run, or if its files are missing or do not fit together.
        """
        run = resolve(EVALUATOR, checkpoints_dir, dataset_name, name)
        path, loader = run.weights(), loader or Loader()
        model, metadata = loader(path)
        require_kind(metadata, path, "evaluator", remedy=EVALUATOR.remedy)
        meta, words = run.folder / "meta", None
        if run.name == RELEASED_EVALUATOR:
            words = Words.from_glove(GLOVE)
            folders = (run.folder.parent / part / "meta" for part in RELEASED_STATISTICS)
            meta = next((path for path in folders if path.is_dir()), meta)
        mean, std = (torch.from_numpy(row).to(loader.device) for row in Normaliser.load(meta).rows)
        return cls(model, mean, std, words or Words.load(run.folder / FILE), run.folder)

    @torch.no_grad()
    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, E) of features (B, T, D) in the dataset's units. Raises `UserError` for a motion too short or too long."""

        def embed(features: Tensor, lengths: Tensor) -> Tensor:
            return self.evaluator.embed_motion((features.to(self.mean) - self.mean) / self.std, lengths)

        return by_length(embed, features, lengths)

    @torch.no_grad()
    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """Embeddings (B, E) of texts, given as HumanML3D `word/POS` tokens; the captions are not used."""
        embeddings = []
        for start in range(0, len(tokens), BATCH):
            batch = {name: value.to(self.mean.device) for name, value in self.words(tokens[start : start + BATCH]).items()}
            embeddings.append(self.evaluator.embed_text(batch["words"], batch["pos"], batch["text_lengths"]))
        return torch.cat(embeddings)


class LampJudge:
    """LaMP as evaluator, as its authors use it: a motion's embedding is the mean of the projected, unnormalised query outputs."""

    name = "lamp"

    def __init__(self, lamp: LanguageMotion):
        self.lamp, self.released = lamp, lamp.lamp.tokeniser is not None  # only released checkpoints include the tokeniser
        self.mean, self.std = (torch.as_tensor(row, device=lamp.device) for row in (lamp.mean, lamp.std))

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        loader: Loader | None = None,
    ) -> LampJudge:
        """Load the LaMP run `name`; "": `pipelines.runs` selects the run. Raises the errors of `LanguageMotion.load`."""
        return cls(LanguageMotion.load(checkpoints_dir, dataset_name, name, loader=loader))

    @torch.no_grad()
    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, E) of features (B, T, D) in the dataset's units, with `lengths` (B,) in frames."""

        def embed(features: Tensor, lengths: Tensor) -> Tensor:
            return self.lamp.project_motions((features.to(self.mean) - self.mean) / self.std, lengths).mean(1)

        return by_length(embed, features, lengths)

    @torch.no_grad()
    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """Embeddings (B, E) of the captions; the tokens are not used."""
        return self.lamp.project_texts(captions)


class NoJudge:
    """The replacement for a missing evaluator, which returns empty embeddings."""

    name, released = "none", False

    def motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return empty embeddings (B, 0)."""
        return features.new_zeros(len(features), 0)

    def text(self, captions: Sequence[str], tokens: Sequence[Sequence[str]]) -> Tensor:
        """Return empty embeddings (B, 0)."""
        return torch.zeros(len(captions), 0)


def by_length(embed: Callable[[Tensor, Tensor], Tensor], features: Tensor, lengths: Tensor) -> Tensor:
    """Apply `embed(features, lengths)` to batches of clips of similar length, and return the embeddings in the order of the clips.

    Features are (B, T, D). Each batch is trimmed to the length of its longest clip.
    """
    lengths = lengths.cpu()
    order = lengths.argsort()
    batches = ((features[rows.to(features.device), : int(lengths[rows].max())], lengths[rows]) for rows in order.split(BATCH))
    embeddings = torch.cat([embed(*batch) for batch in batches])
    return embeddings[order.argsort().to(embeddings.device)]


def choose_judge(config: Judged, loader: Loader) -> GuoJudge | LampJudge | NoJudge:
    """The evaluator selected by the flags. Without --evaluator_name, `NoJudge` replaces a missing evaluator, and a note is printed.

    Raises `UserError` if the evaluator named by --evaluator_name is missing, or if an evaluator exists but cannot be loaded.
    """
    if config.evaluator == "none":
        return NoJudge()
    try:
        return load_judge(config.evaluator, config.checkpoints_dir, config.dataset_name, config.evaluator_name, loader)
    except MissingRun as error:
        if config.evaluator_name:
            raise
        note(f"no FID, R-precision or MM-Dist: {error}")
        return NoJudge()


def load_judge(kind: str, checkpoints_dir: str | Path, dataset_name: str, name: str, loader: Loader) -> GuoJudge | LampJudge:
    """Load the evaluator of the kind "guo" or "lamp" from the run `name`. Raises `MissingRun` if there is no such run."""
    return {"guo": GuoJudge, "lamp": LampJudge}[kind].load(checkpoints_dir, dataset_name, name, loader=loader)
