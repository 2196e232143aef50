"""Result files of the scripts that generate motion.

Layout of a result folder: `joints/<k>/` and `animation/<k>/` contain the files of the motions of prompt k; `prompts.json`
(pipelines/record.py) and the files that show all motions together are in the result folder itself.
"""

from __future__ import annotations

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
from options.generate import Sampling
from pipelines.record import RECORD, Record, all_exist, read_record
from pipelines.setup import GRIDS
from utils.errors import UserError, note
from utils.locks import FILE, lock_temporary, remove_abandoned

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    import numpy as np
    from torch import Tensor

    from motion.clip import Motion
    from motion.files.export import OutputOptions

PAGE = "index.html"
LONGEST_NAME = 60  # maximum number of characters of a prompt in a file name


@dataclass(frozen=True)
class Sample:
    """One generated motion.

    Attributes:
        motion: the motion, with its prompt as text.
        prompt_index: index of the prompt.
        repeat: index among the motions of the same prompt.
        number: sample number; the seed and this number determine the random numbers.
        known: how well the weights know the prompt (`pipelines.known.check_prompts`), or None.
        cycles: (3T, J, 3) joints of a loop played three times; None if the motion is not a loop.
    """

    motion: Motion
    prompt_index: int = 0
    repeat: int = 0
    number: int = 0
    known: Any = None
    cycles: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The file name without suffix."""
        return f"sample{self.prompt_index}_repeat{self.repeat}_len{len(self.motion)}"


def to_joints(features: Tensor, spec: DatasetSpec) -> Tensor:
    """Convert features (..., T, D), in the dataset's own units, to joints (..., T, J, 3) in metres, on the CPU."""
    from motion.features import features_to_joints

    return features_to_joints(features.float().cpu(), spec.num_joints) * spec.unit_scale


@contextmanager
def staged(output_dir: Path, ext: str) -> Iterator[Path]:
    """A context that yields a temporary folder, whose files are moved to `output_dir/ext` at the end, or deleted on failure.

    Temporary folders of killed runs are removed from `output_dir` first. Raises `UserError` if `output_dir` cannot be written.
    """
    target = output_dir / ext
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(None, "it is a file")
        if abandoned := remove_abandoned(output_dir):
            note(f"removed incomplete results of a killed run: {', '.join(map(str, abandoned))}")
        temporary = TemporaryDirectory(prefix=f".{ext}.", dir=output_dir)
        lock = lock_temporary(Path(temporary.name))
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror or error}; --output_dir selects another folder") from error
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
            output_dir.rmdir()  # succeeds only if the folder is empty


def write_samples(
    samples: Iterable[Sample], count: int, config: Sampling, provenance: dict[str, Any], body: np.ndarray | None = None
) -> None:
    """Write each sample as soon as it is generated, to `<output_dir>/<ext>/{joints,animation}/<prompt_index>/` in all formats.

    Files that end in `_ik` contain the motions with locked feet and constant bone lengths. The files of a sample are moved into
    place together and then listed in `prompts.json` (`Record`), so that an interrupted run keeps its finished motions. Files that
    show all motions are written to `<output_dir>/<ext>/` at the end.

    Args:
        samples: the motions, which may be generated lazily.
        count: number of samples, for the progress bar.
        provenance: result of `utils.provenance.provenance`.
        body: (J, 3) rest pose that all animated files share (`pipelines.setup.standard_body`).

    Raises `UserError` for motions that are not finite, and if the folder cannot be written.
    """
    from data.store import named
    from motion.files.export import OutputOptions
    from utils.progress import progress

    start, target = time.perf_counter(), Path(config.output_dir) / config.ext
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
        note(f"feet still slide in {named(sliding, 10)}: the feet move too far to be locked")
    paths = ", ".join(str(path) for path in sorted(target.iterdir()) if not path.name.startswith("."))
    print(f"{len(done)} motion{'s'[: len(done) != 1]} in {time.perf_counter() - start:.1f} s, written to {paths}")


def start_folder(config: Sampling) -> dict[str, Any]:
    """Read `prompts.json`, the record of the motions in the result folder; {} if there is none.

    With --overwrite, delete the motions of earlier runs and return {}. Without --overwrite and --is_continue, print a note if the
    folder contains motions of earlier runs.
    """
    target = Path(config.output_dir) / config.ext
    record = read_record(target)
    motions = record.get("motions", [])
    if config.overwrite and config.is_continue:
        raise UserError("--overwrite and --is_continue cannot be combined: --overwrite deletes what --is_continue keeps; give one")
    if config.overwrite:
        overviews = [PAGE, *(f"grid.{suffix}" for suffix in GRIDS)]
        for name in [*(name for motion in motions for name in motion["files"]), *overviews, RECORD]:
            (target / name).unlink(missing_ok=True)
        return {}
    if motions and not config.is_continue:
        note(
            f"{target} contains {len(motions)} motion{'s'[: len(motions) != 1]} of earlier runs: files with the same names are "
            "replaced, and all other files are kept; --overwrite deletes earlier motions first, and --is_continue resumes an "
            "interrupted run"
        )
    return record


