"""Dataclass → argparse, and dataclass ↔ `opt.txt` (MoMask's layout: `key: value`, sorted, between two rulers).

The parser returns only the flags that were given, so that a resumed run can take the others from its `opt.txt`, and any run from
the file that `--config` names.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import types
import typing
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from options.legacy import LEGACY, LegacyFlag
from options.ranges import check_ranges
from utils.errors import Parser, UserError
from utils.textfiles import bounded_text

Config = TypeVar("Config")
LARGEST = 2**20  # characters of a file of flags
OF_ONE_CALL = ("config", "is_continue")  # flags that a file of flags does not set
WORDS = 7  # of a help text, among which its kind is looked up
METAVARS = {
    **dict.fromkeys(("folder", "folders", "backbone"), "DIR"),
    **dict.fromkeys(("file", "files", "csv", "motion", "motions", "skeleton"), "FILE"),
    **dict.fromkeys(("name", "run", "runs", "split", "stages", "tokeniser", "captioner"), "NAME"),
    **dict.fromkeys(("prompt", "text"), "TEXT"),
    "address": "ADDRESS",
    "sections": "A,B",
}


def parse(config_class: type[Config], argv: list[str] | None = None) -> Config:
    """An instance of `config_class` from command-line words. Invalid ones end the program with exit code 2.

    Flags may be written with hyphens or with underscores. With `--config`, flags that are not given come from that file, and with
    `--is_continue` the rest from the run's `opt.txt`. Raises `UserError` for a file that is missing or wrong.
    """
    given = vars(_parser(config_class).parse_args(_as_declared(config_class, sys.argv[1:] if argv is None else argv)))
    check_ranges(given)
    if given.get("config"):
        given = {**read_config(config_class, given["config"]), **given}
    if legacy := {flag.name: given.pop(flag.name) for flag in _legacy(config_class) if flag.name in given}:
        given["legacy"] = legacy
        idle = [f"--{flag.name} ({flag.why})" for flag in _legacy(config_class) if flag.name in legacy and not flag.checked]
        if idle:
            print(f"note: no effect: {', '.join(idle)}", file=sys.stderr)
    config = config_class(**given)
    if not given.get("is_continue") or not getattr(config_class, "resumes_from_opt", True):
        return config
    root = getattr(config, "out_dir", "") or config.checkpoints_dir
    return from_opt(config_class, Path(root) / config.dataset_name / config.name / "opt.txt", **given)


def _as_declared(config_class: type, argv: list[str]) -> list[str]:
    """The words with every flag spelled as declared, whether it was given with hyphens or underscores."""
    flags = [flag for option, *_ in _options(config_class) for flag in (f"--{option.name}", *option.metadata["flags"])]
    flags += [f"--{flag.name}" for flag in _legacy(config_class)]
    declared = {flag.replace("-", "_"): flag for flag in flags}

    def spelled(word: str) -> str:
        flag, equals, value = word.partition("=")
        return declared.get(flag.replace("-", "_"), flag) + equals + value if word.startswith("--") else word

    return [spelled(word) for word in argv]


def check_ext(ext: str) -> None:
    """Raise `UserError` for an --ext that is not a plain name, because it names a folder or files."""
    if ext in ("", ".", "..") or Path(ext).name != ext or "\\" in ext:
        raise UserError(f"--ext '{ext}': must be a plain name, without slashes")


def write_opt(path: str | Path, config: Any) -> None:
    """Write a config's fields as `opt.txt`. Raises `UserError` where the file cannot be written."""
    from utils.checkpoint import atomic_path  # here, for it imports torch and --help must not

    lines = [f"{key}: {_to_text(value)}" for key, value in sorted(asdict(config).items()) if key != "legacy"]
    text = "\n".join(["------------ Options -------------", *lines, "-------------- End ----------------", ""])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_opt(path: str | Path) -> dict[str, str]:
    """The `key: value` lines of an `opt.txt`, ours or a released one. Raises `UserError` if it is missing or unreadable."""
    return opt_values(_read(path, "check the run's name and folder"))


