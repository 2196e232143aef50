"""`pipelines.load` and what it does with strings, lists, numbers, arrays and tensors; the defaults are those of the scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gen_t2m
from data.prompts import LONGEST
from motion.clip import Motion
from pipelines import load
from pipelines.api import Lamp
from tests.tiny import VARIED, walk, walking, write_checkpoints
from utils.errors import UserError

FAST = {"time_steps": 2, "topkr": 0.0, "temperature": 2.0}


@pytest.fixture(scope="module")
def lamp(tmp_path_factory) -> Lamp:
    return load(str(write_checkpoints(tmp_path_factory.mktemp("checkpoints"))), gpu_id=-1)


def same(first: Motion, second: Motion) -> bool:
    return first.joints.shape == second.joints.shape and np.allclose(first.joints, second.joints, atol=1e-5)


def test_generate_gives_what_the_script_writes(lamp, tmp_path):
    flags = ["--checkpoints_dir", str(lamp.checkpoints_dir), "--output_dir", str(tmp_path), "--gpu_id", "-1", "--ext", "made"]
    gen_t2m.main([*flags, "--text_prompt", "a person bows", "--motion_length", "24", "--formats", "npy", *VARIED])
    motion = lamp.generate("a person bows", frames=24, topkr=0, temperature=2)
    written = np.load(tmp_path / "made" / "joints" / "0" / "sample0_repeat0_len24.npy")
    np.testing.assert_allclose(motion.joints, written, atol=1e-5)
    assert motion.text == "a person bows" and motion.fps == 20


def test_generate_takes_lists_and_tensors(lamp):
    one = lamp.generate("a person bows", frames=torch.tensor(16), seed=1, **FAST)
    assert isinstance(one, Motion) and len(one) == 16
    several = lamp.generate(["a person bows", "a person runs"], frames=np.array([16, 20]), seed=1, **FAST)
    assert [len(motion) for motion in several] == [16, 20] and same(several[0], one)
    samples = lamp.generate(["a person bows", "a person runs"], frames=16, samples=2, seed=torch.tensor(1), **FAST)
    assert [[motion.text for motion in row] for row in samples] == [["a person bows"] * 2, ["a person runs"] * 2]
    assert same(samples[0][0], one) and not same(samples[0][1], one)
    assert len(lamp.generate(["a", "b"], frames=[16, 20], join=True, **FAST)) == 36
    assert len(lamp.generate("a", frames=16, samples=3, **FAST)) == 3


WRONG = {
    "no text": (lambda lamp: lamp.generate(3), "prompt: 3; give a string"),
    "a list with others": (lambda lamp: lamp.generate(["a", 3]), "prompt: .* list of strings"),
    "an empty list": (lambda lamp: lamp.generate([]), "prompt: .* list of strings"),
    "an empty text": (lambda lamp: lamp.generate(" "), "prompt: the text is empty"),
    "too few frames": (lambda lamp: lamp.generate("a", frames=3), "frames: a length of 3 frames; choose from 4 to 196"),
    "too many": (lambda lamp: lamp.generate("a", frames=LONGEST), "choose from 4 to 196, or with join up to"),
    "half a frame": (lambda lamp: lamp.generate("a", frames=4.5), "frames: 4.5 is not a whole number"),
    "half a candidate": (lambda lamp: lamp.generate("a", candidates=1.5), "candidates: 1.5 is not a whole number"),
    "a number for a switch": (lambda lamp: lamp.generate("a", stepwise=1), "stepwise: 1; give True or False"),
    "a switch of another task": (lambda lamp: lamp.edit("a.npy", before=4, stepwise=False), "unknown argument 'stepwise'"),
    "choosing a loop": (lambda lamp: lamp.generate("a", loop=True, candidates=2), "candidates cannot be combined with loop"),
    "words for a number": (lambda lamp: lamp.generate("a", frames="long"), "frames: 'long' is not a number"),
    "another count": (lambda lamp: lamp.generate(["a", "b"], frames=[8]), "frames: 1 lengths for 2 prompts"),
    "unknown": (lambda lamp: lamp.generate("a", steps=3), "unknown argument 'steps'; arguments for sampling: .*time_steps"),
    "out of range": (lambda lamp: lamp.generate("a", temperature=0), "^temperature 0"),
    "no samples": (lambda lamp: lamp.generate("a", samples=0), "^samples 0: must be from 1"),
    "no motion": (lambda lamp: lamp.edit(7, "a", (1, 2)), "motion: 7; give a Motion, a motion file, or an array"),
    "another array": (lambda lamp: lamp.edit(np.zeros((9, 9)), "a", (1, 2)), r"an array of shape \(9, 9\)"),
    "nothing to do": (lambda lamp: lamp.edit(walk(), "a"), "nothing to edit: give frames"),
    "one number": (lambda lamp: lamp.edit(walk(), "a", 7), r"frames: 7; give \(first, end\)"),
    "reversed": (lambda lamp: lamp.edit(walk(), "a", (30, 20)), "frames 30,20: .*its end must come after its start"),
    "beyond the end": (lambda lamp: lamp.edit(walk(), "a", (30, 90)), "exceed the motion"),
    "no run": (lambda lamp: load(str(lamp.checkpoints_dir), name="other").generate("a"), "no masked transformer 'other'"),
}


@pytest.mark.parametrize("call, expected", WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_named(lamp, call, expected):
    with pytest.raises(UserError, match=expected) as error:
        call(lamp)
    assert "--" not in str(error.value)


def test_edit_keeps_what_is_outside(lamp):
    walked = Motion(walk(60).astype(np.float32))
    result = lamp.edit(walked, "a person bows", frames=(20, 40), seed=1, **FAST)
    assert len(result) == 60 and np.allclose(result.joints[:10], walked.joints[:10], atol=2e-3)
    assert same(lamp.edit(torch.from_numpy(walk(60)), "a person bows", frames=[(20, 40)], seed=1, **FAST), result)
    assert same(lamp.edit(walked, "a person bows", frames=(1 / 3, 2 / 3), seed=1, **FAST), result)
    assert len(lamp.edit(walking(60), after=20, **FAST)) == 80
    assert [len(one) for one in lamp.edit(walked, frames=(20, 40), samples=2, **FAST)] == [60, 60]
    assert len(lamp.edit(walked, loop=True, **FAST)) > 60


def test_embedded_weights_caption_and_search(tmp_path, capsys):
    lamp = load(str(tmp_path), gpu_id=-1)
    motion = Motion(walk(60).astype(np.float32))
    motion.save(tmp_path / "motions" / "walk.npy")
    (tmp_path / "motions" / "walk.txt").write_text("a person walks#a/DET#0#0\n")
    Motion(walk(120)[60:].astype(np.float32)).save(tmp_path / "motions" / "later.bvh")
    assert lamp.caption(motion).startswith("a ") and lamp.caption([motion[:40]]) != []
    (window,) = lamp.captions(motion, count=2)
    assert (window.start, window.end, len(window.captions)) == (0, 3, 2)
    hits = lamp.search(motion, tmp_path / "motions")
    assert hits[0].file.name == "walk.npy" and hits[0].score > max(0.999, hits[1].score)
    hit_motion = hits[0].motion()
    assert hit_motion.text == "a person walks" and same(hit_motion, motion)
    assert len(lamp.search(["a person walks", "a person waves"], tmp_path / "motions", top=1)) == 2
    assert capsys.readouterr().out == ""


def test_known_takes_one_prompt_or_several(lamp):
    assert lamp.known("a person bows") is None  # the tiny run has no index
    first, second = lamp.known(["ein Mann und eine Frau", "a person bows"])
    assert "not in English" in first.note and second is None


def test_a_motion_is_cut_and_joined():
    motion = Motion(walk(60).astype(np.float32), 20, "a person walks")
    assert len(motion[10:30]) == 20 and motion[10:30].text == motion.text and motion[-1].shape == (22, 3)
    assert np.array_equal(motion[::2].joints, motion.joints[::2])
    with pytest.raises(UserError, match="selects no frames"):
        motion[30:10]
    both = motion[:40] + Motion(walk(60).astype(np.float32)[:, :, [0, 1, 2]] + np.float32([5, 0, 3]), 20, "a person walks on")
    assert len(both) == 100 and both.text == "a person walks → a person walks on"
    steps = np.linalg.norm(np.diff(both.joints, axis=0), axis=-1)
    assert steps[38:50].max() < 1.5 * np.delete(steps, range(38, 50), axis=0).max()  # no jump where they meet
    assert np.array_equal(both.joints[:40], motion.joints[:40])
    assert len(motion + Motion(walk(60), 40)) == 90  # the frame rate of the first
    with pytest.raises(UserError, match="22 and 21 joints"):
        motion + Motion(np.zeros((8, 21, 3)))


def test_parts_of_a_motion_joined_again_are_the_motion():
    motion = Motion(walk(60).astype(np.float32))
    again = motion[:30] + motion[30:]
    assert np.abs(again.joints - motion.joints).max() < 0.1 and np.abs(again.joints[45:] - motion.joints[45:]).max() < 0.1


@pytest.mark.parametrize("suffix", ["npy", "bvh", "glb", "npz"])
def test_files_are_read_back(tmp_path, suffix):
    motion = Motion(walk(20).astype(np.float32), 20, "a person walks")
    path = motion.save(tmp_path / f"walk.{suffix}")
    assert path == Path(tmp_path / f"walk.{suffix}")
    again = Motion.load(path)
    assert len(again) == 20 and np.abs(again.joints - motion.joints).max() < 0.03
    assert repr(again) == "Motion(20 frames at 20 fps, 22 joints)"
    with pytest.raises(UserError, match="no option 'units'; choose from unit, up, fps"):
        Motion.load(path, units="cm")


def test_features_of_a_file_are_kept(tmp_path):
    rows = walking(20).numpy()
    np.save(tmp_path / "rows.npy", rows)
    assert np.array_equal(Motion.load(tmp_path / "rows.npy").features(), rows)
    assert Motion(walk(21)).features().shape == (20, 263)


def test_a_notebook_shows_the_viewer_in_a_frame_without_rights():
    shown = Motion(walk(8).astype(np.float32), 20, "</iframe><script>alert(1)</script>")._repr_html_()
    assert shown.startswith("<iframe") and 'sandbox="allow-scripts"' in shown and shown.count("<") == 2  # the rest is escaped
