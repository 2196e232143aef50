"""Text → motion files: joints as .npy in metres, skeletons as .bvh in centimetres, a body as .glb, videos as .mp4.

    python gen_t2m.py --ext exp1 --text_prompt "a person waves with the right hand"
    python gen_t2m.py --ext exp2 --text_path assets/text_prompt.txt --name my_run
    python gen_t2m.py --ext exp3 --text_path story.txt --join

Results lie in `<output_dir>/<ext>/joints/<k>/sample<k>_repeat<r>_len<T>.npy` and `<output_dir>/<ext>/animation/<k>/` (k counts
prompts, r repeats, T is frames); what shows all of them (`--formats html`, `--grid`) in `<output_dir>/<ext>/`. Each motion appears
when it is finished and is then listed in `prompts.json`; `--is_continue` goes on with an interrupted run. With `--join` all prompts
are one motion, as long as they like.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from data.prompts import LONGEST, Prompt, read_prompts
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.generate import GenT2M
from pipelines.outputs import (
    Sample,
    check_flags,
    find_generator,
    finished,
    load_generator,
    note_blind_loops,
    standard_body,
    start_folder,
    to_joints,
    write_samples,
)
from utils.errors import UserError, note, script

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.runs import Generator
    from pipelines.text2motion import SamplingSettings, TextToMotion


SHORTEST_LOOP = 4  # tokens


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(GenT2M, argv)
    check_flags(config)
    if config.loop and config.join:
        raise UserError("--loop --join: a loop is one motion; leave one of the flags out")
    if config.candidates > 1 and (config.loop or config.join):
        raise UserError("--candidates: works on single motions; leave out --loop and --join")
    runs = find_generator(config)
    spec = get_spec(runs.masked.dataset_name)
    longest = LONGEST if config.join else spec.max_motion
    prompts = read_prompts(config.text_prompt, config.text_path, config.motion_length, longest, config.lengths_as_given)

    from pipelines.known import check_prompts  # here, for --help does not wait for torch
    from utils.runtime import Distributed, resolve_device

    known = check_prompts([prompt.text for prompt in prompts], runs.masked.folder, config.strict)
    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        generate(config, runs, spec, prompts, known)


def generate(config: GenT2M, runs: Generator, spec: DatasetSpec, prompts: list[Prompt], known: list[dict | None]) -> None:
    """Generate and write all motions; under torchrun the processes share the work, and the first one writes."""
    from utils.provenance import provenance
    from utils.runtime import Distributed

    processes = Distributed.from_environment()
    with processes.first_on_node():
        earlier = start_folder(config)
    model = load_generator(config, runs)
    sampling = model.sampling.changed(config)
    if config.loop:
        note_blind_loops(model)
    wanted = wanted_samples(prompts, config)
    first = finished(config, earlier, wanted)
    samples = (joined if config.join else separate)(model, prompts, config, spec, sampling, first)
    samples = (replace(sample, known=known if config.join else known[sample.prompt_index]) for sample in samples)
    if not processes.main:
        deque(samples, maxlen=0)
        return
    made_by = provenance(config, model.mean.device, model.sources)
    write_samples(samples, len(wanted) - first, config, made_by, standard_body(model, spec))


def wanted_samples(prompts: list[Prompt], config: GenT2M) -> list[tuple[int, int, str]]:
    """Prompt index, repeat and text of every motion, in the order in which they are generated."""
    if config.join:
        return [(0, repeat, joined_text(prompts)) for repeat in range(config.repeat_times)]
    return [(k, repeat, prompt.text) for repeat in range(config.repeat_times) for k, prompt in enumerate(prompts)]


def joined_text(prompts: list[Prompt]) -> str:
    return " → ".join(prompt.text for prompt in prompts)


def separate(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings, done: int
) -> Iterator[Sample]:
    """Every prompt's motion `repeat_times` times, generated batch by batch, without the `done` first ones."""
    from motion.clip import Motion
    from utils.runtime import Distributed

    samples = [(k, repeat) for k, repeat, _ in wanted_samples(prompts, config)]
    generate_batch = generator(model, config)
    size = max(1, config.batch_size // config.candidates)

    def batch_from(first: int) -> Iterator[Sample]:
        batch = samples[first : first + size]
        texts = [prompts[k].text for k, _ in batch]
        frames = lengths_of(model, [prompts[k] for k, _ in batch], sampling, first)
        if config.loop:
            yield from loops(model, batch, texts, frames, spec, sampling, first)
            return
        features, lengths = generate_batch(texts, frames, sampling, first_sample=first)
        joints = to_joints(features, spec).numpy()  # (B, T, J, 3)
        for number, ((k, repeat), text) in enumerate(zip(batch, texts), start=first):
            motion = Motion(joints[number - first, : lengths[number - first]], spec.fps, text)
            yield Sample(motion, k, repeat, number)

    yield from Distributed.from_environment().in_turns(range(done, len(samples), size), batch_from)


def generator(model: TextToMotion, config: GenT2M) -> Callable[..., tuple[Tensor, Tensor]]:
    """`model.generate`, or with --candidates the best of several motions by the LaMP that belongs to the weights."""
    if config.candidates == 1:
        return model.generate
    from pipelines.candidates import best_motions
    from pipelines.language_motion import LanguageMotion

    run = find_generator(config).masked
    lamp = LanguageMotion.load(run.checkpoints_dir, run.dataset_name, run.metadata.get("lamp_name", ""), model.mean.device)
    return partial(best_motions, model, lamp, candidates=config.candidates)


def lengths_of(model: TextToMotion, prompts: list[Prompt], sampling: SamplingSettings, first: int) -> Tensor | None:
    """The lengths of a batch in frames, those that are not given predicted; None if none is given."""
    import torch

    given = torch.tensor([prompt.frames or 0 for prompt in prompts])
    if not given.any():
        return None
    if given.all():
        return given
    condition = model.encoder([prompt.text for prompt in prompts])
    predicted = model.count_tokens(condition, None, seed=sampling.seed, first_sample=first).cpu() * model.tokeniser.stride
    return torch.where(given > 0, given, predicted)


def loops(
    model: TextToMotion, batch: list[tuple[int, int]], texts: list[str], frames: Tensor | None, spec: DatasetSpec,
    sampling: SamplingSettings, first: int,
) -> Iterator[Sample]:  # fmt: skip
    """The motions of a batch as cycles."""
    from motion.clip import Motion
    from pipelines.looping import cycle_joints, decode_cycle, ends_elsewhere, loop_codes

    conditions = model.encoder(texts)
    tokens = model.count_tokens(conditions, frames, seed=sampling.seed, first_sample=first).clamp_min(SHORTEST_LOOP)
    codes = model.draw(conditions, tokens, sampling=sampling, first_sample=first)
    longest = spec.max_motion // model.tokeniser.stride
    for row, ((k, repeat), text, count) in enumerate(zip(batch, texts, tokens.tolist())):
        drawn = codes[row : row + 1, :count]
        plain, _ = model.features(drawn, tokens[row : row + 1])
        if ends_elsewhere(plain[0], spec):
            note(f"'{text}' (repeat {repeat}) ends in another pose than it starts in; its loop goes back within a second or so")
        settings = {"longest": longest, "sampling": sampling, "first_sample": first + row}
        cycles = cycle_joints(decode_cycle(model, loop_codes(model, drawn, conditions[row : row + 1], **settings)), spec)[0]
        motion = Motion(cycles[: len(cycles) // 3], spec.fps, text)
        yield Sample(motion, k, repeat, first + row, cycles=cycles)


def joined(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings, done: int
) -> Iterator[Sample]:
    """One motion that does what all prompts say, one after the other, `repeat_times` times, without the `done` first ones."""
    from motion.clip import Motion
    from pipelines.long_motion import join
    from utils.runtime import Distributed

    texts = [prompt.text for prompt in prompts]
    frames = [prompt.frames for prompt in prompts] if prompts[0].frames else None
    longest = spec.max_motion // model.tokeniser.stride

    def take(repeat: int) -> Iterator[Sample]:
        features, ends = join(model, texts, frames, longest=longest, sampling=sampling, first_sample=repeat)
        print(f"repeat {repeat}: " + ", ".join(f"to frame {end} {text}" for text, end in zip(texts, ends)))
        motion = Motion(to_joints(features, spec).numpy(), spec.fps, joined_text(prompts))
        yield Sample(motion, repeat=repeat, number=repeat)

    yield from Distributed.from_environment().in_turns(range(done, config.repeat_times), take)


if __name__ == "__main__":
    main()
