"""What the scripts that generate motion share: which weights, how they draw, and files that appear all together or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from motion.spec import DatasetSpec
from options.generate import Sampling
from utils.errors import UserError

if TYPE_CHECKING:  # --help does not wait for these
    from torch import Tensor

    from motion.clip import Motion
    from pipelines.runs import Generator
    from pipelines.text2motion import TextToMotion

RECORD, VERSION = "prompts.json", 1
GRIDS = ("mp4", "gif", "png")  # formats that --grid can write


@dataclass(frozen=True)
class Sample:
    """One result of a run: `prompt_index` counts the prompts, `repeat` the motions of one prompt, `number` all of the run.

    `number` and the run's seed determine what is drawn. `known` says how well the weights know the prompt, or None.
    """

    motion: Motion
    prompt_index: int = 0
    repeat: int = 0
    number: int = 0
    known: Any = None

    @property
    def name(self) -> str:
        return f"sample{self.prompt_index}_repeat{self.repeat}_len{len(self.motion)}"


def check_flags(config: Sampling, unused: tuple[str, ...] = ()) -> None:
    """Name the `unused` flags that were given. Raises `UserError` for numbers out of range and an --ext that names no folder."""
    for flag in ("repeat_times", "batch_size", "time_steps"):
        if getattr(config, flag) < 1:
            raise UserError(f"--{flag} {getattr(config, flag)}: must be 1 or more")
    if config.temperature <= 0 or not 0 <= config.topkr <= 1:
        raise UserError(f"--temperature {config.temperature} --topkr {config.topkr}: must be above 0, and from 0 to 1")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"--seed {config.seed}: must be from 0 to 2^63 - 1")
    check_ext(config.ext)
    if config.grid and not set(config.formats) & set(GRIDS):
        raise UserError(f"--grid: a picture of all motions needs one of {', '.join(GRIDS)} in --formats")
    for flag in ("gumbel_sample", "use_res_model", *unused):
        if getattr(config, flag):
            print(f"--{flag}: has no effect here (see --help)")


def check_ext(ext: str) -> None:
    """Raises `UserError` for a name of the folder of results that is more than a name."""
    if ext in ("", ".", "..") or Path(ext).name != ext or "\\" in ext:
        raise UserError(f"--ext '{ext}': must be the name of one folder, without slashes; --output_dir says where it lies")


def load_generator(config: Sampling, runs: Generator) -> TextToMotion:
    """The models that `pipelines.runs` found; one line names them and what reads the text.

    Raises `UserError` if they cannot be loaded.
    """
    from pipelines.text2motion import TextToMotion
    from utils.runtime import resolve_device

    names = {name: getattr(runs, name) or None for name in ("res_name", "length_name", "fill_name")}
    tag = config.which_epoch or None
    model = TextToMotion.load(*runs.masked.address, **names, device=resolve_device(config.gpu_id), tag=tag)
    model.precision = config.precision
    print(f"weights: {runs}; the text is read by {model.encoder.title}")
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        print("no --res_name: only the base tokens are decoded, which makes coarser motion")
    return model


def find_generator(config: Sampling) -> Generator:
    """The models that the flags ask for. Raises `UserError` if there are none, or several."""
    from pipelines.runs import resolve_generator

    names = (config.name, config.res_name, config.length_name, config.fill_name)
    return resolve_generator(config.checkpoints_dir, config.dataset_name, *names)


def to_joints(features: Tensor, spec: DatasetSpec) -> Tensor:
    """Joints (..., T, J, 3) in metres, on the CPU, of features (..., T, D) in the dataset's own units."""
    from motion.features import features_to_joints

    return features_to_joints(features.float().cpu(), spec.num_joints) * spec.unit_scale


@contextmanager
def staged(output_dir: Path, ext: str) -> Iterator[Path]:
    """A temporary folder whose files move to `output_dir/ext` in the end, or vanish if anything goes wrong.

    Raises `UserError` where nothing can be written.
    """
    target = output_dir / ext
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(prefix=f".{ext}.", dir=output_dir)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(None, "it is a file")
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror or error}; --output_dir chooses another place") from error
    try:
        with temporary as folder:
            yield Path(folder)
            target.mkdir(exist_ok=True)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_dir():
                    (target / path.relative_to(folder)).mkdir(parents=True, exist_ok=True)
                else:
                    os.replace(path, target / path.relative_to(folder))
    finally:
        with suppress(OSError):
            output_dir.rmdir()  # if it is empty


