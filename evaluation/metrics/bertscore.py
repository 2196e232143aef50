"""BERTScore (Zhang et al. 2020): compares captions by contextual embeddings of their words, with the authors' package bert-score.

Each word piece of a caption is matched with the most similar word piece of a reference, and vice versa. Precision is the mean
similarity over the word pieces of the caption. Recall is the mean similarity over the word pieces of the reference. F1 is the
harmonic mean of precision and recall. The means of precision and recall can be weighted by idf. Publications use layer 17 of
roberta-large. Scores depend on the encoder, so results name the encoder and the baseline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.text import Captions, References, check_captions
from utils.errors import UserError

DEFAULT = "roberta-large"
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # files of a published model to download
LANGUAGE = "en"  # language of the published baselines
INSTALL = "BERTScore needs bert-score and transformers: pip install -r requirements-evaluation.txt"


@dataclass(frozen=True)
class Baseline:
    """Mean scores of unrelated sentences (precision, recall, F1), and their source."""

    values: tuple[float, float, float]
    source: str


@dataclass(frozen=True)
class BertScore:
    """BERTScores (N,) of N captions, each at most 1.

    `setting` names encoder, layer and idf; `baseline` names the baseline by which the scores are rescaled; "": raw scores.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    setting: str
    baseline: str = ""

    def rescaled(self, baseline: Baseline) -> BertScore:
        """Scores rescaled by the baseline b to (score − b) / (1 − b), so that unrelated sentences score about 0."""
        assert not self.baseline, "these scores are already rescaled"
        scores = zip((self.precision, self.recall, self.f1), baseline.values)
        return BertScore(*((score - b) / (1 - b) for score, b in scores), self.setting, baseline.source)

    def means(self) -> dict[str, float]:
        """Means over the captions, × 100, keyed by metric."""
        return {name: 100 * float(getattr(self, name).mean()) for name in ("precision", "recall", "f1")}


