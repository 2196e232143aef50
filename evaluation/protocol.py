"""The published evaluation of generated motion (Guo et al. 2022, section 6): generate a motion for each clip's caption, embed the
motion, score the embeddings.

A pass over a split draws a random crop and a random caption of each clip, shuffles the clips, and drops the incomplete last batch
of 32. An evaluator (`evaluation.judges`) embeds texts, real motions and generated motions. Several passes with different random
draws are made; results are means over the passes with 95 % confidence intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from evaluation.report import FEW
from motion.features import features_to_joints
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion
from utils.progress import progress
from utils.runtime import Distributed

BATCH = 32  # clips per R-precision batch: each text is compared with the motions of its batch
PAIRS = 300  # pairs of motions for Diversity
SAMPLES, SAMPLE_PAIRS = 30, 10  # motions and pairs of motions per text, for MultiModality
TOGETHER = 8  # batches of real clips that are embedded together

# (features (B, T, D) in the dataset's units, lengths (B,) in frames, B captions) → features (B, T, D)
Reconstruct = Callable[[Tensor, Tensor, list[str]], Tensor]
Captioner = Callable[[Tensor, Tensor], list[str]]  # (features (B, T, D) in the dataset's units, lengths (B,)) → B captions
Interval = tuple[float, float]  # mean of a metric, and half the width of its 95 % confidence interval
TextScorer = Callable[[list[str], list[str]], dict[str, float]]  # (captions of N motions, the N texts) → scores


class Sample(NamedTuple):
    """Embeddings, physical metrics and captions of N motions."""

    motion: Tensor  # (N, E)
    physical: dict[str, Tensor]  # (N,) each
    captions: list[str]  # N captions by the captioner; empty without a captioner


class Pass(NamedTuple):
    """One pass over a split: N real clips with one caption each.

    `text` contains the embeddings of the captions, and `sample` contains the embeddings of the motions.
    """

    names: list[str]
    captions: list[str]
    lengths: Tensor  # (N,) frames
    text: Tensor  # (N, E)
    sample: Sample


class SplitEvaluation:
    """Evaluates motions in passes over `clips` with the evaluator `judge`. Passes over real motion are cached.

    Args:
        published: "standard", or "lamp" for the variant in LaMP's release, which uses the first caption of each clip and keeps the
            order of the clips.
        batches: number of batches of 32 per pass; 0: all.
        captioner: function that captions every real and every generated motion; None: no captions.
        text_scorer: function that compares the output of `captioner` with the captions of the clips; None: no comparison.
        physical: whether to compute physical metrics.
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
        """Return the pass over real motion with the number `repeat`. Each number gives different random draws."""
        if repeat not in self.passes:
            self.passes[repeat] = self._pass(repeat, lambda features, lengths, captions: features)
        return self.passes[repeat]

    def reconstructed(self, reconstruct: Reconstruct, repeat: int) -> Sample:
        """Apply `reconstruct` to the real motions of the pass with the number `repeat`, and embed the reconstructions."""
        return self._pass(repeat, reconstruct).sample

    def draws(self, repeat: int) -> np.random.Generator:
        """The random generator that draws the order, crops and captions of the pass with the number `repeat`."""
        return np.random.default_rng((self.seed, repeat + 1))

    def _pass(self, repeat: int, reconstruct: Reconstruct) -> Pass:
        generator = self.draws(repeat)
        variant = {} if self.published == "standard" else {"shuffle": False, "first_caption": True}
        drawn = self.clips.evaluation_batches(self.normaliser, generator, BATCH, **variant)
        drawn = iter(islice(drawn, self.batches or None))
        names, captions, lengths, texts, samples = [], [], [], [], []
        while group := list(islice(drawn, TOGETHER)):
            features, frames = (torch.cat([batch[name] for batch in group]) for name in ("motion", "lengths"))
            group_captions = [caption for batch in group for caption in batch["captions"]]
            texts.append(self.judge.text(group_captions, [tokens for batch in group for tokens in batch["tokens"]]).cpu())
            motion = reconstruct(features, frames, group_captions)
            samples.append(self._embed(motion, frames, self.captioner if repeat >= 0 else None))
            names += [name for batch in group for name in batch["names"]]
            captions += group_captions
            lengths.append(frames)
        return Pass(names, captions, torch.cat(lengths), torch.cat(texts), _joined(samples))

    def generated(self, model: TextToMotion, real: Pass, repeat: int, size: int, sampling: SamplingSettings) -> Sample:
        """Generate motions for the captions and lengths of the pass `real`, in batches of `size`, and embed them.

        `repeat`, the number of the pass, is added to the seed.
        """
        return self._generate(model, model.encoder(real.captions), real.lengths, repeat, size, self.captioner, sampling)

    def multimodality(
        self, model: TextToMotion, real: Pass, repeat: int, batches: int, size: int, sampling: SamplingSettings
    ) -> Tensor:
        """MultiModality of motions generated for the captions in the first `batches` batches of 32 of the pass `real`."""
        count = min(batches * BATCH, len(real.captions))
        condition, lengths = model.encoder(real.captions[:count]), real.lengths[:count]
        rows = torch.arange(count).repeat_interleave(SAMPLES)
        sample = self._generate(model, condition[rows.to(condition.device)], lengths[rows], repeat, size, None, sampling)
        return metrics.multimodality(sample.motion.unflatten(0, (count, SAMPLES)), SAMPLE_PAIRS, generator=self._generator(repeat))

    def _generate(
        self,
        model: TextToMotion,
        condition: Tensor,
        lengths: Tensor,
        repeat: int,
        size: int,
        captioner: Captioner | None,
        sampling: SamplingSettings,
    ) -> Sample:
        """Generate and embed motions for encoded texts (conditions, (N, …)) and lengths (N,), in batches of similar length.

        The batches are distributed over the processes of torchrun.
        """
        order = lengths.argsort(stable=True)
        sampling = replace(sampling, seed=sampling.seed + repeat)

        def batch_from(first: int) -> Iterator[Sample]:
            rows = order[first : first + size]
            chosen = condition[rows.to(condition.device)]
            tokens = model.count_tokens(chosen, lengths[rows])
            codes = model.draw(chosen, tokens, sampling=sampling, first_sample=first)
            yield self._embed(*model.features(codes, tokens), captioner)

        firsts = range(0, len(order), size)
        batches = Distributed.from_environment().in_turns(firsts, batch_from)
        parts = list(progress(batches, total=len(firsts), desc="motions", unit="batch"))
        joined, inverse = _joined(parts), order.argsort()
        physical = {name: values[inverse] for name, values in joined.physical.items()}
        return Sample(joined.motion[inverse], physical, [joined.captions[i] for i in inverse.tolist()] if captioner else [])

    def scores(self, real: Pass, sample: Sample, reference: Tensor, repeat: int) -> dict[str, float]:
        """All metrics of the motions `sample` for the captions of the pass `real`. FID uses real embeddings `reference` (M, E)."""
        motion = sample.motion
        precision = metrics.r_precision(real.text, motion, BATCH)
        values = {
            "FID": metrics.fid(motion, reference),
            **{f"R@{k}": fraction for k, fraction in enumerate(precision, start=1)},
            "MM-Dist": metrics.matching_distance(real.text, motion),
            "Diversity": metrics.diversity(motion, PAIRS, generator=self._generator(repeat)),
            **{name: rows.nanmean() for name, rows in sample.physical.items()},
            **(self.text_scorer(sample.captions, real.captions) if self.text_scorer else {}),
        }
        return {name: float(value) for name, value in values.items()}

    def _generator(self, repeat: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, repeat))

    def _embed(self, features: Tensor, lengths: Tensor, captioner: Captioner | None) -> Sample:
        """Embeddings, physical metrics and captions of features (B, T, D) in the dataset's units."""
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
    generate: Callable[[Pass, int], Sample],
    further_metrics: Callable[[Pass, int], dict[str, float]] = lambda real, repeat: {},
    *,
    repeats: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluate real and generated motions over `repeats` passes.

    Returns `{"clips": N, "real": {metric: interval}, "ours": {metric: interval}}`, with intervals as `interval` returns them. The
    FID of real motion compares each pass with one additional pass over real motion.

    Args:
        generate: returns the generated motions for `(real, repeat)`, a pass over the real clips and its number.
        further_metrics: returns metrics for `(real, repeat)` that need additional generated motions, such as MultiModality.
        log: receives one line of results per pass.
    """
    rows: dict[str, list[dict[str, float]]] = {"real": [], "ours": []}
    reference = protocol.real(-1).sample.motion
    for repeat in progress(range(repeats), desc="repeats", unit="pass"):
        real = protocol.real(repeat)
        rows["real"].append(protocol.scores(real, real.sample, reference, repeat))
        scores = protocol.scores(real, generate(real, repeat), real.sample.motion, repeat)
        rows["ours"].append({**scores, **further_metrics(real, repeat)})
        log(f"repeat {repeat + 1}: " + "  ".join(f"{name} {value:.3f}" for name, value in rows["ours"][-1].items()))
    summary = {kind: {name: interval([row[name] for row in of_kind]) for name in of_kind[0]} for kind, of_kind in rows.items()}
    return {"clips": len(reference), **summary}


def interval(values: Sequence[float]) -> Interval:
    """The mean of `values` and the half-width of its 95 % confidence interval, 1.96 σ / √n."""
    return float(np.mean(values)), float(1.96 * np.std(values) / math.sqrt(len(values)))


def results_table(results: dict[str, Any]) -> str:
    """A table with the metrics of real motion and of the evaluated model, and a warning if there are few clips."""
    lines = comparison("real", results["real"], results["ours"], width=20)
    if results["clips"] < FEW:
        lines.append(f"only {results['clips']} clips: FID and Diversity are not reliable below {FEW} clips")
    return "\n".join(lines)


def comparison(title: str, baseline: Mapping[str, Interval], ours: Mapping[str, Interval], width: int) -> list[str]:
    """The lines of a table with one metric per line. `title` is the heading of `baseline`, `width` the first column's width."""
    rows = [(name, _cell(baseline.get(name)), _cell(value)) for name, value in ours.items()]
    return [f"{name:<{width}}{first:>20}{second:>20}" for name, first, second in [("", title, "ours"), *rows]]


def released_lines(results: dict[str, Any]) -> Iterator[str]:
    """Lines in the format of MoMask's and LaMP's evaluation logs, such as `FID: 0.045, conf. 0.002`."""
    generated = results["ours"]

    def line(title: str, name: str) -> str:
        return f"{title}: {generated[name][0]:.3f}, conf. {generated[name][1]:.3f}"

    yield line("FID", "FID")
    yield line("Diversity", "Diversity")
    yield ", ".join(line(f"TOP{k}", f"R@{k}") for k in (1, 2, 3))
    yield line("Matching", "MM-Dist")
    if "MultiModality" in generated:
        yield line("Multimodality", "MultiModality")


def _cell(value: Interval | None) -> str:
    return "-" if value is None or math.isnan(value[0]) else f"{value[0]:.3f} ± {value[1]:.3f}"
