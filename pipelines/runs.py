"""Select the run, a folder with trained weights, that a script uses.

If the user names a run, the script uses this run. If not, the script uses the run of the required kind in
`<checkpoints_dir>/<dataset>/` that was trained or converted with this project. If this folder contains no such run, the script uses
released weights of LaMP or MoMask (.tar or .pth files) in this folder. If there are none, the script uses the embedded weights in
`assets/demo`. If the folder contains several runs of the required kind, an error lists these runs. A damaged file is reported as
damaged, not as missing. The kind of a run is read from the weights file; the name of the run does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data.prompts import STRIDE
from models.loading import kind_of
from models.upstream.released import DamagedFile, read_opt, read_released, recognise, run_folder
from models.upstream.tokeniser import halvings
from motion.spec import RELEASED_EVALUATOR, SPECS
from utils.checkpoint import RELEASED, SUFFIXES, CheckpointFolder, find_weights, read_metadata
from utils.errors import UserError, warning

EMBEDDED_DIR = Path(__file__).resolve().parent.parent / "assets" / "demo"
EMBEDDED = "embedded"  # name that selects the embedded run of a kind


class MissingRun(UserError):
    """No run of the required kind exists. For damaged files or several candidates, a plain `UserError` is raised."""


@dataclass(frozen=True)
class Kind:
    """A kind of run that a script needs.

    Attributes:
        kinds: possible values of `kind` in the metadata of the weights file.
        title: name of the kind in messages.
        flag: the flag that selects a run.
        remedy: how to get such a run, for error messages.
        preferred: name of a run that is preferred to all others; "": no run is preferred.
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
    """The weights of one training: the folder `<checkpoints_dir>/<dataset_name>/<name>` or, if given, the folder or file `path`."""

    checkpoints_dir: Path
    dataset_name: str
    name: str
    path: Path | None = None

    @property
    def folder(self) -> Path:
        """The run's checkpoint folder."""
        return self.checkpoints_dir / self.dataset_name / self.name

    @property
    def address(self) -> tuple[Path, str, str]:
        """Checkpoints folder, dataset and name: the first arguments of every pipeline's `load`."""
        return self.checkpoints_dir, self.dataset_name, self.name

    @property
    def known_as(self) -> str:
        """The name by which the metadata of other runs refer to the run."""
        return EMBEDDED if self.embedded else self.name

    @property
    def embedded(self) -> bool:
        """Whether the run comes with the code, in `assets/demo`."""
        return self.checkpoints_dir == EMBEDDED_DIR

    def weights(self, tag: str | None = None) -> Path:
        """The weights file with the name `tag`; None: the best. Raises `UserError` if there is none."""
        return find_weights(self.path or self.folder, tag)

    def results(self, checkpoints_dir: str | Path) -> Path:
        """The folder of evaluation results: `eval` in the run's folder or, for an embedded run, a folder in `checkpoints_dir`."""
        root, name = (Path(checkpoints_dir), f"{EMBEDDED}_{self.name}") if self.embedded else (self.checkpoints_dir, self.name)
        return root / self.dataset_name / name / "eval"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the weights file, such as kind, vq_name and text_encoder."""
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
        return f"{self.path or self.folder}{' (embedded weights; --name selects others)' if self.embedded else ''}"


def resolve(kind: Kind, checkpoints_dir: str | Path | Sequence[str | Path], dataset_name: str | None = None, name: str = "") -> Run:
    """Select the run to use, as described at the top of this module.

    Args:
        kind: the required kind of run.
        checkpoints_dir: one or several checkpoints folders; the first folder that contains such a run is used.
        dataset_name: dataset of the run; None: any dataset.
        name: name of the run, path of its folder or weights file, or "embedded" for the run in `assets/demo`; "": the only run.

    Raises `MissingRun` if there is no such run, and `UserError` if there are several such runs, or only damaged ones.
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
    """Return the only run in `runs`. Raises `MissingRun` if `runs` is empty; if it has several runs, a `UserError` lists them."""
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise MissingRun(f"no {kind.title} in {_where(root, datasets)}; {kind.remedy}")
    names = ", ".join(run.name if len(datasets) == 1 else f"{run.dataset_name}/{run.name}" for run in runs)
    remedy = f"{kind.flag} selects one" if len(datasets) == 1 else f"{kind.flag} and --dataset_name select one"
    raise UserError(f"{len(runs)} {kind.title}s in {_where(root, datasets)} ({names}); {remedy}")


