"""The commands of README and docs: every flag exists; every command that needs no download runs (`make docs`, `make check`)."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import shutil
from pathlib import Path
from string import Template

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "assets/demo/README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs/experiments.md")  # a record: its commands are those of their time

# Appended to the commands, so that each takes seconds: the last value of a flag counts.
MODEL = "--latent_dim 16 --ff_size 32 --n_layers 1 --n_heads 2"
SHORT = "--max_iters 2 --batch_size 4 --warm_up_iter 1"
SMALLER = {
    "train_vq": f"{SHORT} --width 8 --depth 1 --nb_code 16 --code_dim 8 --num_quantizers 2",
    "train_lamp": f"{SHORT} --num_queries 4 --cross_width 16 --embed_dim 16",
    "train_t2m_transformer": SHORT,
    "train_m2t": "--total-iter 2 --batch-size 4 --warm_up_iter 1 --num-layers 1 --embed-dim-gpt 16 --n-head-gpt 2 --block-size 24",
    "train_selector": f"{SHORT} --hidden_dim 16 --embed_dim 8",
    "train_evaluator": f"{SHORT} --motion_hidden 16 --text_hidden 16 --movement_hidden 16 --movement_dim 16 --embed_dim 16",
    "eval_t2m_trans_res": "--repeat_times 1 --mm_batches 0 --num_batch 1 --time_steps 1",
    "gen_t2m": "--time_steps 2",
    "edit_t2m": "--time_steps 2",
    "gen_m2t": "--beams 2",
    "M2T_eval": "--beams 1",
}
NOT_RUN = {
    r"^studio\.py": "serves until it is stopped",
    r"opt-2\.7b": "downloads 5 GB",
    r"models\.upstream|tests\.parity|benchmarks\.released|lamp_m2t": "needs released weights",
    r"benchmarks\.gpu": "needs a GPU",
    r"prepare\.(humanml3d|open_dataset)": "needs captures",
    r"fbx": "needs Blender",
    r"^eval_t2m_trans_res(?!.*--evaluator lamp)": "needs the released evaluator",
    r"torchrun": "several processes",
    r"[A-Z]{3}|/path/to|my_": "has placeholders",
    r"--name mine": "follows `make finetune`",
    r"docs/recipes": "trains at the sizes of the papers",
}


class Parsed(Exception):
    """Raised after a command has been parsed without an error."""


def commands(page: Path) -> list[str]:
    """The `python …` commands of a page, in its order, without `python`, comments and optional parts."""
    result, values = [], {}
    fenced = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    inline = re.compile(r"`python ([^`]*)`", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    blocks = [(block.start(), block[2]) for block in fenced.finditer(text) if block[1] in ("", "bash", "sh")]
    outside = fenced.sub(lambda block: " " * len(block[0]), text)
    blocks += [(match.start(), "python " + " ".join(match[1].split())) for match in inline.finditer(outside)]
    for _, block in sorted(blocks):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*|\[[^\]]*\]|…", "", line).strip()
            if assigned := re.fullmatch(r'([A-Z0-9]+)="(.*)"', " ".join(line.split())):
                values[assigned[1]] = assigned[2]
            elif line.startswith("python "):
                result.append(" ".join(Template(line.removeprefix("python ")).safe_substitute(values).split()))
    return result


def split(command: str) -> tuple[str, list[str]]:
    """Module and arguments of a command: `train_vq.py --name a` or `-m prepare.stats FOLDER`."""
    words = shlex.split(command)
    if words[0] == "-m":
        return words[1], words[2:]
    return words[0].removesuffix(".py"), words[1:]


def main_of(module: str):
    """The `main` of a script or package."""
    if (ROOT / module.replace(".", "/") / "__main__.py").exists():
        module += ".__main__"
    return importlib.import_module(module).main


DOCUMENTED = [(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands(page)]
OURS = [(page, command) for page, command in DOCUMENTED if not re.match(r"-m (venv|pip|http)|-m$|-c |assets/", command)]
RUN = [
    command
    for page, command in OURS
    if page != "assets/demo/README.md" and split(command)[1] and not any(re.search(pattern, command) for pattern in NOT_RUN)
]


def test_the_pages_have_commands():
    assert len([page for page, _ in OURS if page == "README.md"]) > 30
    assert {"docs/data.md", "assets/demo/README.md"} <= {page for page, _ in OURS}


@pytest.mark.parametrize(("page", "command"), OURS)
def test_flags_of_documented_commands_exist(page, command, monkeypatch):
    original = argparse.ArgumentParser.parse_args

    def parse_only(self, *arguments, **options):
        original(self, *arguments, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    module, arguments = split(command)
    main = main_of(module)
    if arguments:
        with pytest.raises(Parsed):
            main(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_shell_scripts_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)(?:PY=\S+ )?make ([a-z]+)", text, re.MULTILINE)) <= set(rules)
    for script in re.findall(r"bash (\S+\.sh)", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with small datasets, where each command finds what the ones before it have written."""
    from prepare.synthetic import write_synthetic

    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(ROOT / "assets/examples", folder / "assets/examples")
    prompts = (ROOT / "assets/text_prompt.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "assets/text_prompt.txt").write_text("".join(prompts[:3]), encoding="utf-8")
    (folder / "assets/demo").symlink_to(ROOT / "assets/demo")
    shutil.copytree(ROOT / "assets/demo/open/vq", folder / "checkpoints/open/vq")
    write_synthetic(folder / "dataset/HumanML3D", clips=40)
    shutil.copytree(folder / "dataset/HumanML3D", folder / "dataset/Open")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_documented_command_runs(command, folder, monkeypatch):
    """The commands run in the order of the pages, with weights from earlier commands or the embedded ones."""
    monkeypatch.chdir(folder)
    module, arguments = split(command)
    main_of(module)([*arguments, *smaller(module, arguments)])


@pytest.mark.slow
def test_a_fine_tuned_model_generates(tmp_path, monkeypatch):
    """The command after `make finetune`, which copies the embedded runs, as if the fine-tuning had changed nothing."""
    command = next(command for page, command in OURS if page == "docs/data.md" and "--name mine" in command)
    shutil.copytree(ROOT / "assets/demo/open", tmp_path / "checkpoints/open")
    shutil.copytree(ROOT / "assets/demo/open/masked", tmp_path / "checkpoints/open/mine")
    monkeypatch.chdir(tmp_path)
    main_of("gen_t2m")([*split(command)[1], "--time_steps", "2", "--formats", "npy"])
    assert list(tmp_path.glob("generation/*/joints/0/*.npy"))


def smaller(module: str, arguments: list[str]) -> list[str]:
    """Flags that make a command small."""
    sizes = MODEL if module == "train_t2m_transformer" and "length" not in arguments else ""
    return f"{SMALLER.get(module, '')} {sizes}".split()
