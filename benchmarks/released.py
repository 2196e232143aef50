"""Loading and running files of the released sizes, with random weights.

    python -m benchmarks.released DIR

DIR contains one list `<layout>.txt` per file, with one line per tensor: name, shape and optionally dtype, separated by tabs.
Printed for each: MB, time to load the file, and time to use the model once on the CPU (to generate, reconstruct or embed a motion
of 196 frames), as wall-clock time and CPU time of all threads, which differ if other programs run.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.released")

import torch
from torch import Tensor, nn

from models.loading import load_model
from options.cli import parse
from options.common import option
from utils.errors import UserError, script

FRAMES = 196
# What a layout's name begins with → the key under which the file keeps its tensors.
KEYS = {
    "lamp_qformer": "motion_qformer", "lamp_t2m": "t2m_transformer", "lamp_vq": "vq_model", "momask_rvq": "vq_model",
    "momask_mtrans": "t2m_transformer", "momask_rtrans": "res_transformer", "momask_lenest": "estimator",
}  # fmt: skip
EVALUATOR = re.compile(r"(eval_\w+?)_((?:motion|movement|text)_encoder)")


def layouts(folder: Path) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Shapes by layout, top-level key and tensor name. Raises `UserError` if there are none."""
    found = defaultdict(dict)
    for path in sorted(folder.glob("*.txt")):
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
        shapes = {name: [int(size) for size in re.findall(r"\d+", shape)] for name, shape, *_ in lines}
        if part := EVALUATOR.fullmatch(path.stem):
            found[part[1]][part[2]] = shapes
        elif key := next((KEYS[name] for name in KEYS if path.stem.startswith(name)), None):
            found[path.stem][key] = shapes
    if not found:
        raise UserError(f"{folder}: no list of tensors there; give the folder that holds them")
    return dict(found)


def random_state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Small random weights; ones for the scales of norms."""
    return {
        name: torch.ones(shape) if len(shape) == 1 and name.endswith("weight") else 0.02 * torch.randn(shape)
        for name, shape in shapes.items()
    }


@torch.no_grad()
def use(model: nn.Module, kind: str) -> Tensor:
    """Use the model once, on one clip."""
    config = model.config
    lengths, ids = torch.tensor([FRAMES]), torch.tensor([[101, 1037, 2711, 7365, 102]])
    tokens = torch.tensor([FRAMES // 4])
    if kind == "tokeniser":
        return model.decode(model.encode(torch.randn(1, FRAMES, config.dim)))
    if kind == "masked":
        text = getattr(model, "text", None)
        padded = torch.nn.functional.pad(ids, (0, 44))
        condition = text(padded, padded > 0) if text is not None else torch.randn(1, config.cond_dim)
        return model.generate(condition, tokens, time_steps=10, cond_scale=4.0)
    if kind == "residual":
        base = torch.randint(config.nb_code, (1, FRAMES // 4))
        return model.generate(base, torch.randn(1, config.cond_dim), tokens, cond_scale=5.0)
    if kind == "length":
        return model.predict(torch.randn(1, config.cond_dim))
    if kind == "lamp":
        latents = model.tokeniser.encode_latent(torch.randn(1, FRAMES, model.tokeniser.config.dim), lengths)
        features = model.motion_features(latents, lengths // config.stride)
        return model.similarity(features, model.text_features(ids, torch.tensor([5])))
    return model.embed_motion(torch.randn(1, FRAMES, config.dim), lengths)


@dataclass(frozen=True)
class Released:
    """Loading and speed of models of the released sizes, with random weights."""

    folder: str = option("", "folder of the released layouts", positional=True)


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Released, argv)
    torch.manual_seed(0)
    print(f"{'layout':<20}{'MB':>7}{'load s':>9}{'work s':>8}{'use s':>8}{'work s':>8}  result")
    for layout, parts in layouts(Path(args.folder)).items():
        with TemporaryDirectory() as folder:
            path = Path(folder) / "latest.tar"
            torch.save({key: random_state(shapes) for key, shapes in parts.items()} | {"ep": 1}, path)
            size = path.stat().st_size / 1e6
            began = time.perf_counter(), time.process_time()
            model, metadata = load_model(path)
            loaded = time.perf_counter(), time.process_time()
            result = use(model, metadata["kind"])
            used = time.perf_counter(), time.process_time()
        seconds = [stop - start for a, b in ((began, loaded), (loaded, used)) for start, stop in zip(a, b)]
        fine = "" if torch.isfinite(result.float()).all() else "NOT FINITE"
        print(f"{layout:<20}{size:>7.1f}" + "{:>9.2f}{:>8.2f}{:>8.2f}{:>8.2f}".format(*seconds), f" {tuple(result.shape)} {fine}")


if __name__ == "__main__":
    main()
