"""Long motion: windows that overlap, seams that do not show, and gen_t2m.py --join."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_t2m import main
from pipelines.long_motion import join, pieces
from pipelines.sampling import SamplingSettings
from pipelines.seams import CONTEXT, FADE, Window, fill, soften
from tests.tiny import VARIED, pipeline, write_checkpoints

LONGEST = 12  # tokens
OPTIONS = SamplingSettings(time_steps=3, topkr=0.0, seed=5)


@given(st.integers(0, 100), st.integers(1, 300), st.integers(1, 60))
def test_pieces_follow_each_other_and_are_about_as_long(start, size, most):
    spans = pieces(start, start + size, most)
    sizes = [stop - first for first, stop in spans]
    assert [first for first, _ in spans] == [start, *(stop for _, stop in spans[:-1])]
    assert sum(sizes) == size and max(sizes) <= most and max(sizes) - min(sizes) <= 1
    assert len(spans) == -(-size // most)


@pytest.mark.parametrize("residual", [True, False])
def test_filling_draws_what_is_wanted_and_keeps_what_is_given(residual):
    model = pipeline() if residual else pipeline(residual=None)
    codes = torch.randint(16, (3, 20, 3), generator=torch.Generator().manual_seed(0))
    codes[:, 4, 1:] = -1  # a layer may add nothing where a base token is given
    wanted = torch.zeros(20, dtype=torch.bool)
    wanted[[2, 3, 9, 15, 19]] = True
    windows = [Window(start, start + 10, torch.rand(1, 8, dtype=torch.double)) for start in (0, 10)]
    filled = fill(model, codes.masked_fill(wanted[:, None], -1), windows, sampling=OPTIONS)
    assert torch.equal(filled[:, ~wanted], codes[:, ~wanted])
    assert (filled[:, wanted][..., : 3 if residual else 1] >= 0).float().mean() > 0.9  # upper layers may draw nothing
    assert (filled[..., 0] >= 0).all()
    assert residual or (filled[:, wanted, 1:] == -1).all()


def test_one_prompt_that_fits_is_what_it_is_alone():
    model, sampling = pipeline(), {"sampling": OPTIONS, "first_sample": 3}
    joined, ends = join(model, ["a person walks"], [40], longest=LONGEST, **sampling)
    alone, _ = model.generate(["a person walks"], torch.tensor([40]), **sampling)
    assert ends == [40]
    assert torch.equal(joined, alone[0])


def watched(model, monkeypatch) -> list:
    """The calls of `draw` from now on: (condition, given codes, sampled codes)."""
    calls, draw = [], model.draw

    def watching(condition, tokens, given=None, **options):
        calls.append((condition, given, draw(condition, tokens, given, **options)))
        return calls[-1][2]

    monkeypatch.setattr(model, "draw", watching)
    return calls


def test_each_window_begins_with_the_end_of_the_one_before_and_has_the_condition_of_its_prompt(monkeypatch):
    model = pipeline()
    calls = watched(model, monkeypatch)
    prompts = ["a person walks", "someone waves", "a man bows"]
    features, ends = join(model, prompts, [32, 20, 80], longest=LONGEST, sampling=OPTIONS)
    assert features.shape == (132, 263) and ends == [32, 52, 132]
    which = [0, 1, 2, 2, 2]  # 20 tokens take three windows of 7 beside the 3 that are given
    assert [drawn.shape[1] for *_, drawn in calls] == [8, 8, 9, 10, 10]
    assert calls[0][1] is None
    for number, (condition, seen, drawn) in enumerate(calls):
        assert torch.equal(condition, model.encoder([prompts[which[number]]]))
        if number:
            assert (seen[:, CONTEXT:] == -1).all()
            assert torch.equal(seen[:, :CONTEXT], calls[number - 1][2][:, -CONTEXT:])
            assert torch.equal(drawn[:, :CONTEXT], seen[:, :CONTEXT])


def test_windows_draw_apart_and_motions_by_seed_and_number():
    model = pipeline()

    def joined(seed=5, first_sample=0):
        settings = {"sampling": replace(OPTIONS, seed=seed), "first_sample": first_sample}
        return join(model, ["a person walks"] * 3, [40, 28, 28], longest=LONGEST, **settings)[0]

    assert torch.equal(joined(first_sample=2), joined(first_sample=2))
    assert not torch.equal(joined(first_sample=2), joined(first_sample=3))
    assert not torch.equal(joined(seed=6), joined())
    _, first, second = joined().split([40, 28, 28])
    assert not torch.equal(first[12:-12], second[12:-12])


def test_what_comes_later_does_not_change_the_motion_before():
    model = pipeline()
    texts = (["a person walks", text] for text in ("bows", "a man runs"))
    one, other = (join(model, prompts, [48, 40], longest=LONGEST, sampling=OPTIONS)[0] for prompts in texts)
    assert torch.equal(one[:16], other[:16])  # the decoder sees a few tokens ahead
    assert not torch.equal(one[48:], other[48:])


def test_lengths_are_predicted_for_each_prompt():
    features, ends = join(pipeline(), ["a person walks", "a man bows"], longest=LONGEST, sampling=OPTIONS)
    assert len(features) == ends[-1] and 0 < ends[0] < ends[1]


def test_seams_are_softened_and_the_rest_is_left_alone():
    features = torch.randn(2, 60, 5, generator=torch.Generator().manual_seed(0))
    soft = soften(features, [30])
    far = (torch.arange(60) - 29.5).abs() > FADE
    assert torch.equal(soft[:, far], features[:, far])
    assert (soft[:, 29:31] - features[:, 29:31]).abs().min() > 0
    assert torch.equal(soften(features, []), features)
    line = torch.arange(60.0)[None, :, None].expand(1, 60, 3)
    torch.testing.assert_close(soften(line, [20, 40]), line)  # steady motion stays steady
    step = (torch.arange(60) >= 30).double()[None, :, None]
    assert soften(step, [30]).diff(dim=1).max() < 0.35


# ------------------------------------------------------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def run(checkpoints: Path, out: Path, *words: str) -> list[str]:
    flags = ["--checkpoints_dir", str(checkpoints), "--name", "base", "--res_name", "res", "--length_name", "len", "--gpu_id", "-1"]
    main([*flags, "--time_steps", "2", "--output_dir", str(out), "--ext", "exp", "--formats", "npy", *VARIED, *words])
    return sorted(path.name for path in (out / "exp").rglob("*[0-9].npy"))


def test_a_file_of_prompts_becomes_one_motion_without_a_limit(checkpoints, tmp_path, capsys):
    (tmp_path / "story.txt").write_text("a person walks#300\na person bows#41\n")
    names = run(checkpoints, tmp_path / "out", "--text_path", str(tmp_path / "story.txt"), "--join", "--repeat_times", "2")
    assert names == ["sample0_repeat0_len340.npy", "sample0_repeat1_len340.npy"]
    one, other = (np.load(tmp_path / "out" / "exp" / "joints" / "0" / name) for name in names)
    assert one.shape == (340, 22, 3) and not np.allclose(one, other)
    assert "to frame 300 a person walks, to frame 340 a person bows" in capsys.readouterr().out


def test_without_lengths_they_are_predicted(checkpoints, tmp_path, capsys):
    (tmp_path / "story.txt").write_text("a person walks#NA\na person bows\n")
    (name,) = run(checkpoints, tmp_path / "out", "--text_path", str(tmp_path / "story.txt"), "--join")
    assert f"to frame {name.partition('_len')[2].removesuffix('.npy')} a person bows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--motion_length", "400"], "400 frames; choose from 4 to 196, or with --join up to 6000"),
        (["--motion_length", "6001", "--join"], "6001 frames; choose from 4 to 6000"),
        (["--motion_length", "3", "--join"], "3 frames"),
    ],
)
def test_lengths_out_of_range(checkpoints, tmp_path, capsys, words, expected):
    with pytest.raises(SystemExit) as stopped:
        run(checkpoints, tmp_path / "out", "--text_prompt", "a person walks", *words)
    assert stopped.value.code == 2 and expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_embedded_weights_join_without_a_jump(tmp_path):
    """At the seam, no joint is 2 cm per frame faster than the fastest joint within half a second before or after it."""
    (tmp_path / "story.txt").write_text("a person walks forward#60\na person waves with both hands#60\na person bows#60\n")
    words = ["--text_path", str(tmp_path / "story.txt"), "--join", "--formats", "npy", "--gpu_id", "-1", "--time_steps", "6"]
    main([*words, "--output_dir", str(tmp_path), "--ext", "exp"])
    joints = np.load(tmp_path / "exp" / "joints" / "0" / "sample0_repeat0_len180.npy")
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(1)  # metres, from each frame to the next
    for seam in (60, 120):
        around = np.r_[steps[seam - 11 : seam - 1], steps[seam : seam + 10]]
        assert steps[seam - 1] < around.max() + 0.02
