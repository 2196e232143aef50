"""gen_m2t.py: motion files in; a table, JSON and subtitles out; every bad input is one clear line, exit code 2, nothing written.

The captions themselves are tested with pipelines/motion2text.py. Here a stand-in replaces the captioner, which says how
far the person of each window goes: so it shows whether every caption has got to its own file and time, in any batch. It is what
`MotionToText.load` gives in these tests; which weights that is asked for is tested as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.windows import cut
from gen_m2t import main
from models.decoding import Search
from motion.features import joints_to_features
from motion.files.export import export
from motion.skeleton import HUMANML3D
from pipelines.motion2text import MotionToText, RankedCaption
from pipelines.subtitles import CaptionedWindow, caption_table, probability, srt, unique_names
from prepare.synthetic import walker
from tests.test_convert import write_cmu
from utils.checkpoint import save_weights

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT.parent / "shared" / "data" / "golden"
FPS = 20


def saying(metres: float) -> str:
    return f"a person goes {metres:.1f} metres"


class Measurer:
    """Replaces a captioner: captions each motion with its distance, `count` times, and records its calls."""

    stride = 4

    def __init__(self):
        self.batches: list[list[int]] = []
        self.searches: list[Search] = []

    def captions(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor,
        *,
        search: Search,
        count: int = 1,
        candidates: int = 1,
        numbers: torch.Tensor | None = None,
    ) -> list[list[RankedCaption]]:
        self.batches.append(lengths.tolist())
        self.searches.append(search)
        for row, length in zip(features, lengths):
            assert row.dtype == torch.float32 and not row[length:].any()
        ways = features[..., 1:3].norm(dim=-1).sum(1).tolist()  # metres, as features tell how far each frame goes
        return [[RankedCaption(saying(way) + f", take {take}" * (take > 0), 2.0 - take) for take in range(count)] for way in ways]


@pytest.fixture
def checkpoints(tmp_path_factory) -> Path:
    """A checkpoints folder where `open` has a captioner and another run, of which only the metadata are ever read."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name, kind in (("m2t", "caption_gpt"), ("vq", "tokeniser")):
        save_weights(root / "open" / name / "model" / "latest.safetensors", {"w": torch.zeros(1)}, {"kind": kind})
    return root


@pytest.fixture
def script(checkpoints, tmp_path, monkeypatch) -> SimpleNamespace:
    """`script.run(*words)` writes to `tmp_path/out/exp`; `model` replaces the captioner, `loads` lists the calls of `load`."""
    model, loads = Measurer(), []

    def load(checkpoints_dir, dataset_name, name="", device="cpu", tag=None, lm="") -> Measurer:
        loads.append((str(checkpoints_dir), dataset_name, name, str(device), tag))
        return model

    monkeypatch.setattr(MotionToText, "load", load)

    def run(*words: str | Path) -> Path:
        folder_flags = ["--checkpoints_dir", checkpoints, "--output_dir", tmp_path / "out", "--ext", "exp", "--gpu_id", "-1"]
        main([str(word) for word in (*folder_flags, *words)])
        return tmp_path / "out" / "exp"

    return SimpleNamespace(run=run, model=model, loads=loads)


@pytest.fixture
def motions(tmp_path) -> Path:
    """Walks as joints, features and BVH, and a capture as ASF/AMC, one of them long; and a file that holds no motion."""
    folder = tmp_path / "motions"
    (folder / "more").mkdir(parents=True)
    joints = walker(6)
    np.save(folder / "joints.npy", joints)
    np.save(folder / "features.npy", features(walker(4, stride=0.4)))
    export(folder / "more" / "skeleton.bvh", walker(8, stride=0.6), "", FPS)
    np.save(folder / "more" / "long.npy", walker(40))
    write_cmu(folder, frames=120)  # 07.asf, 07_01.amc
    np.save(folder / "numbers.npy", np.arange(5))
    return folder


def features(joints: np.ndarray) -> np.ndarray:
    return joints_to_features(torch.from_numpy(joints)[None], HUMANML3D)[0][0].numpy()


def written(folder: Path) -> list[dict]:
    return json.loads((folder / "captions.json").read_text(encoding="utf-8"))


