"""The published evaluation of generated motion (Guo et al. 2022, section 6): generate a motion for each clip's caption, embed,
score.

A pass over a split draws a random crop ("single, single, double") and a random caption of each clip, shuffles, and drops the
incomplete last batch of 32. An evaluator (`evaluation.judges`) embeds texts, real and generated motions. Passes are repeated with
other random draws; results are means with 95 % confidence intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.store import Normaliser
from data.text import CaptionedClips
from evaluation.judges import Judge
from evaluation.metrics import motion as metrics
from evaluation.metrics.physical import physical_metrics
from motion.features import features_to_joints
from pipelines.text2motion import SamplingSettings, TextToMotion
from utils.progress import progress
from utils.runtime import Distributed

BATCH = 32  # clips among which a text has to find its motion
PAIRS = 300  # for Diversity
FEW = 300  # clips under which FID and Diversity are a hint
SAMPLES, SAMPLE_PAIRS = 30, 10  # of a text, for MultiModality
TOGETHER = 8  # batches of real clips that are embedded at a time

# Features (B, T, D) in the dataset's own units, lengths (B,), B captions → features
Reconstruct = Callable[[Tensor, Tensor, list[str]], Tensor]
Captioner = Callable[[Tensor, Tensor], list[str]]  # features (B, T, D) in the dataset's own units, lengths (B,) → captions
TextScorer = Callable[[list[str], list[str]], dict[str, float]]  # captions of N motions, and their texts → scores


class Sample(NamedTuple):
    """Embeddings, physical metrics and captions of N motions."""

    motion: Tensor  # (N, E)
    physical: dict[str, Tensor]  # (N,) each
    captions: list[str]  # N, of a captioner; none without one


class Pass(NamedTuple):
    """One pass over a split: N clips, real."""

    names: list[str]
    captions: list[str]
    lengths: Tensor  # (N,) frames
    text: Tensor  # (N, E)
    seen: Sample


class SplitEvaluation:
    """Passes over `clips`, embedded by `judge`; passes of real motion are computed once and cached.

    `published` is "standard", or "lamp" for the variant of LaMP's release: each clip's first caption, in the split's order.
    `batches` limits a pass to that many batches of 32; 0: all. A `captioner` captions every motion, real and generated, and
    `text_scorer` compares its captions with the texts. Without `physical`, no physical metrics are computed.
    """

    def __init__(
        self,
        clips: CaptionedClips,
        judge: Judge,
        *,
        published: str = "standard",
        batches: int = 0,
        seed: int = 0,
        captioner: Captioner | None = None,
        text_scorer: TextScorer | None = None,
        physical: bool = True,
    ):
        self.clips, self.judge, self.seed, self.captioner, self.text_scorer = clips, judge, seed, captioner, text_scorer
        self.published, self.batches, self.physical = published, batches, physical
        self.spec = clips.spec
        self.normaliser = Normaliser.identity(self.spec.dim)
        self.passes: dict[int, Pass] = {}

    def real(self, repeat: int) -> Pass:
        """Pass number `repeat` over real motion."""
        if repeat not in self.passes:
            self.passes[repeat] = self._pass(repeat, lambda features, lengths, captions: features)
        return self.passes[repeat]

    def reconstructed(self, reconstruct: Reconstruct, repeat: int) -> Sample:
        """The motions of a pass as `reconstruct` returns them."""
        return self._pass(repeat, reconstruct).seen

    def draws(self, repeat: int) -> np.random.Generator:
        """What decides the order, crops and captions of a pass."""
        return np.random.default_rng((self.seed, repeat + 1))

    def _pass(self, repeat: int, reconstruct: Reconstruct) -> Pass:
        generator = self.draws(repeat)
        variant = {} if self.published == "standard" else {"shuffle": False, "first_caption": True}
        drawn = self.clips.evaluation_batches(self.normaliser, generator, BATCH, **variant)
        drawn = iter(islice(drawn, self.batches or None))
        names, captions, lengths, texts, seen = [], [], [], [], []
        while group := list(islice(drawn, TOGETHER)):
            features, frames = (torch.cat([batch[name] for batch in group]) for name in ("motion", "lengths"))
            group_captions = [caption for batch in group for caption in batch["captions"]]
            texts.append(self.judge.text(group_captions, [tokens for batch in group for tokens in batch["tokens"]]).cpu())
            motion = reconstruct(features, frames, group_captions)
            seen.append(self._seen(motion, frames, self.captioner if repeat >= 0 else None))
            names += [name for batch in group for name in batch["names"]]
            captions += group_captions
            lengths.append(frames)
        return Pass(names, captions, torch.cat(lengths), torch.cat(texts), _joined(seen))

    def generated(self, model: TextToMotion, real: Pass, repeat: int, size: int, sampling: SamplingSettings) -> Sample:
        """Motions for the captions and lengths of a pass, made in batches of `size`."""
        return self._made(model, model.encoder(real.captions), real.lengths, repeat, size, self.captioner, sampling)

    def multimodality(
        self, model: TextToMotion, real: Pass, repeat: int, batches: int, size: int, sampling: SamplingSettings
    ) -> Tensor:
        """MultiModality over the texts of the pass's first batches."""
        count = min(batches * BATCH, len(real.captions))
        condition, lengths = model.encoder(real.captions[:count]), real.lengths[:count]
        again = torch.arange(count).repeat_interleave(SAMPLES)
        made = self._made(model, condition[again.to(condition.device)], lengths[again], repeat, size, None, sampling)
        return metrics.multimodality(made.motion.unflatten(0, (count, SAMPLES)), SAMPLE_PAIRS, generator=self._generator(repeat))

    def _made(
        self,
        model: TextToMotion,
        condition: Tensor,
        lengths: Tensor,
        repeat: int,
        size: int,
        captioner: Captioner | None,
        sampling: SamplingSettings,
    ) -> Sample:
        """Motions for conditions (N, C) and lengths (N,), in batches of similar length, distributed over the processes of
        torchrun."""
        order = lengths.argsort(stable=True)
        sampling = replace(sampling, seed=sampling.seed + repeat)

        def batch_from(first: int) -> Iterator[Sample]:
            rows = order[first : first + size]
            chosen = condition[rows.to(condition.device)]
            tokens = model.count_tokens(chosen, lengths[rows])
            codes = model.draw(chosen, tokens, sampling=sampling, first_sample=first)
            yield self._seen(*model.features(codes, tokens), captioner)

        firsts = range(0, len(order), size)
        made = Distributed.from_environment().in_turns(firsts, batch_from)
        parts = list(progress(made, total=len(firsts), desc="motions", unit="batch"))
        made, back = _joined(parts), order.argsort()
        physical = {name: values[back] for name, values in made.physical.items()}
        return Sample(made.motion[back], physical, [made.captions[index] for index in back.tolist()] if captioner else [])

    def scores(self, real: Pass, sample: Sample, reference: Tensor, repeat: int) -> dict[str, float]:
        """All metrics of motions for the texts of a pass; FID is computed against `reference` (M, E)."""
        motion = sample.motion
        precision = metrics.r_precision(real.text, motion, BATCH)
        values = {
            "FID": metrics.fid(motion, reference),
            **{f"R@{k}": share for k, share in enumerate(precision, start=1)},
            "MM-Dist": metrics.matching_distance(real.text, motion),
            "Diversity": metrics.diversity(motion, PAIRS, generator=self._generator(repeat)),
            **{name: rows.nanmean() for name, rows in sample.physical.items()},
            **(self.text_scorer(sample.captions, real.captions) if self.text_scorer else {}),
        }
        return {name: float(value) for name, value in values.items()}

    def _generator(self, repeat: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, repeat))

    def _seen(self, features: Tensor, lengths: Tensor, captioner: Captioner | None) -> Sample:
        """Embeddings, physical metrics and captions of features (B, T, D) in the dataset's own units."""
        embedded = self.judge.motion(features, lengths).cpu()
        physical = {}
        if self.physical:
            joints = features_to_joints(features, self.spec.num_joints) * self.spec.unit_scale
            physical = {name: rows.cpu() for name, rows in physical_metrics(joints, self.spec.fps, lengths).items()}
        return Sample(embedded, physical, captioner(features, lengths) if captioner else [])


