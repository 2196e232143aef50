"""Records of results: prompts.json of gen_t2m.py and edit_t2m.py."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motion.clip import Motion
from motion.skeleton import HUMANML3D
from options.generate import GenT2M
from pipelines.outputs import Sample, count_finished, moved_onto, spans, staged, start_folder, write_samples
from pipelines.record import read_record
from tests.test_footlock import person
from tests.tiny import walk
from utils.errors import UserError
from utils.provenance import provenance


def write(folder: Path, *samples: Sample, ext: str = "exp", seed: int = 1, **changes) -> dict:
    config = GenT2M(output_dir=str(folder), ext=ext, seed=seed, formats=["npy"], **changes)
    write_samples(iter(samples), len(samples), config, provenance(config, "cpu"))
    return read_record(folder / ext)


def sample(index: int, text: str = "a person walks", frames: int = 8, **more) -> Sample:
    return Sample(Motion(walk(frames).astype(np.float32), 20, text), index, number=index, **more)


def test_a_motion_knows_its_skeleton_and_duration():
    motion = Motion(walk(40), 20, "a person walks")
    assert motion.skeleton is HUMANML3D and len(motion) == 40 and motion.seconds == 2


def test_the_record_names_the_prompt_of_each_file(tmp_path):
    record = write(tmp_path, sample(0), sample(1, "a person ☺ bows", 12, known=0.25), seed=7)
    assert record["version"] == 1
    first, second = record["motions"]
    assert first["files"] == ["joints/0/sample0_repeat0_len8.npy", "joints/0/sample0_repeat0_len8_ik.npy"]
    assert {key: second[key] for key in ("prompt", "frames", "fps", "seed", "known", "number")} == {
        "prompt": "a person ☺ bows", "frames": 12, "fps": 20, "seed": 7, "known": 0.25, "number": 1,
    }  # fmt: skip
    assert all((tmp_path / "exp" / name).is_file() for motion in record["motions"] for name in motion["files"])
    made_by = record["provenance"][first["made_by"]]
    assert made_by["seed"] == 7 and made_by["device"] == "cpu" and made_by["settings"]["ext"] == "exp"
    assert {"command", "revision", "versions", "weights", "date"} <= made_by.keys()


def test_a_second_run_keeps_what_it_does_not_replace(tmp_path):
    write(tmp_path, sample(0), sample(1), seed=1)
    record = write(tmp_path, sample(1, "a person jumps"), seed=2)
    assert [(motion["prompt"], motion["seed"]) for motion in record["motions"]] == [("a person walks", 1), ("a person jumps", 2)]
    assert len(record["provenance"]) == 2
    (tmp_path / "exp" / record["motions"][0]["files"][0]).unlink()
    record = write(tmp_path, sample(2), seed=3)
    assert [motion["prompt_index"] for motion in record["motions"]] == [1, 2]
    assert {made_by["seed"] for made_by in record["provenance"].values()} == {2, 3}


DAMAGED = {"{": "not a readable record", "[]": "not a readable record", '{"version": 9}': "version 9"}


@pytest.mark.parametrize("content, expected", DAMAGED.items())
def test_a_damaged_record_stops_the_run_before_it_begins(tmp_path, content, expected):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "prompts.json").write_text(content)

    def never():
        raise AssertionError("nothing is generated")
        yield

    config = GenT2M(output_dir=str(tmp_path), ext="exp")
    with pytest.raises(UserError, match=expected):
        write_samples(never(), 1, config, {})


def test_each_motion_is_listed_when_it_is_done(tmp_path):
    def samples():
        for index in range(3):
            yield sample(index)
            seen.append(len(read_record(tmp_path / "exp")["motions"]))

    seen: list[int] = []
    config = GenT2M(output_dir=str(tmp_path), ext="exp", formats=["npy"])
    write_samples(samples(), 3, config, {"seed": 0})
    assert seen == [1, 2, 3]


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(tmp_path):
    def samples():
        yield sample(0)
        yield sample(1)
        raise KeyboardInterrupt

    config = GenT2M(output_dir=str(tmp_path), ext="exp", formats=["npy"], seed=3)
    with pytest.raises(KeyboardInterrupt):
        write_samples(samples(), 3, config, {"seed": 3})
    record = start_folder(config)
    assert len(record["motions"]) == 2 and not list(tmp_path.glob(".exp.*"))
    results = [(index, index and 0, "a person walks") for index in range(3)]
    assert count_finished(config, record, results) == 0  # without --is_continue
    assert count_finished(replace(config, is_continue=True), record, results) == 2
    assert count_finished(replace(config, is_continue=True, seed=4), record, results) == 0


def test_a_continued_run_shows_all_motions_and_writes_every_format(tmp_path):
    config = GenT2M(output_dir=str(tmp_path), ext="exp", formats=["npy"], seed=3)
    write_samples(iter([sample(0, "a person bows")]), 1, config, {"seed": 3})
    config = replace(config, formats=["npy", "html"], is_continue=True)
    results = [(0, 0, "a person bows"), (1, 0, "a person jumps")]
    assert count_finished(config, start_folder(config), results) == 1
    write_samples(iter([sample(1, "a person jumps")]), 1, config, {"seed": 3})
    page = (tmp_path / "exp" / "index.html").read_text(encoding="utf-8")
    assert "a person bows" in page and "a person jumps" in page and "joints/0/sample0_repeat0_len8.npy" in page
    record = start_folder(config)
    assert count_finished(config, record, results) == 2
    assert count_finished(replace(config, formats=["npy", "bvh"]), record, results) == 0  # there is no .bvh yet
    assert count_finished(replace(config, formats=["html"]), record, results) == 0  # nothing to show again


def test_a_note_names_the_files_and_frames_in_which_feet_slide_on(tmp_path, capsys):
    assert spans(np.array([False, True, True, False, True])) == ["1-2", "4-4"] and not spans(np.zeros(3, bool))
    joints = person(kind="waver", waves=4)
    joints[..., 2] += 0.45 / 20 * np.arange(len(joints))[:, None]  # glides
    write(tmp_path, Sample(Motion(joints.astype(np.float32), 20, "a person glides")), sample(1))
    stderr = capsys.readouterr().err
    assert f"feet still slide in sample0_repeat0_len{len(joints)}_ik (frames 0-" in stderr and "sample1" not in stderr


HALF_WAY = """
import pathlib, sys, time
from pipelines.outputs import staged

