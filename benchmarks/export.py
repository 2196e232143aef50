"""Time and accuracy of exporters: `python -m benchmarks.export [--clips 20] [--dataset_name open] [--checkpoints_dir DIR …]`.

Prints
- the time of inverse kinematics (IK), of foot locking and of writing .bvh, .glb and .mp4 files, for 196 frames (medians over real
  clips);
- for real, reconstructed and generated clips: the joint error of IK on a symmetric skeleton, foot sliding before and after foot
  locking, and the distance by which foot locking displaces the joints outside the legs;
- the differences in bone length between the .bvh files of generated clips;
- for generated loops: the changes of position and velocity at the seam and, for comparison, the largest changes between other
  consecutive frames.

By default, the embedded weights are used.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.export")

import numpy as np
import torch

from benchmarks.timing import timed
from data.prompts import read_prompts
from data.store import MotionStore, Normaliser
from evaluation.metrics.physical import foot_slide, toe_contacts
from evaluation.tokeniser import reconstructions, to_joints
from motion.features import features_to_joints, skeleton_for
from motion.files.animation import RigOptions
from motion.files.bvh import read_bvh
from motion.files.export import OutputOptions, export
from motion.footlock import lock_feet
from motion.ik import fit_pose
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.common import option
from pipelines.looping import cycle_joints, decode_cycle, loop_codes, seam_sizes
from pipelines.runs import EMBEDDED_DIR
from pipelines.sampling import SamplingSettings
from pipelines.setup import standard_body
from pipelines.text2motion import TextToMotion
from utils.errors import script

FRAMES = 196
LOOPS = ["a person walks forward", "a person runs forward", "a person waves with the right hand", "a person walks in a circle"]
PROMPTS = Path(__file__).parent.parent / "assets" / "text_prompt.txt"


def motions(spec: DatasetSpec, model: TextToMotion, number: int) -> dict[str, list[np.ndarray]]:
    """Return three lists of clips (T, J, 3) in metres: real clips, evenly spread over the test split, their reconstructions, and
    generated clips. The keys of the lists are "real", "reconstructed" and "generated"."""
    store = MotionStore(spec)
    names = store.split("test")
    clips = store.clips([names[index] for index in np.linspace(0, len(names) - 1, number).astype(int)])
    real = [spec.unit_scale * features_to_joints(torch.tensor(clip), spec.num_joints).numpy() for clip in clips]

    normaliser = Normaliser(model.mean.numpy(), model.std.numpy())
    reconstructed = []
    for batch in reconstructions(model.tokeniser, clips, normaliser):
        reconstructed += cut(to_joints(batch.decoded, normaliser, spec), batch.lengths)

    prompts = [prompt.text for prompt in read_prompts("", str(PROMPTS), 0, FRAMES)]
    features, lengths = model.generate((prompts * number)[:number])
    generated = cut(spec.unit_scale * features_to_joints(features, spec.num_joints), lengths)
    return {"real": real, "reconstructed": reconstructed, "generated": generated}


def cut(joints: torch.Tensor, lengths: torch.Tensor) -> list[np.ndarray]:
    """Remove the padding of a batch (B, T, J, 3): return one array (length, J, 3) per clip."""
    return [clip[:length] for clip, length in zip(joints.numpy(), lengths.tolist())]


def seconds(work: Callable[[np.ndarray], object], clips: list[np.ndarray]) -> float:
    """Median time of `work(clip)` over the clips, in seconds, after one warm-up call."""
    work(clips[0])
    return statistics.median(timed(partial(work, clip))[1] for clip in clips)


def time_exports(clips: list[np.ndarray], fps: float, body: np.ndarray) -> None:
    """Print the times of IK, of foot locking and of writing each file format; clips are repeated or cut to 196 frames."""
    clips = [np.resize(clip, (FRAMES, *clip.shape[1:])) for clip in clips]
    skeleton = skeleton_for(clips[0].shape[1])
    print(f"{FRAMES} frames, {len(clips)} real clips, {torch.get_num_threads()} threads")
    print(f"IK           {1000 * seconds(lambda clip: fit_pose(torch.from_numpy(clip), skeleton, body), clips):8.1f} ms")
    print(f"foot locking {1000 * seconds(lambda clip: lock_feet(clip, fps, rest=body), clips):8.1f} ms, IK included")
    with TemporaryDirectory() as folder:
        for suffix in ("bvh", "glb", "mp4"):
            took = seconds(lambda clip, to=Path(folder) / f"clip.{suffix}": export(to, clip, "", fps), clips)
            print(f"{suffix:<13}{took:8.2f} s")


def quality(clips: list[np.ndarray], fps: float, body: np.ndarray) -> list[float]:
    """Return the IK error of clips in cm (mean and 95th percentile), foot sliding in cm/s before and after foot locking, and the
    mean distance in cm by which foot locking displaces the joints outside the legs."""
    skeleton = skeleton_for(clips[0].shape[1])
    legs = {joint for chain in skeleton.chains[:2] for joint in chain[2:]}
    outside = [joint for joint in range(skeleton.num_joints) if joint not in legs]
    rows, errors = [], []
    for clip in map(torch.from_numpy, clips):
        errors.append((fit_pose(clip, skeleton, body).joints(skeleton) - clip).norm(dim=-1).flatten())
        locked = torch.from_numpy(lock_feet(clip.numpy(), fps, rest=body))
        contacts = toe_contacts(clip[None], fps)
        slides = [foot_slide(motion[None], fps, contacts=contacts).item() for motion in (clip, locked)]
        rows.append([*slides, 100 * (locked - clip)[:, outside].norm(dim=-1).mean().item()])
    error = 100 * torch.cat(errors)
    return [error.mean().item(), np.percentile(error, 95), *np.nanmean(rows, axis=0)]


def equal_bones(clips: list[np.ndarray], fps: float, body: np.ndarray) -> None:
    """Print the largest differences in bone length between the clips' .bvh files, and between left and right bones."""
    rig, skeleton = RigOptions("standard", body), skeleton_for(clips[0].shape[1])
    with TemporaryDirectory() as folder:
        offsets = []
        for clip in clips:
            export(Path(folder) / "clip.bvh", clip, "", fps, OutputOptions(rig=rig))
            bvh = read_bvh(Path(folder) / "clip.bvh")
            offsets.append(bvh.offsets[[bvh.names.index(bone) for bone in skeleton.bones[1:]]])
    asymmetry = np.array(offsets[0]) - np.array(offsets[0])[[joint - 1 for joint in skeleton.mirror[1:]]] * (-1, 1, 1)
    between, across = np.ptp(offsets, axis=0).max(), np.abs(asymmetry).max()
    print(f"\nbones of {len(clips)} .bvh files differ by {between:.6f} cm between files and {across:.6f} cm between sides")


