"""Which run a script uses: the only place that decides.

The run that is named; else the only run of the kind in `<checkpoints_dir>/<dataset>/`; else a downloaded release there; else the
embedded weights in `assets/demo`. Several candidates are an error that lists them. A damaged file is reported as damaged and never
taken for a missing one. What a folder holds is read from its weights file, not from its name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data.prompts import STRIDE
from models.loading import kind_of
from models.upstream.released import DamagedFile, read_opt, read_released, recognise
from models.upstream.tokeniser import halvings
from motion.spec import RELEASED_EVALUATOR, SPECS
from utils.checkpoint import RELEASED, SUFFIXES, CheckpointFolder, find_weights, read_metadata
from utils.errors import UserError

EMBEDDED_DIR = Path(__file__).resolve().parent.parent / "assets" / "demo"
EMBEDDED = "embedded"  # the name that selects the embedded run of a kind


class MissingRun(UserError):
    """There is no run of the kind that is needed. Damaged files and several candidates raise a plain `UserError`."""


@dataclass(frozen=True)
class Kind:
    """What a script looks for.

    Attributes:
        kinds: as weights files name them.
        title: for people.
        flag: names a run.
        remedy: how to get one.
        preferred: the run of this name is used before all others.
    """

    kinds: tuple[str, ...]
    title: str
    flag: str
    remedy: str
    preferred: str = ""


LAMP = Kind(("lamp",), "LaMP run", "--lamp_name", "train one with train_lamp.py")
CAPTIONER = Kind(("caption_gpt", "caption_lm", "caption_opt"), "captioner", "--name", "train one with train_m2t.py")
MASKED = Kind(("masked",), "masked transformer", "--name", "train one with train_t2m_transformer.py")
EVALUATOR = Kind(
    ("evaluator",), "evaluator", "--evaluator_name",
    "train one in minutes with train_evaluator.py, or get the released one with prepare/download_evaluator.sh",
    RELEASED_EVALUATOR,
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run: the folder `<checkpoints_dir>/<dataset_name>/<name>`, or a folder or weights file anywhere, whose `path` was given."""

    checkpoints_dir: Path
    dataset_name: str
    name: str
    path: Path | None = None

    @property
    def folder(self) -> Path:
        return self.checkpoints_dir / self.dataset_name / self.name

    @property
    def address(self) -> tuple[Path, str, str]:
        """Checkpoints folder, dataset and name: the first arguments of every pipeline's `load`."""
        return self.checkpoints_dir, self.dataset_name, self.name

    @property
    def known_as(self) -> str:
        """The name by which metadata of other runs refer to this one."""
        return EMBEDDED if self.embedded else self.name

    @property
    def embedded(self) -> bool:
        return self.checkpoints_dir == EMBEDDED_DIR

    def weights(self, tag: str | None = None) -> Path:
        """The weights file: the best, or the one called `tag`. Raises `UserError` if there is none."""
        return find_weights(self.path or self.folder, tag)

    def results(self, checkpoints_dir: str | Path) -> Path:
        """Where the results of its evaluations lie: the run's folder `eval`, of an embedded run one in `checkpoints_dir`."""
        root, name = (Path(checkpoints_dir), f"{EMBEDDED}_{self.name}") if self.embedded else (self.checkpoints_dir, self.name)
        return root / self.dataset_name / name / "eval"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the weights file says about the run: kind, vq_name, text_encoder, …"""
        path = self.weights()
        if path.suffix not in RELEASED:
            return read_metadata(path)
        reader, state = recognise(path, read_released(path))
        facts = {"kind": reader.kind, "vq_name": read_opt(path).get("vq_name", ""), "text_encoder": reader.text_encoder}
        return {**facts, "config": {}, **({"stride": 2 ** halvings(state)} if reader.kind == "tokeniser" else {})}

    @property
    def fills_gaps(self) -> bool:
        """Whether this is a masked transformer that was trained to fill gaps for editing (`--infill`)."""
        config = self.metadata.get("config")
        return isinstance(config, dict) and bool(config.get("infill"))

    def __str__(self) -> str:
        note = " (embedded weights; --name selects others)" if self.embedded else ""
        return f"{self.path or self.folder}{note}"


def resolve(kind: Kind, checkpoints_dir: str | Path | Sequence[str | Path], dataset_name: str | None = None, name: str = "") -> Run:
    """The run to use.

    Args:
        kind: what the run must hold.
        checkpoints_dir: checkpoints folder, or several, of which the first that has a run decides.
        dataset_name: None: any dataset.
        name: of the run, a path to its folder or weights file, or "embedded"; "": see above.

    Raises `MissingRun` if there is none, `UserError` if there are several, or if the only candidates are damaged.
    """
    roots = [checkpoints_dir] if isinstance(checkpoints_dir, (str, Path)) else checkpoints_dir
    roots = list(dict.fromkeys(map(Path, roots)))
    datasets = [dataset_name] if dataset_name else list(SPECS)
    if name == EMBEDDED:
        return only(kind, _runs(kind, EMBEDDED_DIR, datasets, released=False), EMBEDDED_DIR, datasets)
    preferred = (kind.preferred for root in roots for dataset in datasets if (root / dataset / kind.preferred / "model").is_dir())
    if name := name or next(preferred, ""):
        return _named(kind, roots, datasets, name)
    for root, released in [*((root, released) for root in roots for released in (False, True)), (EMBEDDED_DIR, False)]:
        if runs := _runs(kind, root, datasets, released=released):
            return only(kind, runs, root, datasets)
    raise MissingRun(f"no {kind.title} in {_where(roots[0], datasets)}; {kind.remedy}")


def only(kind: Kind, runs: Sequence[Run], root: Path, datasets: Sequence[str]) -> Run:
    """The only one of `runs`. Raises `UserError` that lists them if there are several, `MissingRun` if there is none."""
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise MissingRun(f"no {kind.title} in {_where(root, datasets)}; {kind.remedy}")
    names = ", ".join(run.name if len(datasets) == 1 else f"{run.dataset_name}/{run.name}" for run in runs)
    remedy = f"{kind.flag} selects one" if len(datasets) == 1 else f"{kind.flag} and --dataset_name select one"
    raise UserError(f"{len(runs)} {kind.title}s in {_where(root, datasets)} ({names}); {remedy}")


def runs_in(root: Path, dataset_name: str, kinds: Sequence[str], *, released: bool | None = None) -> list[Run]:
    """The runs of a dataset that hold weights of these kinds; with `released` only released ones, or only ours.

    A folder whose weights cannot be read is left out with a warning; if nothing else is there, `UserError` names its file.
    """
    runs, damaged = [], []
    for folder in _folders(root / dataset_name):
        try:
            path = find_weights(folder)
            if released is not None and (path.suffix in RELEASED) != released:
                continue
            if _kind(path) in kinds:
                runs.append(Run(root, dataset_name, str(folder.relative_to(root / dataset_name))))
        except UserError as error:
            if not _other_kind(folder, kinds):
                damaged.append(str(error))
    if damaged and not runs:
        raise UserError(damaged[0])
    for reason in damaged:
        print(f"warning: {reason.partition(';')[0]}; this run is left out", file=sys.stderr)
    return runs


def _folders(root: Path) -> list[Path]:
    """The folders in `root` that hold weights files; LaMP's released length estimator lies one level deeper."""
    folders = {path.parent for pattern in ("*/model", "*/*/model") for path in root.glob(pattern)}
    return sorted(folder for folder in folders if weights_files(folder))