def times(window: dict) -> tuple[float, float]:
    return window["start"], window["end"]


CUE = re.compile(r"(\d+)\n(\d\d):([0-5]\d):([0-5]\d),(\d{3}) --> (\d\d):([0-5]\d):([0-5]\d),(\d{3})\n([^\n]+)\n")


def cues(path: Path) -> list[tuple[float, float, str]]:
    """The subtitles in a file, which must be strictly valid SubRip."""
    result = []
    for number, block in enumerate(path.read_text(encoding="utf-8").split("\n\n"), start=1):
        cue = CUE.fullmatch(block.rstrip("\n") + "\n")
        assert cue and int(cue[1]) == number
        clock = [int(part) for part in cue.groups()[1:9]]
        start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (clock[:4], clock[4:]))
        assert end > start >= (result[-1][1] if result else 0)
        result.append((start, end, cue[10]))
    return result


# Output


def test_joints_are_captioned(script, motions, capsys):
    folder = script.run("--motions", motions / "joints.npy")
    frames = len(walker(6))
    (window,) = written(folder)
    assert window == {
        "file": str(motions / "joints.npy"), "start": 0, "end": frames / FPS, "subtitles": "joints.srt",
        "captions": [{"text": saying(5 * 0.55), "match": 2, "probability": 0.8808}],
    }  # fmt: skip
    assert cues(folder / "joints.srt") == [(0, frames / FPS, saying(5 * 0.55))]
    assert sorted(path.name for path in folder.iterdir()) == ["captions.json", "captions.txt", "joints.srt"]
    printed = capsys.readouterr().out
    assert (folder / "captions.txt").read_text(encoding="utf-8") in printed
    assert [line.split() for line in printed.splitlines()[1:3]] == [
        ["file", "seconds", "caption"],
        [str(motions / "joints.npy"), f"0.0–{frames / FPS:.1f}", *saying(5 * 0.55).split()],
    ]


@pytest.mark.parametrize(
    "file, metres", [("joints.npy", 5 * 0.55), ("features.npy", 3 * 0.4), ("more/skeleton.bvh", 7 * 0.6), ("07_01.amc", None)]
)
def test_every_kind_of_file_is_captioned(script, motions, file, metres):
    (window,) = written(script.run("--motions", motions / file))
    if metres is None:  # one unit of 0.0254 / 0.45 m in 1/120 s, on a body of another size
        assert window["end"] == 1.0
    else:
        assert window["captions"][0]["text"] == saying(metres)


def test_the_skeleton_of_a_capture_may_lie_elsewhere(script, motions, tmp_path, capsys):
    (motions / "07.asf").rename(tmp_path / "body.asf")
    assert "--asf" in refused(script, capsys, "--motions", motions / "07_01.amc")
    assert len(written(script.run("--motions", motions / "07_01.amc", "--asf", tmp_path / "body.asf"))) == 1


def test_a_folder_is_captioned_in_order_and_bad_files_are_named(script, motions, capsys):
    folder = script.run("--motions", motions / "more" / "skeleton.bvh", motions)
    files = [window["file"] for window in written(folder)]
    names = ["more/skeleton.bvh", "07_01.amc", "features.npy", "joints.npy", "more/long.npy"]
    assert list(dict.fromkeys(files)) == [str(motions / name) for name in names]
    captured = capsys.readouterr()
    assert captured.err.startswith("skipped 1 of 6 files: ") and "numbers.npy" in captured.err
    assert f"5 motions in {len(files)} windows" in captured.out
    assert len(list(folder.glob("*.srt"))) == 5


