"""Shared parts of the scripts that generate motion: weights, settings, result files and their record."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from motion.spec import DatasetSpec
from options.cli import check_ext
from options.generate import Sampling
from options.ranges import check_ranges
from utils.errors import UserError, note
from utils.locks import FILE, lock_temporary, remove_abandoned

if TYPE_CHECKING:  # --help does not wait for these
    import numpy as np
    from torch import Tensor

    from motion.clip import Motion
    from motion.files.export import OutputOptions
    from pipelines.runs import Generator
    from pipelines.text2motion import TextToMotion

RECORD, VERSION = "prompts.json", 1
PAGE = "index.html"
GRIDS = ("mp4", "gif", "png")  # formats that --grid can write
LONGEST_NAME = 60  # characters of a prompt in the names of files
SAMPLED = 50  # clips of a dataset whose bones are measured


@dataclass(frozen=True)
class Sample:
    """One generated motion: `prompt_index` counts the prompts, `repeat` the motions of one prompt, `number` all motions.

    `number` and the seed determine the random numbers. `known` says how well the weights know the prompt, or None. `cycles`
    (3T, J, 3) are the joints of a loop played three times.
    """

    motion: Motion
    prompt_index: int = 0
    repeat: int = 0
    number: int = 0
    known: Any = None
    cycles: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The file name, without a suffix."""
        return f"sample{self.prompt_index}_repeat{self.repeat}_len{len(self.motion)}"


def check_flags(config: Sampling) -> None:
    """Raises `UserError` for numbers out of range, an --ext that is no plain name, and formats that cannot be written here."""
    check_ranges(vars(config))
    check_ext(config.ext)
    if config.grid and not set(config.formats) & set(GRIDS):
        raise UserError(f"--grid: a picture of all motions needs one of {', '.join(GRIDS)} in --formats")
    check_formats(config.formats)


def check_formats(formats: Sequence[str]) -> None:
    """Raises `UserError` for .fbx without Blender, before anything is loaded or generated."""
    if "fbx" in formats:
        from motion.files.fbx import blender

        blender()


def load_generator(config: Sampling, runs: Generator) -> TextToMotion:
    """Load the models that `pipelines.runs` found; one line names them and the text encoder.

    Raises `UserError` if they cannot be loaded.
    """
    from pipelines.text2motion import TextToMotion
    from utils.runtime import resolve_device

    names = {name: getattr(runs, name) or None for name in ("res_name", "length_name", "fill_name")}
    tag = config.which_epoch or None
    settings = {"device": resolve_device(config.gpu_id), "tag": tag, "precision": config.precision}
    model = TextToMotion.load(*runs.masked.address, **names, **settings)
    print(f"weights: {runs}; text encoder: {model.encoder.title}")
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        print("no --res_name: only the base tokens are decoded, so motion is coarser")
    return model


def find_generator(config: Sampling) -> Generator:
    """The models given by the flags. Raises `UserError` if there are none or several."""
    from pipelines.runs import resolve_generator

    names = (config.name, config.res_name, config.length_name, config.fill_name)
    return resolve_generator(config.checkpoints_dir, config.dataset_name, *names)


def to_joints(features: Tensor, spec: DatasetSpec) -> Tensor:
    """Joints (..., T, J, 3) in metres, on the CPU, of features (..., T, D) in the dataset's own units."""
    from motion.features import features_to_joints

    return features_to_joints(features.float().cpu(), spec.num_joints) * spec.unit_scale


@contextmanager
def staged(output_dir: Path, ext: str) -> Iterator[Path]:
    """A temporary folder whose files move to `output_dir/ext` at the end, or are deleted on failure.

    Temporary folders of killed runs are removed from `output_dir` first. Raises `UserError` if nothing can be written.
    """
    target = output_dir / ext
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(None, "it is a file")
        if abandoned := remove_abandoned(output_dir):
            note(f"removed half-written results of a killed run: {', '.join(map(str, abandoned))}")
        temporary = TemporaryDirectory(prefix=f".{ext}.", dir=output_dir)
        lock = lock_temporary(Path(temporary.name))
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror or error}; --output_dir chooses another place") from error
    try:
        with temporary as folder:
            yield Path(folder)
            target.mkdir(exist_ok=True)
            for path in sorted(Path(folder).rglob("*")):
                if path.name == FILE:
                    continue
                if path.is_dir():
                    (target / path.relative_to(folder)).mkdir(parents=True, exist_ok=True)
                else:
                    os.replace(path, target / path.relative_to(folder))
    finally:
        if lock:
            lock.close()
        with suppress(OSError):
            output_dir.rmdir()  # if it is empty


