"""A dataset folder as one small file, to carry it to a rented GPU, and back to a folder.

    python -m prepare.pack --data_root dataset/Open --splits train val --out open.pack
    python -m prepare.pack --unpack open.pack --out dataset/Open

Features are derived from joints, so only joints are stored: in steps of 0.1 mm (`STEP`), each relative to its parent joint and as
its deviation from constant velocity, which leaves about one byte per coordinate before compression. Mirrored clips (M…) are
computed from their originals, and unpacking computes the features. The file is a zip archive that holds captions, splits,
statistics and `actions.csv` unchanged.
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

if TYPE_CHECKING:  # --help does not wait for torch
    from torch import Tensor

    from data.store import Clips
    from motion.skeleton import Skeleton
    from motion.spec import DatasetSpec

STEP = 1e-4  # metres between the joint coordinates that can be stored
CLOSE = 0.05  # metres; mean distance of a mirrored clip's joints to the mirrored original, above which it is stored by itself
BATCH = 64  # clips whose features are computed together
INDEX, JOINTS, TEXTS = "index.json", "joints", "texts.json"
COPIED = ("Mean.npy", "Std.npy", "actions.csv", "composed.txt")  # files of the folder that are stored unchanged, if they exist


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(PackDataset, argv)
    if not config.out:
        raise UserError("--out is missing: name the file to write, or with --unpack the folder")
    if config.unpack:
        unpack(Path(config.unpack), Path(config.out), config.workers)
    else:
        pack(config, Path(config.out))


# Packing


def pack(config: PackDataset, out: Path) -> None:
    """Write the clips of `config.splits` to the file `out` and print what it holds."""
    from data.store import MotionStore
    from motion.features import skeleton_for
    from motion.spec import get_spec
    from utils.checkpoint import atomic_path

    spec = get_spec(config.dataset_name, config.data_root)
    store = MotionStore(spec)
    lists = {split: store.split(split) for split in config.splits}
    clips = store.clips(sorted({name for names in lists.values() for name in names}))
    mirrors = mirrored_names(clips, spec)
    kept = [place for place, name in enumerate(clips.names) if name not in mirrors]
    step = STEP / spec.unit_scale
    values = [quantised(clips[place], skeleton_for(spec.num_joints), step) for place in kept]
    index = {
        "dataset": spec.name, "step": step, "names": [clips.names[place] for place in kept],
        "frames": [len(rows) for rows in values], "mirrors": sorted(mirrors), "splits": lists,
    }  # fmt: skip
    files = {name: spec.root / "texts" / f"{name}.txt" for name in clips.names}
    texts = {name: path.read_bytes().decode("utf-8", "surrogateescape") for name, path in files.items() if path.is_file()}
    with atomic_path(out) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr(INDEX, json.dumps(index))
        file.writestr(TEXTS, json.dumps(texts))
        for name in COPIED:
            if (spec.root / name).is_file():
                file.write(spec.root / name, name)
        for number, plane in enumerate(planes(values)):
            file.writestr(f"{JOINTS}.{number}", plane)
    size = out.stat().st_size / 2**20
    print(f"{out}: {len(kept)} clips and {len(mirrors)} mirrored ones, {sum(index['frames'])} frames, {size:.1f} MiB")


def mirrored_names(clips: Clips, spec: DatasetSpec) -> set[str]:
    """The names M… of clips that are mirror images of others of `clips`, by their local joints."""
    from motion.features import skeleton_for

    places = {name: place for place, name in enumerate(clips.names)}
    order = [joint - 1 for joint in skeleton_for(spec.num_joints).mirror[1:]]
    found = set()
    for name, place in places.items():
        original = places.get(name.removeprefix("M"), place)
        if original != place and clips.lengths[original] == clips.lengths[place]:
            ours, theirs = (clips[i][:, spec.joints_slice].reshape(-1, len(order), 3) for i in (place, original))
            distance = np.linalg.norm(ours - theirs[:, order] * np.float32([-1, 1, 1]), axis=-1).mean()
            if distance * spec.unit_scale < CLOSE:
                found.add(name)
    return found


def quantised(rows: np.ndarray, skeleton: Skeleton, step: float) -> np.ndarray:
    """Features (T, D) → joints relative to their parents (T + 1, J, 3), as integers of size `step`; the root is absolute."""
    import torch

    joints = np.rint(described_joints(torch.tensor(rows), skeleton.num_joints).numpy() / step).astype(np.int32)
    joints[:, 1:] -= joints[:, list(skeleton.parents[1:])]
    return joints


def described_joints(features: Tensor, num_joints: int) -> Tensor:
    """All joints (T + 1, J, 3) of the frames from which features (T, D) were computed.

    `motion.features.features_to_joints` gives the first T, and turns the wrong way where the heading passes -Z: there the stored
    angle has the wrong sign, as in HumanML3D. Here the sign is the one with which each row's velocities lead to the next row's
    joints. The last row's velocities give the last frame.
    """
    import torch

    from motion.features import recover_root
    from motion.rotation import qaxis, qconj, qrotate

    angle, height, J = features[:, 0], features[:, 3], num_joints
    ground = features.new_tensor([1, 0, 1])
    root = torch.stack((torch.zeros_like(height), height, torch.zeros_like(height)), dim=-1)[:, None]
    local = torch.cat((root, features[:, 4 : 3 * J + 1].unflatten(-1, (-1, 3))), dim=1)  # (T, J, 3) above the root's place
    moved = features[:, 9 * J - 5 : 12 * J - 5].unflatten(-1, (J, 3))  # (T, J, 3) to the next frame, in this one's heading
    ahead = (local + moved - moved[:, :1] * ground)[:-1]

    def error(sign: int) -> Tensor:
        """How far (T - 1,) the next joints are from those that are expected after a turn by `angle` in this direction."""
        turn = qaxis("y", 2 * sign * angle[:-1])[:, None].expand(-1, J, -1)
        return (qrotate(turn, ahead) - local[1:]).square().sum((-1, -2))

    wrong = torch.cat((error(-1) < error(1), torch.zeros(1, dtype=torch.bool)))
    rotation = qconj(recover_root(torch.cat((torch.where(wrong, -angle, angle)[:, None], features[:, 1:]), dim=1))[0])[:, None]
    local, moved = qrotate(rotation, local), qrotate(rotation, moved)
    path = torch.cat((torch.zeros(1, 3), moved[:-1, 0].cumsum(0))) * ground
    joints = local + path[:, None]
    return torch.cat((joints, joints[-1:] + moved[-1:]))


def planes(clips: Sequence[np.ndarray]) -> Iterator[bytes]:
    """The bytes of all values of clips (T, J, 3), the lowest bytes first: one coordinate after the other, each as deviations from
    constant velocity, with the sign in the lowest bit."""
    deviations = np.concatenate([np.diff(rows, n=2, axis=0, prepend=np.zeros_like(rows[:1]).repeat(2, 0)) for rows in clips])
    values = deviations.reshape(len(deviations), -1).T
    values = ((values << 1) ^ (values >> 31)).astype("<u4", order="C")
    for number in range(4):
        yield (values >> (8 * number)).astype(np.uint8).tobytes()


# Unpacking


def unpack(path: Path, out: Path, workers: int) -> None:
    """Write the dataset folder `out` from the file `path`."""
    from motion.features import skeleton_for
    from motion.spec import get_spec
    from prepare.clip_files import processes
    from prepare.folder import MOTIONS, whole_folder, write_lists
    from utils.progress import progress

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists; choose another folder or remove it")
    index, texts, copied, clips = read(path)
    skeleton = skeleton_for(get_spec(index["dataset"]).num_joints)
    mirrors = set(index["mirrors"])
    jobs = [(name, joints, f"M{name}" in mirrors) for name, joints in zip(index["names"], clips)]
    jobs.sort(key=lambda job: len(job[1]))  # alike in length, so that little is padded
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
    print(f"{out}: {len(jobs)} clips and {len(mirrors)} mirrored ones")


def read(path: Path) -> tuple[dict, dict[str, str], dict[str, bytes], list[np.ndarray]]:
    """The index, the captions by clip, the files to copy by name, and the joints (T, J, 3) as integers, of a packed file.

    Raises `UserError` for any other file.
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
            raise ValueError("its index is of other clips")
        plain = all(Path(name).name == name for name in (*index["names"], *index["mirrors"], *index["splits"], *texts))
        if not plain:
            raise ValueError("a name in it is a path")
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"--unpack {path}: no packed dataset ({error}); make one with python -m prepare.pack") from None
    return index, texts, copied, [positions(rows, skeleton) for rows in np.split(deviations, ends[:-1])]


