"""What the scripts that generate motion share: which weights, how they draw, and files that appear all together or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from motion.spec import SPECS, DatasetSpec
from options.generate import Sampling
from utils.errors import UserError

if TYPE_CHECKING:  # --help does not wait for these
    import numpy as np
    from torch import Tensor

    from pipelines.text2motion import TextToMotion

DEMO = Path(__file__).parent.parent / "assets" / "demo"
GUIDANCE = {"cond_scale": 4.0, "res_cond_scale": 5.0}  # LaMP's and MoMask's
GRIDS = ("mp4", "gif", "png")  # formats that --grid can write
DEMO_GUIDANCE = {"cond_scale": 2.0, "res_cond_scale": 2.0}  # people obey best (docs/experiments.md)


class Made(NamedTuple):
    """A motion to write: number of its prompt and of the repeat, its text, joints (T, J, 3) in metres."""

    k: int
    repeat: int
    text: str
    joints: np.ndarray


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


def choose_weights(config: Sampling) -> tuple[dict[str, str | Path | None], str]:
    """Which weights to load: those named, else downloaded ones, else those that come with the project; and that in words.

    Raises `UserError` where there are none.
    """
    datasets = [config.dataset_name] if config.dataset_name else list(SPECS)
    root = Path(config.checkpoints_dir)
    name, others, why = config.name, {"res_name": config.res_name, "length_name": config.length_name}, ""
    if name:
        dataset = next((dataset for dataset in datasets if (root / dataset / name).is_dir()), None)
        if dataset and _has_released(root / dataset / name):
            others |= {part: other for part, other in _beside(root / dataset, name).items() if not others[part]}
    elif found := _downloaded(root, datasets):
        dataset, name = found
        others, why = _beside(root / dataset, name), " (downloaded; --name takes others)"
    else:
        root, name, others = DEMO, "masked", {"res_name": "residual", "length_name": "length"}
        dataset = next((dataset for dataset in datasets if (root / dataset / name).is_dir()), None)
        why = " (they come with the project; --name takes others)"
    if dataset is None:
        places = root / (datasets[0] if len(datasets) == 1 else f"{{{','.join(datasets)}}}")
        raise UserError(f"no weights '{name}' in {places}; --name, --dataset_name and --checkpoints_dir choose them")
    also = "".join(f", {other}" for part, other in others.items() if other and root != DEMO and not getattr(config, part))
    others = {part: other or None for part, other in others.items()}
    return {"checkpoints_dir": root, "dataset_name": dataset, "name": name, **others}, f"{root / dataset / name}{also}{why}"


def _has_released(folder: Path) -> bool:
    """Whether a checkpoint folder, or one in it, holds released files: a look at names, which takes no torch."""
    return any(any(folder.glob(f"**/model/*{suffix}")) for suffix in (".tar", ".pth"))


def _downloaded(root: Path, datasets: list[str]) -> tuple[str, str] | None:
    """The first dataset with a released masked transformer that is ready to use, and its name."""
    for dataset in datasets:
        if _has_released(root / dataset):
            from pipelines.runs import masked_run

            if name := masked_run(root / dataset):
                return dataset, name
    return None


def _beside(root: Path, name: str) -> dict[str, str]:
    """The released residual transformer and length estimator that go with a masked one; "" where there is none."""
    from pipelines.runs import companions

    return companions(root, name)


def load_model(config: Sampling, weights: dict, said: str) -> TextToMotion:
    """The models that `choose_weights` chose; one line says which, and what reads the text.

    Raises `UserError` if they cannot be loaded.
    """
    from pipelines.text2motion import TextToMotion
    from utils.runtime import resolve_device

    model = TextToMotion.load(**weights, device=resolve_device(config.gpu_id), tag=config.which_epoch or None)
    model.precision = config.precision
    print(f"weights: {said}; the text is read by {model.encoder.title}")
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        print("no --res_name: only the base tokens are decoded, which makes coarser motion")
    return model


def sampling(config: Sampling, weights: dict) -> dict[str, float]:
    """The options of `TextToMotion.draw` that the flags ask for; guidance that they leave open depends on the weights."""
    demo = weights["checkpoints_dir"] == DEMO
    options = {name: getattr(config, name) for name in ("time_steps", "temperature", "topkr", "seed")}
    for name, usual in (DEMO_GUIDANCE if demo else GUIDANCE).items():
        options[name] = usual if getattr(config, name) is None else getattr(config, name)
    return options


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


def write_motions(motions: Iterator[Made], count: int, config: Sampling, fps: float) -> None:
    """Write `count` motions as they come, to `<output_dir>/<ext>/{joints,animation}/<k>/`, in every format asked for.

    Files that end in `_ik` hold the same motions with locked feet. What shows all of them lies in `<output_dir>/<ext>/` itself.

    Raises `UserError` for motions that are not finite, and where nothing can be written: then nothing is.
    """
    from tqdm import tqdm

    from motion.files.export import export
    from motion.footlock import lock_feet

    began = time.perf_counter()
    with staged(Path(config.output_dir), config.ext) as folder:
        made = []
        for motion in tqdm(motions, total=count, unit="motion", disable=count == 1):
            k, repeat, text, joints = motion
            locked = lock_feet(joints, fps)
            made.append((motion, locked))
            for ending, told in (("", joints), ("_ik", locked)):
                for suffix in (suffix for suffix in config.formats if suffix != "html"):
                    kind = "joints" if suffix == "npy" else "animation"
                    path = folder / kind / str(k) / f"sample{k}_repeat{repeat}_len{len(joints)}{ending}.{suffix}"
                    export(path, told, text, fps, config.bvh_unit)
        write_together(folder, made, config, fps)
        where = ", ".join(str(Path(config.output_dir) / config.ext / path.name) for path in sorted(folder.iterdir()))
    print(f"{count} motion{'s'[: count > 1]} in {time.perf_counter() - began:.1f} s, in {where}")


def write_together(folder: Path, made: list[tuple[Made, np.ndarray]], config: Sampling, fps: float) -> None:
    """Write what shows all motions, given with their foot-locked joints: index.html, grid.mp4, grid.gif, grid.png, as asked for."""
    from motion.drawing.html import Clip, write_html
    from motion.drawing.render import contact_sheet, write_video

    made = sorted(made, key=lambda pair: pair[0][:2])
    if "html" in config.formats:
        write_html(folder / "index.html", [Clip(text, joints, fps, locked) for (_, _, text, joints), locked in made], config.ext)
    for suffix in (suffix for suffix in GRIDS if config.grid and suffix in config.formats):
        draw = contact_sheet if suffix == "png" else write_video
        draw(folder / f"grid.{suffix}", [(motion.text, motion.joints) for motion, _ in made], fps)
