"""Files that never end, such as /dev/zero, are refused wherever a user names a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prompts import read_prompt_file
from motion.files.maps import read_map
from motion.files.smpl import read_body_model
from motion.spec import listed_names
from utils import textfiles
from utils.errors import UserError
from utils.textfiles import bounded_text

ZERO = Path("/dev/zero")
READERS = {
    "prompts": lambda path: read_prompt_file(path, 196), "joint map": read_map, "body model": read_body_model,
    "split": listed_names,
}  # fmt: skip


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.skipif(not ZERO.exists(), reason="no /dev/zero here")
def test_a_file_without_end_is_one_clear_line(read, monkeypatch):
    monkeypatch.setattr(textfiles.bounded_text, "__defaults__", (1000, "utf-8", "strict"))
    with pytest.raises(UserError, match=r"^(--\w+ )?/dev/zero: "):
        read(ZERO)


def test_text_up_to_the_limit_is_whole(tmp_path):
    (tmp_path / "a.txt").write_text("größe", encoding="utf-8")
    assert bounded_text(tmp_path / "a.txt", 5) == "größe"
    with pytest.raises(OSError, match="more than 4 characters"):
        bounded_text(tmp_path / "a.txt", 4)