@pytest.mark.parametrize("window", [196, 100, 24])
def test_a_long_motion_is_captioned_in_windows_with_times(script, motions, window):
    folder = script.run("--motions", motions / "more" / "long.npy", "--window", str(window))
    windows = written(folder)
    frames = len(walker(40))
    assert [times(piece) for piece in windows] == [(start / FPS, end / FPS) for start, end in cut(frames, window, 4)]
    assert len(windows) == -(-frames // window)
    assert windows[0]["start"] == 0 and windows[-1]["end"] == pytest.approx(frames / FPS)
    assert max(max(batch) for batch in script.model.batches) <= window
    walked = sum(float(piece["captions"][0]["text"].split()[3]) for piece in windows)
    assert walked == pytest.approx(39 * 0.55, abs=0.05 * len(windows) + 0.1)
    captioned = [(*times(piece), piece["captions"][0]["text"]) for piece in windows]
    shown = cues(folder / "long.srt")
    assert shown[0][0] == 0 and shown[-1][1] == pytest.approx(frames / FPS)
    for start, end, text in shown:  # each cue says what the windows in it say
        assert {caption for begin, stop, caption in captioned if start <= begin and stop <= end} == {text}
    assert all(first[2] != second[2] for first, second in pairwise(shown))


def test_batches_change_nothing(script, motions):
    together = written(script.run("--motions", motions, "--window", "48"))
    assert all(batch == sorted(batch) for batch in script.model.batches)
    for size in (1, 3):
        script.model.batches.clear()
        assert written(script.run("--motions", motions, "--window", "48", "--batch_size", str(size))) == together
        assert max(map(len, script.model.batches)) == size


def test_several_captions_come_with_their_match(script, motions, capsys):
    folder = script.run("--motions", motions / "joints.npy", motions / "features.npy", "--num_captions", "3")
    for window in written(folder):
        assert [caption["match"] for caption in window["captions"]] == [2, 1, 0]
        assert [caption["probability"] for caption in window["captions"]] == [0.8808, 0.7311, 0.5]
    assert [text for *_, text in cues(folder / "joints.srt")] == [saying(5 * 0.55)]  # the best alone
    lines = (folder / "captions.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].split() == ["file", "seconds", "match", "caption"]
    assert len(lines) == 7
    assert lines[1].startswith(str(motions / "joints.npy")) and lines[4].startswith(str(motions / "features.npy"))
    assert lines[3].strip() == f"0.500  {saying(5 * 0.55)}, take 2"


def test_flags_reach_the_search(script, motions):
    words = "--sample --top_p 0.5 --temperature 2 --no_repeat 0 --repetition_penalty 1.5 --length_penalty 0.5 --max_tokens 9"
    script.run("--motions", motions / "joints.npy", "--seed", "7", "--beams", "2", "--num_captions", "4", *words.split())
    assert script.model.searches == [Search(2, True, 0.5, 2.0, 0, 1.5, 0.5, 9, 7)]
    script.run("--motions", motions / "joints.npy")
    assert script.model.searches[1] == Search(seed=3407)


def test_formats_are_those_asked_for(script, motions):
    folder = script.run("--motions", motions / "joints.npy", "--formats", "json")
    assert [path.name for path in folder.iterdir()] == ["captions.json"]
    assert "subtitles" not in written(folder)[0]


def test_motions_of_the_same_name_have_subtitles_of_their_own(script, motions):
    np.save(motions / "more" / "joints.npy", walker(9))
    folder = script.run("--motions", motions / "joints.npy", motions / "more" / "joints.npy")
    assert {window["subtitles"]: window["file"] for window in written(folder)} == {
        "joints.srt": str(motions / "joints.npy"), "joints_2.srt": str(motions / "more" / "joints.npy"),
    }  # fmt: skip
    assert cues(folder / "joints_2.srt")[0][1] == len(walker(9)) / FPS


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the project's reference data")
def test_features_and_joints_of_a_real_motion_get_the_same_caption(script):
    files = [GOLDEN / "012314_new_joint_vecs.npy", GOLDEN / "012314_new_joints.npy"]
    first, second = (window["captions"][0]["text"] for window in written(script.run("--motions", *files)))
    assert float(first.split()[3]) == pytest.approx(float(second.split()[3]), abs=0.11)


# Which weights


def test_the_only_captioner_is_found_and_named(script, motions, checkpoints, capsys):
    script.run("--motions", motions / "joints.npy")
    script.run("--motions", motions / "joints.npy", "--name", "m2t", "--which_epoch", "latest")
    path = checkpoints / "open" / "m2t" / "model" / "latest.safetensors"
    script.run("--motions", motions / "joints.npy", "--resume_trans", path)
    assert script.loads == [
        (str(checkpoints), "open", "m2t", "cpu", None),
        (str(checkpoints), "open", "m2t", "cpu", "latest"),
        (str(checkpoints), "open", str(path), "cpu", None),
    ]
    named = [line for line in capsys.readouterr().out.splitlines() if line.startswith("weights: ")]
    assert named == [f"weights: {checkpoints / 'open' / 'm2t'}"] * 2 + [f"weights: {path}"]


def test_ambiguous_weights_are_an_error_that_lists_them(script, motions, checkpoints, tmp_path, capsys):
    joints = ("--motions", motions / "joints.npy")
    assert "no captioner in" in refused(script, capsys, *joints, "--dataset_name", "kit")
    assert "no captioner 'nobody' in" in refused(script, capsys, *joints, "--name", "nobody")
    save_weights(tmp_path / "lone.safetensors", {"w": torch.zeros(1)}, {"kind": "caption_gpt"})
    assert "give --dataset_name" in refused(script, capsys, *joints, "--name", tmp_path / "lone.safetensors")
    save_weights(checkpoints / "t2m" / "lm" / "model" / "latest.safetensors", {"w": torch.zeros(1)}, {"kind": "caption_lm"})
    assert "2 captioners in" in (message := refused(script, capsys, *joints)) and "t2m/lm, open/m2t" in message
    assert not script.loads
    script.run(*joints, "--dataset_name", "t2m")
    assert script.loads[0][1:3] == ("t2m", "lm")


# Bad input


def refused(script, capsys, *words: str | Path) -> str:
    """The one-line error message of the script, which must exit with code 2."""
    with pytest.raises(SystemExit) as stopped:
        script.run(*words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") or ": error: " in lines[-1]
    return lines[-1]


BAD = {
    "no motions": ([], "--motions is missing"),
    "missing file": (["--motions", "MOTIONS/nothing.npy"], "nothing.npy: no such file"),
    "missing file among others": (["--motions", "MOTIONS/joints.npy", "MOTIONS/nothing.npy"], "nothing.npy: no such file"),
    "folder without motions": (["--motions", "MOTIONS/empty"], "no .npy, .npz, .bvh, .amc"),
    "another kind of file": (["--motions", "MOTIONS/07.asf"], "motions are read from"),
    "no motion": (["--motions", "MOTIONS/numbers.npy"], "numbers.npy"),
    "negative window": (["--motions", "MOTIONS/joints.npy", "--window", "-1"], "--window -1: must be from 24 to 196"),
    "short window": (["--motions", "MOTIONS/joints.npy", "--window", "23"], "--window 23"),
    "long window": (["--motions", "MOTIONS/joints.npy", "--window", "197"], "--window 197"),
    "no batch": (["--motions", "MOTIONS/joints.npy", "--batch_size", "0"], "--batch_size 0"),
    "no beams": (["--motions", "MOTIONS/joints.npy", "--beams", "0"], "--beams 0"),
    "no captions": (["--motions", "MOTIONS/joints.npy", "--num_captions", "0"], "--num_captions 0"),
    "no candidates": (["--motions", "MOTIONS/joints.npy", "--candidates", "0"], "--candidates 0"),
    "no chance": (["--motions", "MOTIONS/joints.npy", "--top_p", "0"], "--top_p 0"),
    "too much chance": (["--motions", "MOTIONS/joints.npy", "--top_p", "1.1"], "--top_p 1.1"),
    "cold": (["--motions", "MOTIONS/joints.npy", "--temperature", "0"], "--temperature 0"),
    "hot": (["--motions", "MOTIONS/joints.npy", "--temperature", "nan"], "--temperature nan"),
    "repeats": (["--motions", "MOTIONS/joints.npy", "--no_repeat", "-1"], "--no_repeat -1"),
    "no words": (["--motions", "MOTIONS/joints.npy", "--max_tokens", "0"], "--max_tokens 0"),
    "no such skeleton": (["--motions", "MOTIONS/07_01.amc", "--asf", "none.asf"], "--asf none.asf: no such file"),
    "folder that climbs": (["--motions", "MOTIONS/joints.npy", "--ext", "../x"], "--ext '../x'"),
    "no such GPU": (["--motions", "MOTIONS/joints.npy", "--gpu_id", "7"], "--gpu_id 7"),
    "unknown format": (["--motions", "MOTIONS/joints.npy", "--formats", "vtt"], "vtt"),
    "unknown dataset": (["--motions", "MOTIONS/joints.npy", "--dataset_name", "moon"], "moon"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(script, motions, tmp_path, capsys, case):
    (motions / "empty").mkdir()
    words, expected = BAD[case]
    assert expected in refused(script, capsys, *(word.replace("MOTIONS", str(motions)) for word in words))
    assert [path.name for path in tmp_path.iterdir()] == ["motions"]


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (lambda joints: joints * np.where(np.arange(len(joints)) == 9, np.nan, 1)[:, None, None], "NaN"),
        (lambda joints: joints[:, :21], "21 joints"),
        (lambda joints: joints[:, :20], "shape"),
        (lambda joints: joints[:7], "7 frames"),
        (lambda joints: features(joints)[:, :262], "shape"),
        (lambda joints: features(joints) * np.nan, "NaN"),
    ],
)
def test_a_bad_motion_is_one_clear_line(script, tmp_path, capsys, spoil, expected):
    np.save(tmp_path / "bad.npy", spoil(walker(4)).astype(np.float32))
    message = refused(script, capsys, "--motions", tmp_path / "bad.npy")
    assert expected in message and "bad.npy" in message
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npy"]


def test_a_run_that_fails_leaves_earlier_results_alone(script, motions, capsys, monkeypatch):
    folder = script.run("--motions", motions / "joints.npy")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    monkeypatch.setattr(script.model, "captions", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        script.run("--motions", motions)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["exp"]


def test_an_output_folder_that_cannot_be_written(script, motions, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "exp").write_text("in the way")
    assert "it is a file" in refused(script, capsys, "--motions", motions / "joints.npy")
    assert not script.model.batches


# Text


def test_subtitles_are_subrip(tmp_path):
    file = Path("a.npy")
    windows = [
        CaptionedWindow(file, 0, 9.8, [("a person walks", 1.0), ("someone walks", 0.0)]),
        CaptionedWindow(file, 9.8, 19.6, [("a person walks", 0.5)]),
        CaptionedWindow(file, 19.6, 20, [("", -float("inf"))]),
        CaptionedWindow(file, 3599.9996, 3671.25, [("ein Mensch geht über die Straße", 0.5)]),
    ]
    text = srt(windows)
    assert text == (
        "1\n00:00:00,000 --> 00:00:19,600\na person walks\n\n2\n01:00:00,000 --> 01:01:11,250\nein Mensch geht über die Straße\n"
    )
    (tmp_path / "a.srt").write_text(text, encoding="utf-8")
    assert len(cues(tmp_path / "a.srt")) == 2
    assert srt(windows[2:3]) == ""


def test_names_are_unique_in_any_case():
    files = [Path(name) for name in ("a/walk.npy", "b/Walk.bvh", "c/walk.amc", "walk_2.npy", "d/run.v2.npy")]
    names = unique_names(files, ".srt")
    assert list(names.values()) == ["walk.srt", "Walk_3.srt", "walk_4.srt", "walk_2.srt", "run.v2.srt"]


def test_the_table_lines_up():
    windows = [CaptionedWindow(Path("a.npy"), 0, 9.8, [("walks", 0.0), ("", -float("inf"))])]
    windows += [CaptionedWindow(Path("dance.bvh"), 0, 100, [("dances", 3.0)])]
    assert caption_table(windows).splitlines() == [
        "file       seconds    match  caption",
        "a.npy      0.0–9.8    0.500  walks",
        "                      0.000  ",
        "dance.bvh  0.0–100.0  0.953  dances",
    ]
    assert probability(-1e9) == 0 and probability(1e9) == 1


def test_help_answers_without_loading_anything_heavy():
    show_help = "try: gen_m2t.main(['--help'])\nexcept SystemExit: pass"
    code = f"import sys, gen_m2t\n{show_help}\nprint(sorted({{'torch', 'numpy', 'cv2', 'scipy'}} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--motions" in output and output.endswith("[]\n")
