"""Time of FID, R-precision and MM-Dist on random embeddings: `python -m benchmarks.metrics [--samples 4640] [--dim 512]`.

This module prints the wall-clock time and the CPU time of all threads, as medians over repeated measurements. For comparison, the
released code takes 0.38 s on two cores to compute FID. SciPy's matrix square root takes nearly all of these 0.38 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.metrics")

import torch

from benchmarks.timing import median_times
from evaluation.metrics.motion import fid, frechet_distance, matching_distance, r_precision, statistics
from options.cli import parse
from options.common import option
from utils.errors import script


def seconds(function: Callable[[], object]) -> str:
    """Median wall-clock time and CPU time of a function, as text."""
    return "{:8.3f} s   {:8.3f} CPU s".format(*median_times(function, repeats=15))


@dataclass(frozen=True)
class Metrics:
    """Measure the time of FID, R-precision and MM-Dist on random embeddings."""

    samples: int = option(4640, "number of embeddings")
    dim: int = option(512, "width of the embeddings")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Metrics, argv)
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(args.dim, args.dim, generator=generator) / args.dim**0.5
    text, real, generated = (torch.randn(args.samples, args.dim, generator=generator) @ mix for _ in range(3))
    real_statistics = statistics(real)

    def matching() -> None:
        r_precision(text, generated)
        matching_distance(text, generated)

    print(f"{args.samples} embeddings of width {args.dim}, {torch.get_num_threads()} threads")
    print("FID, R-precision, MM-Dist       ", seconds(lambda: (fid(generated, real), matching())))
    cached = seconds(lambda: (frechet_distance(*statistics(generated), *real_statistics), matching()))
    print("with cached statistics of `real`", cached)


if __name__ == "__main__":
    main()
