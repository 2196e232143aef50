"""Fifty damaged or hostile inputs of each kind: a result, or one clear line. `python -m tests.fuzz` runs more."""

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.run import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_a_result_or_one_line(kind, tmp_path):
    counts = fuzz(kind, 50, 0, tmp_path)
    assert counts["ok"] + counts["refused"] == 50, f"kept in {tmp_path}"
