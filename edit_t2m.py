"""Edit a motion by text: parts of it are made anew, the rest stays as it is.

    python edit_t2m.py --source_motion walk.npy -msec 0.3,0.6 --text_prompt "a person waves with both hands"
    python edit_t2m.py --source_motion walk.bvh -msec 40,60 100,120                        # in-betweening, no text
    python edit_t2m.py --source_motion walk.npy --after 80 --text_prompt "a person bows"   # what comes next
    python edit_t2m.py --source_motion walk.npy --before 60 --text_prompt "a person runs"  # what came before

The source is a .npy of joints or features, an .npz of SMPL rotations, a .bvh, .glb or .amc. Results lie where gen_t2m.py's do, with
k = 0; each stands where the source stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from data.prompts import LONGEST, STRIDE, checked, read_sections, rounded
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.generate import EditT2M
from pipelines.outputs import (
    Sample,
    check_flags,
    find_generator,
    finished,
    input_options,
    load_generator,
    note_blind_loops,
    standard_body,
    start_folder,
    to_joints,
    write_samples,
)
from utils.errors import UserError, script

if TYPE_CHECKING:
    from data.source import Source
    from pipelines.text2motion import SamplingSettings, TextToMotion


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EditT2M, argv)
    check_flags(config)
    if not config.source_motion:
        raise UserError("--source_motion is missing: the motion to edit, a .npy or .bvh file")
    prompt = checked(config.text_prompt, "--text_prompt") if config.text_prompt.strip() else ""
    runs = find_generator(config)
    spec = get_spec(runs.masked.dataset_name)

    from data.source import read_source  # here, for --help does not wait for torch
    from pipelines.known import check_prompts
    from utils.provenance import provenance

    source = read_source(config.source_motion, spec, input_options(config))
    plan = make_plan(config, len(source.features))
    known = check_prompts([prompt], runs.masked.folder, config.strict)[0] if prompt else None
    model = load_generator(config, runs)
    if config.loop:
        note_blind_loops(model)
    text = prompt or ("loop" if config.loop else "in-betweening")
    done = finished(config, start_folder(config), [(0, repeat, text) for repeat in range(config.repeat_times)])
    samples = (looped if config.loop else edited)(model, source, plan, prompt, config, spec, model.sampling.changed(config), done)
    samples = (replace(sample, known=known) for sample in samples)
    made_by = provenance(config, model.mean.device, model.sources)
    write_samples(samples, config.repeat_times - done, config, made_by, standard_body(model, spec))


SHORTEST_LOOP = 4  # tokens


class Plan(NamedTuple):
    """How many frames of the source are kept or edited, which are, and how many are added at either end."""

    frames: int
    sections: list[tuple[int, int]]
    before: int
    after: int


def make_plan(config: EditT2M, frames: int) -> Plan:
    """What to do with a source of that many frames. Raises `UserError` for lengths out of range, or if nothing is to be done."""
    if config.after and config.motion_length:
        raise UserError("give either --after or --motion_length, which is the length of the whole result")
    lengths = {flag: getattr(config, flag) for flag in ("before", "after", "motion_length")}
    before, after, total = (rounded(length, LONGEST, f"--{flag}") if length else 0 for flag, length in lengths.items())
    if total:
        frames = min(frames, total - before)
        if frames < STRIDE:
            raise UserError(f"--motion_length {total} --before {before}: nothing of the motion is left; ask for a longer one")
        after = total - before - frames // STRIDE * STRIDE if total > before + frames else 0
    sections = read_sections(config.mask_edit_section, frames)
    if config.loop:
        if sections or before or after:
            raise UserError("--loop goes with nothing else: edit the motion first, then loop the result")
        if frames < STRIDE * SHORTEST_LOOP:
            raise UserError(f"--loop: a motion of {frames} frames; {STRIDE * SHORTEST_LOOP} or more are needed")
        return Plan(frames, [], 0, 0)
    if not (sections or before or after):
        choices = "--mask_edit_section A,B (a part of the motion), --before N or --after N (frames), or --loop"
        raise UserError(f"nothing to edit: give {choices}")
    return Plan(frames, sections, before, after)


def looped(
    model: TextToMotion, source: Source, plan: Plan, prompt: str, config: EditT2M, spec: DatasetSpec, sampling: SamplingSettings,
    done: int,
) -> Iterator[Sample]:  # fmt: skip
    """The motion as a cycle, `repeat_times` times, without the `done` first ones; each starts where the source did."""
    import torch

    from motion.clip import Motion
    from pipelines.looping import cycle_joints, loop_source

    longest = spec.max_motion // model.tokeniser.stride
    for first in range(done, config.repeat_times, config.batch_size):
        takes = min(config.batch_size, config.repeat_times - first)
        features = loop_source(
            model, source.features[: plan.frames], prompt, takes=takes, longest=longest, sampling=sampling, first_sample=first
        )
        for repeat, cycles in enumerate(source.place(torch.from_numpy(cycle_joints(features, spec)), 0, 0).numpy(), start=first):
            motion = Motion(cycles[: len(cycles) // 3], spec.fps, prompt or "loop")
            yield Sample(motion, repeat=repeat, number=repeat, cycles=cycles)


def edited(
    model: TextToMotion, source: Source, plan: Plan, prompt: str, config: EditT2M, spec: DatasetSpec, sampling: SamplingSettings,
    done: int,
) -> Iterator[Sample]:
    """The edited motion `repeat_times` times, batch by batch, without the `done` first ones; each stands where the source stood."""
    from motion.clip import Motion
    from pipelines.editing import edit, spans_of

    stride = model.tokeniser.stride
    before, after = (frames // stride * stride for frames in (plan.before, plan.after))
    for first in range(done, config.repeat_times, config.batch_size):
        features, _, weight = edit(
            model, source.features[: plan.frames], plan.sections, prompt, before=before, after=after,
            takes=min(config.batch_size, config.repeat_times - first), first_sample=first,
            longest=spec.max_motion // stride, sampling=sampling,
        )  # fmt: skip
        if first == done:
            new = spans_of((weight == 1).tolist(), len(weight))
            print(f"new of {len(weight)} frames: " + ", ".join(f"{start} to {stop}" for start, stop in new))
        kept = int(weight[before : before + plan.frames].argmin())  # the first frame that is wholly the source's
        joints = source.place(to_joints(features, spec), before + kept, kept)
        for repeat, result in enumerate(joints.numpy(), start=first):
            yield Sample(Motion(result, spec.fps, prompt or "in-betweening"), repeat=repeat, number=repeat)


if __name__ == "__main__":
    main()
