"""Hostile flags, texts and weights files: refused on one line, and nothing of theirs moves the terminal."""

from __future__ import annotations

import io
from dataclasses import asdict, replace

import pytest
import torch

from models.loading import load_model
from models.upstream.released import without_prefix
from motion.features import DENSE, gaussian_smoothing, smoothed
from options.cli import from_opt, parse, write_opt
from options.train import TrainVQ
from tests.tiny import models
from utils.checkpoint import save_weights
from utils.errors import Printable, UserError, script


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
    told = capsys.readouterr().err
    assert raised.value.code == 2 and told.startswith("error:") and told.count("\n") == 1 and len(told) <= 500


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


def test_long_clips_are_smoothed_like_short_ones():
    values = torch.randn(2, DENSE + 300, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(smoothed(values), gaussian_smoothing(values.shape[1], values) @ values, atol=1e-5, rtol=1e-5)
