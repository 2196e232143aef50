"""Flags of studio.py."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, Common, option


@dataclass(frozen=True)
class Studio(Common):
    """Serve the studio, a web app. Without --name, it uses the only run, or else the downloaded or the embedded weights."""

    name: str = option("", "run of the masked transformer; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(None, "dataset of the weights; default: taken from the path of the weights", choices=DATASETS)
    library: str = option("", "folder of motion files to search; default: search the motions of the session")
    host: str = option("", "address to listen on; 0.0.0.0: all interfaces; default: $GRADIO_SERVER_NAME, else 127.0.0.1")
    port: int = option(0, "port to listen on; 0: $GRADIO_SERVER_PORT, else the first free port from 7860 upwards")
    share: bool = option(False, "open a public address through Gradio's servers")
    max_upload: int = option(20, "maximum size of an uploaded file in MB")