def write_samples(
    samples: Iterable[Sample], count: int, config: Sampling, provenance: dict[str, Any], body: np.ndarray | None = None
) -> None:
    """Write `count` samples as they are generated to `<output_dir>/<ext>/{joints,animation}/<prompt_index>/`, in every requested
    format.

    Files that end in `_ik` hold the same motions with locked feet and constant bones. `body` (J, 3) is the dataset's rest pose,
    which all animated files share. Each sample's files appear together and are then listed in `prompts.json` (`Record`), so that an
    interrupted run keeps its finished motions. Files that show all motions are in `<output_dir>/<ext>/`.

    Raises `UserError` for motions that are not finite, and where nothing can be written.
    """
    from data.store import named
    from motion.files.export import OutputOptions
    from utils.progress import progress

    began, target = time.perf_counter(), Path(config.output_dir) / config.ext
    options = OutputOptions.of(config, body)
    earlier = read_record(target)
    record, done, sliding = Record(target, provenance), [], []
    for sample in progress(samples, total=count, desc="motions", unit="motion", disable=count == 1):
        sample, slides = with_locked_feet(sample, body if config.skeleton == "standard" else None)
        if slides.any():
            sliding.append(f"{sample_name(sample, config)}_ik (frames {', '.join(spans(slides))})")
        with staged(Path(config.output_dir), config.ext) as folder:
            files = write_sample(folder, sample, config, options)
        names = [file.relative_to(folder).as_posix() for file in files]
        record.add(sample, names, earlier)
        done.append((sample, names))
    if config.grid or "html" in config.formats:
        kept = kept_samples(target, earlier, config, [sample for sample, _ in done]) if config.is_continue else []
        shown = sorted(kept + done, key=lambda pair: (pair[0].prompt_index, pair[0].repeat))
        if shown:
            with staged(Path(config.output_dir), config.ext) as folder:
                write_together(folder, [sample.motion for sample, _ in shown], [names for _, names in shown], config)
    if sliding:
        note(f"feet still slide in {named(sliding, 10)}: they move too far there to be locked")
    where = ", ".join(str(path) for path in sorted(target.iterdir()) if not path.name.startswith("."))
    print(f"{len(done)} motion{'s'[: len(done) != 1]} in {time.perf_counter() - began:.1f} s, in {where}")


def start_folder(config: Sampling) -> dict[str, Any]:
    """The record of an existing folder of results. With --overwrite its motions are deleted, otherwise a note names them."""
    target = Path(config.output_dir) / config.ext
    record = read_record(target)
    motions = record.get("motions", [])
    if config.overwrite and config.is_continue:
        raise UserError("--overwrite --is_continue: give one of them; the first deletes what the second keeps")
    if config.overwrite:
        together = [PAGE, *(f"grid.{suffix}" for suffix in GRIDS)]
        for name in [*(name for motion in motions for name in motion["files"]), *together, RECORD]:
            (target / name).unlink(missing_ok=True)
        return {}
    if motions and not config.is_continue:
        note(
            f"{target} holds {len(motions)} motion{'s'[: len(motions) != 1]} of an earlier run: files of one name are replaced, "
            "the others stay; --overwrite deletes them first, --is_continue resumes an interrupted run"
        )
    return record


def finished(config: Sampling, record: dict[str, Any], wanted: Sequence[tuple[int, int, str]]) -> int:
    """Number of the motions `wanted`, (prompt index, repeat, text) in order, that an interrupted run has finished."""
    if not config.is_continue:
        return 0
    target = Path(config.output_dir) / config.ext
    formats = {suffix_of(kind) for kind in config.formats if kind != "html"}
    there = {
        (motion["prompt_index"], motion["repeat"], motion["prompt"])
        for motion in record.get("motions", [])
        if motion["seed"] == config.seed
        and all_there(target, motion["files"])
        and formats <= {name.rpartition(".")[2] for name in motion["files"]}
    }
    if (config.grid or "html" in config.formats) and "npy" not in config.formats:
        note("--is_continue: what shows all motions needs npy in --formats to find them again; all are generated again")
        return 0
    count = next((number for number, sample in enumerate(wanted) if sample not in there), len(wanted))
    note(f"--is_continue: {count} of {len(wanted)} motions exist already")
    return count


