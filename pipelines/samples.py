"""Generation of samples from prompts or from a source motion, for gen_t2m.py, edit_t2m.py and the Python API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from data.prompts import LONGEST, STRIDE, Prompt, read_sections, rounded
from data.source import Source
from motion.clip import Motion
from motion.spec import DatasetSpec
from options.generate import EditT2M, GenT2M
from pipelines.editing import edit, spans_of
from pipelines.long_motion import join
from pipelines.looping import cycle_joints, decode_cycle, ends_elsewhere, loop_codes, loop_source
from pipelines.outputs import Sample, to_joints
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion
from utils.errors import UserError, note
from utils.runtime import Distributed

SHORTEST_LOOP = 4  # minimum number of tokens of a loop


def requested_samples(prompts: list[Prompt], config: GenT2M) -> list[tuple[int, int, str]]:
    """List (prompt index, index among the prompt's motions, text) of every motion to generate, in the order of generation."""
    if config.join:
        return [(0, repeat, joined_text(prompts)) for repeat in range(config.repeat_times)]
    return [(k, repeat, prompt.text) for repeat in range(config.repeat_times) for k, prompt in enumerate(prompts)]


def joined_text(prompts: list[Prompt]) -> str:
    """The text of a joined motion: its prompts, separated by arrows."""
    return " → ".join(prompt.text for prompt in prompts)


def separate(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings, done: int
) -> Iterator[Sample]:
    """Generate `config.repeat_times` motions per prompt, batch by batch. The first `done` motions are skipped: they exist already.

    Under torchrun, the batches are distributed over the processes.
    """
    samples = [(k, repeat) for k, repeat, _ in requested_samples(prompts, config)]
    size = max(1, config.batch_size // sampling.candidates)

    def batch_from(first: int) -> Iterator[Sample]:
        batch = samples[first : first + size]
        texts = [prompts[k].text for k, _ in batch]
        frames = lengths_of([prompts[k] for k, _ in batch])
        if config.loop:
            yield from loops(model, batch, texts, frames, spec, sampling, first)
            return
        features, lengths = model.generate(texts, frames, sampling, first_sample=first)
        joints = to_joints(features, spec).numpy()  # (B, T, J, 3)
        rows = zip(batch, texts, joints, lengths.tolist())
        for number, ((k, repeat), text, padded, count) in enumerate(rows, start=first):
            yield Sample(Motion(padded[:count], spec.fps, text), k, repeat, number)

    yield from Distributed.from_environment().in_turns(range(done, len(samples), size), batch_from)


def lengths_of(prompts: list[Prompt]) -> Tensor | None:
    """The lengths (B,) of prompts in frames, 0 where a length is to be predicted; None if all lengths are to be predicted."""
    given = torch.tensor([prompt.frames or 0 for prompt in prompts])
    return given if given.any() else None


def loops(
    model: TextToMotion, batch: list[tuple[int, int]], texts: list[str], frames: Tensor | None, spec: DatasetSpec,
    sampling: SamplingSettings, first: int,
) -> Iterator[Sample]:  # fmt: skip
    """Generate motions of `texts`, and regenerate tokens at the end and start of each motion, so that its end leads into its start.

    `batch` lists (prompt index, index among the prompt's motions); `first` is the sample number of the first motion.
    """
    conditions = model.encoder(texts)
    tokens = model.count_tokens(conditions, frames, seed=sampling.seed, first_sample=first).clamp_min(SHORTEST_LOOP)
    codes = model.draw(conditions, tokens, sampling=sampling, first_sample=first)
    longest = spec.max_motion // model.tokeniser.stride
    for row, ((k, repeat), text, count) in enumerate(zip(batch, texts, tokens.tolist())):
        drawn = codes[row : row + 1, :count]
        plain, _ = model.features(drawn, tokens[row : row + 1])
        if ends_elsewhere(plain[0], spec):
            note(f"'{text}' (repeat {repeat}) does not end in its first pose; the loop returns to this pose in about a second")
        settings = {"longest": longest, "sampling": sampling, "first_sample": first + row}
        cycles = cycle_joints(decode_cycle(model, loop_codes(model, drawn, conditions[row : row + 1], **settings)), spec)[0]
        motion = Motion(cycles[: len(cycles) // 3], spec.fps, text)
        yield Sample(motion, k, repeat, first + row, cycles=cycles)


def joined(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings, done: int,
    report: Callable[[str], None] = print,
) -> Iterator[Sample]:  # fmt: skip
    """Generate `config.repeat_times` motions, skipping the first `done`. Each motion follows all prompts, one after the other."""
    texts = [prompt.text for prompt in prompts]
    frames = [prompt.frames or 0 for prompt in prompts]
    longest = spec.max_motion // model.tokeniser.stride

    def take(repeat: int) -> Iterator[Sample]:
        features, ends = join(model, texts, frames, longest=longest, sampling=sampling, first_sample=repeat)
        report(f"repeat {repeat}: " + ", ".join(f"to frame {end} {text}" for text, end in zip(texts, ends)))
        motion = Motion(to_joints(features, spec).numpy(), spec.fps, joined_text(prompts))
        yield Sample(motion, repeat=repeat, number=repeat)

    yield from Distributed.from_environment().in_turns(range(done, config.repeat_times), take)


# Editing


class Plan(NamedTuple):
    """The frames of a motion that an edit keeps, regenerates and adds. All numbers are in frames.

    Attributes:
        frames: number of frames of the source motion that are used, from its start.
        sections: (first, end) of the sections to regenerate.
        before, after: numbers of frames to add before the start and after the end.
    """

    frames: int
    sections: list[tuple[int, int]]
    before: int
    after: int


def make_plan(config: EditT2M, frames: int) -> Plan:
    """Plan the edit of a motion of `frames` frames. Raises `UserError` for lengths out of range, or if there is nothing to edit."""
    if config.after and config.motion_length:
        raise UserError("--after and --motion_length (the length of the whole edited motion) cannot be combined; give one of them")
    lengths = {flag: getattr(config, flag) for flag in ("before", "after", "motion_length")}
    before, after, total = (rounded(length, LONGEST, f"--{flag}") if length else 0 for flag, length in lengths.items())
    if total:
        frames = min(frames, total - before)
        if frames < STRIDE:
            raise UserError(f"--motion_length {total} --before {before}: no frames of the motion remain; increase --motion_length")
        after = total - before - frames // STRIDE * STRIDE if total > before + frames else 0
    sections = read_sections(config.mask_edit_section, frames)
    if config.loop:
        if sections or before or after:
            raise UserError("--loop cannot be combined with other edits; edit the motion first, then loop the edited motion")
        if frames < STRIDE * SHORTEST_LOOP:
            raise UserError(f"--loop: the motion has {frames} frames; at least {STRIDE * SHORTEST_LOOP} are needed")
        return Plan(frames, [], 0, 0)
    if not (sections or before or after):
        choices = "--mask_edit_section A,B (a section of the motion), --before N or --after N (frames), or --loop"
        raise UserError(f"nothing to edit: give {choices}")
    return Plan(frames, sections, before, after)


def looped(
    model: TextToMotion, source: Source, plan: Plan, prompt: str, config: EditT2M, spec: DatasetSpec, sampling: SamplingSettings,
    done: int,
) -> Iterator[Sample]:  # fmt: skip
    """Make `config.repeat_times` loops of `source`, skipping the first `done`. Each loop starts at the position of the source."""
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
    done: int, report: Callable[[str], None] = print,
) -> Iterator[Sample]:  # fmt: skip
    """Generate `config.repeat_times` edited versions of `source`, batch by batch, skipping the first `done`.

    Each version keeps the position and heading of the source.
    """
    stride = model.tokeniser.stride
    before, after = (frames // stride * stride for frames in (plan.before, plan.after))
    size = max(1, config.batch_size // sampling.candidates)
    for first in range(done, config.repeat_times, size):
        features, _, weight = edit(
            model, source.features[: plan.frames], plan.sections, prompt, before=before, after=after,
            takes=min(size, config.repeat_times - first), first_sample=first,
            longest=spec.max_motion // stride, sampling=sampling,
        )  # fmt: skip
        if first == done:
            new = spans_of((weight == 1).tolist(), len(weight))
            report(f"new frames (of {len(weight)}): " + ", ".join(f"{start} to {stop}" for start, stop in new))
        kept = int(weight[before : before + plan.frames].argmin())  # index of the first source frame that is unchanged
        joints = source.place(to_joints(features, spec), before + kept, kept)
        for repeat, result in enumerate(joints.numpy(), start=first):
            yield Sample(Motion(result, spec.fps, prompt or "in-betweening"), repeat=repeat, number=repeat)
