"""Flags of studio.py."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, Common, option


@dataclass(frozen=True)
class Studio(Common):
    """Serve the studio, a web app.

    Without --name, the studio uses the only masked transformer in --checkpoints_dir that was trained or converted with this
    project. If there is none, the studio uses released weights of LaMP or MoMask in --checkpoints_dir or, if there are none, the
    embedded weights.
    """

    name: str = option("", "run of the masked transformer; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(
        None, "dataset of the weights; default: the dataset in the path of the weights", choices=DATASETS
    )
    library: str = option("", "folder of the motion files that the app searches; default: the motions of the browser session")
    host: str = option(
        "", "address on which the server listens; 0.0.0.0: all network interfaces; default: $GRADIO_SERVER_NAME if it is set, "
        "otherwise 127.0.0.1",
    )  # fmt: skip
    port: int = option(
        0, "port on which the server listens; 0: $GRADIO_SERVER_PORT if it is set, otherwise the first free port from 7860 upwards"
    )
    share: bool = option(False, "also serve the app at a public address, through Gradio's servers")
    max_upload: int = option(20, "maximum size of an uploaded file in MB")