def _joined(parts: Sequence[Sample]) -> Sample:
    motions, physical, captions = zip(*parts)
    rows = {name: torch.cat([part[name] for part in physical]) for name in physical[0]}
    return Sample(torch.cat(motions), rows, [caption for part in captions for caption in part])


def evaluate(
    protocol: SplitEvaluation,
    make: Callable[[Pass, int], Sample],
    more: Callable[[Pass, int], dict[str, float]] = lambda real, repeat: {},
    *,
    repeats: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """`{"real": {metric: [mean, interval]}, "ours": …}` over `repeats` passes. Real motion's FID is that of another pass.

    `make(real, repeat)` returns our motions of a pass, `more(real, repeat)` metrics that need further motions.
    """
    rows: dict[str, list[dict[str, float]]] = {"real": [], "ours": []}
    reference = protocol.real(-1).seen.motion
    for repeat in progress(range(repeats), desc="repeats", unit="pass"):
        real = protocol.real(repeat)
        rows["real"].append(protocol.scores(real, real.seen, reference, repeat))
        ours = {**protocol.scores(real, make(real, repeat), real.seen.motion, repeat), **more(real, repeat)}
        rows["ours"].append(ours)
        say(f"repeat {repeat + 1}: " + "  ".join(f"{name} {value:.3f}" for name, value in ours.items()))
    summary = {kind: {name: interval([row[name] for row in of_kind]) for name in of_kind[0]} for kind, of_kind in rows.items()}
    return {"clips": len(reference), **summary}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the half-width of its 95 % confidence interval, 1.96 σ / √n."""
    return float(np.mean(values)), float(1.96 * np.std(values) / math.sqrt(len(values)))


def results_table(results: dict[str, Any]) -> str:
    """A table of our metrics beside those of real motion, with a warning if there are few clips."""
    lines = [f"{'':<20}{'real':>20}{'ours':>20}"]
    for name, ours in results["ours"].items():
        real = results["real"].get(name)
        lines.append(f"{name:<20}{_cell(real):>20}{_cell(ours):>20}")
    if results["clips"] < FEW:
        lines.append(f"only {results['clips']} clips: FID and Diversity are a hint, not a result; they want {FEW} and more")
    return "\n".join(lines)


def released_lines(results: dict[str, Any]) -> Iterator[str]:
    """Lines in the format of the field's evaluation logs, such as `FID: 0.045, conf. 0.002`."""
    ours = results["ours"]

    def line(title: str, name: str) -> str:
        return f"{title}: {ours[name][0]:.3f}, conf. {ours[name][1]:.3f}"

    yield line("FID", "FID")
    yield line("Diversity", "Diversity")
    yield ", ".join(line(f"TOP{k}", f"R@{k}") for k in (1, 2, 3))
    yield line("Matching", "MM-Dist")
    if "MultiModality" in ours:
        yield line("Multimodality", "MultiModality")


def _cell(value: tuple[float, float] | None) -> str:
    return "-" if value is None or math.isnan(value[0]) else f"{value[0]:.3f} ± {value[1]:.3f}"
