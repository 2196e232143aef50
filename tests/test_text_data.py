"""Captions, time-tagged parts, length filters and the crop of the published evaluation."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.store import MotionStore, Normaliser, padded
from data.text import Caption, CaptionedClips, crop_length, draw_crops, parse_captions, pieces, read_captions
from motion.spec import get_spec
from utils.errors import UserError

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")

WALK = "a person walks.#a/DET person/NOUN walk/VERB"


def make_folder(root, name, motions, texts, split="test"):
    """A dataset folder whose rows say (clip, frame) in the first two dimensions; `motions`: name → frames."""
    spec = get_spec(name, root)
    (root / "new_joint_vecs").mkdir(parents=True)
    (root / "texts").mkdir()
    for clip, (motion_name, length) in enumerate(motions.items()):
        motion = np.ones((length, spec.dim), np.float32)
        motion[:, 0], motion[:, 1] = clip, np.arange(length)
        np.save(root / "new_joint_vecs" / f"{motion_name}.npy", motion)
    for text_name, lines in texts.items():
        (root / "texts" / f"{text_name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / f"{split}.txt").write_text("\n".join(dict.fromkeys([*motions, *texts])))
    return spec


def captioned(spec, split="test"):
    return CaptionedClips(spec, split, MotionStore(spec))


def plain(spec):
    return Normaliser(np.zeros(spec.dim, np.float32), np.ones(spec.dim, np.float32))


# Reading


def test_a_line_is_caption_tokens_start_end():
    captions = parse_captions(f"{WALK}#0.0#0.0\n\nsits – down#sit/VERB down/ADP#1.5#4\n", "x.txt")
    assert captions == [
        Caption("a person walks.", "a/DET person/NOUN walk/VERB", 0, 0),
        Caption("sits – down", "sit/VERB down/ADP", 1.5, 4),
    ]
    assert [caption.tagged for caption in captions] == [False, True]


def test_nan_tags_mean_zero():
    (caption,) = parse_captions(f"{WALK}#nan#NaN", "x.txt")
    assert (caption.start, caption.end, caption.tagged) == (0, 0, False)


@pytest.mark.parametrize("line", ["text", f"{WALK}#0", f"{WALK}#a#b", f"{WALK}#-1#2", f"{WALK}#0#inf", f"{WALK}#0#0#0", "#a#0#0"])
def test_a_malformed_line_is_named_and_costs_that_line_alone(line, capsys):
    faults: list[str] = []
    (caption,) = parse_captions(f"\ufeff{WALK}#0#0\r\n{line}\n\x1a", "x.txt", faults)
    assert caption.text == WALK.split("#")[0] and len(faults) == 1 and faults[0].startswith("x.txt: line 2")
    parse_captions(f"{WALK}#0#0\n{line}\n", "x.txt")
    assert capsys.readouterr().err.startswith("note: x.txt: line 2")
    with pytest.raises(UserError, match=r"x\.txt: line 1"):
        parse_captions(line, "x.txt")


def test_only_line_ends_end_lines():
    (caption,) = parse_captions("walks\u2028on#walk/VERB on/ADP#0#0", "x.txt")
    assert caption.text == "walks\u2028on"


def test_bytes_that_are_not_utf_8_cost_their_line_alone(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(f"{WALK}#0#0\n".encode() + b"caf\xe9#a/NOUN#0#0\n")
    assert len(read_captions(tmp_path / "a.txt")) == 1 and "line 2" in capsys.readouterr().err


def test_unreadable_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="not a readable text file"):
        read_captions(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00#")
    with pytest.raises(UserError, match="not a readable text file"):
        read_captions(tmp_path / "binary.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match="no captions"):
        read_captions(tmp_path / "empty.txt")


@needs_shared
def test_every_humanml3d_text_file_is_read():
    files = captions = tagged = 0
    with tarfile.open(SHARED / "data/humanml3d/texts.tar.gz") as archive:
        for member in archive:
            if "/texts/" in member.name and member.isfile():
                parsed = parse_captions(archive.extractfile(member).read().decode(), member.name)
                files, captions, tagged = files + 1, captions + len(parsed), tagged + sum(caption.tagged for caption in parsed)
    assert (files, captions, tagged) == (29_232, 87_384, 3_044)


# Parts by time tag


@pytest.mark.parametrize(("dataset", "expected"), [("t2m", (40, 80)), ("kit", (25, 50))])
def test_tags_are_cut_at_the_dataset_s_own_fps(tmp_path, dataset, expected):
    spec = make_folder(tmp_path / dataset, dataset, {"x": 150}, {"x": [f"{WALK}#0#0", "turns#turn/VERB#2.0#6.0"]})
    data = captioned(spec)
    assert data.clips.names == ["x", "A_x"]
    first, frames = expected
    np.testing.assert_array_equal(data.clips[1][:, 1], np.arange(first, first + frames))
    assert [caption.text for caption in data.captions_of(0)] == ["a person walks."]
    assert [caption.text for caption in data.captions_of(1)] == ["turns"]


def test_a_clip_with_tagged_captions_only_is_not_kept_whole(tmp_path):
    spec = make_folder(tmp_path / "d", "t2m", {"x": 150}, {"x": ["a#a/DET#0#3", "b#b/NOUN#0#3", "c#c/NOUN#1#99"]})
    data = captioned(spec)
    assert data.clips.names == ["A_x", "B_x", "C_x"] and data.clips.lengths.tolist() == [60, 60, 130]


def test_parts_have_names_of_their_own_beyond_the_alphabet():
    captions = [Caption(str(index), "", 0, 3) for index in range(60)]
    names = [name for name, *_ in pieces("x", 100, captions, get_spec("t2m"))]
    assert len(set(names)) == 60 and names[0] == "A_x" and names[26] == "AA_x"


def test_length_filters(tmp_path):
    motions = {"a39": 39, "b40": 40, "c199": 199, "d200": 200}
    texts = {name: [f"{WALK}#0#0", "b#b/NOUN#0#2", "c#c/NOUN#0#1.99", "d#d/NOUN#5#3"] for name in motions}
    data = captioned(make_folder(tmp_path / "d", "t2m", motions, texts))
    assert data.clips.names == ["b40", "A_b40", "c199", "A_c199"]  # no part of a clip that is itself out of range
    kit = captioned(make_folder(tmp_path / "k", "kit", {"a23": 23, "b24": 24}, {name: [f"{WALK}#0#0"] for name in ("a23", "b24")}))
    assert kit.clips.names == ["b24"]


def test_names_without_motion_or_text_are_counted(tmp_path, capsys):
    texts = {"x": [f"{WALK}#0#0"], "bad": ["no tags"], "ghost": [f"{WALK}#0#0"]}
    data = captioned(make_folder(tmp_path / "d", "t2m", {"x": 50, "silent": 50, "bad": 50}, texts))
    assert data.clips.names == ["x"]
    error = capsys.readouterr().err
    assert "1 of 4 names have no usable motion: ghost" in error
    assert "2 of 4 clips have no usable text" in error and "silent.txt" in error and "bad.txt: line 1" in error


def test_missing_parts_are_user_errors(tmp_path):
    spec = make_folder(tmp_path / "d", "t2m", {"x": 30}, {"x": [f"{WALK}#0#0"]})
    with pytest.raises(UserError, match="no clip of split 'test' has 40…199 frames"):
        captioned(spec)
    with pytest.raises(UserError, match=r"val\.txt: no such split"):
        captioned(spec, "val")
    (spec.root / "texts").rename(spec.root / "other")
    with pytest.raises(UserError, match="texts: no such folder"):
        captioned(spec)


# Crops


@given(st.integers(24, 199), st.booleans(), st.sampled_from([2, 4, 8, 10, 16]))
def test_crop_is_a_multiple_of_the_unit(length, double, unit):
    kept = crop_length(length, double, unit)
    assert kept % unit == 0 and 0 <= length - kept < (2 * unit if double and unit < 10 else unit)


def test_crops_are_double_in_a_third_and_begin_anywhere():
    starts, kept = draw_crops(np.full(60_000, 82), np.random.default_rng(0))
    assert set(kept.tolist()) == {80, 76}
    assert np.mean(kept == 76) == pytest.approx(1 / 3, abs=0.01)
    for frames in (80, 76):
        counts = np.bincount(starts[kept == frames], minlength=82 - frames + 1)
        assert len(counts) == 82 - frames + 1 and counts.min() / counts.max() > 0.9


@needs_shared
def test_crops_equal_the_released_code_s():
    folder = SHARED / "parity/text_features"
    arrays = np.load(folder / "io.npz")
    normaliser = Normaliser(arrays["in_mean"], arrays["in_std"])
    for index, case in enumerate(json.loads(bytes(arrays["in_case_json"]))):
        kept = crop_length(case["frames"], case["coin"] == "double", case["unit_length"])
        assert kept == arrays["out_case_m_length"][index]
        assert case["frames"] - kept == arrays["out_case_start_max"][index]
        start = min(case["start"], case["frames"] - kept)
        motion = padded(arrays["in_motion_full"], np.array([start]), np.array([kept]), 196, normaliser)["motion"]
        np.testing.assert_allclose(motion[0], arrays["out_case_motion"][index], rtol=2e-5, atol=2e-4)


# Evaluation batches


@pytest.fixture
def data(tmp_path):
    motions = {f"m{length}": length for length in range(40, 80)}
    texts = {name: [f"{name} {c}#{name}/NOUN {c}/NUM#0#0" for c in "123"] for name in motions}
    return captioned(make_folder(tmp_path / "d", "t2m", motions, texts))


def test_an_evaluation_batch_holds_crops_of_its_clips(data):
    index = np.array([3, 3, 39, 0])
    batch = data.evaluation_batch(index, plain(data.spec), np.random.default_rng(0))
    assert batch["motion"].shape == (4, 196, 263) and batch["motion"].dtype == torch.float32
    for row, clip in enumerate(index):
        length = int(batch["lengths"][row])
        motion = batch["motion"][row]
        first = int(motion[0, 1])
        np.testing.assert_array_equal(motion[:length], data.clips[clip][first : first + length])
        assert not motion[length:].any() and length % 4 == 0
        assert batch["names"][row] == data.clips.names[clip]
        assert batch["captions"][row].split()[0] == data.clips.names[clip]
        assert batch["tokens"][row] == [f"{word}/{pos}" for word, pos in zip(batch["captions"][row].split(), ("NOUN", "NUM"))]


def test_evaluation_is_one_shuffled_pass_decided_by_the_generator(data):
    def run(seed):
        return list(data.evaluation_batches(plain(data.spec), np.random.default_rng(seed), size=16))

    batches = run(0)
    names = [name for batch in batches for name in batch["names"]]
    assert [len(batch["names"]) for batch in batches] == [16, 16] and len(set(names)) == 32
    for one, other in zip(batches, run(0)):
        assert torch.equal(one["motion"], other["motion"]) and one["captions"] == other["captions"]
    assert names != [name for batch in run(1) for name in batch["names"]]
    assert {caption.split()[1] for batch in batches for caption in batch["captions"]} == {"1", "2", "3"}


def test_fewer_clips_than_a_batch_make_one_batch(data):
    (batch,) = data.evaluation_batches(plain(data.spec), np.random.default_rng(0), size=64)
    assert len(batch["names"]) == len(data) == 40
