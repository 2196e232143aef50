"""Hostile flags, texts and weights files end in a one-line error without terminal control characters."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from data.prompts import checked
from data.store import MotionStore
from data.text import CaptionedClips
from evaluation.report import write_report
from models.loading import load_model
from models.upstream.released import without_prefix
from motion.features import DENSE, gaussian_smoothing, smoothed
from motion.files.export import export
from motion.spec import get_spec, listed_names
from options.cli import from_opt, parse, write_opt
from options.train import TrainVQ
from pipelines.caption_index import index_of_dataset
from pipelines.subtitles import CaptionedWindow, write_captions
from prepare.stats import write_statistics
from prepare.synthetic import write_synthetic
from tests.tiny import LetterCounts, models, walk
from utils.checkpoint import save_weights
from utils.errors import Printable, UserError, readable, script


@pytest.mark.parametrize(
    "change",
    [{"classes": "many"}, {"classes": -1}, {"classes": 10**9}, {"cond_dim": 2**40}, {"nobody": 1}, {"stride": 10**6}],
)
def test_a_config_that_does_not_fit_its_tensors_is_refused(tmp_path, change):
    model = models()["length"]
    config = {**asdict(model.config), **change}
    save_weights(tmp_path / "a.safetensors", model.state_dict(), {"kind": "length", "config": config})
    with pytest.raises(UserError, match=r"a\.safetensors"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_stripped(prefix):
    assert without_prefix({f"{prefix}a.weight": 1, f"{prefix}b": 2}) == {"a.weight": 1, "b": 2}
    assert without_prefix({"module.a": 1, "b": 2}) == {"module.a": 1, "b": 2}


@pytest.mark.parametrize("name", ["two\nlr: 5", "None", ' a "b" ', '"', "\u2028", "\x1b[31m", "a: b # c", "日本"])
def test_every_string_comes_back_from_opt_txt(tmp_path, name):
    config = replace(TrainVQ(), name=name)
    write_opt(tmp_path / "opt.txt", config)
    assert from_opt(TrainVQ, tmp_path / "opt.txt") == config


@pytest.mark.parametrize(
    "words",
    [
        "--beta2 7", "--seed -1", "--down_t -1", "--lr nan", "--lr inf", "--batch_size 0", f"--max_epoch {10**20}",
        "--max_epoch " + "9" * 5000, "--nobody 1",
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_one_line(words, capsys):
    with pytest.raises(SystemExit) as raised:
        script(lambda argv: parse(TrainVQ, argv))(words.split())
    stderr = capsys.readouterr().err
    assert raised.value.code == 2 and stderr.startswith("error:") and stderr.count("\n") == 1 and len(stderr) <= 500


def test_nothing_moves_the_terminal(capsys):
    @script
    def main(argv=None):
        print("caption \x1b[2J\x07\u202e日本")
        raise UserError("a\x1b]0;title\x07 " + "x" * 900 + " remedy")

    with pytest.raises(SystemExit):
        main([])
    out, err = capsys.readouterr()
    assert out == "caption \\x1b[2J\\x07\\u202e日本\n"
    assert "\x1b" not in err and err.endswith("remedy\n") and len(err) <= 501
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("日本", file=Printable(ascii_only), flush=True)
    assert ascii_only.buffer.getvalue() == b"\\u65e5\\u672c\n"


def test_names_of_files_that_are_no_text_can_be_written():
    assert readable("caf\udce9 日本") == "caf\ufffd 日本"
    assert readable(os.fsencode("日本").decode("ascii", "surrogateescape")) == "日本"  # as a locale without UTF-8 gives it
    assert readable("\ud800 \U0001f57a") == "\ufffd \U0001f57a"


def test_stray_bytes_in_prompts_captions_and_names_lose_no_result(tmp_path):
    assert checked("a man\udce9 waves", "--text_prompt") == "a man\ufffd waves"
    for suffix in ("glb", "bvh", "npz", "html", "png"):
        export(tmp_path / f"caf\udce9.{suffix}", walk(8), "caf\udce9", 20)
        assert (tmp_path / os.fsdecode(b"caf\xe9." + suffix.encode())).stat().st_size
    window = CaptionedWindow(Path("caf\udce9.npy"), 0, 1, [("a person walks", 0.0)])
    write_captions(tmp_path, [window], ["txt", "json", "srt"])
    assert json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))[0]["file"] == "caf\ufffd.npy"
    write_report(tmp_path, "a", "caf\udce9", {"weights": "caf\udce9"}, {})


def test_split_files_with_odd_bytes_cost_no_clip(tmp_path):
    write_synthetic(tmp_path, 8)
    name, other = listed_names(tmp_path / "train.txt")[:2]
    for folder, suffix in (("new_joint_vecs", ".npy"), ("texts", ".txt")):
        os.rename(tmp_path / folder / (name + suffix), os.fsencode(tmp_path / folder) + b"/caf\xe9" + suffix.encode())
    lines = [b"\xef\xbb\xbfcaf\xe9", other.encode() + b".npy", b"\xff\xfe"]
    (tmp_path / "train.txt").write_bytes(b"\r\n".join(lines))
    (tmp_path / "texts" / f"{other}.txt").write_text("no caption\na man swims#a/DET#0#0\n")
    spec = get_spec("synthetic", tmp_path)
    clips = CaptionedClips(spec, "train", MotionStore(spec))
    assert clips.clips.names == ["caf\udce9", other]
    assert "person swims" in " ".join(index_of_dataset(spec, LetterCounts()).captions)
    write_statistics(tmp_path, listed_names(tmp_path / "train.txt")[:1])


def test_long_clips_are_smoothed_like_short_ones():
    values = torch.randn(2, DENSE + 300, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(smoothed(values), gaussian_smoothing(values.shape[1], values) @ values, atol=1e-5, rtol=1e-5)
