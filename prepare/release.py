"""Write a small checkpoints folder for distribution. The folder contains the best weights in fp16 or int8, statistics and
settings, but no files for resuming the training.

    python -m prepare.release --dataset_name open --runs vq lamp masked residual length selector evaluator m2t \\
        --int8 vq lamp masked residual evaluator m2t

Every script accepts the output folder as `--checkpoints_dir`. When a script loads a model from this folder, the weights are
converted to fp32.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.release")

from options.cli import parse
from options.prepare import Release
from utils.errors import UserError, script

if TYPE_CHECKING:  # imported late, to keep --help fast
    from utils.checkpoint import CheckpointFolder


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Release, argv)
    from utils.checkpoint import CheckpointFolder

    total = 0
    for name in config.runs:
        source = CheckpointFolder(config.checkpoints_dir, config.dataset_name, name)
        target = CheckpointFolder(config.out, config.dataset_name, name)
        total += release(source, target, name in config.int8)
    for name in config.runs:
        update_fingerprint(CheckpointFolder(config.out, config.dataset_name, name))
    print(f"{total / 2**20:.1f} MiB in {config.out}")


def release(source: CheckpointFolder, target: CheckpointFolder, int8: bool) -> int:
    """Copy a run (the folder of one training) from `source` to `target`, and return the size of the written weights in bytes.

    The best weights are stored in int8 if `int8` is true, or else in fp16. Raises `UserError` if a file of the run is missing.
    """
    from models.words import FILE as WORDS
    from models.words import Words
    from pipelines.caption_index import FILE
    from utils.checkpoint import eight_bits, find_weights, load_weights, save_weights

    state, metadata = load_weights(find_weights(source.root))
    # Tensors of one dimension stay in fp32: they are small, and feature statistics and bone lengths must be exact.
    halved = {key: value.half() if value.is_floating_point() and value.ndim > 1 else value for key, value in state.items()}
    if too_large := [key for key, value in halved.items() if not value.isfinite().all()]:
        problem = f"{too_large[0]} has values beyond the range of fp16"
        raise UserError(f"{source.root}: {problem}; train longer or at a lower learning rate")
    metadata.pop("lamp", None)  # the hash of LaMP's weights before they were rounded
    metadata = {key: without_folder(value) if isinstance(value, str) else value for key, value in metadata.items()}
    weights = target.weights("net_best")
    save_weights(weights, eight_bits(halved) if int8 else halved, metadata)
    vocabulary = [source.root / "vocab.txt"] if metadata["kind"] in ("lamp", "caption_gpt") else []
    index = [source.root / FILE] if metadata["kind"] in ("masked", "lamp") and (source.root / FILE).is_file() else []
    statistics = [] if metadata["kind"] == "selector" else [source.meta / "mean.npy", source.meta / "std.npy"]
    for path in (*statistics, *vocabulary, *index):
        copy = target.root / path.relative_to(source.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise UserError(f"{path}: cannot be copied ({error.strerror}); the run is incomplete, train it again") from error
    if metadata["kind"] == "evaluator":
        words = Words.load(source.root / WORDS)
        Words(words.words, words.vectors.half()).save(target.root / WORDS)
    write_settings(source.opt, target.opt)
    print(f"{Path(source.root).name}: step {metadata.get('step', 'unknown')}, {weights.stat().st_size / 2**20:.1f} MiB")
    return weights.stat().st_size


def without_folder(value: str) -> str:
    """Reduce a setting that is an absolute path to its last part, because its folder is missing on other machines.

    Any other value is returned unchanged.
    """
    return Path(value).name if value.startswith("/") else value


def write_settings(source: Path, target: Path) -> None:
    """Copy the settings file `opt.txt`. In the copy, absolute paths are reduced to their last part.

    Raises `UserError` if `source` is missing.
    """
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); the run is incomplete, train it again") from error
    pairs = (line.partition(": ") for line in lines)
    target.write_text("".join(f"{key}{colon}{without_folder(value)}\n" for key, colon, value in pairs), encoding="utf-8")


def update_fingerprint(folder: CheckpointFolder) -> None:
    """Store the fingerprint (a hash) of the released LaMP model, whose weights are rounded, in the metadata of a transformer.

    The flag `--init` of the training scripts compares fingerprints to decide whether the layer that reads the condition can be
    reused. Models that do not use LaMP as their text encoder remain unchanged.
    """
    from pipelines.conditioner import load_conditioner
    from utils.checkpoint import find_weights, load_weights, read_metadata, save_weights

    weights = find_weights(folder.root)
    metadata = read_metadata(weights)
    if "lamp" not in metadata.get("text_encoder", "").split("+"):
        return
    dataset = folder.root.parent
    if not (dataset / metadata["lamp_name"]).is_dir():
        return  # LaMP is not part of this release
    settings = {"lamp_name": metadata["lamp_name"], "query": not metadata["no_query"], "bert": metadata["bert"]}
    encoder = load_conditioner(metadata["text_encoder"], dataset.parent, dataset.name, **settings)
    state, metadata = load_weights(weights, raw=True)
    save_weights(weights, state, metadata | {"condition": encoder.fingerprint})


if __name__ == "__main__":
    main()
