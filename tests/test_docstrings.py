"""Every public function has a docstring and type hints, except `forward` and `main`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [path for path in ROOT.iterdir() if path.is_dir() and path.name != "tests" and not path.name.startswith(".")]
SOURCES = [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in folder.rglob("*.py"))]
KNOWN = ("main", "forward")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, Function]]:
    """Functions and methods of a module or class that others may call, with their names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_") and node.name not in KNOWN:
            yield inside + node.name, node


def untyped(name: str, function: Function) -> list[str]:
    """The arguments without a type, and `return`."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in function.decorator_list)
    listed = listed[1:] if "." in name and not static else listed  # without self
    missing = [argument.arg for argument in listed if argument and argument.annotation is None]
    return missing + ["return"] * (function.returns is None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_functions_have_docstrings_and_type_hints(path):
    functions = list(public_functions(ast.parse(path.read_text(encoding="utf-8")).body))
    bare = [f"{name}: no docstring" for name, function in functions if not ast.get_docstring(function)]
    bare += [f"{name}: no type of {', '.join(missing)}" for name, function in functions if (missing := untyped(name, function))]
    assert bare == []
