"""Stand-ins for CUDA graphs on the CPU: recorded functions run again at each replay, with the same input and output tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor


class Recorder:
    """Like `training.update.Recorder`. As in a capture, nothing is computed until the first replay."""

    def run(self, function: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Call `function`."""
        return function()

    def __call__(self, function: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
        values: dict[str, Tensor] = {}

        def replay() -> dict[str, Tensor]:
            for name, value in function().items():
                values.setdefault(name, value.clone()).copy_(value)
            return values

        return replay


def use_fake_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture updates of all models on the CPU, with fake graphs, unless the flags forbid it."""
    monkeypatch.setattr("training.update.Recorder", Recorder)
    monkeypatch.setattr("training.update.uses_graphs", lambda model, config, *_: config.cuda_graphs)
    monkeypatch.setattr("training.update.has_memory_for_graphs", lambda device: True)
