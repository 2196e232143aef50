"""Property tests draw the same examples every time, so that a red run means a change and not bad luck."""

import pytest
from hypothesis import settings

settings.register_profile("same every time", derandomize=True)
settings.load_profile("same every time")


@pytest.fixture(autouse=True)
def fp32_on_every_cpu(monkeypatch):
    """`--precision auto` is fp32 here, on CPUs with bf16 units too: tests compare bits."""
    monkeypatch.setattr("utils.runtime.has_bf16_units", lambda device: False)
