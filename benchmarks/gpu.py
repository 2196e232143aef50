"""Correctness and speed on a GPU: `python -m benchmarks.gpu [--parts tests generation training] [--output gpu.jsonl]`.

    part         measures                                                                            time limit
    tests        the checks of `tests/gpu.py`                                                        90 s
    generation   clips per second by batch size, latency of one clip, an evaluation of 4,640 clips   90 s
    training     for each stage: step time, fraction of the measured matmul peak (MFU), memory,      120 s
                 minutes per epoch of HumanML3D's size

Models have the papers' sizes. Weights and motions are random, because the time depends on tensor shapes and not on tensor values.
Each row of results is appended to --output immediately, so that an interrupted run keeps its rows. A table is printed at the end. A
part stops at its time limit, even during a measurement. If a measurement is skipped or runs out of time or memory, its row states
this. With --tiny, the models are tiny, so that this script can be tested on a CPU; the values measured with --tiny are meaningless.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.gpu")

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evaluation.metrics.motion import fid, matching_distance, r_precision
from models.caption import CaptionGPT, GPTConfig
from models.evaluator import Evaluator, EvaluatorConfig, fused
from models.lamp import LaMP, LaMPConfig
from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from models.vqvae import MotionTokeniser, VQConfig
from motion.features import features_to_joints
from options.cli import parse
from options.common import option
from options.train import Training
from training.parts import WeightAverage
from training.update import Update
from utils.errors import UserError, script
from utils.padding import batch_to_units
from utils.runtime import autocast, resolve_device

SECONDS = {"tests": 90.0, "generation": 90.0, "training": 120.0}
CLIPS, EVALUATED = 29_228, 4_640  # HumanML3D: training clips including mirrored ones; test clips per evaluation
FRAMES, STRIDE, WORDS = 196, 4, 12  # frames per motion, frames per token, word pieces per prompt
WARM_UP, STEPS = 5, 30  # calls before and during a measurement
MINILM = {
    "vocab_size": 30_523, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
}  # fmt: skip
TINY = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "num_queries": 4, "cross_width": 16, "latent_dim": 16, "nb_code": 16, "embed_dim": 8,
}  # fmt: skip
TINY_CODES = {"nb_code": 16, "code_dim": 16}
TINY_TOKENISER = {**TINY_CODES, "width": 16, "depth": 1}
TINY_TRANSFORMER = {**TINY_CODES, "latent_dim": 16, "ff_size": 16, "n_layers": 1, "n_heads": 2}
TINY_EVALUATOR = {"motion_hidden": 16, "movement_hidden": 16}


@dataclass
class Bench:
    """Settings of a benchmark run, and the result rows so far."""

    device: torch.device
    tiny: bool
    compiles: bool
    graphs: bool
    output: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def row(self, part: str, name: str, **values: Any) -> None:
        """Print one result row (part of the benchmark, name of the measurement, values) and append it to the output file."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        self.rows.append({"part": part, "name": name, "device": device, **values})
        with self.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        print(line(self.rows[-1]), flush=True)

    def wait(self) -> None:
        """Wait until the GPU has finished all queued work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], limit: float) -> float:
        """Median seconds per call of `work`, over up to 30 calls (`STEPS`) after a warm-up; stops after about `limit` seconds."""
        began, durations = time.perf_counter(), []
        for number in range(2 if self.tiny else WARM_UP + STEPS):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            now = time.perf_counter()
            if number >= (1 if self.tiny else WARM_UP) or now - began > limit / 2:
                durations.append(now - start)
            if now - began > limit:
                break
        return median(durations)

    def compiled(self, *models: nn.Module) -> None:
        """With --compile, compile each model in place or, if it has an `encoder`, only this encoder."""
        for model in models:
            if self.compiles:
                getattr(model, "encoder", model).compile()


class OutOfTime(BaseException):
    """Raised when a part exceeds its time limit. As a subclass of BaseException, it is not caught by `except Exception`."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the `with` block after `seconds`. The time limit works only in the main thread."""

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def one_row(bench: Bench, part: str, name: str) -> Iterator[None]:
    """Add a result row with "out of time" or "out of memory" if the `with` block runs out of time or memory."""
    try:
        yield
    except OutOfTime:
        bench.row(part, name, result="out of time")
        raise
    except torch.OutOfMemoryError:
        bench.row(part, name, result="out of memory")
        torch.cuda.empty_cache()