def loop_seams(model: TextToMotion, spec: DatasetSpec, number: int) -> None:
    """Print the changes of position and velocity at the seam of `number` generated loops, and the largest changes between other
    consecutive frames."""
    sampling = SamplingSettings(cond_scale=2.0, res_cond_scale=2.0)
    sizes = []
    for sample, prompt in enumerate((LOOPS * number)[:number]):
        condition = model.encoder([prompt])
        codes = model.draw(condition, torch.tensor([20]), sampling=sampling, first_sample=sample)
        settings = {"longest": spec.max_motion // model.tokeniser.stride, "sampling": sampling, "first_sample": sample}
        features = decode_cycle(model, loop_codes(model, codes, condition, **settings))
        sizes.append(seam_sizes(cycle_joints(features, spec, cycles=2)[0], spec.fps))
    for name, unit in (("position", "cm"), ("velocity", "cm/s")):
        at_seam, elsewhere = (100 * np.array([size[name][part] for size in sizes]) for part in (0, 1))
        larger = int((at_seam > elsewhere).sum())
        means = f"{at_seam.mean():.2f} at the seam, maximum elsewhere {elsewhere.mean():.2f} (means over loops)"
        print(f"{number} loops, change of {name} in {unit}: {means}; the change is larger at the seam in {larger} loops")


@dataclass(frozen=True)
class Exports:
    """Measure how long exports take and how accurate the exported motions are."""

    clips: int = option(20, "number of clips of each kind: real, reconstructed, generated")
    loops: int = option(10, "number of generated loops")
    data_root: str = option("", "dataset folder; default: the folder of the dataset under dataset/")
    checkpoints_dir: str = option(str(EMBEDDED_DIR), "folder of checkpoint folders")
    dataset_name: str = option("open", "dataset of the weights and of the real clips")
    name: str = option("masked", "masked transformer")
    res_name: str = option("residual", "residual transformer")
    length_name: str = option("length", "length predictor")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Exports, argv)
    spec = get_spec(args.dataset_name, args.data_root)
    model = TextToMotion.load(args.checkpoints_dir, args.dataset_name, args.name, args.res_name, args.length_name)
    sources = motions(spec, model, args.clips)
    body = standard_body(model, spec)
    time_exports(sources["real"], spec.fps, body)
    print(f"\n{'':14}{'IK error, cm':>14}{'p95':>8}{'foot slide, cm/s':>20}{'locked':>8}{'displaced, cm':>20}")
    for source, clips in sources.items():
        error, percentile, before, after, moved = quality(clips, spec.fps, body)
        print(f"{source:14}{error:>14.2f}{percentile:>8.2f}{before:>20.1f}{after:>8.1f}{moved:>20.2f}")
    equal_bones(sources["generated"], spec.fps, body)
    loop_seams(model, spec, args.loops)


if __name__ == "__main__":
    main()
