"""`--config`: files of flags, and the recipes in docs/recipes."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from options.cli import parse, read_config, write_opt
from options.evaluate import EvalRetrieval
from options.train import TrainLaMP, TrainM2T, TrainT2M, TrainVQ
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "docs/recipes").rglob("*.txt"))
NAMES = ("vq_name", "lamp_name", "res_name")  # of other runs


def command(recipe: Path) -> list[str]:
    """The command in a recipe's first line: script and arguments."""
    words = shlex.split(recipe.read_text(encoding="utf-8").splitlines()[0])
    assert words[:2] == ["#", "python"]
    return words[2:]


def config_of(recipe: Path):
    """The config that the recipe's script parses from its command."""
    script, *arguments = command(recipe)
    module = importlib.import_module(script.removesuffix(".py"))
    config_class = re.search(r"parse\((\w+), argv\)", (ROOT / script).read_text(encoding="utf-8"))[1]
    return parse(getattr(module, config_class), arguments)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_is_read_by_its_script(recipe, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command(recipe)[1:] == ["--config", recipe.relative_to(ROOT).as_posix()]
    config = config_of(recipe)
    kind = recipe.parent.name.rpartition("_")[2]
    assert config.dataset_name == {"tiny": "synthetic"}.get(kind, kind)
    lines = [line for line in recipe.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(read_config(type(config), recipe)) == len(lines)


@pytest.mark.parametrize("folder", sorted({recipe.parent for recipe in RECIPES}), ids=lambda path: path.name)
def test_recipes_of_a_folder_belong_together(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    configs = {recipe.stem: config_of(recipe) for recipe in sorted(folder.glob("*.txt"))}
    trained = [config.name for stage, config in configs.items() if not stage.startswith("eval_")]
    assert len(trained) == len(set(trained))
    for stage, config in configs.items():
        used = {getattr(config, name, "") for name in NAMES} | ({config.name} if stage.startswith("eval_") else set())
        assert used - {""} <= set(trained), stage
    scales = {getattr(config, "cond_scale", None) for stage, config in configs.items() if stage in ("masked", "eval_t2m")}
    assert len(scales) == 1


def test_make_tiny_runs_every_recipe_of_its_folder_and_only_known_flags(monkeypatch):
    monkeypatch.chdir(ROOT)
    rule = re.search(r"^tiny:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    lines = rule.replace("$(TINY)", "docs/recipes/tiny").replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if "$(PYTHON)" in line]
    recipes = {recipe.relative_to(ROOT).as_posix() for recipe in RECIPES if recipe.parent.name == "tiny"}
    assert recipes == {words[2] for words in commands if "--config" in words}
    for words in commands:
        if "--config" in words:
            assert words == command(ROOT / words[2])
        else:
            module, arguments = (words[1], words[2:]) if words[0] == "-m" else (words[0].removesuffix(".py"), words[1:])
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            name = re.search(r"parse\((\w+), argv\)", source)[1]
            parse(getattr(importlib.import_module(module), name), arguments)


def test_sizes_of_the_papers(monkeypatch):
    monkeypatch.chdir(ROOT)
    lamp, momask = (config_of(ROOT / "docs/recipes" / folder / "masked.txt") for folder in ("lamp_t2m", "momask_t2m"))
    assert (lamp.latent_dim, lamp.n_heads, lamp.attention, lamp.milestones, lamp.cond_scale) == (512, 8, "causal", [60_000], 4.0)
    assert (momask.latent_dim, momask.n_heads, momask.attention, momask.text_encoder) == (384, 6, "full", "clip")
    kit = config_of(ROOT / "docs/recipes/lamp_kit/masked.txt")
    assert (kit.batch_size, kit.cond_scale) == (16, 2.0)


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "flags.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_of_the_command_line_win_over_the_file(tmp_path):
    file = written(tmp_path, "# about\n\nname: a\nlr: 0.5\nmilestones: [1, 2]\nshared-codebook: true\nloss_vel: 0.25\n")
    config = parse(TrainVQ, ["--lr", "0.1", "--config", file])
    assert (config.name, config.lr, config.milestones, config.shared_codebook) == ("a", 0.1, [1, 2], True)
    assert (config.loss_joints, config.config) == (0.25, file)


def test_an_opt_txt_is_such_a_file(tmp_path):
    write_opt(tmp_path / "opt.txt", TrainT2M(name="old", stage="residual", n_layers=2, lr=1e-3, is_continue=True))
    config = parse(TrainT2M, ["--config", str(tmp_path / "opt.txt"), "--name", "new"])
    assert (config.name, config.stage, config.n_layers, config.lr, config.latent_dim) == ("new", "residual", 2, 1e-3, None)
    assert not config.is_continue


def test_a_continued_run_takes_the_rest_from_its_opt_txt(tmp_path):
    write_opt(tmp_path / "t2m/a/opt.txt", TrainVQ(name="a", lr=0.5, width=64, config="gone.txt"))
    run_flags = ["--checkpoints_dir", str(tmp_path), "--is_continue"]
    config = parse(TrainVQ, ["--config", written(tmp_path, "name: a\nlr: 0.25"), *run_flags])
    assert (config.lr, config.width, config.is_continue) == (0.25, 64, True)
    assert parse(TrainVQ, ["--name", "a", *run_flags]).config == "gone.txt"  # on record, and not read again


@pytest.mark.parametrize(
    ("config_class", "text", "message"),
    [
        (TrainVQ, "name: a\nlearning: 1", "line 2: unknown flag 'learning'"),
        (TrainVQ, "stage: masked", "line 1: unknown flag 'stage'"),
        (TrainVQ, "lr: fast", "line 1: 'lr: fast' must be a number"),
        (TrainVQ, "batch_size: 2.5", "must be a whole number"),
        (TrainVQ, "batch_size: None", "must be a whole number"),
        (TrainVQ, "balance: maybe", "must be true or false"),
        (TrainVQ, "milestones: 3", "must be a list such as [1, 2], each a whole number"),
        (TrainVQ, "batch_size: 0", "line 1: --batch_size 0: must be from 1"),
        (TrainVQ, "lr: inf", "must be a finite number"),
        (TrainVQ, "name: a\nname: b", "line 2: 'name' is given twice"),
        (TrainVQ, "name: a\nloss_joints: 1\nloss_vel: 1", "line 3: 'loss_vel' is given twice"),
        (TrainVQ, "name a", "'name a' is not of the form 'flag: value'"),
        (TrainVQ, "dataset_name: moon", "must be one of t2m, kit, open, synthetic"),
        (TrainLaMP, "losses: ['matching', 'x']", "must be a list such as ['contrastive', 'matching'], each one of"),
        (TrainM2T, "texts: folder", "must be a list such as ['a', 'b'], each a string"),
        (TrainM2T, "quantizer: ema_reset", "unknown flag 'quantizer'"),
        (EvalRetrieval, "table: word", "must be one of latex, markdown, csv"),
    ],
)
def test_wrong_files_are_one_clear_line(tmp_path, config_class, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        parse(config_class, ["--config", written(tmp_path, text)])
    assert str(error.value).startswith(str(tmp_path / "flags.txt"))


def test_missing_and_binary_files_are_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none", tmp_path / "binary", tmp_path):
        with pytest.raises(UserError, match=re.escape(str(path))):
            parse(TrainVQ, ["--config", str(path)])
