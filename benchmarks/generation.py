"""Speed of generation on the CPU: `python -m benchmarks.generation [--batches 1 32] [--rounds 5]`.

This module generates motions of 196 frames with models that have MoMask's sizes and random weights. The measured time includes 10
sampling steps of the masked transformer, the residual layers and the decoding to features, but no text encoder. Each round runs
three settings in turn: float32 with PyTorch's own matrix product, then float32 and bf16 with oneDNN's matrix product
(`models.linear`). For each setting, the module prints the median wall-clock time and CPU time, and the ratio of the CPU time to the
CPU time of the first setting. The module also prints the FLOP per CPU second as a fraction of the peak. To determine the peak, the
module measures the FLOP per CPU second of a large matrix product in the precision of the setting. CPU time is the sum over all
threads. Other programs that run on the CPU affect CPU time less than wall-clock time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.generation")

import torch
from torch.utils.flop_counter import FlopCounterMode

import models.linear
from benchmarks.timing import timed
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from models.vqvae import MotionTokeniser, VQConfig
from options.cli import parse
from options.common import option
from utils.errors import script
from utils.runtime import autocast

TOKENS, STRIDE, WIDTH = 49, 4, 512  # tokens of 196 frames, frames per token, width of CLIP's condition
SETTINGS = {"float32, PyTorch": ("fp32", False), "float32": ("fp32", True), "bf16": ("bf16", True)}  # precision, use oneDNN?
CPU = torch.device("cpu")


def generator(size: int) -> Callable[[str], None]:
    """Return a function that takes a precision ("fp32" or "bf16") and generates `size` motions in this precision."""
    torch.manual_seed(0)
    masked = MaskedTransformer(MaskedConfig(cond_dim=WIDTH, latent_dim=384, n_heads=6, attention="full")).eval()
    residual = ResidualTransformer(ResidualConfig(cond_dim=WIDTH)).eval()
    tokeniser = MotionTokeniser(VQConfig()).eval()
    condition, tokens = torch.randn(size, WIDTH), torch.full((size,), TOKENS)

    @torch.no_grad()
    def generate(precision: str) -> None:
        with autocast(CPU, precision):
            base = masked.generate(condition, tokens, time_steps=10, cond_scale=4.0)
            codes = residual.generate(base, condition, tokens, cond_scale=5.0)
        tokeniser.decode(codes, tokens * STRIDE)

    return generate


@torch.no_grad()
def peak(dtype: torch.dtype) -> float:
    """FLOP per CPU second of a large linear layer: the maximum of five measurements."""
    size = 2048
    x, weight = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: models.linear.linear(x, weight))[2] for _ in range(5))


def measure(size: int, rounds: int) -> None:
    """Measure and print the time to generate `size` motions at once: the median of `rounds` runs, for each of the `SETTINGS`."""
    generate, default, times = generator(size), models.linear.ONEDNN, {name: [] for name in SETTINGS}
    models.linear.ONEDNN = False  # FlopCounterMode does not count oneDNN's matrix products
    with FlopCounterMode(display=False) as flops:
        generate("fp32")
    for number in range(rounds + 1):
        for name, (precision, onednn) in SETTINGS.items():
            models.linear.ONEDNN = onednn and default
            _, *durations = timed(lambda precision=precision: generate(precision))
            if number:  # round 0 is a warm-up
                times[name].append(durations)
    models.linear.ONEDNN = default
    peaks = {"fp32": peak(torch.float32), "bf16": peak(torch.bfloat16)}
    first = [cpu for _, cpu in times["float32, PyTorch"]]
    for name, durations in times.items():
        wall, cpu = (median(values) for values in zip(*durations))
        ratio = median(duration / baseline for (_, duration), baseline in zip(durations, first))
        matmul_peak = peaks[SETTINGS[name][0]]
        fraction = flops.get_total_flops() / cpu / matmul_peak
        line = f"batch {size:<4}{name:<18}{wall:8.3f} s  {cpu:8.3f} CPU s  ratio {ratio:.2f}"
        print(f"{line}  {100 * fraction:3.0f} % of {matmul_peak / 1e9:.0f} GFLOP per CPU second", flush=True)


@dataclass(frozen=True)
class Generation:
    """Measure the speed of generation on the CPU."""

    batches: list[int] = option([1, 32], "batch sizes")
    rounds: int = option(5, "number of measured rounds, after one warm-up round")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Generation, argv)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for size in args.batches:
        measure(size, args.rounds)


if __name__ == "__main__":
    main()
