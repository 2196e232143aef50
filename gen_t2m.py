"""Generate motions from text: joints as .npy (metres), skeletons as .bvh (centimetres), a body as .glb, videos as .mp4.

    python gen_t2m.py --ext exp1 --text_prompt "a person waves with the right hand"
    python gen_t2m.py --ext exp2 --text_path assets/text_prompt.txt --name my_run
    python gen_t2m.py --ext exp3 --text_path story.txt --join

Results are written to `<output_dir>/<ext>/joints/<k>/sample<k>_repeat<r>_len<T>.npy` and `<output_dir>/<ext>/animation/<k>/` (k:
prompt, r: repeat, T: frames). Files that show all motions together (`--formats html`, `--grid`) are written to
`<output_dir>/<ext>/`. Each motion is written and listed in `prompts.json` as soon as it is generated; `--is_continue` resumes an
interrupted run. `--join` joins all prompts into one motion of any length.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from data.prompts import LONGEST, Prompt, read_prompts
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.generate import GenT2M
from pipelines.outputs import count_finished, start_folder, write_samples
from pipelines.setup import check_flags, find_generator, load_generator, note_causal_loops, standard_body
from utils.errors import UserError, script

if TYPE_CHECKING:
    from pipelines.runs import Generator


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(GenT2M, argv)
    check_flags(config)
    if config.loop and config.join:
        raise UserError("--loop and --join cannot be combined; leave one of them out")
    runs = find_generator(config)
    spec = get_spec(runs.masked.dataset_name)
    longest = LONGEST if config.join else spec.max_motion
    prompts = read_prompts(config.text_prompt, config.text_path, config.motion_length, longest, config.lengths_as_given)

    from pipelines.known import check_prompts  # not at the top: torch would slow down --help
    from utils.runtime import Distributed, resolve_device

    known = check_prompts([prompt.text for prompt in prompts], runs.masked.folder, config.strict)
    with Distributed.from_environment().group(resolve_device(config.gpu_id)):
        generate(config, runs, spec, prompts, known)


def generate(config: GenT2M, runs: Generator, spec: DatasetSpec, prompts: list[Prompt], known: list[dict | None]) -> None:
    """Generate and write all motions; `known` is the result of `pipelines.known.check_prompts` for the prompts.

    Under torchrun, the motions are distributed over the processes; rank 0 writes the files.
    """
    from pipelines.samples import joined, requested_samples, separate
    from utils.provenance import provenance
    from utils.runtime import Distributed

    processes = Distributed.from_environment()
    with processes.first_on_node():
        earlier = start_folder(config)
    model = load_generator(config, runs)
    sampling = model.sampling.changed(config)
    if config.loop:
        note_causal_loops(model)
    requested = requested_samples(prompts, config)
    done = count_finished(config, earlier, requested)
    samples = (joined if config.join else separate)(model, prompts, config, spec, sampling, done)
    samples = (replace(sample, known=known if config.join else known[sample.prompt_index]) for sample in samples)
    if not processes.main:
        deque(samples, maxlen=0)
        return
    made_by = provenance(sampling.recorded(config), model.mean.device, model.sources)
    write_samples(samples, len(requested) - done, config, made_by, standard_body(model, spec))


if __name__ == "__main__":
    main()
