"""Records of results: prompts.json of gen_t2m.py and edit_t2m.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from motion.clip import Motion
from motion.skeleton import HUMANML3D
from options.generate import GenT2M
from pipelines.outputs import Sample, read_record, write_samples
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
            (path,) = tmp_path.glob(".exp.*/prompts.json")
            seen.append(len(json.loads(path.read_text())["motions"]))

    seen: list[int] = []
    config = GenT2M(output_dir=str(tmp_path), ext="exp", formats=["npy"])
    write_samples(samples(), 3, config, {"seed": 0})
    assert seen == [1, 2, 3]


def test_weights_are_named_by_content(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"weights")
    (described,) = provenance(GenT2M(), "cpu", [path, path])["weights"]
    assert described == {"path": str(path), "step": None, "sha256": hashlib.sha256(b"weights").hexdigest()}