def count_finished(config: Sampling, record: dict[str, Any], requested: Sequence[tuple[int, int, str]]) -> int:
    """Count the motions at the start of `requested` that an interrupted run has finished, according to `record` (`prompts.json`).

    Returns 0 without --is_continue, and also if earlier motions cannot be shown in the requested html or --grid files.

    `requested` lists (prompt index, index among the prompt's motions, text) of all motions in the order of generation.
    """
    if not config.is_continue:
        return 0
    target = Path(config.output_dir) / config.ext
    formats = {suffix_of(kind) for kind in config.formats if kind != "html"}
    existing = {
        (motion["prompt_index"], motion["repeat"], motion["prompt"])
        for motion in record.get("motions", [])
        if motion["seed"] == config.seed
        and all_exist(target, motion["files"])
        and formats <= {name.rpartition(".")[2] for name in motion["files"]}
    }
    if (config.grid or "html" in config.formats) and "npy" not in config.formats:
        note("--is_continue: html and --grid show earlier motions only if --formats contains npy; all motions are generated again")
        return 0
    count = next((number for number, sample in enumerate(requested) if sample not in existing), len(requested))
    note(f"--is_continue: {count} of {len(requested)} motions exist already")
    return count


def kept_samples(
    folder: Path, record: dict[str, Any], config: Sampling, new: Sequence[Sample]
) -> list[tuple[Sample, list[str]]]:
    """Read the samples of an interrupted run, listed in `record` (`prompts.json`), from their .npy files in `folder`.

    Returns each sample with the names of its files. Samples that were generated again (`new`) are left out.
    """
    import numpy as np

    from motion.clip import Motion

    kept, replaced = [], {(sample.prompt_index, sample.repeat) for sample in new}
    for motion in record.get("motions", []):
        plain, *locked = sorted(name for name in motion["files"] if name.endswith(".npy")) or [""]
        key = motion["prompt_index"], motion["repeat"]
        if locked and motion["seed"] == config.seed and key not in replaced and all_exist(folder, motion["files"]):
            joints, locked_joints = (np.load(folder / name) for name in (plain, locked[0]))
            kept.append((Sample(Motion(joints, motion["fps"], motion["prompt"], locked_joints), *key), motion["files"]))
    return kept


def spans(frames: np.ndarray) -> list[str]:
    """The spans of consecutive True values in a mask (T,), each written as "first-last"."""
    import numpy as np

    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2)
    return [f"{first}-{stop - 1}" for first, stop in edges]


def with_locked_feet(sample: Sample, body: np.ndarray | None) -> tuple[Sample, np.ndarray]:
    """Compute joints without foot sliding and with constant bone lengths, and store them in the sample's motion (`locked`).

    Returns the sample, and a mask (T,) of the frames in which a foot still slides. The bone lengths are those of the rest pose
    `body` (J, 3) or, if `body` is None, the medians of the motion.
    """
    import numpy as np

    from motion.footlock import lock

    motion = sample.motion
    if sample.cycles is None:
        locked = lock(np.asarray(motion.joints), motion.fps, motion.contacts, body)
        return replace(sample, motion=replace(motion, locked=locked.joints)), locked.sliding.any(axis=1)
    locked, T = lock(sample.cycles, motion.fps, None, body), len(motion)  # three cycles, of which only the middle cycle is returned
    joints = moved_onto(locked.joints[T : 2 * T], sample.cycles[T : 2 * T], motion.joints)
    return replace(sample, motion=replace(motion, locked=joints)), locked.sliding[T : 2 * T].any(axis=1)


def moved_onto(joints: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Move joints (T, J, 3) by the translation and the rotation about the vertical axis that align `source` with `target`."""
    import numpy as np

    centres = source.mean(axis=(0, 1)), target.mean(axis=(0, 1))
    before, after = ((part - centre)[..., [0, 2]].reshape(-1, 2) for part, centre in zip((source, target), centres))
    cosine, sine = (before * after).sum(), (before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]).sum()
    c, s = np.array([cosine, sine]) / np.hypot(cosine, sine)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], joints.dtype)
    shift = centres[1] - turn @ (centres[0] * (1, 0, 1)) - centres[0] * (0, 1, 0)
    return (joints @ turn.T + shift).astype(joints.dtype)


def sample_name(sample: Sample, config: Sampling) -> str:
    """The file name of a sample without suffix. With --name_files prompt, the name begins with the words of the prompt."""
    if config.name_files != "prompt":
        return sample.name
    words = re.sub(r"\W+", "_", sample.motion.text)[:LONGEST_NAME].strip("_")
    return f"{words}_{sample.name}" if words else sample.name


def suffix_of(kind: str) -> str:
    """The file suffix, without dot, for a value of --formats."""
    return "npz" if kind == "smpl" else kind


def write_sample(folder: Path, sample: Sample, config: Sampling, options: OutputOptions) -> list[Path]:
    """Write one sample, with and without locked feet, in all requested formats except html. Returns the paths of the files.

    The .npy files contain joints in metres at the motion's frame rate; `options` do not apply to them.
    """
    from motion.files.export import DEFAULT_OUTPUT, export

    motion, files = sample.motion, []
    for ending, joints in (("", motion.joints), ("_ik", motion.locked)):
        for kind in config.formats:
            if kind != "html":  # written once for all samples
                parent = folder / ("joints" if kind == "npy" else "animation") / str(sample.prompt_index)
                files.append(parent / f"{sample_name(sample, config)}{ending}.{suffix_of(kind)}")
                export(files[-1], joints, motion.text, motion.fps, DEFAULT_OUTPUT if kind == "npy" else options)
    return files


def write_together(folder: Path, motions: list[Motion], files: list[list[str]], config: Sampling) -> None:
    """Write the requested files that show all motions: index.html, grid.mp4, grid.gif and grid.png.

    index.html links to `files`, the names of each motion's files.
    """
    from motion.drawing.html import write_html
    from motion.drawing.render import contact_sheet, write_video

    if "html" in config.formats:
        write_html(folder / PAGE, motions, config.ext, files)
    for suffix in GRIDS:
        if config.grid and suffix in config.formats:
            draw = contact_sheet if suffix == "png" else write_video
            draw(folder / f"grid.{suffix}", [(motion.text, motion.joints) for motion in motions], motions[0].fps)