def weights_files(folder: Path) -> list[Path]:
    """The weights files of a run, by name: those to use, not those to resume from."""
    if not (folder / "model").is_dir():
        return []
    files = [path for path in (folder / "model").iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")]
    return sorted(path for path in files if not path.stem.startswith("resume"))


def _kind(path: Path) -> str | None:
    """What a weights file holds; None for one of another project. Raises `UserError` for a damaged file."""
    try:
        return kind_of(path)
    except DamagedFile:
        raise
    except UserError:
        if path.suffix in RELEASED:
            return None
        raise


def _other_kind(folder: Path, kinds: Sequence[str]) -> bool:
    """Whether another weights file of a run shows that it is none of `kinds`."""
    for path in weights_files(folder):
        with suppress(UserError):
            return _kind(path) not in kinds
    return False


def _runs(kind: Kind, root: Path, datasets: Sequence[str], *, released: bool) -> list[Run]:
    """The candidates of a kind, those of the releases in the order of preference."""
    runs = [run for dataset in datasets for run in runs_in(root, dataset, kind.kinds, released=released)]
    if kind == MASKED:  # those that fill gaps go with another
        runs = [run for run in runs if not run.fills_gaps]
    if not released:
        return runs
    return _ready_releases(root, runs) if kind == MASKED else runs


def _ready_releases(root: Path, runs: Sequence[Run]) -> list[Run]:
    """The released masked transformer to use of those whose tokeniser is there and fits: LaMP's, else MoMask's."""
    ready = []
    for run in runs:
        tokenisers = runs_in(root, run.dataset_name, ("tokeniser",), released=True)
        if run.metadata["vq_name"] in {one.name for one in tokenisers if one.metadata["stride"] == STRIDE}:
            ready.append(run)
    ready.sort(key=lambda run: run.metadata["text_encoder"] != "own")
    return ready[:1]


def _named(kind: Kind, roots: Sequence[Path], datasets: Sequence[str], name: str) -> Run:
    """The run called `name`, or at the path `name`."""
    path = Path(name)
    if not path.exists() or not (path.is_absolute() or ".." in path.parts):
        for root in roots:
            for dataset in datasets:
                if CheckpointFolder(root, dataset, name).root.is_dir():
                    return Run(root, dataset, name)
    if not path.exists():
        known = [run.name for dataset in datasets for run in runs_in(roots[0], dataset, kind.kinds)]
        there = f"there are: {', '.join(known)}" if known else kind.remedy
        raise MissingRun(f"no {kind.title} '{name}' in {' or '.join(_where(root, datasets) for root in roots)}; {there}")
    folder = path if path.is_dir() else path.parent.parent if path.parent.name == "model" else path.parent
    dataset = next((part for part in reversed(path.resolve().parts) if part in datasets), None)
    if dataset is None and len(datasets) == 1:
        dataset = datasets[0]
    elif dataset is None and path.suffix in RELEASED:
        dataset = recognise(path, read_released(path))[0].dataset or None
    if dataset is None:
        raise UserError(f"{name}: its folders do not name the dataset; give --dataset_name")
    return Run(folder.parent.parent, dataset, folder.name, path)


def _where(root: Path, datasets: Sequence[str]) -> str:
    return str(root / (datasets[0] if len(datasets) == 1 else f"{{{','.join(datasets)}}}"))


# Text to motion takes several models that belong together


@dataclass(frozen=True)
class Generator:
    """The masked transformer, and the names of the models that go with it ("": none): residual, length, and one that fills gaps."""

    masked: Run
    res_name: str
    length_name: str
    fill_name: str = ""
    found: tuple[str, ...] = ()  # names of those that were not given

    def __str__(self) -> str:
        note = " (--name selects others)" if self.masked.name in self.found and not self.masked.embedded else ""
        beside = [name for name in self.found if name != self.masked.name and not self.masked.embedded]
        return ", ".join([str(self.masked), *beside]) + note


def resolve_generator(
    checkpoints_dir: str | Path,
    dataset_name: str | None = None,
    name: str = "",
    res_name: str = "",
    length_name: str = "",
    fill_name: str = "",
) -> Generator:
    """The models that generate motion.

    A run of ours that is named takes the companions that are named; otherwise, what is not named is found: the only residual
    transformer, length predictor and gap-filling transformer that were trained on the same tokeniser.

    Raises `UserError` as `resolve` does, and for several companions.
    """
    masked = resolve(MASKED, checkpoints_dir, dataset_name, name)
    released = masked.weights().suffix in RELEASED
    given = {"residual": res_name, "length": length_name, "filling": fill_name}
    names = dict(given)
    if not name or name == EMBEDDED or released:
        names = {kind: one or _companion(masked, kind, released) for kind, one in given.items()}
    found = [masked.name] if not name else []
    found += [one for kind, one in names.items() if one and not given[kind]]
    return Generator(masked, names["residual"], names["length"], names["filling"], tuple(found))


def _companion(masked: Run, kind: str, released: bool) -> str:
    """The only run of this kind that goes with a masked transformer; "" if there is none.

    A released residual transformer shares the tokeniser and the text encoder; the released length estimator serves all.
    """
    runs = runs_in(masked.checkpoints_dir, masked.dataset_name, ("masked" if kind == "filling" else kind,), released=released)
    if kind == "filling":
        runs = [run for run in runs if run.fills_gaps]
    if not (released and kind == "length"):
        runs = _alike(runs, masked, "vq_name")
        if released or len(runs) > 1:
            runs = _alike(runs, masked, "text_encoder", "lamp_name", "no_query", "bert")
    if len(runs) > 1 and not released:
        flag = {"residual": "--res_name", "length": "--length_name", "filling": "--fill_name"}[kind]
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{len(runs)} {kind} models go with {masked.folder} ({names}); {flag} selects one")
    return runs[0].name if runs else ""


def _alike(runs: Sequence[Run], masked: Run, *keys: str) -> list[Run]:
    """Those runs whose metadata agree with the masked transformer's."""
    return [run for run in runs if all((run.metadata.get(key) or "") == (masked.metadata.get(key) or "") for key in keys)]
