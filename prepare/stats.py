"""Mean and standard deviation of a dataset's features, as in HumanML3D: `python -m prepare.stats dataset/Open --split train`.

All columns of a group share the average of their standard deviations. The groups are: root angle | root speed | root height | local
joints | rotations | velocities | contacts. The average prevents the normalisation from amplifying joints that hardly move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.stats")

import numpy as np

from motion.spec import SPECS, listed_names
from options.cli import parse
from options.prepare import Statistics
from utils.checkpoint import atomic_path
from utils.errors import UserError, script


def mean_std(clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float32 (D,), over all frames of clips (T, D).

    Standard deviations are averaged within each group of columns, such as all rotations (see `feature_groups`).

    Clips with NaN or infinity are ignored. Raises `UserError` if no clip remains, or if no dataset has features of width D.
    """
    frames, total, squares = 0, 0.0, 0.0
    for clip in clips:
        clip = clip.astype(np.float64)
        if np.isfinite(clip).all():
            frames += len(clip)
            total = total + clip.sum(0)
            squares = squares + (clip**2).sum(0)
    if not frames:
        raise UserError("statistics: there are no clips, or all of them contain NaN or infinity")
    mean = total / frames
    std = np.sqrt(np.maximum(squares / frames - mean**2, 0))
    for group in feature_groups(len(mean)):
        std[group] = std[group].mean()
    return mean.astype(np.float32), std.astype(np.float32)


def feature_groups(dim: int) -> list[slice]:
    """The groups of columns within which standard deviations are averaged.

    Raises `UserError` if no dataset has features of width `dim`.
    """
    spec = next((spec for spec in SPECS.values() if spec.dim == dim), None)
    if spec is None:
        raise UserError(f"features of width {dim}: expected {' or '.join(sorted({str(spec.dim) for spec in SPECS.values()}))}")
    body = (spec.joints_slice, spec.rotations_slice, spec.velocities_slice, spec.contacts_slice)
    return [slice(0, 1), slice(1, 3), slice(3, 4), *body]


def write_statistics(root: Path, names: Iterable[str]) -> None:
    """Write `root`/Mean.npy and Std.npy of the clips `names` in new_joint_vecs. Raises `UserError` if a clip cannot be used."""
    mean, std = mean_std(clips(root / "new_joint_vecs", names))
    for name, values in (("Mean", mean), ("Std", std)):
        with atomic_path(root / f"{name}.npy", durable=True) as path:
            np.save(path, values)


def clips(folder: Path, names: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield the features (T, D) of each clip. Raises `UserError` if a file is unusable or if the clips differ in width."""
    width = None
    for name in names:
        path = folder / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"{path}: missing, although the clip is listed in the split; build the dataset again")
        try:
            clip = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path}: not a readable .npy file ({error}); remove it, or build the dataset again") from None
        kind = getattr(clip, "dtype", np.dtype(object)).kind
        if kind not in "fiu" or clip.ndim != 2 or clip.shape[1] != (width or clip.shape[1]):
            content = f"{clip.dtype} of shape {clip.shape}" if kind != "O" else "an archive"
            raise UserError(f"{path}: contains {content}; expected features (frames, {width or 'D'}); remove the file")
        width = clip.shape[1]
        yield clip


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Statistics, argv)
    root = Path(args.root)
    if args.split:
        listed = root / f"{args.split}.txt"
        if not listed.exists():
            raise UserError(f"{listed}: no such split; choose another --split, or omit --split to use all clips")
        names = listed_names(listed)
    else:
        names = sorted(path.stem for path in (root / "new_joint_vecs").glob("*.npy"))
    write_statistics(root, names)
    print(f"{len(names):,} clips: wrote Mean.npy and Std.npy to {root}")


if __name__ == "__main__":
    main()
