"""Outputs of MoMask's released metrics. It counts texts where ours are shares, and draws with NumPy's global generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.motion import (
    diversity,
    draw_pairs,
    fid,
    frechet_distance,
    matching_distance,
    mpjpe,
    multimodality,
    r_precision,
    statistics,
)
from evaluation.metrics.retrieval import hits, rank


def outputs(inputs: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    text, motion, samples = inputs["text"], inputs["motion"], inputs["mm_act"]
    N, S = len(motion), samples.shape[1]
    distances = torch.cdist(text[:32], motion[:32])
    ranks = rank(-distances)

    def generator(name: str) -> np.random.RandomState:
        return np.random.RandomState(int(inputs[f"seed_{name}"]))

    def pairs(name: str) -> int:
        return int(inputs[f"{name}_times"])

    def counts(top: int) -> Tensor:
        return (N * r_precision(text, motion, top=top)).round()

    return {
        "dist": lambda: distances,
        "r_precision": lambda: r_precision(text, motion),
        "r_precision_sum": lambda: counts(3),
        "r_precision_top10_sum": lambda: counts(10),
        "top_k_first": lambda: torch.stack([hits(ranks, k) for k in (1, 2, 3)], dim=-1).bool(),
        "matching": lambda: matching_distance(text, motion),
        "matching_sum": lambda: N * matching_distance(text, motion),
        "mu": lambda: statistics(motion)[0],
        "cov": lambda: statistics(motion)[1],
        "fid": lambda: fid(inputs["gen"], motion),
        "fid_self": lambda: frechet_distance(*statistics(motion), *statistics(motion)),
        "div_first": lambda: draw_pairs(N, pairs("div"), generator("div"))[0],
        "div_second": lambda: draw_pairs(N, pairs("div"), generator("div"))[1],
        "diversity": lambda: diversity(motion, pairs("div"), generator=generator("div")),
        "mm_first": lambda: draw_pairs(S, pairs("mm"), generator("mm"))[0],
        "mm_second": lambda: draw_pairs(S, pairs("mm"), generator("mm"))[1],
        "multimodality": lambda: multimodality(samples, pairs("mm"), generator=generator("mm")),
        "mpjpe": lambda: mpjpe(inputs["pred_joints"], inputs["gt_joints"]),
    }
