"""Imports run downward only: root scripts, then trainers, then models and data, then tools, then the ground."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIDDLE = ("models", "data", "prepare")
TOOLS = ("utils.metrics", "utils.motion", "options")
GROUND = ("data.spec", "utils.checkpoint", "utils.runtime", "utils.errors")

# Which of our packages a file may import, by the longest prefix of its module name.
MAY_IMPORT = {
    "utils.trainer": (*MIDDLE, *TOOLS, *GROUND, "utils.training"),
    "utils.evaluation": (*MIDDLE, *TOOLS, *GROUND),
    "utils.generation": (*MIDDLE, *TOOLS, *GROUND),
    "utils.protocol": (*MIDDLE, *TOOLS, *GROUND),
    "utils.captioning": (*MIDDLE, *TOOLS, *GROUND, "utils.protocol"),
    "utils.retrieval": (*MIDDLE, *TOOLS, *GROUND),
    "utils.search": (*MIDDLE, *TOOLS, *GROUND, "utils.retrieval"),
    "models": ("models", "utils.metrics", "utils.motion", *GROUND),
    "data": ("data", "prepare", "utils.metrics", "utils.motion", *GROUND),
    "prepare": ("data", "prepare", *TOOLS, *GROUND),
    "prepare.backbone": (*MIDDLE, *TOOLS, *GROUND),
    "prepare.download": (*MIDDLE, *TOOLS, *GROUND),
    "utils.metrics": ("utils.metrics", "utils.motion", *GROUND),
    "utils.motion": ("utils.motion", *GROUND),
    "options": ("options", *GROUND),
    "utils.training": (*TOOLS, *GROUND),
    "utils": GROUND,
    "data.spec": ("utils.errors",),
}
OURS = ("models", "data", "prepare", "utils", "options", "tests", "benchmarks")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in OURS}


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def rule(module: str) -> tuple[str, ...]:
    if "." not in module and module not in MAY_IMPORT:
        return OURS[:5]
    return MAY_IMPORT[max((prefix for prefix in MAY_IMPORT if within(module, (prefix,))), key=len)]


def sources() -> list[Path]:
    folders = ("models", "data", "prepare", "utils", "options")
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


def test_imports_run_downward():
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in sources()
        for name in sorted(imported(path))
        if not within(name, rule(module_name(path)))
    ]
    assert wrong == []


def test_help_needs_no_torch():
    """The files that a script imports before it has parsed its flags stay free of heavy libraries."""
    for module in ("utils/errors.py", "options/config.py", "options/cli.py", "data/spec.py"):
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        heavy = {node.names[0].name.split(".")[0] for node in tree.body if isinstance(node, ast.Import)}
        heavy |= {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not heavy & {"torch", "numpy", "scipy", "spacy", "transformers"}, module


def test_no_file_imports_by_star_or_edits_the_path():
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert "import *" not in text, path
        assert "sys.path" not in text, path
