"""Pack a dataset folder into one small file, or unpack such a file. A small file is quick to copy to a rented GPU.

    python -m prepare.pack --data_root dataset/Open --splits train val --out open.pack
    python -m prepare.pack --unpack open.pack --out dataset/Open

Of each motion, the file contains the joint positions and no features. Positions are relative to the parent joint and rounded to 0.1
mm (`STEP`). The stored values are the deviations of the positions from an extrapolation at constant velocity. Most of these values
fit into one byte before compression. Unpacking recomputes the features of a motion from its joints, and a mirrored clip M<name>
from the clip <name>. The packed file is a zip archive, which also contains captions, splits, statistics and `actions.csv`
unchanged.
"""

from __future__ import annotations

import json
import lzma
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.pack")

import numpy as np

from options.cli import parse
from options.prepare import PackDataset
from utils.errors import UserError, script

if TYPE_CHECKING:  # torch is imported late, to keep --help fast
    from torch import Tensor

    from data.store import Clips
    from motion.skeleton import Skeleton
    from motion.spec import DatasetSpec

STEP = 1e-4  # metres; resolution of the stored joint coordinates
CLOSE = 0.05  # metres; a clip M<name> is stored unless its mean distance from the mirror image of <name> is smaller
BATCH = 64  # number of clips whose features are computed in one batch
INDEX, JOINTS, TEXTS = "index.json", "joints", "texts.json"
COPIED = ("Mean.npy", "Std.npy", "actions.csv", "composed.txt")  # stored unchanged if they exist


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(PackDataset, argv)
    if not config.out:
        raise UserError("--out is missing: give the file to write or, with --unpack, the folder to write")
    if config.unpack:
        unpack(Path(config.unpack), Path(config.out), config.workers)
    else:
        pack(config, Path(config.out))


# Packing


def pack(config: PackDataset, out: Path) -> None:
    """Write the clips of the splits in `config` to the packed file `out`, and print the number of clips and the file size."""
    from data.store import MotionStore
    from motion.features import skeleton_for
    from motion.spec import get_spec
    from utils.checkpoint import atomic_path

    spec = get_spec(config.dataset_name, config.data_root)
    store = MotionStore(spec)
    lists = {split: store.split(split) for split in config.splits}
    clips = store.clips(sorted({name for names in lists.values() for name in names}))
    mirrors = mirrored_names(clips, spec)
    kept = [index for index, name in enumerate(clips.names) if name not in mirrors]
    step = STEP / spec.unit_scale
    values = [quantised(clips[index], skeleton_for(spec.num_joints), step) for index in kept]
    contents = {
        "dataset": spec.name, "step": step, "names": [clips.names[index] for index in kept],
        "frames": [len(rows) for rows in values], "mirrors": sorted(mirrors), "splits": lists,
    }  # fmt: skip
    files = {name: spec.root / "texts" / f"{name}.txt" for name in clips.names}
    texts = {name: path.read_bytes().decode("utf-8", "surrogateescape") for name, path in files.items() if path.is_file()}
    with atomic_path(out) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr(INDEX, json.dumps(contents))
        file.writestr(TEXTS, json.dumps(texts))
        for name in COPIED:
            if (spec.root / name).is_file():
                file.write(spec.root / name, name)
        for number, plane in enumerate(planes(values)):
            file.writestr(f"{JOINTS}.{number}", plane)
    size = out.stat().st_size / 2**20
    print(f"{out}: {len(kept)} clips and {len(mirrors)} mirrored clips, {sum(contents['frames'])} frames, {size:.1f} MiB")


def mirrored_names(clips: Clips, spec: DatasetSpec) -> set[str]:
    """Return the names M<name> of the clips whose joints in body axes mirror those of the clip <name>."""
    from motion.features import skeleton_for

    indices = {name: index for index, name in enumerate(clips.names)}
    order = [joint - 1 for joint in skeleton_for(spec.num_joints).mirror[1:]]
    mirrors = set()
    for name, index in indices.items():
        original = indices.get(name.removeprefix("M"), index)
        if original != index and clips.lengths[original] == clips.lengths[index]:
            joints, source = (clips[i][:, spec.joints_slice].reshape(-1, len(order), 3) for i in (index, original))
            distance = np.linalg.norm(joints - source[:, order] * np.float32([-1, 1, 1]), axis=-1).mean()
            if distance * spec.unit_scale < CLOSE:
                mirrors.add(name)
    return mirrors