def line(row: dict[str, Any]) -> str:
    """Format a result row as one line of text."""
    values = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in list(row.items())[3:])
    return f"{row['part']:<12}{row['name']:<26}" + "  ".join(values)


def peak(bench: Bench) -> float:
    """FLOP/s of large bf16 matrix products on this device. MFU is the FLOP/s of a model divided by this peak."""
    size = 256 if bench.tiny else 8192
    a, b = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / bench.seconds(lambda: a @ b, 5.0)


# Tests


def run_tests(bench: Bench, deadline: float) -> None:
    """Run each check of `tests/gpu.py` and add its result as a row. A failed check does not stop the others."""
    from tests.gpu import CHECKS

    for name, check in CHECKS.items():
        if time.perf_counter() > deadline or (bench.tiny and name == "processes"):
            bench.row("tests", name, result="skipped")
            continue
        began = time.perf_counter()
        with one_row(bench, "tests", name):
            try:
                result = {"result": "passed", "measured": check(bench.device)}
            except Exception as error:  # a failed check must not stop the other checks
                result = {"result": "FAILED", "measured": f"{type(error).__name__}: {error}"}
            bench.row("tests", name, **result, seconds=time.perf_counter() - began)


# Generation


def generation_models(bench: Bench) -> dict[str, nn.Module]:
    """Return models in eval mode: MoMask's transformers and tokeniser, and a LaMP of MiniLM's size as text encoder."""
    lamp = LaMPConfig(**(TINY if bench.tiny else MINILM))
    sizes = {"cond_dim": lamp.hidden_size, **(TINY_TRANSFORMER if bench.tiny else {})}
    masked = {"latent_dim": 384, "n_heads": 6, **sizes}  # MoMask's width; LaMP's masked transformer has width 512
    models = {
        "lamp": LaMP(lamp),
        "masked": MaskedTransformer(MaskedConfig(**masked)),
        "residual": ResidualTransformer(ResidualConfig(**sizes)),
        "tokeniser": MotionTokeniser(VQConfig(**(TINY_TOKENISER if bench.tiny else {}))),
    }
    for book in models["tokeniser"].quantizer.layers:
        book.codebook.normal_()
    models = {name: model.to(bench.device).eval() for name, model in models.items()}
    bench.compiled(models["masked"], models["residual"])
    return models


@torch.no_grad()
def generate(bench: Bench, models: dict[str, nn.Module], ids: Tensor, tokens: Tensor) -> Tensor:
    """Generate joints (B, T, J, 3) from word-piece `ids` (B, 12) of prompts; motion i has `tokens[i]` tokens of 4 frames.

    As in the pipeline, only sampling is in bf16.
    """
    condition = models["lamp"].condition(ids, torch.full((len(ids),), WORDS, device=bench.device))
    with autocast(bench.device, "auto"):
        base = models["masked"].generate(condition, tokens, time_steps=10, cond_scale=4.0)
        codes = models["residual"].generate(base, condition, tokens, cond_scale=5.0)
    return features_to_joints(models["tokeniser"].decode(codes, tokens * STRIDE), 22)


def run_generation(bench: Bench, deadline: float) -> None:
    """Measure clips per second for several batch sizes, then an evaluation with as many clips as HumanML3D's test split."""
    models, largest = generation_models(bench), 0
    for size in (1, 2) if bench.tiny else (1, 32, 256, 1024):
        if (remaining := deadline - time.perf_counter()) < 5:
            bench.row("generation", f"batch {size}", result="skipped")
            continue
        with one_row(bench, "generation", f"batch {size}"):
            measure_generation(bench, models, size, min(20.0, remaining / 2))
            largest = size
    if largest and deadline - time.perf_counter() > 15:
        with one_row(bench, "generation", "evaluation"):
            run_evaluation(bench, models, min(largest, 256))
    else:
        bench.row("generation", "evaluation", result="skipped")


