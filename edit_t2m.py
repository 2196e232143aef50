"""Edit a motion by text: regenerate sections of the motion and keep its other frames.

    python edit_t2m.py --source_motion walk.npy -msec 0.3,0.6 --text_prompt "a person waves with both hands"
    python edit_t2m.py --source_motion walk.bvh -msec 40,60 100,120                        # in-betweening, no text
    python edit_t2m.py --source_motion walk.npy --after 80 --text_prompt "a person bows"   # continue the motion
    python edit_t2m.py --source_motion walk.npy --before 60 --text_prompt "a person runs"  # add a beginning

The source is a .npy file of joints or features, an .npz file of SMPL rotations, or a .bvh, .glb or .amc file. The layout of the
result folder is described in gen_t2m.py; the prompt number k is 0. Edited motions keep the position and heading of the source.
"""

from __future__ import annotations

from dataclasses import replace

from data.prompts import checked
from motion.spec import get_spec
from options.cli import parse
from options.generate import EditT2M
from pipelines.outputs import count_finished, start_folder, write_samples
from pipelines.setup import check_flags, find_generator, load_generator, note_causal_loops, standard_body
from utils.errors import UserError, script


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(EditT2M, argv)
    check_flags(config)
    if not config.source_motion:
        raise UserError("--source_motion is missing: name the motion file to edit, such as a .npy or .bvh file")
    prompt = checked(config.text_prompt, "--text_prompt") if config.text_prompt.strip() else ""
    runs = find_generator(config)
    spec = get_spec(runs.masked.dataset_name)

    from data.source import read_source  # not at the top: torch would slow down --help
    from motion.files.read import InputOptions
    from pipelines.known import check_prompts
    from pipelines.samples import edited, looped, make_plan
    from utils.provenance import provenance

    source = read_source(config.source_motion, spec, InputOptions.of(config))
    plan = make_plan(config, len(source.features))
    known = check_prompts([prompt], runs.masked.folder, config.strict)[0] if prompt else None
    model = load_generator(config, runs)
    if config.loop:
        note_causal_loops(model)
    text = prompt or ("loop" if config.loop else "in-betweening")
    done = count_finished(config, start_folder(config), [(0, repeat, text) for repeat in range(config.repeat_times)])
    sampling = model.sampling.changed(config)
    samples = (looped if config.loop else edited)(model, source, plan, prompt, config, spec, sampling, done)
    samples = (replace(sample, known=known) for sample in samples)
    made_by = provenance(sampling.recorded(config), model.mean.device, model.sources)
    write_samples(samples, config.repeat_times - done, config, made_by, standard_body(model, spec))


if __name__ == "__main__":
    main()
