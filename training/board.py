"""TensorBoard logging of scalars, texts and images, written immediately. A failed write never ends a run."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text


class Board:
    """An events file in `folder`. After the first failed write, such as on a full disk, a note is printed and logging stops.

    TensorBoard's own writer runs in a thread, so it would raise errors later and outside the logging call.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder, self.writer = folder, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
            self.writer = RecordWriter(open(folder / name, "wb"))  # noqa: SIM115 (open as long as the run)
        except OSError as error:
            self._give_up(error)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        # Events from this step on were written by an interrupted run and are discarded by TensorBoard.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(session_log=start, step=first_step))

    def add(self, tag: str, value: float | str | np.ndarray, step: int) -> None:
        """Log a number, text or image (H, W, 3) of uint8 under the name `tag`."""
        if isinstance(value, np.ndarray):
            summary = image(tag, value, dataformats="HWC")
        else:
            summary = text(tag, value) if isinstance(value, str) else scalar(tag, value, new_style=False)
        self._write(event_pb2.Event(summary=summary, step=step))

    def flush(self) -> None:
        """Flush the file to the operating system."""
        try:
            if self.writer:
                self.writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        if self.writer:
            self.writer.close()

    def _write(self, event: event_pb2.Event) -> None:
        try:
            if self.writer:
                event.wall_time = time.time()
                self.writer.write(event.SerializeToString())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError):
            print(f"note: {self.folder}: {error.strerror or error}; TensorBoard logging stops for this run", file=sys.stderr)
        if self.writer:
            with suppress(OSError):
                self.writer.close()
            self.writer = None
