"""Time of FID, R-precision and MM-Dist of a test set's embeddings: `python -m benchmarks.metrics [--samples 4640] [--dim 512]`.

Reports medians over repeats of the wall-clock time and of the CPU time of all threads, which differ if other programs run. The FID
of the released code alone takes 0.38 s on two cores, nearly all of it in SciPy's matrix square root.
"""

from __future__ import annotations

import statistics as summary
import time
from collections.abc import Callable
from dataclasses import dataclass

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.metrics")

import torch

from evaluation.metrics.motion import fid, frechet_distance, matching_distance, r_precision, statistics
from options.cli import parse
from options.common import option
from utils.errors import script


def seconds(function: Callable[[], object], repeats: int = 15) -> str:
    """Median times of a call, after one to warm up."""
    function()
    clock, work = [], []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        function()
        clock.append(time.perf_counter() - began[0])
        work.append(time.process_time() - began[1])
    return f"{summary.median(clock):8.3f} s   work {summary.median(work):8.3f} s"


@dataclass(frozen=True)
class Metrics:
    """Time of FID, R-precision and MM-Dist."""

    samples: int = option(4640, "embeddings")
    dim: int = option(512, "their width")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Metrics, argv)

    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(args.dim, args.dim, generator=draw) / args.dim**0.5
    text, real, generated = (torch.randn(args.samples, args.dim, generator=draw) @ mix for _ in range(3))
    known = statistics(real)

    def others() -> None:
        r_precision(text, generated)
        matching_distance(text, generated)

    print(f"{args.samples} × {args.dim}, {torch.get_num_threads()} threads")
    print("FID, R-precision, MM-Dist     ", seconds(lambda: (fid(generated, real), others())))
    print("with the real side's statistics", seconds(lambda: (frechet_distance(*statistics(generated), *known), others())))


if __name__ == "__main__":
    main()
