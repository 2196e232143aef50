"""Time to load and run checkpoints of the released sizes, with random weights.

    python -m benchmarks.released DIR

DIR contains one file `<layout>.txt` per checkpoint; an evaluator has one such file per encoder. Each line of a file describes one
tensor by its name, its shape and optionally its dtype, separated by tabs. For each checkpoint, this module prints the size in MB,
the time to load the checkpoint, and the time to run the model once on the CPU. The model runs on one input, such as a motion of
196 frames or a prompt. Each time is printed as wall-clock time and as CPU time of all threads.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.released")

import torch
from torch import Tensor, nn

from benchmarks.timing import timed
from models.loading import load_model
from options.cli import parse
from options.common import option
from utils.errors import UserError, script

FRAMES = 196
# Prefix of a layout's name → key in the checkpoint under which the tensors of this layout are stored.
KEYS = {
    "lamp_qformer": "motion_qformer", "lamp_t2m": "t2m_transformer", "lamp_vq": "vq_model", "momask_rvq": "vq_model",
    "momask_mtrans": "t2m_transformer", "momask_rtrans": "res_transformer", "momask_lenest": "estimator",
}  # fmt: skip
EVALUATOR = re.compile(r"(eval_\w+?)_((?:motion|movement|text)_encoder)")


def layouts(folder: Path) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Read the shapes of tensors in the files `<layout>.txt` of a folder, keyed by layout, checkpoint key and tensor name.

    Raises `UserError` if there are none.
    """
    result = defaultdict(dict)
    for path in sorted(folder.glob("*.txt")):
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
        shapes = {name: [int(size) for size in re.findall(r"\d+", shape)] for name, shape, *_ in lines}
        if part := EVALUATOR.fullmatch(path.stem):
            result[part[1]][part[2]] = shapes
        elif key := next((KEYS[prefix] for prefix in KEYS if path.stem.startswith(prefix)), None):
            result[path.stem][key] = shapes
    if not result:
        raise UserError(f"{folder}: contains no lists of tensors; give the folder that contains <layout>.txt files")
    return dict(result)


def random_state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Return small random weights of the given shapes, keyed by name, and ones for the scales of normalisation layers."""
    return {
        name: torch.ones(shape) if len(shape) == 1 and name.endswith("weight") else 0.02 * torch.randn(shape)
        for name, shape in shapes.items()
    }


@torch.no_grad()
def use(model: nn.Module, kind: str) -> Tensor:
    """Run a model of the given kind, such as "lamp", once on random inputs, for one clip of 196 frames or one prompt."""
    config, lengths, tokens = model.config, torch.tensor([FRAMES]), torch.tensor([FRAMES // 4])
    ids = torch.tensor([[101, 1037, 2711, 7365, 102]])  # "a person runs"
    if kind == "tokeniser":
        return model.decode(model.encode(torch.randn(1, FRAMES, config.dim)))
    if kind == "masked":
        text = getattr(model, "text", None)
        padded = nn.functional.pad(ids, (0, 44))
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
    """Measure the loading time and speed of models of the released sizes, with random weights."""

    folder: str = option("", "folder with a list of tensors, <layout>.txt, for each checkpoint", positional=True)


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Released, argv)
    torch.manual_seed(0)
    print(f"{'layout':<20}{'MB':>7}{'load s':>9}{'CPU s':>8}{'run s':>8}{'CPU s':>8}  result")
    for layout, parts in layouts(Path(args.folder)).items():
        with TemporaryDirectory() as folder:
            path = Path(folder) / "latest.tar"
            torch.save({key: random_state(shapes) for key, shapes in parts.items()} | {"ep": 1}, path)
            size = path.stat().st_size / 1e6
            (model, metadata), *load_times = timed(lambda path=path: load_model(path))
            result, *run_times = timed(lambda model=model, kind=metadata["kind"]: use(model, kind))
        times = "{:>9.2f}{:>8.2f}{:>8.2f}{:>8.2f}".format(*load_times, *run_times)
        fault = "" if torch.isfinite(result.float()).all() else "NOT FINITE"
        print(f"{layout:<20}{size:>7.1f}{times}  {tuple(result.shape)} {fault}")


if __name__ == "__main__":
    main()
