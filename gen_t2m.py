"""Text → motion files: joints as .npy in metres, skeletons as .bvh in centimetres, a body as .glb, videos as .mp4.

    python gen_t2m.py --ext exp1 --text_prompt "a person waves with the right hand"
    python gen_t2m.py --ext exp2 --text_path assets/text_prompt.txt --name my_run
    python gen_t2m.py --ext exp3 --text_path story.txt --join

Results lie in `<output_dir>/<ext>/joints/<k>/sample<k>_repeat<r>_len<T>.npy` and `<output_dir>/<ext>/animation/<k>/` (k counts
prompts, r repeats, T is frames); what shows all of them (`--formats html`, `--grid`) in `<output_dir>/<ext>/`. They appear when
all are made: a run that fails leaves nothing behind. With `--join` all prompts are one motion, as long as they like.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data.prompts import LONGEST, Prompt, read_prompts
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.generate import GenT2M
from pipelines.outputs import Sample, check_flags, find_generator, load_generator, to_joints, write_samples
from utils.errors import script

if TYPE_CHECKING:
    from pipelines.text2motion import SamplingSettings, TextToMotion


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(GenT2M, argv)
    check_flags(config, unused=("num_batch", "source_motion", "mask_edit_section"))
    runs = find_generator(config)
    spec = get_spec(runs.masked.dataset_name)
    longest = LONGEST if config.join else spec.max_motion
    prompts = read_prompts(config.text_prompt, config.text_path, config.motion_length, longest)
    model = load_generator(config, runs)
    sampling = model.sampling.changed(config)
    samples = (joined if config.join else separate)(model, prompts, config, spec, sampling)
    count = config.repeat_times * (1 if config.join else len(prompts))

    from utils.provenance import provenance  # here, for --help does not wait for torch

    write_samples(samples, count, config, provenance(config, model.mean.device, model.sources))


def separate(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings
) -> Iterator[Sample]:
    """Every prompt's motion `repeat_times` times, generated batch by batch."""
    import torch

    from motion.clip import Motion

    samples = [(k, repeat) for repeat in range(config.repeat_times) for k in range(len(prompts))]
    for first in range(0, len(samples), config.batch_size):
        batch = samples[first : first + config.batch_size]
        texts = [prompts[k].text for k, _ in batch]
        frames = torch.tensor([prompts[k].frames for k, _ in batch]) if prompts[0].frames else None
        features, lengths = model.generate(texts, frames, sampling, first_sample=first)
        joints = to_joints(features, spec).numpy()  # (B, T, J, 3)
        for number, ((k, repeat), text) in enumerate(zip(batch, texts), start=first):
            motion = Motion(joints[number - first, : lengths[number - first]], spec.fps, text)
            yield Sample(motion, k, repeat, number)


def joined(
    model: TextToMotion, prompts: list[Prompt], config: GenT2M, spec: DatasetSpec, sampling: SamplingSettings
) -> Iterator[Sample]:
    """One motion that does what all prompts say, one after the other, `repeat_times` times."""
    from motion.clip import Motion
    from pipelines.long_motion import join

    texts = [prompt.text for prompt in prompts]
    frames = [prompt.frames for prompt in prompts] if prompts[0].frames else None
    longest = spec.max_motion // model.tokeniser.stride
    for repeat in range(config.repeat_times):
        features, ends = join(model, texts, frames, longest=longest, sampling=sampling, first_sample=repeat)
        print(f"repeat {repeat}: " + ", ".join(f"to frame {end} {text}" for text, end in zip(texts, ends)))
        motion = Motion(to_joints(features, spec).numpy(), spec.fps, " → ".join(texts))
        yield Sample(motion, repeat=repeat, number=repeat)


if __name__ == "__main__":
    main()
