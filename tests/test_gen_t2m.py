"""gen_t2m.py on tiny random weights: prompts in, files out; every bad input is one clear line, exit code 2, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from data.prompts import Prompt, read_prompts
from gen_t2m import main
from motion.files.bvh import read_bvh
from motion.files.names import ENDS
from motion.skeleton import HUMANML3D
from tests.tiny import VARIED, write_checkpoints

ROOT = Path(__file__).parent.parent


def read(text_prompt: str = "", text_path: str | Path = "", motion_length: int = 0) -> list[Prompt]:
    return read_prompts(text_prompt, str(text_path), motion_length, longest=196)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A checkpoints folder with one small random model of each kind, for `open`."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def generate(checkpoints, tmp_path):
    """Runs the script into `tmp_path/out`; further flags are given as one string or as words."""

    def run(*words: str, formats: str = "npy") -> Path:
        flags = ["--checkpoints_dir", str(checkpoints), "--name", "base", "--res_name", "res", "--length_name", "len"]
        flags += ["--gpu_id", "-1", "--time_steps", "2", "--output_dir", str(tmp_path / "out"), "--ext", "exp"]
        main([*flags, "--formats", *formats.split(), *words])
        return tmp_path / "out" / "exp"

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "prompts.json")


def test_one_prompt_gives_joints_skeleton_and_video(generate, capsys):
    folder = generate(
        "--text_prompt", "a person walks forward", "--motion_length", "24", "--skeleton", "fitted", formats="npy bvh mp4"
    )  # random weights make no body that a standard skeleton could follow
    assert files(folder) == [
        "animation/0/sample0_repeat0_len24.bvh",
        "animation/0/sample0_repeat0_len24.mp4",
        "animation/0/sample0_repeat0_len24_ik.bvh",
        "animation/0/sample0_repeat0_len24_ik.mp4",
        "joints/0/sample0_repeat0_len24.npy",
        "joints/0/sample0_repeat0_len24_ik.npy",
    ]
    joints = np.load(folder / "joints/0/sample0_repeat0_len24.npy")
    assert joints.shape == (24, 22, 3) and joints.dtype == np.float32
    bvh = read_bvh(folder / "animation/0/sample0_repeat0_len24.bvh")
    hips = bvh.joints()[:, bvh.names.index("Hips")]
    assert hips.shape == (24, 3) and np.isfinite(hips).all()
    assert bvh.fps == pytest.approx(20) and set(bvh.names) == {*HUMANML3D.bones, *ENDS.values()}
    with av.open(str(folder / "animation/0/sample0_repeat0_len24.mp4")) as video:
        assert len(list(video.decode(video=0))) == 24
    output = capsys.readouterr().out
    assert "weights: " in output and str(folder / "joints") in output and str(folder / "animation") in output


def test_base_tokens_alone_are_said_to_be_coarse(generate, capsys):
    generate("--text_prompt", "a person walks forward", "--motion_length", "24", "--res_name", "")
    assert "note: no --res_name" in capsys.readouterr().err
    generate("--text_prompt", "a person walks forward", "--motion_length", "24")
    assert "no --res_name" not in capsys.readouterr().err


def test_prompts_and_repeats_make_the_users_layout(generate, tmp_path):
    (tmp_path / "prompts.txt").write_text("a person walks#40\na person jumps up and down#23\n")
    folder = generate("--text_path", str(tmp_path / "prompts.txt"), "--repeat_times", "2", "--batch_size", "3", *VARIED)
    assert files(folder) == [
        "joints/0/sample0_repeat0_len40.npy",
        "joints/0/sample0_repeat0_len40_ik.npy",
        "joints/0/sample0_repeat1_len40.npy",
        "joints/0/sample0_repeat1_len40_ik.npy",
        "joints/1/sample1_repeat0_len24.npy",
        "joints/1/sample1_repeat0_len24_ik.npy",
        "joints/1/sample1_repeat1_len24.npy",
        "joints/1/sample1_repeat1_len24_ik.npy",
    ]
    first, second = (np.load(folder / f"joints/0/sample0_repeat{repeat}_len40.npy") for repeat in (0, 1))
    assert not np.array_equal(first, second)


def test_all_motions_of_a_run_can_be_seen_together(generate, tmp_path):
    (tmp_path / "prompts.txt").write_text("a person walks#8\na person <b>bows</b>#8\n")
    prompts = ("--text_path", str(tmp_path / "prompts.txt"), "--repeat_times", "2", *VARIED)
    folder = generate(*prompts, "--grid", formats="html mp4 png")
    assert [path for path in files(folder) if "/" not in path] == ["grid.mp4", "grid.png", "index.html"]
    assert len(files(folder)) == 3 + 2 * 2 * 4  # and a video and a sheet of each motion, plain and _ik
    data = (folder / "index.html").read_text(encoding="utf-8").split('type="application/json">')[1].split("</script>")[0]
    captions = [clip["caption"] for clip in json.loads(data)["clips"]]
    assert captions == ["a person walks"] * 2 + ["a person <b>bows</b>"] * 2
    assert files(generate(*prompts, "--ext", "page", formats="html").parent / "page") == ["index.html"]


def test_the_same_seed_gives_the_same_motion_in_any_batch(generate, tmp_path):
    (tmp_path / "prompts.txt").write_text("a person walks#40\na person bows#20\na person kicks#36\n")
    prompts = ("--text_path", str(tmp_path / "prompts.txt"), *VARIED)
    together = generate(*prompts)
    generate(*prompts, "--batch_size", "1", "--ext", "alone")
    alone = together.parent / "alone"
    assert files(together) == files(alone)
    for path in files(together):
        np.testing.assert_allclose(np.load(alone / path), np.load(together / path), atol=1e-4)


def test_without_a_length_one_is_predicted(generate):
    path, _ = files(generate("--text_prompt", "a person walks"))  # and its _ik
    length = int(path.partition("_len")[2].removesuffix(".npy"))
    assert 4 <= length <= 48 and length % 4 == 0


def test_the_dataset_is_found_by_the_name_of_the_run(generate, checkpoints, capsys):
    generate("--text_prompt", "a person walks", "--motion_length", "8")
    assert f"weights: {checkpoints / 'open' / 'base'}; text encoder: " in capsys.readouterr().out


def test_transformers_may_run_in_bf16(generate):
    path, _ = files(generate("--text_prompt", "a person walks", "--motion_length", "16", "--precision", "bf16"))
    assert "_len16" in path


# ------------------------------------------------------------------------------------------------------------ prompt files


def test_lines_are_text_and_frames(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffa  person walks #40\n\na person holds a #1 sign#196\r\n", encoding="utf-8")
    assert read(text_path=path) == [Prompt("a person walks", 40), Prompt("a person holds a #1 sign", 196)]


@pytest.mark.parametrize("line", ["a person bows#NA", "a person bows#na", "a person bows"])
def test_one_unknown_length_makes_all_unknown(tmp_path, line):
    (tmp_path / "prompts.txt").write_text(f"a person walks#40\n{line}\n")
    assert [prompt.frames for prompt in read(text_path=tmp_path / "prompts.txt")] == [None, None]


@pytest.mark.parametrize("requested, given", [(4, 4), (5, 4), (6, 4), (7, 8), (41, 40), (42, 40), (43, 44), (195, 196), (196, 196)])
def test_lengths_become_the_nearest_multiple_of_four_halves_down(requested, given):
    assert read("a person walks", motion_length=requested) == [Prompt("a person walks", given)]


def test_the_prompts_that_come_with_the_project_can_be_read():
    prompts = read(text_path=ROOT / "assets" / "text_prompt.txt")
    assert len(prompts) >= 12
    assert len({prompt.text for prompt in prompts}) == len(prompts)


# --------------------------------------------------------------------------------------------------------------- bad input

BAD = {
    "no prompt": ([], "--text_prompt"),
    "empty prompt": (["--text_prompt", "  "], "--text_prompt"),
    "enormous prompt": (["--text_prompt", "walk " * 500], "500 words and 2500 characters; use at most 200 words"),
    "length 3": (["--text_prompt", "walk", "--motion_length", "3"], "3 frames; choose from 4 to 196"),
    "length 10000": (["--text_prompt", "walk", "--motion_length", "10000"], "10000 frames; choose from 4 to 196"),
    "negative length": (["--text_prompt", "walk", "--motion_length", "-8"], "--motion_length -8"),
    "missing file": (["--text_path", "nowhere.txt"], "nowhere.txt: No such file"),
    "folder as file": (["--text_path", "."], "Is a directory"),
    "both": (["--text_prompt", "walk", "--text_path", "prompts.txt"], "either"),
    "no such GPU": (["--text_prompt", "walk", "--gpu_id", "7"], "--gpu_id 7"),
    "folder that climbs": (["--text_prompt", "walk", "--ext", "../x"], "--ext '../x'"),
    "absolute folder": (["--text_prompt", "walk", "--ext", "/tmp/x"], "--ext '/tmp/x'"),
    "empty folder name": (["--text_prompt", "walk", "--ext", ""], "--ext"),
    "no repeats": (["--text_prompt", "walk", "--repeat_times", "0"], "--repeat_times 0"),
    "no temperature": (["--text_prompt", "walk", "--temperature", "0"], "--temperature 0"),
    "unknown run": (["--text_prompt", "walk", "--name", "nobody"], "no masked transformer 'nobody'"),
    "another dataset": (["--text_prompt", "walk", "--dataset_name", "kit"], "kit"),
    "wrong kind of model": (["--text_prompt", "walk", "--res_name", "len"], "residual"),
    "grid of nothing to see": (["--text_prompt", "walk", "--grid"], "--grid"),
    "unknown format": (["--text_prompt", "walk", "--formats", "fbx"], "fbx"),
}


def refused(generate, capsys, words: list[str]) -> str:
    """The one-line error message of the script, which must exit with code 2."""
    with pytest.raises(SystemExit) as stopped:
        generate(*words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith(("error: ", "usage: ")) or ": error: " in lines[-1]
    return lines[-1]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(generate, capsys, tmp_path, case):
    words, expected = BAD[case]
    assert expected in refused(generate, capsys, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"a person walks#40\na person bows#abc\n", "line 2: length 'abc'"),
        (b"a person walks#40\n#60\n", "line 2: the text is empty"),
        (b"a person walks#3\n", "line 1: a length of 3 frames"),
        (b"a person walks#-4\n", "length '-4'"),
        (b"\n\n", "contains no prompt"),
        (b"\xff\xfe\x00walk", "UTF-8"),
    ],
)
def test_bad_prompt_files_are_named_with_the_line(generate, capsys, tmp_path, content, expected):
    (tmp_path / "prompts.txt").write_bytes(content)
    message = refused(generate, capsys, ["--text_path", str(tmp_path / "prompts.txt")])
    assert expected in message and "prompts.txt" in message
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written(generate, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refused(generate, capsys, ["--text_prompt", "walk", "--output_dir", str(tmp_path / "file" / "out")])
    assert "cannot write to" in message
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "exp").write_text("in the way")
    assert "it is a file" in refused(generate, capsys, ["--text_prompt", "walk"])
    assert files(tmp_path) == ["file", "out/exp"]


@pytest.mark.parametrize("damage", ["weights", "statistics missing", "statistics of NaN"])
def test_damaged_checkpoints(generate, capsys, checkpoints, tmp_path, damage):
    copy = tmp_path / "checkpoints"
    for path in checkpoints.rglob("*.*"):
        target = copy / path.relative_to(checkpoints)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    weights, mean = copy / "open" / "base" / "model" / "net_best.safetensors", copy / "open" / "vq" / "meta" / "mean.npy"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "statistics missing":
        mean.unlink()
    else:
        np.save(mean, np.full(263, np.nan))
    message = refused(generate, capsys, ["--text_prompt", "walk", "--motion_length", "40", "--checkpoints_dir", str(copy)])
    expected = {"weights": "net_best.safetensors", "statistics of NaN": "finite numbers", "statistics missing": "mean.npy"}
    assert expected[damage] in message
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_earlier_results_alone(generate, capsys, checkpoints, tmp_path):
    before = files(generate("--text_prompt", "a person walks", "--motion_length", "40"))
    refused(generate, capsys, ["--text_prompt", "walk", "--res_name", "base"])
    generate("--text_prompt", "a person bows", "--motion_length", "20")
    after = [*before, *(f"joints/0/sample0_repeat0_len20{ending}.npy" for ending in ("", "_ik"))]
    assert files(tmp_path / "out") == sorted(f"exp/{path}" for path in after)


# ------------------------------------------------------------------------------------------------------------------ speed


def test_help_answers_without_loading_anything_heavy():
    show_help = "try: gen_t2m.main(['--help'])\nexcept SystemExit: pass"
    code = f"import sys, gen_t2m\n{show_help}\nprint(sorted({{'torch', 'numpy', 'cv2', 'scipy'}} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--text_prompt" in output and output.endswith("[]\n")
