"""Command lines and opt.txt, both made from a config dataclass alone."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from options.cli import from_opt, parse, read_opt, write_opt
from options.common import option
from options.train import Training, TrainVQ
from utils.errors import UserError, script

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """A script that makes 100% sense."""

    name: str = option("", "a name")
    dataset_name: str = option("t2m", "a dataset", choices=("t2m", "kit"))
    checkpoints_dir: str = option("./checkpoints", "a folder")
    gpu_id: int | None = option(None, "a device, 50% of the time")
    lr: float = option(2e-4, "a rate", flags=("--learning-rate", "-l"))
    sections: list[str] | None = option(None, "some sections", nargs="+")
    milestones: list[int] = option([1, 2], "some steps")
    compile: bool = option(False, "whether to compile")
    shuffle: bool = option(True, "whether to shuffle")
    is_continue: bool = option(False, "go on")


def test_nothing_given_is_the_defaults():
    assert parse(Config, []) == Config()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--name walk --dataset_name kit", {"name": "walk", "dataset_name": "kit"}),
        ("--gpu_id -1", {"gpu_id": -1}),
        ("--learning-rate 0.5", {"lr": 0.5}),
        ("-l 1e-3", {"lr": 1e-3}),
        ("--learning_rate=0.5 --gpu-id -1 --is-continue=false", {"lr": 0.5, "gpu_id": -1}),
        ("--sections 0,4 10,12", {"sections": ["0,4", "10,12"]}),
        ("--milestones 3", {"milestones": [3]}),
        ("--milestones 3 5 7", {"milestones": [3, 5, 7]}),
        ("--compile", {"compile": True}),
        ("--compile true --shuffle false", {"compile": True, "shuffle": False}),
        ("--compile --shuffle False", {"compile": True, "shuffle": False}),
    ],
)
def test_flags(words, expected):
    assert parse(Config, words.split()) == replace(Config(), **expected)


@pytest.mark.parametrize(
    "words", ["--nonsense", "--nam x", "--dataset_name other", "--lr fast", "--compile maybe", "--gpu_id 1.5", "--milestones", "x"]
)
def test_wrong_flags_end_with_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(Config, words.split())
    assert exit_.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_help_shows_every_flag_its_help_and_its_default(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(Config, ["-h"])
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "A script that makes 100% sense.", "--learning-rate", "-l", "a rate (default: 0.0002)", "some steps (default: 1 2)",
        "whether to compile (default: False)", "{t2m,kit}", "a device, 50% of the time", "--compile [true|false]",
    ):  # fmt: skip
        assert part in text
    assert "default: None" not in text and "(default: )" not in text


ODD = Config(name="a: b # c", gpu_id=3, sections=["0,4", "x"], milestones=[], compile=True)


@pytest.mark.parametrize("config", [Config(), ODD, Training()])
def test_opt_round_trip(tmp_path, config):
    write_opt(tmp_path / "opt.txt", config)
    assert from_opt(type(config), tmp_path / "opt.txt") == config


def test_opt_has_the_released_layout(tmp_path):
    write_opt(tmp_path / "run/opt.txt", Config(name="x"))
    lines = (tmp_path / "run/opt.txt").read_text().splitlines()
    assert lines[0] == "------------ Options -------------" and lines[-1] == "-------------- End ----------------"
    assert lines[1:-1] == sorted(lines[1:-1]) and "lr: 0.0002" in lines and "milestones: [1, 2]" in lines
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run/opt.txt"]


def test_released_opt_is_read_past_its_unknown_keys(tmp_path):
    path = tmp_path / "opt.txt"
    path.write_text(
        "------------ Options -------------\nlr: 0.1\nis_train: True\nmilestones: [150000, 250000]\nsave_root: C:/x\n"
        "\ngpu_id: None\nshuffle: False\n-------------- End ----------------\n"
    )
    assert read_opt(path)["save_root"] == "C:/x"
    expected = Config(lr=0.1, milestones=[150_000, 250_000], shuffle=False, name="new")
    assert from_opt(Config, path, name="new") == expected


@pytest.mark.parametrize("line", ["lr: fast", "milestones: [1, x]", "milestones: 3", "compile: maybe", "dataset_name: moon"])
def test_wrong_value_in_opt_is_named(tmp_path, line):
    (tmp_path / "opt.txt").write_text(line)
    with pytest.raises(UserError, match=r"opt\.txt") as error:
        from_opt(Config, tmp_path / "opt.txt")
    assert line in str(error.value)


def test_missing_or_binary_opt_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none", tmp_path / "binary", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_opt(path)


def test_continued_run_takes_its_flags_from_its_opt_and_new_flags_win(tmp_path):
    original = Config(name="walk", dataset_name="kit", lr=0.5, compile=True, checkpoints_dir="elsewhere")
    write_opt(tmp_path / "kit/walk/opt.txt", original)
    words = ["--name", "walk", "--dataset_name", "kit", "--checkpoints_dir", str(tmp_path), "--is_continue", "--compile", "false"]
    config = parse(Config, words)
    assert config.lr == 0.5 and not config.compile and config.is_continue and config.checkpoints_dir == str(tmp_path)
    with pytest.raises(UserError, match=r"run/opt\.txt"):
        parse(Config, ["--name", "run", "--is_continue", "--checkpoints_dir", str(tmp_path)])


def test_help_needs_no_torch():
    modules = "options.cli, options.train, options.evaluate, options.generate, options.prepare"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("words", ["gen_t2m.py --text_prompt a", "train_vq.py --name a", "eval_t2m_vq.py --name a"])
def test_a_script_outside_the_environment_says_how_to_enter_it(tmp_path, words):
    """Simulates an environment without PyTorch and NumPy."""
    code = "import runpy, sys; sys.modules['torch'] = sys.modules['numpy'] = None; "
    code += f"sys.path.insert(0, {str(ROOT)!r}); sys.argv = {words.split()!r}; "
    code += f"runpy.run_path({str(ROOT / words.split()[0])!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(r"error: missing package: (torch|numpy), in .*\.venv/bin/activate.*requirements\.txt\n", result.stderr)


def test_other_missing_modules_keep_their_traceback():
    @script
    def main(argv=None):
        import no_such_module  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        main([])


def test_flags_of_motion_files_are_the_same_everywhere():
    from motion.files import raw, read
    from motion.files.convert import main
    from options.evaluate import EvalRetrieval
    from options.files import AXES, UNITS, InputFiles, WrittenFiles
    from options.generate import EditT2M, GenM2T, GenT2M

    assert tuple(raw.UNITS) == UNITS and read.AXES == AXES and set(raw.NAMES) == set(UNITS)
    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as help_:
        main(["--help"])
    for flags, scripts in ((InputFiles, (EditT2M, GenM2T, EvalRetrieval)), (WrittenFiles, (GenT2M, EditT2M, EvalRetrieval))):
        for flag in fields(flags):
            assert f"--{flag.name}" in help_.getvalue(), flag.name
            assert all(flag.name in {field.name for field in fields(script)} for script in scripts)


STARTED = [
    path.relative_to(ROOT)
    for folder in ("benchmarks", "motion", "prepare")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", STARTED, ids=str)
def test_a_module_started_by_its_path_names_the_right_command(path):
    ended = subprocess.run([sys.executable, "-S", path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    module = ".".join(path.with_suffix("").parts).removesuffix(".__main__")
    assert ended.returncode and ended.stderr == f"error: started by its path; run: python -m {module}\n"


@pytest.mark.parametrize("module", ["prepare.stats", "benchmarks.gpu", "motion.files.convert", "models.upstream"])
def test_a_module_without_the_requirements_says_so_in_one_line(module):
    without = [sys.executable, "-S", "-m", module]  # no site-packages
    ended = subprocess.run(without, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.startswith("error: missing package: torch") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("path", ["/dev/zero", "large.txt", "nul\0.txt", "."])
def test_a_file_of_flags_that_is_none_is_refused(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.txt").write_text("# much\n" * 200_000)
    with pytest.raises(SystemExit) as stop:
        script(lambda argv: parse(TrainVQ, argv))(["--config", path])
    assert stop.value.code == 2 and "check --config" in capsys.readouterr().err
