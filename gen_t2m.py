"""Text → motion files: joints as .npy in metres, skeletons as .bvh in centimetres, videos as .mp4.

    python gen_t2m.py --ext exp1 --text_prompt "a person waves with the right hand"
    python gen_t2m.py --ext exp2 --text_path assets/text_prompt.txt --name my_run

Results lie in `<output_dir>/<ext>/joints/<k>/sample<k>_repeat<r>_len<T>.npy` and `<output_dir>/<ext>/animation/<k>/` (k counts
prompts, r repeats, T is frames). They appear when all are made: a run that fails leaves nothing behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from data.prompts import Prompt, read_prompts
from data.spec import SPECS, get_spec
from options.cli import parse
from options.config import Generation
from utils.errors import UserError, script

DEMO = Path(__file__).parent / "assets" / "demo"
SAMPLING = ("time_steps", "temperature", "topkr", "seed")
GUIDANCE = {"cond_scale": 4.0, "res_cond_scale": 5.0}  # LaMP's and MoMask's
UNUSED = ("gumbel_sample", "use_res_model", "num_batch", "source_motion", "mask_edit_section")  # flags of the released script
DEMO_GUIDANCE = {"cond_scale": 2.0, "res_cond_scale": 2.0}  # people obey best (docs/experiments.md)


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Generation, argv)
    check_flags(config)
    weights = choose_weights(config)
    longest = get_spec(weights["dataset_name"]).max_motion
    prompts = read_prompts(config.text_prompt, config.text_path, config.motion_length, longest)
    with staged(Path(config.output_dir), config.ext) as folder:
        generate(config, weights, prompts, folder)


def check_flags(config: Generation) -> None:
    """Raises `UserError` for numbers out of range and for an --ext that is more than a folder's name."""
    for flag in ("repeat_times", "batch_size", "time_steps"):
        if getattr(config, flag) < 1:
            raise UserError(f"--{flag} {getattr(config, flag)}: must be 1 or more")
    if config.temperature <= 0 or not 0 <= config.topkr <= 1:
        raise UserError(f"--temperature {config.temperature} --topkr {config.topkr}: must be above 0, and from 0 to 1")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"--seed {config.seed}: must be from 0 to 2^63 - 1")
    if config.ext in ("", ".", "..") or Path(config.ext).name != config.ext or "\\" in config.ext:
        raise UserError(f"--ext '{config.ext}': must be the name of one folder, without slashes; --output_dir says where it lies")
    for flag in UNUSED:
        if getattr(config, flag):
            print(f"--{flag}: has no effect here (see --help)")


def choose_weights(config: Generation) -> dict[str, str | Path | None]:
    """Which weights to load: those named, else those that come with the project. Raises `UserError` where there are none."""
    if config.name:
        root, name, res_name, length_name = Path(config.checkpoints_dir), config.name, config.res_name, config.length_name
    else:
        root, name, res_name, length_name = DEMO, "masked", "residual", "length"
    datasets = [config.dataset_name] if config.dataset_name else list(SPECS)
    dataset = next((dataset for dataset in datasets if (root / dataset / name).is_dir()), None)
    if dataset is None:
        places = root / (datasets[0] if len(datasets) == 1 else f"{{{','.join(datasets)}}}")
        raise UserError(f"no weights '{name}' in {places}; --name, --dataset_name and --checkpoints_dir choose them")
    print(f"weights: {root / dataset / name}" + ("" if config.name else " (they come with the project; --name takes others)"))
    return {
        "checkpoints_dir": root, "dataset_name": dataset, "name": name,
        "res_name": res_name or None, "length_name": length_name or None,
    }  # fmt: skip


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
            for path in sorted(Path(folder).rglob("*")):
                if path.is_dir():
                    (target / path.relative_to(folder)).mkdir(parents=True, exist_ok=True)
                else:
                    os.replace(path, target / path.relative_to(folder))
    finally:
        with suppress(OSError):
            output_dir.rmdir()  # if it is empty


def generate(config: Generation, weights: dict, prompts: list[Prompt], folder: Path) -> None:
    """Generate every prompt `repeat_times` times, batch by batch, and write the files to `folder`.

    Raises `UserError` if the weights cannot be loaded or give anything but finite numbers.
    """
    import torch
    from tqdm import tqdm

    from models.text2motion import TextToMotion
    from utils.motion.export import export
    from utils.motion.features import features_to_joints
    from utils.runtime import resolve_device

    spec = get_spec(weights["dataset_name"])
    model = TextToMotion.load(**weights, device=resolve_device(config.gpu_id), tag=config.which_epoch or None)
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        print("no --res_name: only the base tokens are decoded, which makes coarser motion")
    sampling = {name: getattr(config, name) for name in SAMPLING}
    for name, usual in (GUIDANCE if config.name else DEMO_GUIDANCE).items():
        sampling[name] = usual if getattr(config, name) is None else getattr(config, name)
    samples = [(k, repeat) for repeat in range(config.repeat_times) for k in range(len(prompts))]
    began = time.perf_counter()
    progress = tqdm(total=len(samples), unit="motion", disable=len(samples) == 1)
    for first in range(0, len(samples), config.batch_size):
        batch = samples[first : first + config.batch_size]
        texts = [prompts[k].text for k, _ in batch]
        frames = torch.tensor([prompts[k].frames for k, _ in batch]) if prompts[0].frames else None
        features, lengths = model.generate(texts, frames, first_sample=first, **sampling)
        joints = features_to_joints(features.float().cpu(), spec.num_joints) * spec.unit_scale  # (B, T, J, 3), metres
        for (k, repeat), text, motion, length in zip(batch, texts, joints.numpy(), lengths.tolist()):
            stem = f"sample{k}_repeat{repeat}_len{length}"
            for suffix in config.formats:
                kind = "joints" if suffix == "npy" else "animation"
                export(folder / kind / str(k) / f"{stem}.{suffix}", motion[:length], text, spec.fps)
            progress.update()
    progress.close()
    where = " and ".join(str(Path(config.output_dir) / config.ext / path.name) for path in sorted(folder.iterdir()))
    print(f"{len(samples)} motion{'s'[: len(samples) > 1]} in {time.perf_counter() - began:.1f} s, in {where}")


if __name__ == "__main__":
    main()
