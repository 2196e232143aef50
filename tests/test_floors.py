"""Imports run one way: a folder imports from itself and from the folders below it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Which of our folders each folder may import, apart from itself.
FLOORS = {
    "utils": (),
    "options": ("utils",),
    "motion": ("options", "utils"),
    "data": ("motion", "utils"),
    "training": ("options", "utils"),
    "models": ("data", "training", "motion", "options", "utils"),
    "pipelines": ("models", "data", "training", "motion", "options", "utils"),
    "evaluation": ("pipelines", "models", "data", "motion", "options", "utils"),
    "web": ("pipelines", "data", "motion", "options", "utils"),
    "prepare": ("pipelines", "models", "data", "motion", "options", "utils"),
}
ABOVE = ("tests", "benchmarks")


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
    return {name for name in names if name.split(".")[0] in (*FLOORS, *ABOVE)}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_imports_run_one_way():
    allowed = {folder: {folder, *below} for folder, below in FLOORS.items()}
    wrong = [
        f"{module_name(path)} imports {name}"
        for folder in FLOORS
        for path in sources(folder)
        for name in sorted(imported(path))
        if name.split(".")[0] not in allowed[folder]
    ]
    assert wrong == []


def test_help_needs_no_torch():
    """The files that a script imports before it has parsed its flags stay free of heavy libraries."""
    for module in ("utils/errors.py", "motion/spec.py", *(path.relative_to(ROOT) for path in sources("options"))):
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        heavy = {node.names[0].name.split(".")[0] for node in tree.body if isinstance(node, ast.Import)}
        heavy |= {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not heavy & {"torch", "numpy", "scipy", "spacy", "transformers"}, module


def test_no_file_imports_by_star_or_edits_the_path():
    for path in [*ROOT.glob("*.py"), *sources(*FLOORS)]:
        text = path.read_text(encoding="utf-8")
        assert "import *" not in text, path
        assert "sys.path" not in text, path