with staged(pathlib.Path(sys.argv[1]), "exp") as folder:
    (folder / "joints").mkdir()
    (folder / "joints" / "half.npy").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_half_written_folders_of_killed_runs_are_removed(tmp_path, capsys):
    record = write(tmp_path, sample(0))
    unrelated, config = tmp_path / ".config.settings", tmp_path / ".config.settings" / "a.txt"  # no folder of a run
    unrelated.mkdir()
    config.write_text("kept")
    command = [sys.executable, "-c", HALF_WAY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        half = Path(process.stdout.readline().strip())
        with staged(tmp_path, "other") as folder:
            (folder / "a.txt").write_text("whole")
        assert (half / "joints" / "half.npy").is_file()  # its process lives
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert half.is_dir()
    capsys.readouterr()
    write(tmp_path, sample(1))
    assert str(half) in capsys.readouterr().err and not half.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".config.settings", "exp", "other"]
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["a.txt"] and config.is_file()
    assert all((tmp_path / "exp" / name).is_file() for motion in record["motions"] for name in motion["files"])
    assert not list((tmp_path / "exp").rglob(".lock*")) and not (tmp_path / "exp" / "joints" / "half.npy").exists()


def test_two_runs_in_one_folder_never_mix_silently(tmp_path, capsys):
    write(tmp_path, sample(0), sample(1))
    config = GenT2M(output_dir=str(tmp_path), ext="exp")
    (tmp_path / "exp" / "index.html").touch()
    assert len(start_folder(config)["motions"]) == 2
    assert "contains 2 motions of earlier runs" in capsys.readouterr().err
    assert start_folder(replace(config, overwrite=True)) == {}
    assert not [path for path in (tmp_path / "exp").rglob("*") if path.is_file()] and not capsys.readouterr().err


def test_files_may_be_named_after_their_prompt(tmp_path):
    record = write(tmp_path, sample(0, "a person walks/runs: fast!"), name_files="prompt")
    assert record["motions"][0]["files"][0] == "joints/0/a_person_walks_runs_fast_sample0_repeat0_len8.npy"


def test_a_loop_is_locked_as_the_cycle_that_it_is(tmp_path):
    """The expected result is the middle one of three locked cycles, moved to the position of the first."""
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    source = walk(20)
    np.testing.assert_allclose(moved_onto(source @ turn.T + [1, 0, 2], source @ turn.T + [1, 0, 2], source), source, atol=1e-5)


def test_weights_are_named_by_content(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"weights")
    (described,) = provenance(GenT2M(), "cpu", [path, path])["weights"]
    assert described == {"path": str(path), "step": None, "sha256": hashlib.sha256(b"weights").hexdigest()}
