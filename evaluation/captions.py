"""Scores of generated captions on the clips of an evaluation pass (`evaluation/protocol.py`), and LaMP-BertScore.

Scores depend on the references. There are two kinds of references. `raw` references are the unchanged captions of the clip.
`tokens` references consist of HumanML3D's processed words of these captions, as in TM2T and MotionGPT. Generated captions are
processed in the same way before the comparison with `tokens` references.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.pos_tags import tag
from data.text import Caption, CaptionedClips
from evaluation.judges import Judge
from evaluation.metrics import motion as metrics
from evaluation.metrics.bertscore import Baseline, BertScorer
from evaluation.metrics.text import score_captions
from evaluation.protocol import BATCH, Pass
from models.bert import BertConfig, minilm_folder
from models.decoding import Search
from pipelines.motion2text import MotionToText

PAIRS = 2000  # number of random pairs of captions for the estimated baseline, which varies by 0.002 between seeds
STANDARD_MODEL = "roberta-large"  # the BERTScore model that publications use
EMPTY = "."  # text that the evaluator embeds in place of an empty caption
ORDERS = (1, 2, 3, 4)  # n of BLEU-n

Scores = dict[str, float]


def batched_captioner(
    model: MotionToText, search: Search, size: int, candidates: int = 1
) -> Callable[[Tensor, Tensor], list[str]]:
    """Return a function that captions features (B, T, D) with lengths (B,), in batches of `size` motions of similar length."""

    def caption(features: Tensor, lengths: Tensor) -> list[str]:
        order = lengths.argsort(stable=True)
        captions = []
        for rows in order.split(size):
            batch = features[rows, : int(lengths[rows].max())]
            ranked = model.captions(batch, lengths[rows], search=search, candidates=candidates, numbers=rows)
            captions += [best[0].text for best in ranked]
        return [captions[index] for index in order.argsort().tolist()]

    return caption


# BERTScore


def load_scorer(model: str, layer: int, device: torch.device | str) -> BertScorer:
    """Load the BERTScore encoder `model`. If the name is empty, RoBERTa-large is used if Hugging Face's cache has it, else MiniLM.

    `layer` is the layer whose outputs are compared; 0: the last layer of a model folder, or bert-score's default for the name.
    Raises `UserError` if the model is missing.
    """
    if not model:
        model = STANDARD_MODEL if in_cache(STANDARD_MODEL) else str(minilm_folder())
    is_folder = Path(model).is_dir()
    if is_folder and not layer:
        layer = BertConfig.read(Path(model) / "config.json").num_hidden_layers
    name = "MiniLM" if is_folder and Path(model) == minilm_folder() else None
    return BertScorer(model, layer or None, name=name, device=device)


def in_cache(model: str) -> bool:
    """Whether a published model is in Hugging Face's cache."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model, "config.json"), str)


class BertScores:
    """BERTScore of captions: raw and rescaled F1, with and without idf.

    Scores are rescaled with the baseline that bert-score publishes for the model. If bert-score has no baseline for the model, a
    baseline is estimated from `captions`, which holds one list of captions per clip.
    """

    def __init__(self, scorer: BertScorer, captions: Sequence[Sequence[str]]):
        self.scorer = scorer
        self.baseline: Baseline = scorer.published_baseline() or scorer.estimated_baseline(captions, PAIRS)

    @property
    def setting(self) -> str:
        """Model, layer and baseline, for the report."""
        return f"BERTScore: {self.scorer.name}, layer {self.scorer.layer}; rescaled by {self.baseline.source}"

    def __call__(self, candidates: Sequence[str], references: Sequence[Sequence[str]], name: str = "BERTScore") -> Scores:
        scores = {}
        for idf in (False, True):
            raw = self.scorer.score(candidates, references, idf=idf)
            kind = " idf" if idf else ""
            scores[f"{name}{kind}"] = raw.rescaled(self.baseline).means()["f1"]
            scores[f"{name}{kind} raw"] = raw.means()["f1"]
        return scores


def lamp_bertscore(bert: BertScores) -> Callable[[list[str], list[str]], Scores]:
    """Return a function that compares captions of generated motions with the prompts, by LaMP-BertScore (paper, section 4)."""

    def score(captions: list[str], texts: list[str]) -> Scores:
        return bert(captions, [[text] for text in texts], "LaMP-BertScore") if captions else {}

    return score


# One pass


def words_of(tokens: str) -> str:
    """The words of a line of tokens, `word/POS word/POS …`, without their tags."""
    return " ".join(token.partition("/")[0] for token in tokens.split())


def language_scores(candidates: list[str], captions: list[list[Caption]], kind: str, bert: BertScores) -> Scores:
    """BLEU, ROUGE-L, CIDEr and BERTScore of one candidate per clip against all captions of the clip.

    `kind` selects the references: raw or tokens.
    """
    if kind == "tokens":
        candidates = processed(candidates)
        references = [[words_of(caption.tokens) for caption in of_clip] for of_clip in captions]
    else:
        references = [[caption.text for caption in of_clip] for of_clip in captions]
    return {**score_captions(candidates, references, ORDERS), **bert(candidates, references)}


def processed(captions: list[str]) -> list[str]:
    """Captions after HumanML3D's text processing: the words of the tokens from `tag`, without POS tags, joined by spaces."""
    return [words_of(line) for line in tag(captions)]


def embedded(judge: Judge, captions: list[str]) -> Tensor:
    """Embeddings (N, E) of captions, by the evaluator `judge`."""
    tokens = [line.split() or [f"{EMPTY}/PUNCT"] for line in tag(captions)]
    return judge.text([caption if caption.strip() else EMPTY for caption in captions], tokens).cpu()


def matching_scores(text: Tensor, real: Pass) -> Scores:
    """R-precision and MM-Dist between the motions of the evaluation pass `real` and text embeddings (N, E), one per motion."""
    precision = metrics.r_precision(text, real.sample.motion, BATCH)
    scores = {f"R@{k}": float(value) for k, value in enumerate(precision, start=1)}
    return {**scores, "MM-Dist": float(metrics.matching_distance(text, real.sample.motion))}


def human_baseline(real: Pass, captions: list[list[Caption]]) -> tuple[list[str], list[list[Caption]]]:
    """Return (candidates, references) for scores of human captions. Clips with a single caption are skipped.

    The candidate of a clip is the caption that the evaluation pass `real` chose at random; the references are its other captions.
    """
    references = [[caption for caption in of_clip if caption.text != drawn] for drawn, of_clip in zip(real.captions, captions)]
    candidates = [drawn for drawn, of_clip in zip(real.captions, references) if of_clip]
    return candidates, [of_clip for of_clip in references if of_clip]


def captions_of(clips: CaptionedClips, real: Pass) -> list[list[Caption]]:
    """All captions of each clip in the evaluation pass `real`."""
    index = {name: number for number, name in enumerate(clips.clips.names)}
    return [clips.captions_of(index[name]) for name in real.names]