def quantised(rows: np.ndarray, skeleton: Skeleton, step: float) -> np.ndarray:
    """Convert features (T, D) to joints (T + 1, J, 3), rounded to int32 multiples of `step`.

    All joints except the root are relative to their parents.
    """
    import torch

    joints = np.rint(described_joints(torch.tensor(rows), skeleton.num_joints).numpy() / step).astype(np.int32)
    joints[:, 1:] -= joints[:, list(skeleton.parents[1:])]
    return joints


def described_joints(features: Tensor, num_joints: int) -> Tensor:
    """Recover all joints (T + 1, J, 3) from which features (T, D) were computed.

    `motion.features.features_to_joints` returns only the first T frames. Where the heading crosses −Z, the sign of the angle in
    HumanML3D's features is wrong, and `features_to_joints` turns the body in the wrong direction. `described_joints` instead
    chooses the sign for which the joints and velocities of each row agree best with the joints of the next row. It computes the
    last frame from the velocities of the last row.
    """
    import torch

    from motion.features import recover_root
    from motion.rotation import qaxis, qconj, qrotate

    angle, height, J = features[:, 0], features[:, 3], num_joints
    ground = features.new_tensor([1, 0, 1])
    root = torch.stack((torch.zeros_like(height), height, torch.zeros_like(height)), dim=-1)[:, None]
    local = torch.cat((root, features[:, 4 : 3 * J + 1].unflatten(-1, (-1, 3))), dim=1)  # (T, J, 3) in body axes
    moved = features[:, 9 * J - 5 : 12 * J - 5].unflatten(-1, (J, 3))  # (T, J, 3) displacement to the next frame, in body axes
    ahead = (local + moved - moved[:, :1] * ground)[:-1]

    def error(sign: int) -> Tensor:
        """Squared error (T - 1,) of the predicted next frame, summed over joints, for a turn by `2 * sign * angle`."""
        turn = qaxis("y", 2 * sign * angle[:-1])[:, None].expand(-1, J, -1)
        return (qrotate(turn, ahead) - local[1:]).square().sum((-1, -2))

    wrong = torch.cat((error(-1) < error(1), torch.zeros(1, dtype=torch.bool)))
    rotation = qconj(recover_root(torch.cat((torch.where(wrong, -angle, angle)[:, None], features[:, 1:]), dim=1))[0])[:, None]
    local, moved = qrotate(rotation, local), qrotate(rotation, moved)
    path = torch.cat((torch.zeros(1, 3), moved[:-1, 0].cumsum(0))) * ground
    joints = local + path[:, None]
    return torch.cat((joints, joints[-1:] + moved[-1:]))


def planes(clips: Sequence[np.ndarray]) -> Iterator[bytes]:
    """Encode integer joints (T, J, 3) of clips as four byte planes, lowest bytes first, coordinate by coordinate.

    The encoded values are deviations from constant velocity. The lowest bit of a value is its sign (zigzag encoding).
    """
    deviations = np.concatenate([np.diff(rows, n=2, axis=0, prepend=np.zeros_like(rows[:1]).repeat(2, 0)) for rows in clips])
    values = deviations.reshape(len(deviations), -1).T
    values = ((values << 1) ^ (values >> 31)).astype("<u4", order="C")
    for number in range(4):
        yield (values >> (8 * number)).astype(np.uint8).tobytes()


# Unpacking


