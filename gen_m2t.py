"""Caption motion files. Results are printed as a table and written as captions.txt, captions.json and subtitles.

    python gen_m2t.py --motions walk.npy dance.bvh --ext captions1
    python gen_m2t.py --motions my_captures --name m2t --num_captions 3
    python gen_m2t.py --motions 07_01.amc --asf 07.asf --window 80 --formats srt

A motion is, for example, a .npy of joints (T, 22, 3) in metres, a .npy of features (T, 263), a .bvh, or an .amc with its .asf.
Motions longer than `--window` are captioned window by window, with timestamps. Results are written to `<output_dir>/<ext>/`:
`captions.txt` contains the table, `captions.json` contains the content of the table in machine-readable form, and `<file>.srt`
contains subtitles for a video of the motion. All files are written at the end and replace existing files of the same name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from motion.spec import get_spec
from options.cli import check_ext, parse
from options.generate import GenM2T
from pipelines.outputs import staged
from pipelines.subtitles import caption_table, write_captions
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from pipelines.motion2text import MotionToText
    from pipelines.runs import Run

SHORTEST_WINDOW = 24  # frames; captioners are trained on clips of at least this length


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(GenM2T, argv)
    check_ext(config.ext)
    if not config.motions:
        raise UserError("--motions is missing: name motion files (such as .npy, .bvh or .amc) or folders of them")
    if config.asf and not Path(config.asf).is_file():
        raise UserError(f"--asf {config.asf}: no such file; name the .asf file with the skeleton of the .amc files")

    from data.windows import named_files, read_motions, windows_of  # not at the top: torch would slow down --help
    from models.decoding import Search
    from motion.files.read import InputOptions
    from pipelines.motion2text import caption_windows
    from pipelines.runs import CAPTIONER, resolve

    search = Search.of(config)
    files = named_files(config.motions)
    run = resolve(CAPTIONER, config.checkpoints_dir, config.dataset_name, config.resume_trans or config.name)
    print(f"weights: {run}")
    spec = get_spec(run.dataset_name)
    if not SHORTEST_WINDOW <= config.window <= spec.max_motion:
        raise UserError(f"--window {config.window}: must be from {SHORTEST_WINDOW} to {spec.max_motion} frames")
    motions = read_motions(files, spec, InputOptions.of(config))
    with staged(Path(config.output_dir), config.ext) as folder:
        model = load_captioner(config, run)
        windows = windows_of(motions, config.window, model.stride)
        captioned = caption_windows(model, windows, search, config, spec.fps)
        write_captions(folder, captioned, config.formats)
    print(caption_table(captioned))
    count = f"{len(motions)} motion{'s'[: len(motions) > 1]}"
    print(f"{count} in {len(captioned)} window{'s'[: len(captioned) > 1]}, written: {Path(config.output_dir) / config.ext}")


def load_captioner(config: GenM2T, run: Run) -> MotionToText:
    """Load the captioner of a run."""
    from pipelines.motion2text import MotionToText
    from utils.runtime import resolve_device

    root = run.checkpoints_dir if run.embedded else config.checkpoints_dir
    name = str(run.path or run.name)
    device, tag = resolve_device(config.gpu_id), config.which_epoch or None
    return MotionToText.load(root, run.dataset_name, name, device, tag, lm=config.lm)


if __name__ == "__main__":
    main()