def _read(path: str | Path, remedy: str) -> str:
    """The text of a file of flags. Raises `UserError` with the remedy, for devices, pipes and files over a megabyte too."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError("it is not a regular file")
        return bounded_text(path, LARGEST)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error


def opt_values(text: str) -> dict[str, str]:
    """The `key: value` lines of a text."""
    pairs = (line.partition(":") for line in text.replace("\r", "").split("\n") if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def from_opt(config_class: type[Config], path: str | Path, **overrides: Any) -> Config:
    """A config from an `opt.txt`. `overrides` have priority, unknown keys are ignored, missing ones get their default.

    Raises `UserError` for a missing file or a value of the wrong type or choice.
    """
    written = read_opt(path)
    values = {}
    for option, kind, many in _options(config_class):
        if option.name in written and option.name not in overrides:
            try:
                values[option.name] = _from_text(written[option.name], kind, many, option.metadata["choices"])
            except (ValueError, SyntaxError, TypeError):
                line = f"{option.name}: {written[option.name]}"
                raise UserError(f"{path}: '{line}' is not a value this code knows; correct or remove the line") from None
    return config_class(**values, **overrides)


def read_config(config_class: type, path: str | Path) -> dict[str, Any]:
    """The flags in a file of `flag: value` lines; an `opt.txt` is one. Lines that start with # are comments.

    Unlike `from_opt` it takes nothing silently: raises `UserError`, naming the line, for an unknown flag, a flag that is there
    twice, and a value of the wrong type, choice or range. Which run continues is no setting: `is_continue` is passed over.
    """
    known = {}
    for option, kind, many in _options(config_class):
        for flag in (option.name, *option.metadata["flags"]):
            known[flag.lstrip("-").replace("-", "_")] = (option, kind, many)
    values: dict[str, Any] = {}
    for number, line in enumerate(_read(path, "check --config").removeprefix("\ufeff").splitlines(), start=1):
        line, where = line.strip(), f"{path}, line {number}"
        if not line or line.startswith("#") or re.fullmatch("-+ (Options|End) -+", line):
            continue
        key, colon, text = (part.strip() for part in line.partition(":"))
        if not colon:
            raise UserError(f"{where}: '{line}' is not of the form 'flag: value'")
        option, kind, many = known.get(key.removeprefix("--").replace("-", "_"), (None, None, None))
        if option is None:
            raise UserError(f"{where}: no flag '{key}' here; --help lists the flags")
        if option.name in OF_ONE_CALL:
            continue
        if option.name in values:
            raise UserError(f"{where}: '{key}' is there twice; remove one")
        try:
            value = _from_text(text, kind, many, option.metadata["choices"])
            if value is None and option.default is not None:
                raise ValueError(text)
            check_ranges({option.name: value})
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except (ValueError, SyntaxError, TypeError):
            raise UserError(f"{where}: '{line}' must be {_wanted(kind, many, option.metadata['choices'])}") from None
        values[option.name] = value
    return values


def _wanted(kind: type, many: bool, choices: tuple | None) -> str:
    """The values that a flag takes, for an error."""
    one = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text")
    one = f"one of {', '.join(map(str, choices))}" if choices else one
    example = list(choices[:2]) if choices else ["a", "b"] if kind is str else [1, 2]
    return f"a list such as {example}, each {one}" if many else one


def _parser(config_class: type) -> argparse.ArgumentParser:
    """A parser with one flag per field. Defaults are shown in the help, but the dataclass sets them. No abbreviations."""
    parser = Parser(
        description=config_class.__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS, formatter_class=_HelpFormatter
    )
    for option, kind, many in _options(config_class):
        if option.metadata["positional"]:
            parser.add_argument(option.name, type=kind, metavar=option.name.upper(), help=option.metadata["help"])
            continue
        default = option.default if option.default is not MISSING else option.default_factory()
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text = option.metadata["help"] + ("" if shown in (None, "") else f" (default: {shown})")
        nargs = option.metadata["nargs"] or ("+" if many else None)
        settings = _settings(option.name, kind, text, nargs, option.metadata["choices"])
        parser.add_argument(f"--{option.name}", *option.metadata["flags"], **settings)
    if legacy := _legacy(config_class):
        group = parser.add_argument_group("flags of the released scripts")
        for flag in legacy:
            settings = _settings(flag.name, flag.kind, flag.help, flag.nargs, flag.choices)
            group.add_argument(f"--{flag.name}", *flag.flags, **settings)
    return parser


def _settings(name: str, kind: type, help: str, nargs: str | int | None, choices: tuple | None) -> dict[str, Any]:
    """Arguments of `add_argument` for a flag."""
    settings = {"dest": name, "help": help.replace("%", "%%")}
    if kind is bool:
        return settings | {"type": true_or_false, "nargs": "?", "const": True, "metavar": "true|false"}
    return settings | {"type": kind, "nargs": nargs, "choices": choices, "metavar": None if choices else _metavar(name, kind, help)}


def _metavar(name: str, kind: type, help: str) -> str:
    """The placeholder of a flag's value in the help: N or X for numbers, else by the first words of the help."""
    if kind in (int, float):
        return "N" if kind is int else "X"
    if name.endswith(("name", "dir")):
        return "DIR" if name.endswith("dir") else "NAME"
    words = re.findall(r"\w+", help)[:WORDS]
    return next((METAVARS[word] for word in words if word in METAVARS), "VALUE")


def _legacy(config_class: type) -> tuple[LegacyFlag, ...]:
    """The released script's flags that have no field in this config."""
    return LEGACY.get(config_class.__name__, ())


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


def _options(config_class: type) -> list[tuple[Field, type, bool]]:
    """(field, type of one value, whether it holds several) for each field; `X | None` counts as X."""
    hints = typing.get_type_hints(config_class)
    return [(option, *_one_value(hints[option.name])) for option in fields(config_class) if "help" in option.metadata]


def _one_value(hint: Any) -> tuple[type, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) in (list, tuple):
        return typing.get_args(hint)[0], True
    return hint, False


def true_or_false(text: str) -> bool:
    """The words true and false as bool; argparse shows this function's name for other words."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _to_text(value: Any) -> str:
    """A value as one line: as `str` writes it, or quoted as JSON where it could not be read back otherwise."""
    text = str(value)
    if isinstance(value, str) and (text == "None" or text != text.strip() or text[:1] == '"' or not text.isprintable()):
        return json.dumps(text)
    return text


def _from_text(text: str, kind: type, many: bool, choices: tuple | None) -> Any:
    """The value of a text that `_to_text` wrote."""
    if text == "None":
        return None
    if kind is str and not many and text[:1] == '"' == text[-1:] and len(text) > 1:
        text = json.loads(text)
    convert = true_or_false if kind is bool else kind
    values = [convert(part) for part in (ast.literal_eval(text) if many else [text])]
    if choices and not set(values) <= set(choices):
        raise ValueError(text)
    return values if many else values[0]