def kept_samples(
    folder: Path, record: dict[str, Any], config: Sampling, new: Sequence[Sample]
) -> list[tuple[Sample, list[str]]]:
    """The motions of an interrupted run with their files, read back from its .npy files; none that is `new`."""
    import numpy as np

    from motion.clip import Motion

    kept, replaced = [], {(sample.prompt_index, sample.repeat) for sample in new}
    for motion in record.get("motions", []):
        plain, *locked = sorted(name for name in motion["files"] if name.endswith(".npy")) or [""]
        place = motion["prompt_index"], motion["repeat"]
        if locked and motion["seed"] == config.seed and place not in replaced and all_there(folder, motion["files"]):
            joints, steady = (np.load(folder / name) for name in (plain, locked[0]))
            kept.append((Sample(Motion(joints, motion["fps"], motion["prompt"], steady), *place), motion["files"]))
    return kept


def note_blind_loops(model: TextToMotion) -> None:
    """Print a note if the weights have no model that sees what follows a gap."""
    if model.filling is None and model.masked.config.attention != "full":
        note("no masked transformer with full attention (--fill_name) found: the end of loops is generated without their start")


def standard_body(model: TextToMotion, spec: DatasetSpec) -> np.ndarray | None:
    """The rest pose (J, 3) that all animated files of a dataset share, in metres; None if its bone lengths are not known.

    The pelvis and the chest are HumanML3D's, with KIT-ML's skeleton those of the dataset's mean pose. Bone lengths that the
    skeleton does not define (KIT-ML) are medians over the dataset's joints, if its folder exists.
    """
    import numpy as np

    from motion.features import features_to_joints, skeleton_for
    from motion.rest import fitted_rest, lengths_of, standard_rest

    skeleton = skeleton_for(spec.num_joints)
    mean_pose = features_to_joints(model.mean.float().cpu()[None], spec.num_joints)[0].double().numpy()
    lengths = None
    if skeleton.lengths is None:
        files = sorted((spec.root / "new_joints").glob("*.npy"))
        clips = [np.load(file).astype(np.float64) * spec.unit_scale for file in files[:: max(1, len(files) // SAMPLED)]]
        if not clips:
            return None
        lengths = np.median([lengths_of(fitted_rest(clip, skeleton)) for clip in clips], axis=0)
        lengths = (lengths + lengths[list(skeleton.mirror)]) / 2
    return standard_rest(skeleton, mean_pose, lengths)


def spans(frames: np.ndarray) -> list[str]:
    """The stretches of frames that are True, "first-last" each, counted from 0."""
    import numpy as np

    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2)
    return [f"{first}-{stop - 1}" for first, stop in edges]


def with_locked_feet(sample: Sample, body: np.ndarray | None) -> tuple[Sample, np.ndarray]:
    """The sample with foot-locked joints, and in which frames (T - 1,) a foot still slides."""
    import numpy as np

    from motion.footlock import lock

    motion = sample.motion
    if sample.cycles is None:
        locked = lock(np.asarray(motion.joints), motion.fps, motion.contacts, body)
        return replace(sample, motion=replace(motion, locked=locked.joints)), locked.sliding.any(axis=1)
    locked, T = lock(sample.cycles, motion.fps, None, body), len(motion)  # the middle cycle knows what is before and after it
    joints = moved_onto(locked.joints[T : 2 * T], sample.cycles[T : 2 * T], motion.joints)
    return replace(sample, motion=replace(motion, locked=joints)), locked.sliding[T : 2 * T].any(axis=1)


def moved_onto(joints: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Joints (T, J, 3) with the rotation about the vertical and the translation that move `source` onto `target`."""
    import numpy as np

    centres = source.mean(axis=(0, 1)), target.mean(axis=(0, 1))
    before, after = ((part - centre)[..., [0, 2]].reshape(-1, 2) for part, centre in zip((source, target), centres))
    cosine, sine = (before * after).sum(), (before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]).sum()
    c, s = np.array([cosine, sine]) / np.hypot(cosine, sine)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], joints.dtype)
    shift = centres[1] - turn @ (centres[0] * (1, 0, 1)) - centres[0] * (0, 1, 0)
    return (joints @ turn.T + shift).astype(joints.dtype)


def sample_name(sample: Sample, config: Sampling) -> str:
    """File name of a sample: its numbers, preceded by the words of its prompt with --name_files prompt."""
    if config.name_files != "prompt":
        return sample.name
    words = re.sub(r"\W+", "_", sample.motion.text)[:LONGEST_NAME].strip("_")
    return f"{words}_{sample.name}" if words else sample.name


def suffix_of(kind: str) -> str:
    """The suffix, without its dot, of a format as --formats names it."""
    return "npz" if kind == "smpl" else kind


def write_sample(folder: Path, sample: Sample, config: Sampling, options: OutputOptions) -> list[Path]:
    """Write one sample, plain and with locked feet, in every requested format except html. Returns the files.

    The .npy holds the model's output untouched; other formats are written as `options` say.
    """
    from motion.files.export import DEFAULT_OUTPUT, export

    motion, files = sample.motion, []
    for ending, joints in (("", motion.joints), ("_ik", motion.locked)):
        for kind in config.formats:
            if kind != "html":  # one page shows all
                place = folder / ("joints" if kind == "npy" else "animation") / str(sample.prompt_index)
                files.append(place / f"{sample_name(sample, config)}{ending}.{suffix_of(kind)}")
                export(files[-1], joints, motion.text, motion.fps, DEFAULT_OUTPUT if kind == "npy" else options)
    return files


def write_together(folder: Path, motions: list[Motion], files: list[list[str]], config: Sampling) -> None:
    """Write the requested files that show all motions: index.html, which links to their `files`, grid.mp4, grid.gif, grid.png."""
    from motion.drawing.html import write_html
    from motion.drawing.render import contact_sheet, write_video

    if "html" in config.formats:
        write_html(folder / PAGE, motions, config.ext, files)
    for suffix in (suffix for suffix in GRIDS if config.grid and suffix in config.formats):
        draw = contact_sheet if suffix == "png" else write_video
        draw(folder / f"grid.{suffix}", [(motion.text, motion.joints) for motion in motions], motions[0].fps)


class Record:
    """`prompts.json`: the prompt and provenance of each file in a folder of results.

        {"version": 1,
         "motions": [{"files": [...], "prompt": "...", "prompt_index": 0, "repeat": 0, "number": 0,
                      "frames": 60, "fps": 20, "seed": 3407, "known": null, "made_by": "<key of provenance>"}],
         "provenance": {"<key>": {"command": ..., "revision": ..., "weights": [...], "date": ..., ...}}}

    Files are relative to the folder, with forward slashes. `provenance` is the result of `utils.provenance.provenance`.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any]):
        self.folder, self.path = folder, folder / RECORD
        self.key = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:12]
        self.provenance = {self.key: provenance}
        self.motions: list[dict[str, Any]] = []

    def add(self, sample: Sample, files: Sequence[str], earlier: dict[str, Any]) -> None:
        """Add one sample and write the record, including the motions of the `earlier` one."""
        self.motions.append(
            {
                "files": list(files),
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
        self.write(earlier)

    def write(self, earlier: dict[str, Any]) -> None:
        """Write the record, including motions of the `earlier` one whose files still exist and are not replaced."""
        from utils.checkpoint import atomic_path  # here, for it imports torch and --help must not

        ours = {name for motion in self.motions for name in motion["files"]}
        kept = [
            motion
            for motion in earlier.get("motions", [])
            if motion["files"] and not ours & set(motion["files"]) and all_there(self.folder, motion["files"])
        ]
        keys = {motion["made_by"] for motion in kept}
        provenance = {key: value for key, value in earlier.get("provenance", {}).items() if key in keys} | self.provenance
        content = {"version": VERSION, "motions": [*kept, *self.motions], "provenance": provenance}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_path(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="replace")


def all_there(folder: Path, names: Sequence[str]) -> bool:
    """Whether all files exist in a folder."""
    return all((folder / name).is_file() for name in names)


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