class BertScorer:
    """An encoder for BERTScore, loaded once.

    Args:
        model: folder with config.json, safetensors and tokeniser, or name of a model on the Hugging Face hub, which is downloaded
            unless it is cached.
        layer: layer whose output is used; default: bert-score's choice for the model.
        name: the name that results show for a local model. If bert-score knows the name, such as roberta-large, the default layer
            and the published baseline of the model with this name are used.

    Raises `UserError` if the packages or the model are missing or unusable, or if the layer is unknown.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT,
        layer: int | None = None,
        name: str | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
    ):
        try:
            with _quiet():
                from bert_score.utils import model2layers
        except ImportError:
            raise UserError(INSTALL) from None
        folder = _find(model)
        self.name = name or str(model)
        self.known = self.name in model2layers
        if name is None and not self.known and Path(model).is_dir():
            self.name = f"{folder.parent.name}/{folder.name}"
        self.model, self.tokenizer = _load(folder, self.name)
        self.layer = _cut_(self.model, model2layers.get(self.name) if layer is None else layer, self.name)
        self.model.to(device)
        self.batch_size = batch_size

    def score(self, candidates: Captions, references: References, idf: bool = False) -> BertScore:
        """Return the raw scores of N captions against N lists of references.

        Precision, recall and F1 are each the maximum over the references of a caption. `idf` weights word pieces by their inverse
        document frequency in all references. Blank captions, and captions whose word pieces all have weight 0, score 0. Raises the
        errors of `check_captions`.
        """
        check_captions(candidates, references)
        owners = [index for index, group in enumerate(references) for _ in group]
        flat = [text for group in references for text in group]
        scores = self._pairs([candidates[index] for index in owners], flat, self._weights(flat if idf else None))
        maximum = np.full((len(candidates), 3), -np.inf)
        np.maximum.at(maximum, np.array(owners), scores)
        return BertScore(*maximum.T, f"{self.name}, layer {self.layer}, {'idf' if idf else 'no idf'}")

    def published_baseline(self) -> Baseline | None:
        """Return bert-score's baseline for this model and layer, or None if bert-score has no such baseline.

        bert-score computes its baselines without idf, from pairs of web sentences.
        """
        import bert_score

        file = Path(bert_score.__file__).parent / "rescale_baseline" / LANGUAGE / f"{self.name}.tsv"
        if not self.known or not file.is_file():
            return None
        rows = {int(row[0]): row[1:] for row in np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)}
        if self.layer not in rows:
            return None
        return Baseline(tuple(map(float, rows[self.layer])), f"bert-score's, {self.name}, layer {self.layer}")

    def estimated_baseline(self, captions: References, pairs: int = 10_000, seed: int = 0) -> Baseline:
        """Estimate a baseline from captions: the mean raw score of random pairs of captions, without idf.

        `captions` has one list of captions per clip. The captions of a pair differ and come from different clips. Two captions of
        motions are on average more similar than two web sentences, so the estimated baseline is higher than bert-score's. Raises
        `UserError` if no pair can be formed.
        """
        first, second = _draw_pairs(captions, pairs, seed)
        values = self._pairs(first, second, self._weights(None)).mean(0)
        source = f"{len(first)} random pairs of captions, seed {seed}, {self.name}, layer {self.layer}"
        return Baseline(tuple(map(float, values)), source)

    def _weights(self, references: list[str] | None) -> dict[int, float]:
        """The weight of each word piece: its idf in the references, or 1 without references. Special tokens have weight 0."""
        from bert_score.utils import get_idf_dict

        if references is not None:
            return get_idf_dict([text for text in references if text.strip()], self.tokenizer, nthreads=0)
        special_tokens = {self.tokenizer.sep_token_id: 0.0, self.tokenizer.cls_token_id: 0.0}
        return defaultdict(lambda: 1.0, special_tokens)

    def _pairs(self, first: list[str], second: list[str], weights: dict[int, float]) -> np.ndarray:
        """Return precision, recall and F1 (pairs, 3) of `first[i]` against `second[i]`; 0 if either sentence is blank."""
        from bert_score.utils import bert_cos_score_idf

        scores = np.zeros((len(first), 3))
        filled = [k for k, (candidate, reference) in enumerate(zip(first, second)) if candidate.strip() and reference.strip()]
        if filled:
            pair_scores = bert_cos_score_idf(
                self.model,
                [second[k] for k in filled],
                [first[k] for k in filled],
                self.tokenizer,
                weights,
                device=next(self.model.parameters()).device,
                batch_size=self.batch_size,
            )
            scores[filled] = pair_scores.nan_to_num(0.0).double().numpy()  # NaN comes from 0 / 0, if all weights are 0
        return scores


def _draw_pairs(captions: References, pairs: int, seed: int) -> tuple[list[str], list[str]]:
    """Choose random pairs of captions from different clips. Pairs of equal captions are dropped; blank captions are ignored."""
    groups = [[text for text in group if text.strip()] for group in captions]
    groups = [group for group in groups if group]
    rng = np.random.default_rng(seed)
    drawn = []
    if len(groups) > 1:
        first = rng.integers(len(groups), size=pairs)
        second = (first + rng.integers(1, len(groups), size=pairs)) % len(groups)
        texts = ([groups[clip][rng.integers(len(groups[clip]))] for clip in clips] for clips in (first, second))
        drawn = [pair for pair in zip(*texts) if pair[0] != pair[1]]
    if not drawn:
        raise UserError("baseline: needs at least two clips with different captions; add captions")
    return tuple(map(list, zip(*drawn)))


# Loading


@contextmanager
def _quiet() -> Iterator[None]:
    """A context in which Transformers logs only errors."""
    try:
        from transformers.utils import logging
    except ImportError:
        raise UserError(INSTALL) from None
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _find(model: str | Path) -> Path:
    """Return the folder of a model: a local folder, or its folder in the Hugging Face cache. Downloads a missing model."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if Path(model).is_dir():
        return Path(model).resolve()
    for cached in (True, False):
        try:
            folder = Path(snapshot_download(str(model), allow_patterns=FILES, local_files_only=cached))
        except (OSError, HFValidationError) as error:  # errors of the hub, including network errors, are OSErrors
            reason = str(error).partition("\n")[0]
            continue
        if list(folder.glob("*.safetensors")):
            return folder
        reason = "the model has no safetensors file"
    raise UserError(f"{model}: not a folder, and the download of a model of this name failed ({reason}); give a model folder")


def _load(folder: Path, name: str):
    """Load the encoder, in float32 and eval mode, and its tokeniser. Raises `UserError` if Transformers cannot load them."""
    from transformers import AutoModel, AutoTokenizer, GPT2Tokenizer, RobertaTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            # bert-score sets add_prefix_space in its later calls, where Transformers 5 ignores this setting.
            if isinstance(tokenizer, (GPT2Tokenizer, RobertaTokenizer)):
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, add_prefix_space=True)
            model, info = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # the libraries raise many types, including Exception itself
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{name}: not a readable encoder ({reason}); give a folder with a complete model") from None
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise UserError(f"{name}: {len(missing)} weights are missing, such as {missing[0]}; copy the folder again")
    longest = getattr(model.config, "max_position_embeddings", 512)
    if tokenizer.model_max_length > longest:  # the tokeniser has no limit of its own; RoBERTa reserves two positions
        tokenizer.model_max_length = longest - 2
    return model.eval(), tokenizer


def _cut_(model: torch.nn.Module, layer: int | None, name: str) -> int:
    """Remove the layers above `layer` and return `layer`. Raises `UserError` if there is no such layer."""
    stack = getattr(getattr(model, "encoder", getattr(model, "transformer", None)), "layer", None)
    if not isinstance(stack, torch.nn.ModuleList):
        raise UserError(f"{name}: {type(model).__name__} is not an encoder like BERT or RoBERTa; use {DEFAULT} or a similar model")
    if layer is None or not 0 <= layer <= len(stack):
        problem = "the best layer is not known" if layer is None else f"the model has no layer {layer}"
        raise UserError(f"{name}: {problem}; choose a layer from 0 to {len(stack)}")
    del stack[layer:]
    return layer