def positions(deviations: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The inverse of `quantised` and of the deviations (T, 3J) of one clip in `planes`: joints (T, J, 3) as int32."""
    joints = deviations.cumsum(0).cumsum(0).reshape(len(deviations), -1, 3).astype(np.int32)
    for joint, parent in enumerate(skeleton.parents[1:], start=1):  # parents come first
        joints[:, joint] += joints[:, parent]
    return joints


def write_batch(jobs: Iterable[tuple[str, np.ndarray, bool]], folder: Path, step: float, skeleton: Skeleton) -> None:
    """Write features and joints of clips (name, joints, whether it has a mirrored clip) and of the mirrored ones."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from motion.features import features_to_joints, joints_to_features
    from prepare.folder import write_motion

    named = [(name, np.float32(joints * step)) for name, joints, _ in jobs]
    mirror = np.float32([-1, 1, 1])
    named += [(f"M{name}", joints[:, list(skeleton.mirror)] * mirror) for (name, joints), job in zip(list(named), jobs) if job[2]]
    clips = [torch.from_numpy(joints) for _, joints in named]
    lengths = torch.tensor([len(joints) for joints in clips])
    features, _ = joints_to_features(pad_sequence(clips, batch_first=True), skeleton, lengths)
    for (name, _), length, rows in zip(named, lengths.tolist(), features):
        write_motion(folder, name, rows[: length - 1], features_to_joints(rows[: length - 1], skeleton.num_joints))


if __name__ == "__main__":
    main()
