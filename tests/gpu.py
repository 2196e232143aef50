"""Checks that need a GPU: the same numbers as on the CPU, within bounds that are stated here.

    python -m benchmarks.gpu --parts tests

Each check takes the device and returns what it measured; `AssertionError` says what is wrong. Models are small and random, so
nothing else need be there. On a CPU the checks compare it with itself, which shows that they run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from models.caption import CaptionGPT, GPTConfig
from models.evaluator import Evaluator, EvaluatorConfig
from models.lamp import LaMP, LaMPConfig
from models.layers import Dropout
from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from models.vqvae import MotionTokeniser, VQConfig
from tests.decoded import decoded
from utils.runtime import Agreement, Distributed, exact_fp32, has_bf16_units

LOSS, GRADIENT = 1e-4, 2e-3  # largest relative difference to the CPU in fp32
BF16_LOSS, BF16_GRADIENT = 0.03, 0.2  # and in bf16
LOGITS = 1e-3  # largest difference of teacher-forced logits
SAME_TOKENS = 0.99  # least share of equal arg-max tokens in the first sampling step
B, T, L, C = 8, 64, 16, 32  # batch, frames, tokens, width of conditions and words
CODES = {"nb_code": 64, "code_dim": 32}
SIZES = {"cond_dim": C, "latent_dim": 64, "ff_size": 128, "n_layers": 2, "n_heads": 4, "dropout": 0.0, **CODES}
BERT = {
    "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": 32, "dropout": 0.0, "num_queries": 8, "cross_width": 64, "latent_dim": 32, "nb_code": 64,
}  # fmt: skip


def lengths(most: int) -> Tensor:
    """(B,) lengths, the last one the longest."""
    return torch.linspace(most // 2, most, B).long() // 4 * 4


def cases() -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Every model that the trainer trains, in training mode, and a batch for it."""
    torch.manual_seed(0)
    motion, tokens = torch.randn(B, T, 263), lengths(L)
    codes = torch.randint(64, (B, L, 3)).masked_fill((torch.arange(L) >= tokens[:, None])[..., None], -1)
    text = {"ids": torch.randint(5, 99, (B, 12)), "text_lengths": torch.linspace(6, 12, B).long(), "caption": torch.arange(B)}
    pairs = {"latents": torch.randn(B, L, 32), "codes": codes[..., 0], "lengths": tokens, **text}
    drawn = {"codes": codes, "lengths": tokens, "condition": torch.randn(B, C)}
    matched = {"motion": motion, "lengths": lengths(T), "words": torch.randn(B, 12, C), "pos": torch.randn(B, 12, 15)}
    captioner = CaptionGPT(GPTConfig(100, 64, 8, embed_dim=64, num_layers=2, num_heads=4, block_size=12, dropout=0.0))
    captioner.read_with_(LaMP(LaMPConfig(**BERT)))
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, width=32, depth=2, quantize_dropout_prob=0.0, **CODES))
    for book in tokeniser.quantizer.layers:
        book.codebook.normal_()
        book.counts.fill_(10)
    evaluator = EvaluatorConfig(movement_hidden=32, movement_dim=32, motion_hidden=64, text_hidden=64, embed_dim=32, word_dim=C)
    models = {
        "tokeniser": (tokeniser, {"motion": motion, "lengths": torch.full((B,), T)}),
        "lamp": (LaMP(LaMPConfig(**BERT)), pairs),
        "masked": (MaskedTransformer(MaskedConfig(cond_drop_prob=0.0, **SIZES)), drawn),
        "residual": (ResidualTransformer(ResidualConfig(num_quantizers=3, cond_drop_prob=0.0, **SIZES)), drawn),
        "length": (LengthPredictor(LengthConfig(cond_dim=C, classes=L + 1, dropout=0.0)), {**drawn, "lengths": tokens}),
        "evaluator": (Evaluator(evaluator), {**matched, "text_lengths": text["text_lengths"], "caption": text["caption"]}),
        "captioner": (captioner, pairs),
    }
    for module in (module for model, _ in models.values() for module in model.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return models


@contextlib.contextmanager
def drawn_on_cpu() -> Iterator[None]:
    """Inside, random numbers are drawn on the CPU and copied: the same ones on every device."""
    real = {name: getattr(torch, name) for name in ("rand", "randn_like", "randint_like", "randperm")}
    exponential = Tensor.exponential_

    def like(name: str) -> Callable:
        return lambda value, *sizes: real[name](value.cpu(), *sizes).to(value.device)

    def sized(name: str) -> Callable:
        return lambda *shape, device=None, generator=None: real[name](*shape).to(device)

    torch.rand, torch.randperm = sized("rand"), sized("randperm")
    torch.randn_like, torch.randint_like = like("randn_like"), like("randint_like")
    Tensor.exponential_ = lambda self: self.copy_(exponential(torch.empty(self.shape, dtype=self.dtype)))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(torch, name, function)
        Tensor.exponential_ = exponential


def loss_and_gradients(name: str, device: torch.device, bf16: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """The model's loss and gradients by parameter, on the CPU."""
    model, batch = cases()[name]
    model.to(device).train()
    torch.manual_seed(1)
    with drawn_on_cpu(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        loss, _ = model.loss({key: value.to(device) for key, value in batch.items()})
    loss.backward()
    gradients = {name: p.grad.float().cpu() for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach().float().cpu(), gradients


def gradient_error(gradients: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    """The norm of the difference of all gradients over that of the reference."""
    assert gradients.keys() == reference.keys(), "other parameters have gradients"
    off = sum((gradients[name] - value).square().sum() for name, value in reference.items())
    return float((off / sum(value.square().sum() for value in reference.values())).sqrt())


def check_losses(device: torch.device) -> str:
    """Losses and gradients of every model in fp32, and in bf16 unless the GPU lacks it, against the CPU's in fp32."""
    exact_fp32()
    kinds = [("fp32", False, LOSS, GRADIENT), ("bf16", True, BF16_LOSS, BF16_GRADIENT)]
    if device.type == "cuda" and not has_bf16_units(device):
        del kinds[1]
    worst = {}
    for name in cases():
        loss, gradients = loss_and_gradients(name, torch.device("cpu"))
        for kind, bf16, loss_tolerance, gradient_tolerance in kinds:
            device_loss, device_gradients = loss_and_gradients(name, device, bf16)
            error = float((device_loss - loss).abs() / loss.abs())
            assert error <= loss_tolerance, f"{name}, {kind}: the loss is off by {error:.1e}, allowed {loss_tolerance:.0e}"
            # The tokeniser's codes and LaMP's negatives jump where two are almost equal: in bf16 gradients cannot be compared.
            if not (bf16 and name in ("tokeniser", "lamp")):
                deviation = gradient_error(device_gradients, gradients)
                message = f"{name}, {kind}: the gradient is off by {deviation:.1e}, allowed {gradient_tolerance:.0e}"
                assert deviation <= gradient_tolerance, message
                worst[kind] = max(worst.get(kind, 0.0), deviation)
    return "worst gradients off by " + ", ".join(f"{deviation:.1e} ({kind})" for kind, deviation in worst.items())


def generators(device: torch.device) -> tuple[MaskedTransformer, ResidualTransformer, MotionTokeniser]:
    """Both transformers and the tokeniser in eval mode; weights spread the tokens' chances."""
    models = cases()
    masked, residual, tokeniser = (models[name][0].eval() for name in ("masked", "residual", "tokeniser"))
    for model in (masked, residual):
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.mul_(4)
    return masked.to(device), residual.to(device), tokeniser.to(device)


@torch.no_grad()
def check_generation(device: torch.device) -> str:
    """Teacher-forced logits against the CPU's, every step and layer in fp32, and the arg-max tokens of the first step."""
    exact_fp32()
    cpu, models = generators(torch.device("cpu")), generators(device)
    condition, tokens = torch.randn(B, C, generator=torch.Generator().manual_seed(0)), lengths(L)
    valid = torch.arange(L) < tokens[:, None]
    worst = 0.0
    for number, step in enumerate(decoded(cpu[0], condition, tokens, time_steps=6, cond_scale=4.0)):
        logits = models[0].guided(step.ids_in.to(device), condition.to(device), valid.to(device), 4.0).cpu()
        worst = max(worst, float((logits - step.logits)[valid].abs().max()))
        if number == 0:
            same = float((logits.argmax(-1) == step.logits.argmax(-1))[valid].float().mean())
        base = step.ids
    history = 0
    ids = torch.where(valid, base, cpu[1].pad_id)
    for q, (logits, following) in enumerate(decoded(cpu[1], base, condition, tokens), start=1):
        history = history + models[1].embeddings[q - 1][ids.to(device)]
        guided = models[1].guided(history, condition.to(device), valid.to(device), q, 5.0).cpu()
        worst, ids = max(worst, float((guided - logits)[valid].abs().max())), following
    scale = float(logits.abs().max())
    assert worst <= LOGITS * max(1.0, scale), f"logits of up to {scale:.1f} are off by {worst:.1e}, allowed {LOGITS:.0e}"
    assert same >= SAME_TOKENS, f"{100 * same:.1f} % of the first step's arg-max tokens are the CPU's"
    return f"logits off by {worst:.1e}, {100 * same:.1f} % of the first step's tokens equal"


@torch.no_grad()
def check_batch_independence(device: torch.device) -> str:
    """A motion's tokens are the same alone and beside others, to rounding."""
    masked, _, _ = generators(device)
    condition = torch.randn(B, C, generator=torch.Generator().manual_seed(0)).to(device)
    tokens = lengths(L).to(device)
    together = masked.generate(condition, tokens)
    alone = [masked.generate(condition[i : i + 1], tokens[i : i + 1], first_sample=i)[0] for i in range(B)]
    same = torch.cat([row == together[i, : len(row)] for i, row in enumerate(alone)]).float().mean()
    assert same >= SAME_TOKENS, f"{100 * same:.1f} % of the tokens are the same alone as in a batch"
    return f"{100 * same:.1f} % of the tokens equal"


@torch.no_grad()
def check_graphs(device: torch.device) -> str:
    """Motions from CUDA graphs are those of plain calls, in fp32 and bf16, also after the weights were exchanged."""
    masked, residual, _ = generators(device)
    condition = torch.randn(B, C, generator=torch.Generator().manual_seed(0)).to(device)
    tokens, graphs = lengths(L).to(device), 0

    def made() -> Tensor:
        return residual.generate(masked.generate(condition, tokens, choice_temperature=4.0), condition, tokens)

    for bf16 in (False, has_bf16_units(device)):
        for scale in (1.0, 1.5):
            for weight in masked.parameters():
                weight.data = weight.data * scale
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                plain, *replayed = (made() for _ in range(3))
            same = min(float((codes == plain)[plain >= 0].float().mean()) for codes in replayed)
            assert same >= SAME_TOKENS, f"{100 * same:.1f} % of the tokens equal plain calls; bf16: {bf16}, weights × {scale}"
    lamp, batch = cases()["lamp"]
    lamp.to(device).eval()
    ids, sizes = batch["ids"].to(device), batch["text_lengths"].to(device)
    plain, *replayed = (lamp.condition(ids, sizes) for _ in range(3))
    off = max(float((condition - plain).abs().max()) for condition in replayed)
    assert off <= 1e-4, f"LaMP's conditions are off by {off:.1e}"
    graphs = sum(graph is not None for model in (masked, residual, lamp) for graph in model.graphs.graphs.values())
    assert graphs > 0 or device.type == "cpu", "no graph was captured"
    return f"{100 * same:.1f} % of the tokens equal, {graphs} graphs"


def check_resume(device: torch.device) -> str:
    """A training that is interrupted and resumed ends with the weights of one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        whole = train(Path(folder) / "whole", device, max_iters=6)
        train(Path(folder) / "parts", device, max_iters=3)
        parts = train(Path(folder) / "parts", device, max_iters=6, is_continue=True)
    difference = max(float((first - second).abs().max()) for first, second in zip(whole, parts, strict=True))
    assert difference <= 1e-5, f"weights are off by {difference:.1e} after resuming"
    return f"weights off by {difference:.1e}"


CAPTURABLE = ("tokeniser", "lamp", "lamp, sampled pairs", "masked", "residual", "length", "captioner")
TRAINED, GRAPH_LOSS, GRAPH_WEIGHTS = 6, 1e-3, 0.05  # steps; relative differences of losses, and of the changes of weights


def trained(name: str, device: torch.device, graphs: bool, precision: str) -> tuple[Tensor, Tensor, int]:
    """Train a model with dropout on batches of two shapes in turn.

    Returns the losses (6,), the changes of all weights (N,), both on the CPU, and the number of captured graphs.
    """
    from options.train import Training
    from training.update import Update
    from utils.padding import batch_to_units

    kind, _, sampled = name.partition(", ")
    model, batch = cases()[kind]
    if sampled:
        model = LaMP(LaMPConfig(**BERT, match_rows=B // 2))
    for module in model.modules():
        if isinstance(module, nn.Dropout | Dropout):
            module.p = 0.1
    model.to(device).train()
    whole = {key: value.to(device) for key, value in batch_to_units(batch).items()}
    batches = [whole, {key: value[: B - 2] for key, value in whole.items()}]
    update = Update(model, Training(name="run", precision=precision, lr=1e-3, cuda_graphs=graphs), device)
    before, losses = [weight.detach().clone() for weight in update.weights], []
    torch.manual_seed(1)
    for step in range(TRAINED):
        losses.append(update.gradient(batches[step % 2])["loss"].clone())
        update.step(1e-3)
    changes = torch.cat([(weight.detach() - old).flatten() for weight, old in zip(update.weights, before, strict=True)])
    captured = sum(graph is not None for graph in update.graphs.graphs.values()) if update.graphs else 0
    return torch.stack(losses).cpu(), changes.cpu(), captured


def check_training_graphs(device: torch.device) -> str:
    """Trainings with CUDA graphs equal trainings without, in fp32 and bf16, dropout included; replays draw new random numbers."""
    exact_fp32()
    kinds = [(name, "fp32") for name in CAPTURABLE] + [("lamp", "bf16"), ("masked", "bf16")] * has_bf16_units(device)
    worst, wrong = {"losses": 0.0, "weights": 0.0}, []
    for name, precision in kinds:
        losses, changes, _ = trained(name, device, False, precision)
        graph_losses, graph_changes, captured = trained(name, device, True, precision)
        if captured != 3 * (device.type == "cuda"):
            wrong.append(f"{name}, {precision}: {captured} graphs were captured, not 3")
        off = {
            "losses": float(((graph_losses - losses) / losses).abs().max()),
            "weights": float((graph_changes - changes).norm() / changes.norm()),
        }
        for part, allowed in (("losses", GRAPH_LOSS), ("weights", GRAPH_WEIGHTS)):
            if not off[part] <= allowed:
                wrong.append(f"{name}, {precision}: {part} with graphs are off by {off[part]:.1e}, allowed {allowed:.0e}")
            worst[part] = max(worst[part], off[part])
    assert not wrong, "; ".join(wrong)
    check_new_dropout(device)
    return f"losses off by {worst['losses']:.1e}, changes of weights by {worst['weights']:.1e}"


def check_new_dropout(device: torch.device) -> None:
    """Every step on the same batch, with the learning rate 0, has another loss: replays do not repeat the dropout."""
    from options.train import Training
    from training.update import Update

    config = LengthConfig(cond_dim=C, classes=L + 1, dropout=0.5)
    batch = {key: value.to(device) for key, value in cases()["length"][1].items()}
    update = Update(LengthPredictor(config).to(device).train(), Training(name="run", precision="fp32"), device)
    losses = []
    for _ in range(TRAINED):
        losses.append(float(update.gradient(batch)["loss"]))
        update.step(0.0)
    assert len(set(losses)) == TRAINED, f"replays repeat the dropout: losses {losses}"


def train(root: Path, device: torch.device, **changes) -> list[Tensor]:
    """Train the small masked transformer in fp32; its weights on the CPU."""
    from options.train import Training
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder

    model, batch = cases()["masked"]

    class Same:
        steps_per_epoch = 6

        def batch(self, index: int) -> dict[str, Tensor]:
            return batch

    gpu = -1 if device.type == "cpu" else 0  # a process of torchrun takes its own by itself
    config = Training(name="run", gpu_id=gpu, precision="fp32", batch_size=B, warm_up_iter=1, max_epoch=1, **changes)
    with contextlib.redirect_stdout(sys.stderr):
        trainer = Trainer(model, Same(), config, CheckpointFolder(root, "synthetic", "run"), model_metadata={"kind": "masked"})
        trainer.fit()
    return [weight.detach().cpu() for weight in trainer.update.weights]


def check_processes(device: torch.device) -> str:
    """Two processes on one device by gloo, and on a GPU one process by NCCL: sums, agreement, gradients of DDP."""
    import torch.distributed as dist

    groups = [("gloo", 2)] + [("nccl", 1)] * (device.type == "cuda" and dist.is_nccl_available())
    for backend, world in groups:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.gpu", backend, f"file://{folder}/group", str(world), str(device)]
            environment = {**os.environ, "PYTHONPATH": os.getcwd()}
            running = [subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE) for rank in range(world)]
            try:
                for process in running:
                    _, error = process.communicate(timeout=80)
                    assert process.returncode == 0, f"{backend} of {world}: {error.decode()[-400:]}"
            finally:
                for process in running:
                    process.kill()
    return ", ".join(f"{backend} of {world}" for backend, world in groups)


def worker(backend: str, init: str, world: int, device: torch.device, rank: int) -> None:
    """One of the processes of `check_processes`."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    if device.type == "cuda":
        torch.cuda.set_device(device)
    bound = device if backend == "nccl" else None
    dist.init_process_group(backend, init_method=init, rank=rank, world_size=world, device_id=bound)
    processes = Distributed(rank, world)
    assert float(processes.mean(torch.tensor([float(rank)], device=device))) == (world - 1) / 2
    agreement = Agreement(processes)
    agreement.largest(rank)
    assert agreement.close() == world - 1 if world > 1 else agreement.close() == 0
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1).to(device))
    model(torch.full((2, 4), float(rank + 1), device=device)).sum().backward()
    assert torch.allclose(model.module.weight.grad.cpu(), torch.full((1, 4), (world + 1.0)))
    dist.destroy_process_group()


CHECKS: dict[str, Callable[[torch.device], str]] = {
    "losses and gradients": check_losses,
    "generation": check_generation,
    "batch independence": check_batch_independence,
    "CUDA graphs": check_graphs,
    "training graphs": check_training_graphs,
    "resume": check_resume,
    "processes": check_processes,
}

if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), torch.device(sys.argv[4]), int(sys.argv[5]))