def unpack(path: Path, out: Path, workers: int) -> None:
    """Write the dataset folder `out` from the packed file `path`. `workers` processes compute the features."""
    from motion.features import skeleton_for
    from motion.spec import get_spec
    from prepare.folder import MOTIONS, whole_folder, write_lists
    from utils.progress import progress
    from utils.workers import processes

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; choose another folder, or remove this folder")
    index, texts, copied, clips = read(path)
    skeleton = skeleton_for(get_spec(index["dataset"]).num_joints)
    mirrors = set(index["mirrors"])
    jobs = [(name, joints, f"M{name}" in mirrors) for name, joints in zip(index["names"], clips)]
    jobs.sort(key=lambda job: len(job[1]))  # so that a batch contains clips of similar length, which need little padding
    batches = [jobs[first : first + BATCH] for first in range(0, len(jobs), BATCH)]
    with whole_folder(out.resolve()) as folder, processes(workers) as process:
        for name in (*MOTIONS, "texts"):
            (folder / name).mkdir()
        for name, content in copied.items():
            (folder / name).write_bytes(content)
        for name, text in texts.items():
            (folder / "texts" / f"{name}.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
        write_lists(folder, index["splits"])
        work = process(partial(write_batch, folder=folder, step=index["step"], skeleton=skeleton), batches)
        for _ in progress(work, desc="features", unit="batch", total=len(batches)):
            pass
    print(f"{out}: {len(jobs)} clips and {len(mirrors)} mirrored clips")


def read(path: Path) -> tuple[dict, dict[str, str], dict[str, bytes], list[np.ndarray]]:
    """Read a packed file. Raises `UserError` if the file is not a packed dataset.

    Returns the index, the captions (keyed by clip), the other files (keyed by name), and the joints (T, J, 3) of each clip as int32
    multiples of the resolution (`STEP`).
    """
    from motion.features import skeleton_for
    from motion.spec import get_spec

    try:
        with zipfile.ZipFile(path) as file:
            index, texts = (json.loads(file.read(name)) for name in (INDEX, TEXTS))
            copied = {name: file.read(name) for name in COPIED if name in file.namelist()}
            lowest_first = [np.frombuffer(file.read(f"{JOINTS}.{number}"), np.uint8) for number in range(4)]
        skeleton = skeleton_for(get_spec(index["dataset"]).num_joints)
        values = sum(plane.astype(np.int64) << (8 * number) for number, plane in enumerate(lowest_first))
        deviations = ((values >> 1) ^ -(values & 1)).reshape(skeleton.num_joints * 3, -1).T
        ends = np.cumsum(index["frames"])
        if len(deviations) != ends[-1] or len(ends) != len(index["names"]):
            raise ValueError("its index does not match its joints")
        if any(Path(name).name != name for name in (*index["names"], *index["mirrors"], *index["splits"], *texts)):
            raise ValueError("one of its names is a path")
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"--unpack {path}: not a packed dataset ({error}); pack one with python -m prepare.pack") from None
    return index, texts, copied, [positions(rows, skeleton) for rows in np.split(deviations, ends[:-1])]


def positions(deviations: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Compute the joints (T, J, 3) of a clip, in int32 multiples of `STEP`, from `deviations` (T, 3J). This inverts `planes` and
    `quantised`."""
    joints = deviations.cumsum(0).cumsum(0).reshape(len(deviations), -1, 3).astype(np.int32)
    for joint, parent in enumerate(skeleton.parents[1:], start=1):  # parents precede their children
        joints[:, joint] += joints[:, parent]
    return joints


def write_batch(jobs: Iterable[tuple[str, np.ndarray, bool]], folder: Path, step: float, skeleton: Skeleton) -> None:
    """Write features and joints of clips and of their mirror images to the dataset folder.

    A job is (name, joints in int32 multiples of `step`, whether to write the mirror image too).
    """
    import torch

    from prepare.folder import write_batch_of_joints

    motions = {name: np.float32(joints * step) for name, joints, _ in jobs}
    mirrored = [name for name, _, has_mirror in jobs if has_mirror]
    motions |= {f"M{name}": motions[name][:, list(skeleton.mirror)] * np.float32([-1, 1, 1]) for name in mirrored}
    write_batch_of_joints(folder, list(motions), [torch.from_numpy(joints) for joints in motions.values()], skeleton)


if __name__ == "__main__":
    main()
