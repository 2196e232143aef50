"""Property tests draw the same examples every time and have no time limits, so that they fail only after a change."""

import pytest
from hypothesis import HealthCheck, settings

slow = [HealthCheck.too_slow]  # on a busy machine
settings.register_profile("same every time", derandomize=True, deadline=None, suppress_health_check=slow)
settings.load_profile("same every time")


@pytest.fixture(autouse=True, scope="session")
def fp32_on_every_cpu():
    """`--precision auto` is fp32 here, on CPUs with bf16 units too: tests compare bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.runtime.has_bf16_units", lambda device: False)
        yield
