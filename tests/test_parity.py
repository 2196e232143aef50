"""The fixtures of the released code, if they are available, and a check that a wrong output would be detected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.__main__ import main
from tests.parity.fixture import check, compare

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "parity"
FOLDERS = sorted(path.parent for folder in ("parity", "parity_captioner") for path in (FIXTURES.parent / folder).glob("*/io.npz"))
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the released code's numbers are not here")


@needs_fixtures
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_output_equals_the_released_codes(folder):
    results = list(check(folder))
    assert results
    assert [str(result) for result in results if not result.passed] == []


@needs_fixtures
def test_a_missing_input_fails_the_outputs_that_need_it(tmp_path):
    source = FIXTURES / "lamp_vqvae_t2m_down2"
    with np.load(source / "io.npz") as file:
        np.savez(tmp_path / "io.npz", **{name: value for name, value in file.items() if name != "in_motion_odd"})
    for name in ("meta.json", "net_last.pth"):
        (tmp_path / name).symlink_to(source / name)
    assert [result.name for result in check(tmp_path) if not result.passed] == ["ids_odd"]


@needs_fixtures
def test_command_prints_a_line_an_output_and_fails_on_what_it_cannot_recompute(capsys, tmp_path):
    main([str(FIXTURES / "momask_rvq_shared")])
    assert capsys.readouterr().out.count("PASS") == 10
    with np.load(FIXTURES / "momask_rvq_shared" / "io.npz") as file:
        np.savez(tmp_path / "io.npz", **file, out_unheard_of=np.zeros(3))
    for name in ("meta.json", "latest.tar"):
        (tmp_path / name).symlink_to(FIXTURES / "momask_rvq_shared" / name)
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 1
    assert "FAIL  unheard_of" in capsys.readouterr().out


def test_folder_that_is_no_fixture_ends_with_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "truth", "passed"),
    [
        (torch.tensor([1.0, 10.0003]), np.float32([1.0, 10.0]), True),
        (torch.tensor([1.0, 10.001]), np.float32([1.0, 10.0]), False),
        (torch.tensor([float("nan")]), np.float32([0.0]), False),
        (torch.tensor([3]), np.int64([3]), True),
        (torch.tensor([3]), np.int64([4]), False),
        (torch.zeros(2, 1), np.zeros(2, np.float32), False),
    ],
)
def test_comparison(value, truth, passed):
    assert compare("x", value, truth).passed is passed
