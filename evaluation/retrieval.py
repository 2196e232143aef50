"""Text-to-motion and motion-to-text retrieval with LaMP, over the clips of a split.

A gallery pairs each clip with one of its captions, by default with the first caption, as in TMR. Clips that are longer than the
maximum length are cut off at the end. If a section of a clip has its own caption, the section counts as a separate clip. LaMP
computes the scores of motions and texts. Protocols that compare captions with other captions use a frozen sentence encoder for this
comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.store import Clips, Normaliser, padded
from data.text import CaptionedClips, crop_length
from evaluation.metrics.retrieval import ceiling, chance, galleries, pooled_similarity, reranked, retrieval_metrics, similar
from models.bert import padded as pad_ids
from models.bert import token_ids
from pipelines.conditioner import SentenceEncoder
from pipelines.language_motion import LanguageMotion
from utils.progress import progress

PAIRS = 256  # caption-motion pairs per batch of the matching head
ROWS = ("text_to_motion", "motion_to_text", "ceiling", "chance")


def whole_clips(clips: Clips, longest: int, stride: int) -> Clips:
    """Crop clips to the first `longest` frames and to whole tokens of `stride` frames. Clips shorter than a token are dropped."""
    kept = crop_length(np.minimum(clips.lengths, longest), False, stride)
    usable = np.flatnonzero(kept)
    return Clips(clips.rows, [clips.names[index] for index in usable], clips.starts[usable], kept[usable])


def one_caption_each(captioned: CaptionedClips, number: int = 1, seed: int = 0) -> list[str]:
    """Return caption `number` (from 1) of each clip, or the last caption of a clip with fewer captions; 0: a random caption."""
    first, end = captioned.first[:-1], captioned.first[1:]
    chosen = np.minimum(first + number, end) - 1 if number else np.random.default_rng(seed).integers(first, end)
    return [captioned.captions[index].text for index in chosen]


class Gallery:
    """N clips with one caption each, and the similarity of every motion to every distinct caption.

    Captions that differ only in case and spaces count as equal. `texts` holds the U distinct captions, `which` (N,) the index of
    each clip's caption in `texts`. `similarity` (N, U) has one column per distinct caption, because equal captions must have
    bitwise equal scores.
    """

    def __init__(self, model: LanguageMotion, clips: Clips, captions: Sequence[str], pool: str = "max"):
        self.model, self.clips = model, clips
        self.captions = [" ".join(caption.lower().split()) for caption in captions]
        texts, which = np.unique(self.captions, return_inverse=True)
        self.texts, self.which = texts.tolist(), torch.from_numpy(which)
        self.similarity = pooled_similarity(model.clip_features(clips), model.embed_texts(self.texts), pool).cpu()
        self._matches = torch.full_like(self.similarity, torch.nan)

    @classmethod
    def of_split(cls, model: LanguageMotion, captioned: CaptionedClips, pool: str = "max", **selection: Any) -> Gallery:
        """The gallery of a split. `selection` contains arguments of `one_caption_each`."""
        clips = whole_clips(captioned.clips, captioned.spec.max_motion, model.tokeniser.stride)
        captions = dict(zip(captioned.clips.names, one_caption_each(captioned, **selection)))
        return cls(model, clips, [captions[name] for name in clips.names], pool)

    def scores(self, indices: Tensor, rerank: int = 0) -> tuple[Tensor, Tensor]:
        """Scores (n, n) of texts × motions and of motions × texts, for the clips at `indices` (n,).

        LaMP's matching head re-ranks the best `rerank` candidates of each query.
        """
        texts, which = self.which[indices].unique(return_inverse=True)
        to_text = self.similarity[indices][:, texts]  # (n, u)
        to_motion = to_text.T
        if rerank:
            to_text = reranked(to_text, rerank, lambda rows, columns: self.match(indices[rows], texts[columns]))
            to_motion = reranked(to_motion, rerank, lambda rows, columns: self.match(indices[columns], texts[rows]))
        return to_motion[which], to_text[:, which]

    def match(self, motions: Tensor, texts: Tensor) -> Tensor:
        """Log-odds (P,) that motions and texts match, given their indices (P,). The log-odds of each pair are cached."""
        pairs = torch.stack((motions, texts), dim=1)[self._matches[motions, texts].isnan()].unique(dim=0)  # sorted by motion
        parts = pairs.split(PAIRS) if len(pairs) else ()
        for part in progress(parts, desc="matching", unit="batch", disable=len(parts) <= 4):
            self._matches[part[:, 0], part[:, 1]] = self._match(*part.T).cpu()
        return self._matches[motions, texts]

    @torch.no_grad()
    def _match(self, motions: Tensor, texts: Tensor) -> Tensor:
        unique, inverse = motions.unique(return_inverse=True)  # each motion is encoded once for all of its texts
        starts, lengths = (values[unique.numpy()] for values in (self.clips.starts, self.clips.lengths))
        batch = padded(self.clips.rows, starts, lengths, lengths.max(), Normaliser(self.model.mean, self.model.std))
        latents, tokens = self.model.latents(batch["motion"], batch["lengths"])
        ids, text_lengths = self._token_ids
        ids, text_lengths, inverse = (values.to(latents.device) for values in (ids[texts], text_lengths[texts], inverse))
        return self.model.lamp.match(ids[:, : text_lengths.max()], text_lengths, latents[inverse], tokens[inverse])

    @cached_property
    def _token_ids(self) -> tuple[Tensor, Tensor]:
        return pad_ids(token_ids(self.model.tokenizer, self.texts, self.model.lamp.config.max_text), torch.device("cpu"))


def evaluate_retrieval(gallery: Gallery, protocols: Sequence[str], rerank: int = 0) -> dict[str, Any]:
    """Return for each protocol the number and size of its galleries, and R@k and median rank in both directions.

    LaMP's matching head re-ranks the best `rerank` candidates of each query. R@k and median rank are averaged over galleries.
    For comparison, the results include `ceiling`, the best possible result if clips with the same caption cannot be distinguished,
    and `chance`, the result if all scores are equal.
    """
    features = SentenceEncoder()(gallery.captions) if {"threshold", "dissimilar"} & set(protocols) else None
    results = {}
    for protocol in protocols:
        subsets = galleries(protocol, gallery.clips.names, features)
        correct = similar(features) if protocol == "threshold" else None
        directions = zip(*(gallery.scores(indices, rerank) for indices in subsets))
        scores = [torch.stack(of_direction) for of_direction in directions]  # 2 × (galleries, n, n)
        # In the threshold protocol, equal captions count as correct; its ceiling is computed as if all captions were distinct.
        captions = ([gallery.captions[index] for index in indices] for indices in subsets)
        ceilings = [ceiling(of_gallery if correct is None else range(len(of_gallery))) for of_gallery in captions]
        limits = {name: float(np.mean([limit[name] for limit in ceilings])) for name in ceilings[0]}
        rows = [retrieval_metrics(of_direction, correct) for of_direction in scores] + [limits, chance(len(subsets[0]), correct)]
        results[protocol] = {"galleries": len(subsets), "clips": len(subsets[0]), **dict(zip(ROWS, rows))}
    return results


def retrieval_table(results: dict[str, Any]) -> Iterator[str]:
    """The lines of a table of the results of `evaluate_retrieval`, one block per protocol."""
    for protocol, scores in results.items():
        columns = list(scores["chance"])
        size = f"{scores['galleries']} × {scores['clips']}" if scores["galleries"] > 1 else scores["clips"]
        title = f"{protocol}: {size} clips"
        yield f"{title:<28}" + "".join(f"{name.replace('_', ' '):>13}" for name in columns)
        for row in ROWS:
            numbers = (f"{scores[row][name]:>13.{1 if name == 'median_rank' else 3}f}" for name in columns)
            yield f"  {row.replace('_', ' '):<26}" + "".join(numbers)
