"""The embedded weights: their sizes, and that a generated motion is captioned with the prompt's words."""

from __future__ import annotations

import json

import pytest

import gen_m2t
import gen_t2m
from pipelines.runs import EMBEDDED_DIR

WEIGHTS = sorted(EMBEDDED_DIR.rglob("*.safetensors"))


def test_embedded_weights_are_small():
    sizes = [path.stat().st_size / 2**20 for path in WEIGHTS]
    assert sum(sizes) <= 48 and max(sizes) <= 16
    assert {path.suffix for path in EMBEDDED_DIR.rglob("*") if path.is_file()} <= {".safetensors", ".npy", ".txt", ".md"}


@pytest.mark.parametrize(
    ("prompt", "word", "side"),
    [("a person waves with the right hand", "wav", "right"), ("a person raises the left hand", "left", "left")],
)
def test_caption_of_a_generated_motion_names_the_prompted_action_and_side(prompt, word, side, tmp_path, capsys):
    common = ["--output_dir", str(tmp_path), "--gpu_id", "-1", "--checkpoints_dir", str(tmp_path / "none")]
    gen_t2m.main([*common, "--ext", "made", "--text_prompt", prompt, "--motion_length", "132", "--formats", "npy"])
    assert "text encoder: LaMP" in capsys.readouterr().out
    (motion,) = (tmp_path / "made" / "joints" / "0").glob("*_len132.npy")
    gen_m2t.main([*common, "--ext", "captions", "--motions", str(motion)])
    caption = json.loads((tmp_path / "captions" / "captions.json").read_text())[0]["captions"][0]["text"]
    assert word in caption and side in caption
    assert "(embedded weights; --name selects others)" in capsys.readouterr().out