def runs_in(root: Path, dataset_name: str, kinds: Sequence[str], *, released: bool | None = None) -> list[Run]:
    """Return the runs of a dataset whose weights have one of the kinds in `kinds`, such as "lamp" or "masked".

    `released`: True for weights released by LaMP or MoMask, False for runs of this code, None for both. A run with unreadable
    weights is skipped with a warning. If there is no other run, a `UserError` names the unreadable file.
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
        warning(f"{reason.partition(';')[0]}; the run with this file is skipped")
    return runs


def _folders(root: Path) -> list[Path]:
    """The folders with weights files in `root` and its subfolders. LaMP's released length estimator is in a subfolder."""
    folders = {path.parent for pattern in ("*/model", "*/*/model") for path in root.glob(pattern)}
    return sorted(folder for folder in folders if weights_files(folder))


def weights_files(folder: Path) -> list[Path]:
    """The weights files of a run, sorted by name, without the files for resuming a training."""
    if not (folder / "model").is_dir():
        return []
    files = [path for path in (folder / "model").iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")]
    return sorted(path for path in files if not path.stem.startswith("resume"))


def _kind(path: Path) -> str | None:
    """The kind of a weights file; None if the file belongs to another project. Raises `UserError` if the file is damaged."""
    try:
        return kind_of(path)
    except DamagedFile:
        raise
    except UserError:
        if path.suffix in RELEASED:
            return None
        raise


def _other_kind(folder: Path, kinds: Sequence[str]) -> bool:
    """For a run with damaged files: whether the first readable weights file has a kind that is not in `kinds`."""
    for path in weights_files(folder):
        with suppress(UserError):
            return _kind(path) not in kinds
    return False


def _runs(kind: Kind, root: Path, datasets: Sequence[str], *, released: bool) -> list[Run]:
    """Return the runs of a kind in `root` from which `resolve` selects one."""
    runs = [run for dataset in datasets for run in runs_in(root, dataset, kind.kinds, released=released)]
    if kind == MASKED:  # a gap-filling transformer is a candidate only if there is no other masked transformer
        runs = [run for run in runs if not run.fills_gaps] or runs
    if not released:
        return runs
    return _ready_releases(root, runs) if kind == MASKED else runs


def _ready_releases(root: Path, runs: Sequence[Run]) -> list[Run]:
    """Return at most one of the released masked transformers `runs`: one whose tokeniser is in `root`, preferably LaMP's."""
    ready = []
    for run in runs:
        tokenisers = runs_in(root, run.dataset_name, ("tokeniser",), released=True)
        if run.metadata["vq_name"] in {tokeniser.name for tokeniser in tokenisers if tokeniser.metadata["stride"] == STRIDE}:
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
        hint = f"available: {', '.join(known)}" if known else kind.remedy
        raise MissingRun(f"no {kind.title} '{name}' in {' or '.join(_where(root, datasets) for root in roots)}; {hint}")
    folder = path if path.is_dir() else run_folder(path)
    dataset = next((part for part in reversed(path.resolve().parts) if part in datasets), None)
    if dataset is None and len(datasets) == 1:
        dataset = datasets[0]
    elif dataset is None and path.suffix in RELEASED:
        dataset = recognise(path, read_released(path))[0].dataset or None
    if dataset is None:
        raise UserError(f"{name}: the path does not contain the name of the dataset; give --dataset_name")
    return Run(folder.parent.parent, dataset, folder.name, path)


def _where(root: Path, datasets: Sequence[str]) -> str:
    return str(root / (datasets[0] if len(datasets) == 1 else f"{{{','.join(datasets)}}}"))


# Text to motion: several models that were trained on the same tokeniser


@dataclass(frozen=True)
class Generator:
    """The runs that generate motion.

    Attributes:
        masked: the masked transformer.
        res_name, length_name, fill_name, selector_name: names of the residual transformer, the length predictor, the gap-filling
            transformer and the selector; "": none.
        resolved: names of the runs that were selected automatically.
    """

    masked: Run
    res_name: str
    length_name: str
    fill_name: str = ""
    selector_name: str = ""
    resolved: tuple[str, ...] = ()

    @property
    def companions(self) -> dict[str, str | None]:
        """The other models as keyword arguments of `TextToMotion.load`, such as {"res_name": name}; None for a missing model."""
        return {name: getattr(self, name) or None for name in ("res_name", "length_name", "fill_name", "selector_name")}

    def __str__(self) -> str:
        note = " (--name selects others)" if self.masked.name in self.resolved and not self.masked.embedded else ""
        companions = [name for name in self.resolved if name != self.masked.name and not self.masked.embedded]
        return ", ".join([str(self.masked), *companions]) + note


def resolve_generator(
    checkpoints_dir: str | Path,
    dataset_name: str | None = None,
    name: str = "",
    res_name: str = "",
    length_name: str = "",
    fill_name: str = "",
    selector_name: str = "",
    *,
    candidates: int | None = 1,
) -> Generator:
    """Select the models that generate motion: a masked transformer and its companions.

    The companions are the residual transformer, the length predictor, the gap-filling transformer and the selector. If `name`
    selects a masked transformer that is neither embedded nor released, only the companions that the arguments name are used. In
    all other cases, a companion that the arguments do not name is selected if one fits the masked transformer. A selector is
    selected in this way only if `candidates`, the number of motions to choose from, is above 1, or if `candidates` is None and the
    masked transformer is embedded.

    Raises the errors of `resolve`, and `UserError` if there are several companions of the same kind.
    """
    masked = resolve(MASKED, checkpoints_dir, dataset_name, name)
    released = masked.weights().suffix in RELEASED
    given = {"residual": res_name, "length": length_name, "filling": fill_name, "selector": selector_name}
    names = dict(given)
    if not name or name == EMBEDDED or released:
        chooses = masked.embedded if candidates is None else candidates > 1
        kinds = [kind for kind in given if chooses or kind != "selector"]
        names |= {kind: given[kind] or _companion(masked, kind, released) for kind in kinds}
    resolved = [masked.name] if not name else []
    resolved += [run_name for kind, run_name in names.items() if run_name and not given[kind]]
    return Generator(masked, *names.values(), tuple(resolved))


def _companion(masked: Run, kind: str, released: bool) -> str:
    """Return the name of the run of a kind ("residual", "length", "filling" or "selector") that fits a masked transformer.

    Returns "" if no run fits. The run must have the same tokeniser as the masked transformer. If the runs are released, or if
    several runs have this tokeniser, the run must also have the same text encoder as the masked transformer. The released length
    estimator fits all released transformers. A selector uses no tokeniser, and fits all transformers that are not released. Raises
    `UserError` if several runs fit.
    """
    if (kind == "filling" and masked.fills_gaps) or (kind == "selector" and released):
        return ""  # a masked transformer that fills gaps needs no companion for gaps; no selector fits a released transformer
    runs = runs_in(masked.checkpoints_dir, masked.dataset_name, ("masked" if kind == "filling" else kind,), released=released)
    if kind == "filling":
        runs = [run for run in runs if run.fills_gaps]
    if kind != "selector" and not (released and kind == "length"):
        runs = _alike(runs, masked, "vq_name")
        if released or len(runs) > 1:
            runs = _alike(runs, masked, "text_encoder", "lamp_name", "no_query", "bert")
    if len(runs) > 1:
        flag = {"residual": "--res_name", "length": "--length_name", "filling": "--fill_name"}.get(kind, "--selector_name")
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{len(runs)} {kind} models fit {masked.folder} ({names}); {flag} selects one")
    return runs[0].name if runs else ""


def _alike(runs: Sequence[Run], masked: Run, *keys: str) -> list[Run]:
    """Return the runs whose metadata equals that of the masked transformer for all `keys`."""
    return [run for run in runs if all((run.metadata.get(key) or "") == (masked.metadata.get(key) or "") for key in keys)]
