"""TensorBoard logging of scalars, texts and images. A failed write never ends a training run."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text


class Board:
    """A TensorBoard events file in `folder`. After a failed write, such as on a full disk, a note is printed and logging stops.

    PyTorch's `SummaryWriter` writes in a background thread, whose errors the training could not catch, so it is not used.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder, self.writer = folder, None
        with self._stop_on_error():
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
            self.writer = RecordWriter(open(folder / name, "wb"))  # noqa: SIM115 (open until the run ends)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        # Because of a START event, TensorBoard discards what an interrupted run has logged for `first_step` and later steps.
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
        with self._stop_on_error():
            if self.writer:
                self.writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        if self.writer:
            self.writer.close()

    def _write(self, event: event_pb2.Event) -> None:
        with self._stop_on_error():
            if self.writer:
                event.wall_time = time.time()
                self.writer.write(event.SerializeToString())

    @contextmanager
    def _stop_on_error(self) -> Iterator[None]:
        """A context in which an `OSError` ends the logging instead of the run."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                print(f"note: {self.folder}: {error.strerror or error}; TensorBoard logging stops for this run", file=sys.stderr)
            if self.writer:
                with suppress(OSError):
                    self.writer.close()
                self.writer = None
