"""The studio: a web app for generation, editing, captions, search and conversion (docs/studio.md).

    python studio.py                          # http://127.0.0.1:7860
    python studio.py --library my_captures    # search the motion files of a folder
"""

from __future__ import annotations

import os
from pathlib import Path

from options.cli import parse
from options.studio import Studio
from utils.errors import UserError, script


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Studio, argv)
    if config.library and not Path(config.library).is_dir():
        raise UserError(f"--library {config.library}: no such folder; name a folder of motion files")
    try:
        from web.app import build, launch
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("the studio needs Gradio: pip install -r requirements-studio.txt, or make studio") from None
    from pipelines import load

    lamp = load(config.checkpoints_dir, config.dataset_name, name=config.name, gpu_id=config.gpu_id)
    print(f"weights: {lamp.runs}")
    lamp.generate("a person stands", frames=16, time_steps=1)  # loads the models before the first user needs them
    host = config.host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    launch(build(lamp, config.library), host, config.port or None, config.share, config.max_upload)


if __name__ == "__main__":
    main()
