"""Lines of a prompt file: separators, lengths that are missing, characters that only look like line ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prompts import Prompt, read_prompts


def read(tmp_path: Path, text: str, as_given: bool = False) -> list[Prompt]:
    (tmp_path / "prompts.txt").write_text(text, encoding="utf-8")
    return read_prompts("", str(tmp_path / "prompts.txt"), 0, 196, as_given)


@pytest.mark.parametrize(
    "line, text, frames",
    [
        ("a person walks#60", "a person walks", 60),
        ("a person walks＃60", "a person walks", 60),
        ("a person walks#\t60 ", "a person walks", 60),
        ("a person walks\t#60", "a person walks", 60),
        ("a person walks\t60", "a person walks", 60),
        ("a person walks # 2 steps#60", "a person walks # 2 steps", 60),
        ("a person walks\u2028and turns#60", "a person walks and turns", 60),
        ("a person walks\x0band turns#60\r", "a person walks and turns", 60),
        ("a person walks#NA", "a person walks", None),
        ("a person walks", "a person walks", None),
    ],
)
def test_a_line_is_a_text_and_a_length(tmp_path, line, text, frames):
    assert read(tmp_path, f"{line}\n") == [Prompt(text, frames)]


def test_one_missing_length_makes_all_predicted_and_a_note_says_so(tmp_path, capsys):
    lines = "a person walks#60\na person bows#NA\na person runs#80\n"
    assert [prompt.frames for prompt in read(tmp_path, lines)] == [None, None, None]
    stderr = capsys.readouterr().err
    assert stderr.startswith("note: ") and "1 of 3 lines give no length" in stderr and "--lengths_as_given" in stderr
    assert [prompt.frames for prompt in read(tmp_path, lines, as_given=True)] == [60, None, 80]
    assert not capsys.readouterr().err


def test_no_note_where_all_or_no_lengths_are_given(tmp_path, capsys):
    read(tmp_path, "a person walks#60\na person bows#40\n")
    read(tmp_path, "a person walks\na person bows#NA\n")
    assert not capsys.readouterr().err
