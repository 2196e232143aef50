"""Which models of an unpacked release go together, in a dataset's checkpoints folder.

MoMask's archive holds a tokeniser, a masked and a residual transformer and a length estimator, each in its folder with `opt.txt`;
LaMP's files become such folders when they are downloaded. What a folder holds is told by its tensors, not by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.upstream.released import Reader, read_opt, read_released, recognise
from models.upstream.tokeniser import halvings
from utils.checkpoint import RELEASED, find_weights
from utils.errors import UserError

STRIDE = 4  # frames a token of every released masked transformer


@dataclass(frozen=True)
class Run:
    """A folder with a released model."""

    name: str
    reader: Reader
    vq_name: str
    stride: int | None  # of a tokeniser


def released_runs(root: Path) -> list[Run]:
    """The released models in `root`, by name; LaMP's length estimator lies one folder deeper."""
    runs = []
    for folder in sorted(path.parent for pattern in ("*/model", "*/*/model") for path in root.glob(pattern)):
        try:
            weights = find_weights(folder)
            if weights.suffix not in RELEASED:
                continue
            reader, state = recognise(weights, read_released(weights))
        except UserError:
            continue  # no model, or none that is known here
        stride = 2 ** halvings(state) if reader.kind == "tokeniser" else None
        runs.append(Run(str(folder.relative_to(root)), reader, read_opt(weights).get("vq_name", ""), stride))
    return runs


def masked_run(root: Path) -> str | None:
    """The masked transformer to take where none is named: LaMP's, else MoMask's; its tokeniser is there and fits."""
    runs = released_runs(root)
    tokenisers = {run.name for run in runs if run.stride == STRIDE}
    ready = [run for run in runs if run.reader.kind == "masked" and run.vq_name in tokenisers]
    ready.sort(key=lambda run: run.reader.text_encoder != "own")
    return ready[0].name if ready else None


def companions(root: Path, name: str) -> dict[str, str]:
    """What goes with the masked transformer `name`: {"res_name", "length_name"}, "" where there is none.

    A residual transformer shares its tokeniser and its text encoder; the length estimator serves all.
    """
    runs = released_runs(root)
    own = next((run for run in runs if run.name == name), None)
    like = [run for run in runs if own and (run.vq_name, run.reader.text_encoder) == (own.vq_name, own.reader.text_encoder)]
    return {
        "res_name": next((run.name for run in like if run.reader.kind == "residual"), ""),
        "length_name": next((run.name for run in runs if run.reader.kind == "length"), ""),
    }
