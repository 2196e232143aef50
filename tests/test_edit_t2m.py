"""edit_t2m.py: source motions, sections, output files, and rejected input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.prompts import read_sections
from data.source import read_source
from edit_t2m import main
from motion.features import features_to_joints
from motion.files.export import export
from motion.rotation import yaw
from motion.skeleton import HUMANML3D
from motion.spec import get_spec
from pipelines.seams import FADE
from tests.tiny import VARIED, walk, walking, write_checkpoints
from utils.errors import UserError

ROOT = Path(__file__).parent.parent
OPEN = get_spec("open")


# ------------------------------------------------------------------------------------------------------------- the source


def moved(joints: np.ndarray) -> np.ndarray:
    """Turned by 60° and put elsewhere."""
    angle = np.pi / 3
    forward = torch.tensor([np.sin(angle), 0, np.cos(angle)], dtype=torch.float32)
    return (yaw(torch.from_numpy(joints), forward) + torch.tensor([3.0, 0.2, -2.0])).numpy()


def test_features_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "walk.npy", walking().numpy())
    source = read_source(tmp_path / "walk.npy", OPEN)
    assert torch.equal(source.features, walking())
    torch.testing.assert_close(source.joints, features_to_joints(walking(), 22))


def test_joints_tell_every_frame_and_come_back_where_they_were(tmp_path):
    np.save(tmp_path / "walk.npy", moved(walk()))
    source = read_source(tmp_path / "walk.npy", OPEN)
    assert source.features.shape == (60, 263)
    joints = source.place(features_to_joints(source.features, 22)[None], 20, 20)
    torch.testing.assert_close(joints[0], torch.from_numpy(moved(walk())), rtol=0, atol=1e-4)
    last, before = source.features[-1], source.features[-2]
    assert torch.equal(last[OPEN.velocities_slice], before[OPEN.velocities_slice])  # it walks on


def test_a_bvh_of_another_rate_is_brought_to_20_frames_a_second(tmp_path):
    export(tmp_path / "walk.bvh", walk(), "", 40)
    source = read_source(tmp_path / "walk.bvh", OPEN)
    np.testing.assert_allclose(source.joints, walk()[::2], atol=0.02)
    assert source.features.shape == (30, 263)


def test_a_child_gets_the_bones_of_the_dataset(tmp_path):
    np.save(tmp_path / "child.npy", 0.6 * walk())
    source = read_source(tmp_path / "child.npy", OPEN)
    bone = (features_to_joints(source.features, 22)[:, 4] - features_to_joints(source.features, 22)[:, 1]).norm(dim=-1)
    torch.testing.assert_close(bone, torch.full((60,), HUMANML3D.lengths[4]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "words, sections",
    [
        (["0.3,0.6"], [(30, 60)]),
        (["0,0.5", "0.5,1"], [(0, 50), (50, 100)]),
        (["80,100", "4,9"], [(4, 9), (80, 100)]),
        (["40,60", "0.8,0.9"], [(40, 60), (80, 90)]),
    ],
)
def test_sections_are_frames_or_shares(words, sections):
    assert read_sections(words, 100) == sections


@pytest.mark.parametrize(
    "words, message",
    [
        (["60,40"], "its end must come after its start"),
        (["0.5,0.5"], "the section is empty"),
        (["90,120"], "exceed the motion, which has frames 0 to 100"),
        (["-4,8"], "exceed the motion"),
        (["0.5,1.2"], "frames 50 to 120 exceed"),
        (["10,40", "30,60"], "frames 10,40 and 30,60 overlap"),
        (["10"], "'10': not a section"),
        (["a,b"], "not a section; write A,B"),
        (["nan,0.5"], "not a section"),
        (["1,2,3"], "not a section"),
    ],
)
def test_invalid_sections_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        read_sections(words, 100)


# ------------------------------------------------------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def run(checkpoints, tmp_path):
    """Runs the script on tiny weights and `walk.npy`, 60 frames; returns the plain joints it wrote."""
    np.save(tmp_path / "walk.npy", moved(walk()))

    def run(*words: str) -> dict[str, np.ndarray]:
        flags = ["--checkpoints_dir", str(checkpoints), "--name", "base", "--res_name", "res", "--gpu_id", "-1"]
        flags += ["--time_steps", "2", "--formats", "npy", "--output_dir", str(tmp_path / "out")]
        flags += ["--source_motion", str(tmp_path / "walk.npy")]
        main([*flags, *VARIED, *words])
        folder = tmp_path / "out" / (words[words.index("--ext") + 1] if "--ext" in words else "edit")
        return {path.name: np.load(path) for path in sorted(folder.rglob("*[0-9].npy"))}

    return run


def test_what_is_kept_stays_where_it_was(run, capsys):
    folder = run("-msec", "0.5,0.7", "--text_prompt", "a person waves", "--repeat_times", "2")
    assert list(folder) == ["sample0_repeat0_len60.npy", "sample0_repeat1_len60.npy"]
    for joints in folder.values():
        assert joints.shape == (60, 22, 3) and joints.dtype == np.float32
        np.testing.assert_allclose(joints[: 32 - FADE], moved(walk())[: 32 - FADE], atol=1e-4)
        assert np.abs(joints[32:44] - moved(walk())[32:44]).max() > 0.05
    assert "new frames (of 60): 32 to 44\n" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_takes_in_any_batch(run):
    words = ("-msec", "20,40", "--repeat_times", "3")
    together, apart, other = run(*words), run(*words, "--batch_size", "2", "--ext", "b"), run(*words, "--seed", "1", "--ext", "c")
    for name, joints in together.items():
        np.testing.assert_allclose(apart[name], joints, atol=1e-4)
    assert not np.allclose(other["sample0_repeat0_len60.npy"], together["sample0_repeat0_len60.npy"])


@pytest.mark.parametrize(
    "words, frames, added",
    [
        (["--after", "21"], 80, 0),
        (["--before", "20"], 80, 20),
        (["--motion_length", "100"], 100, 0),
        (["--before", "20", "--motion_length", "100"], 100, 20),
        (["--motion_length", "40", "-msec", "30,40"], 40, 0),
    ],
)
def test_a_motion_is_continued_or_cut(run, words, frames, added):
    ((name, joints),) = run(*words).items()
    assert joints.shape[0] == frames and name == f"sample0_repeat0_len{frames}.npy"
    kept = slice(added + FADE, added + 20)
    np.testing.assert_allclose(joints[kept], moved(walk())[FADE:20], atol=1e-4)


def test_released_flags_are_taken_and_files_are_as_those_of_gen_t2m(run, tmp_path):
    export(tmp_path / "walk.bvh", walk(), "", 20)
    words = "--ext edit3 --use_res_model -msec 0.4,0.7 --text_prompt walks --motion_length 60 --cond_scale 3 --temperature 1"
    run(*words.split(), "--topkr", "0.9", "--source_motion", str(tmp_path / "walk.bvh"), "--formats", "npy", "bvh", "mp4")
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*") if path.is_file())
    files = [f"animation/0/sample0_repeat0_len60{ending}" for ending in (".bvh", ".mp4", "_ik.bvh", "_ik.mp4")]
    files += [f"joints/0/sample0_repeat0_len60{ending}" for ending in (".npy", "_ik.npy")]
    assert written == [f"edit3/{file}" for file in [*files, "prompts.json"]]


def refused(run, capsys, words: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


BAD_FLAGS = {
    "no source": (["--source_motion", ""], "--source_motion is missing"),
    "nothing to do": ([], "nothing to edit: give --mask_edit_section A,B"),
    "outside": (["-msec", "50,70"], "frames 50 to 70 exceed the motion, which has frames 0 to 60"),
    "two lengths": (["--after", "20", "--motion_length", "80"], "--after and --motion_length"),
    "all cut away": (["--before", "40", "--motion_length", "40"], "no frames of the motion remain"),
    "length 3": (["--after", "3"], "--after: a length of 3 frames"),
    "enormous": (["--before", "100000"], "choose from 4 to 6000"),
    "enormous prompt": (["-msec", "0.1,0.2", "--text_prompt", "walk " * 500], "at most 200 words"),
    "no repeats": (["-msec", "0.1,0.2", "--repeat_times", "0"], "--repeat_times 0"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_flags_are_one_clear_line(run, capsys, tmp_path, case):
    words, expected = BAD_FLAGS[case]
    assert expected in refused(run, capsys, words)
    assert not (tmp_path / "out").exists()


def damaged() -> np.ndarray:
    joints = walk()
    joints[7, 3] = np.nan
    return joints


BAD_SOURCES = {
    "missing": (None, "source.npy"),
    "text": (b"not an array", "source.npy"),
    "NaN": (damaged(), "NaN"),
    "NaN features": (np.full((40, 263), np.nan), "NaN"),
    "21 joints": (walk()[:, :21], "21 joints, but the weights are for 22 (dataset open)"),
    "5 joints": (walk()[:, :5], "expected joints (T, 22, 21, 24 or 52, 3) or features"),
    "too short": (walk()[:5], "5 frames at 20 fps; 8 or more are needed"),
    "integers": (np.zeros((40, 22, 3), int), "int64"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_sources_are_one_clear_line(run, capsys, tmp_path, case):
    content, expected = BAD_SOURCES[case]
    if isinstance(content, bytes):
        (tmp_path / "source.npy").write_bytes(content)
    elif content is not None:
        np.save(tmp_path / "source.npy", content)
    message = refused(run, capsys, ["-msec", "0.1,0.3", "--source_motion", str(tmp_path / "source.npy")])
    assert message.startswith("error: ") and expected in message
    assert not (tmp_path / "out").exists()


def test_embedded_weights_edit_without_a_jump(tmp_path):
    """At the ends of a section, no joint is 2 cm per frame faster than the fastest joint within half a second of it."""
    np.save(tmp_path / "walk.npy", walk(120))
    flags = ["--source_motion", str(tmp_path / "walk.npy"), "-msec", "40,72", "--text_prompt", "a person waves with both hands"]
    main([*flags, "--output_dir", str(tmp_path), "--formats", "npy", "--gpu_id", "-1", "--time_steps", "6"])
    joints = np.load(tmp_path / "edit" / "joints" / "0" / "sample0_repeat0_len120.npy")
    np.testing.assert_allclose(joints[: 40 - FADE], walk(120)[: 40 - FADE], atol=1e-4)
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(1)  # metres, from each frame to the next
    for seam in (40, 72):
        around = np.r_[steps[seam - 11 : seam - 1], steps[seam : seam + 10]]
        assert steps[seam - 1] < around.max() + 0.02


def test_help_answers_without_loading_anything_heavy():
    show_help = "try: edit_t2m.main(['--help'])\nexcept SystemExit: pass"
    code = f"import sys, edit_t2m\n{show_help}\nprint(sorted({{'torch', 'numpy', 'cv2', 'scipy'}} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--mask_edit_section" in output and output.endswith("[]\n")