def measure_generation(bench: Bench, models: dict[str, nn.Module], size: int, limit: float) -> None:
    """Measure the generation of batches of `size` clips. After the first call, this takes at most about `limit` seconds."""
    ids = torch.randint(5, models["lamp"].config.vocab_size - 1, (size, WORDS), device=bench.device)
    tokens = torch.full((size,), FRAMES // STRIDE, device=bench.device)
    began = time.perf_counter()
    generate(bench, models, ids, tokens)
    bench.wait()
    first = time.perf_counter() - began  # includes compilation
    seconds = bench.seconds(lambda: generate(bench, models, ids, tokens), limit)
    values = {"ms": 1000 * seconds, "clips_per_second": size / seconds, "first_call_s": first}
    bench.row("generation", f"batch {size}", **values, memory_gb=memory(bench))


def run_evaluation(bench: Bench, models: dict[str, nn.Module], size: int) -> None:
    """Measure one evaluation in batches of `size` clips: generation, embedding, FID, R-precision and MM-Dist."""
    count, config = (64, TINY_EVALUATOR) if bench.tiny else (EVALUATED, {})
    judge = fused(Evaluator(EvaluatorConfig(**config)).eval()).to(bench.device)
    vocabulary = models["lamp"].config.vocab_size - 1
    began, embeddings = time.perf_counter(), []
    with torch.no_grad():
        for first in range(0, count, size):
            rows = min(size, count - first)
            tokens = torch.full((rows,), FRAMES // STRIDE, device=bench.device)
            generate(bench, models, torch.randint(5, vocabulary, (rows, WORDS), device=bench.device), tokens)
            motion = torch.randn(rows, FRAMES, 263, device=bench.device)  # in place of the generated motion
            embeddings.append(judge.embed_motion(motion, tokens.cpu() * STRIDE).cpu())
    bench.wait()
    embedded, generated = time.perf_counter() - began, torch.cat(embeddings)
    real = torch.randn_like(generated)
    fid(generated, real), r_precision(real, generated), matching_distance(real, generated)
    seconds = time.perf_counter() - began
    bench.row("generation", f"evaluation of {count}", seconds=seconds, generating_and_embedding_s=embedded)


def memory(bench: Bench) -> float:
    """Peak GPU memory in GB since the previous call; 0 on the CPU."""
    if bench.device.type != "cuda":
        return 0.0
    maximum = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return maximum


# Training


def stages(bench: Bench) -> Iterator[tuple[str, nn.Module, dict[str, Tensor]]]:
    """Yield (name, model, batch) of each training stage (each model to train), with the papers' model sizes and batch sizes."""
    tiny, tokens = bench.tiny, FRAMES // STRIDE
    K, width = (16, 16) if tiny else (512, 768)
    sizes = {"cond_dim": width, **(TINY_TRANSFORMER if tiny else {})}

    def batch(size: int, pairs: bool = False) -> dict[str, Tensor]:
        """A batch of `size` clips: tokens and conditions or, if `pairs` is set, latents, base tokens and captions."""
        lengths = torch.linspace(tokens // 2, tokens, size).long()
        drawn = torch.randint(K, (size, tokens, 6)).masked_fill((torch.arange(tokens) >= lengths[:, None])[..., None], -1)
        if not pairs:
            return {"codes": drawn, "lengths": lengths, "condition": torch.randn(size, width)}
        words = {"ids": torch.randint(5, 40, (size, 32)), "text_lengths": torch.full((size,), 20), "caption": torch.arange(size)}
        return {"latents": torch.randn(size, tokens, 16 if tiny else 512), "codes": drawn[..., 0], "lengths": lengths, **words}

    lamp_config = LaMPConfig(**(TINY if tiny else {}))
    size = 4 if tiny else 256
    window = {"motion": torch.randn(size, 64, 263), "lengths": torch.full((size,), 64)}
    yield "tokeniser", MotionTokeniser(VQConfig(**(TINY_TOKENISER if tiny else {}))), window
    size = 4 if tiny else 64
    yield "lamp", LaMP(lamp_config), batch(size, pairs=True)
    yield "masked", MaskedTransformer(MaskedConfig(**sizes)), batch(size)
    yield "residual", ResidualTransformer(ResidualConfig(**sizes)), batch(size)
    yield "length", LengthPredictor(LengthConfig(cond_dim=width)), batch(size)
    texts = {"words": torch.randn(32, 20, 300), "pos": torch.randn(32, 20, 15), "text_lengths": torch.full((32,), 20)}
    matched = {"motion": torch.randn(32, FRAMES, 263), "lengths": torch.full((32,), FRAMES), "caption": torch.arange(32), **texts}
    yield "evaluator", Evaluator(EvaluatorConfig(**(TINY_EVALUATOR if tiny else {}))), matched
    layers = {"embed_dim": 16, "num_layers": 1, "num_heads": 2} if tiny else {}
    captioner = CaptionGPT(GPTConfig(lamp_config.vocab_size - 1, lamp_config.hidden_size, lamp_config.num_queries, **layers))
    yield "captioner", captioner.read_with_(LaMP(lamp_config)), batch(4 if tiny else 80, pairs=True)


def training_step(bench: Bench, model: nn.Module, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Return a function that runs one training step as the trainer does: it updates the weights, then their running average."""
    config = Training(name="benchmark", weight_decay=0.01, clip_grad=1.0, cuda_graphs=bench.graphs)
    update, average = Update(model, config, bench.device), WeightAverage(model, 0.99)
    batch = {key: value.to(bench.device) for key, value in (batch_to_units(batch) if update.graphs else batch).items()}

    def step() -> None:
        update.gradient(batch)
        update.step(1e-4)
        average.update()

    return step


def run_training(bench: Bench, deadline: float) -> None:
    """Measure step time, MFU and memory of each model's training, and the minutes per epoch on a dataset of HumanML3D's size."""
    matmul_peak = peak(bench)
    bench.row("training", "bf16 matmul peak", tflops=matmul_peak / 1e12)
    for number, (name, model, batch) in enumerate(stages(bench)):
        remaining = deadline - time.perf_counter()
        if remaining < 5:
            bench.row("training", name, result="skipped")
            continue
        with one_row(bench, "training", name):
            measure_training(bench, name, model.to(bench.device).train(), batch, remaining / (7 - number), matmul_peak)


def measure_training(
    bench: Bench, name: str, model: nn.Module, batch: dict[str, Tensor], limit: float, matmul_peak: float
) -> None:
    """Measure the training of one model. After the first step, this takes about `limit` seconds at most. `matmul_peak`: FLOP/s."""
    size, step = len(next(iter(batch.values()))), training_step(bench, model, batch)
    memory(bench)
    with FlopCounterMode(display=False) as flops:
        step()
    bench.compiled(model)
    began = time.perf_counter()
    step()
    bench.wait()
    first = time.perf_counter() - began  # includes compilation, or the capture of CUDA graphs
    seconds = bench.seconds(step, limit)
    work = flops.get_total_flops()
    epoch = math.ceil(CLIPS / size) * seconds / 60
    values = {"ms_per_step": 1000 * seconds, "batch": size, "mfu": work / seconds / matmul_peak, "gflop": work / 1e9}
    bench.row("training", name, **values, memory_gb=memory(bench), epoch_minutes=epoch, first_step_s=first)


PARTS: dict[str, Callable[[Bench, float], None]] = {"tests": run_tests, "generation": run_generation, "training": run_training}


def table(rows: list[dict[str, Any]]) -> str:
    """A table of all result rows, with the device as title."""
    return "\n".join([f"{rows[0]['device'] if rows else 'nothing measured'}, torch {torch.__version__}", *map(line, rows)])


@dataclass(frozen=True)
class Gpu:
    """Measure correctness and speed on a GPU."""

    parts: list[str] = option(
        list(PARTS), "parts to run; tests: correctness; generation: speed of generation; training: speed of training",
        choices=tuple(PARTS),
    )  # fmt: skip
    output: str = option("gpu.jsonl", "file to which results are appended, one JSON object per line")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU, which needs --tiny; default: the first GPU")
    compile: bool = option(False, "compile the transformers with torch.compile; the first call then takes longer")
    graphs: bool = option(True, "capture training steps as CUDA graphs, as the trainer does; no effect with --compile")
    tiny: bool = option(False, "use tiny models, to test the script; the measured values are then meaningless")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Gpu, argv)
    device = resolve_device(args.gpu_id)
    if device.type == "cpu" and not args.tiny:
        raise UserError("no CUDA GPU is used: choose one with --gpu_id, or use --tiny to test the script on the CPU")
    bench = Bench(device, args.tiny, args.compile, args.graphs and not args.compile, Path(args.output))
    bench.output.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for part in args.parts:
        try:
            with time_limit(SECONDS[part]):
                PARTS[part](bench, time.perf_counter() + SECONDS[part])
        except OutOfTime:
            bench.row(part, "remaining measurements", result="skipped: no time left")
    print(table(bench.rows))
    if any(row.get("result") == "FAILED" for row in bench.rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