def write_samples(samples: Iterable[Sample], count: int, config: Sampling, provenance: dict[str, Any]) -> None:
    """Write `count` samples as they come, to `<output_dir>/<ext>/{joints,animation}/<prompt_index>/`, in every format asked for.

    Files that end in `_ik` hold the same motions with locked feet. What shows all of them lies in `<output_dir>/<ext>/`, with
    `prompts.json` (`Record`), which lists all files.

    Raises `UserError` for motions that are not finite, and where nothing can be written: then nothing is.
    """
    from tqdm import tqdm

    from motion.footlock import lock_feet

    began, target = time.perf_counter(), Path(config.output_dir) / config.ext
    earlier = read_record(target)
    with staged(Path(config.output_dir), config.ext) as folder:
        record, done = Record(folder, provenance), []
        for sample in tqdm(samples, total=count, unit="motion", disable=count == 1):
            motion = replace(sample.motion, locked=lock_feet(sample.motion.joints, sample.motion.fps))
            sample = replace(sample, motion=motion)
            record.add(sample, write_sample(folder, sample, config))
            done.append(sample)
        done.sort(key=lambda sample: (sample.prompt_index, sample.repeat))
        write_together(folder, [sample.motion for sample in done], config)
        record.merge(target, earlier)
        where = ", ".join(str(target / path.name) for path in sorted(folder.iterdir()))
    print(f"{count} motion{'s'[: count > 1]} in {time.perf_counter() - began:.1f} s, in {where}")


def write_sample(folder: Path, sample: Sample, config: Sampling) -> list[Path]:
    """Write one sample, plain and with locked feet, in every format asked for except the page. Returns the files."""
    from motion.files.export import export

    motion, files = sample.motion, []
    for ending, joints in (("", motion.joints), ("_ik", motion.locked)):
        for suffix in config.formats:
            if suffix != "html":  # one page shows all
                kind = "joints" if suffix == "npy" else "animation"
                files.append(folder / kind / str(sample.prompt_index) / f"{sample.name}{ending}.{suffix}")
                export(files[-1], joints, motion.text, motion.fps, config.bvh_unit)
    return files


def write_together(folder: Path, motions: list[Motion], config: Sampling) -> None:
    """Write what shows all motions: index.html, grid.mp4, grid.gif, grid.png, as asked for."""
    from motion.drawing.html import write_html
    from motion.drawing.render import contact_sheet, write_video

    if "html" in config.formats:
        write_html(folder / "index.html", motions, config.ext)
    for suffix in (suffix for suffix in GRIDS if config.grid and suffix in config.formats):
        draw = contact_sheet if suffix == "png" else write_video
        draw(folder / f"grid.{suffix}", [(motion.text, motion.joints) for motion in motions], motions[0].fps)


class Record:
    """`prompts.json`: what each file of a folder of results is, and what made it.

        {"version": 1,
         "motions": [{"files": [...], "prompt": "...", "prompt_index": 0, "repeat": 0, "number": 0,
                      "frames": 60, "fps": 20, "seed": 3407, "known": null, "made_by": "<key of provenance>"}],
         "provenance": {"<key>": {"command": ..., "revision": ..., "weights": [...], "date": ..., ...}}}

    Files are relative to the folder, with forward slashes. `provenance` is what `utils.provenance.provenance` gives.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any]):
        self.folder, self.path = folder, folder / RECORD
        self.key = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:12]
        self.provenance = {self.key: provenance}
        self.motions: list[dict[str, Any]] = []

    def add(self, sample: Sample, files: Sequence[Path]) -> None:
        """List one sample and write the record."""
        self.motions.append(
            {
                "files": [path.relative_to(self.folder).as_posix() for path in files],
                "prompt": sample.motion.text,
                "prompt_index": sample.prompt_index,
                "repeat": sample.repeat,
                "number": sample.number,
                "frames": len(sample.motion),
                "fps": sample.motion.fps,
                "seed": self.provenance[self.key].get("seed"),
                "known": sample.known,
                "made_by": self.key,
            }
        )
        self.write()

    def merge(self, target: Path, earlier: dict[str, Any]) -> None:
        """Also list the motions of the `earlier` record of `target` whose files are still there and are not replaced by ours."""
        ours = {name for motion in self.motions for name in motion["files"]}
        kept = [
            motion
            for motion in earlier.get("motions", [])
            if motion["files"] and not ours & set(motion["files"]) and all((target / name).is_file() for name in motion["files"])
        ]
        keys = {motion["made_by"] for motion in kept}
        self.provenance |= {key: value for key, value in earlier.get("provenance", {}).items() if key in keys}
        self.motions = [*kept, *self.motions]
        self.write()

    def write(self) -> None:
        from utils.checkpoint import atomic_path  # here, for it imports torch and --help must not

        content = {"version": VERSION, "motions": self.motions, "provenance": self.provenance}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_path(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="replace")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder of results; {} if there is none. Raises `UserError` for one that is damaged or of another version."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a readable record of results ({error}); delete it, or choose another --ext") from None
    if version != VERSION:
        raise UserError(f"{path}: version {version}, this code reads {VERSION}; choose another --ext")
    return record
