"""Build command-line flags from a config dataclass, and store configs as `opt.txt` files.

An `opt.txt` has MoMask's layout: sorted `key: value` lines between a header line and a footer line. A flag that is missing on the
command line gets its value from the `--config` file, from the `opt.txt` of a resumed run, or from the defaults.
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
LONGEST_FILE = 2**20  # maximum length of a flag file, in characters
NOT_IN_FILES = ("config", "is_continue")  # flags that have no effect in a flag file
METAVAR_WORDS = 7  # number of words at the start of a help text that are looked up in `METAVARS`
METAVARS = {
    **dict.fromkeys(("folder", "folders", "backbone"), "DIR"),
    **dict.fromkeys(("file", "files", "csv", "motion", "motions", "skeleton"), "FILE"),
    **dict.fromkeys(("name", "run", "runs", "split", "stages", "tokeniser", "captioner"), "NAME"),
    **dict.fromkeys(("prompt", "text"), "TEXT"),
    "address": "ADDRESS",
    "sections": "A,B",
}


def parse(config_class: type[Config], argv: list[str] | None = None) -> Config:
    """Parse command-line arguments into an instance of `config_class`. Invalid arguments end the program with exit code 2.

    Flags may be written with hyphens or underscores. Flags that are missing on the command line are read from the `--config` file,
    if `--config` is given. With `--is_continue`, flags that are still missing are read from the run's `opt.txt`, unless
    `config_class.resumes_from_opt` is False. Raises `UserError` if the `--config` file or the `opt.txt` is missing or invalid, or
    if a number is out of range.
    """
    given = vars(_parser(config_class).parse_args(_as_declared(config_class, sys.argv[1:] if argv is None else argv)))
    check_ranges(given)
    if given.get("config"):
        given = {**read_config(config_class, given["config"]), **given}
    if legacy := {flag.name: given.pop(flag.name) for flag in _legacy(config_class) if flag.name in given}:
        given["legacy"] = legacy
        ignored = [f"--{flag.name} ({flag.why})" for flag in _legacy(config_class) if flag.name in legacy and not flag.checked]
        if ignored:
            print(f"note: flags without effect: {', '.join(ignored)}", file=sys.stderr)
    config = config_class(**given)
    if not given.get("is_continue") or not getattr(config_class, "resumes_from_opt", True):
        return config
    root = getattr(config, "out_dir", "") or config.checkpoints_dir
    return from_opt(config_class, Path(root) / config.dataset_name / config.name / "opt.txt", **given)


def _as_declared(config_class: type, argv: list[str]) -> list[str]:
    """Return `argv` with every flag in its declared spelling. In `argv`, flags may be spelled with hyphens or underscores."""
    flags = [flag for option, *_ in _options(config_class) for flag in (f"--{option.name}", *option.metadata["flags"])]
    flags += [f"--{flag.name}" for flag in _legacy(config_class)]
    declared = {flag.replace("-", "_"): flag for flag in flags}

    def as_declared(word: str) -> str:
        flag, equals, value = word.partition("=")
        return declared.get(flag.replace("-", "_"), flag) + equals + value if word.startswith("--") else word

    return [as_declared(word) for word in argv]


def check_ext(ext: str) -> None:
    """Raise `UserError` if the value `ext` of --ext is not a plain name. (--ext names a result folder or result files.)"""
    if ext in ("", ".", "..") or Path(ext).name != ext or "\\" in ext:
        raise UserError(f"--ext '{ext}': must be a plain name, without slashes")


def write_opt(path: str | Path, config: Any) -> None:
    """Write the fields of a config as `opt.txt`. Raises `UserError` if the file cannot be written."""
    from utils.checkpoint import atomic_path  # imported late, to keep --help fast

    lines = [f"{key}: {_to_text(value)}" for key, value in sorted(asdict(config).items()) if key != "legacy"]
    text = "\n".join(["------------ Options -------------", *lines, "-------------- End ----------------", ""])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_opt(path: str | Path) -> dict[str, str]:
    """Read the `key: value` lines of an `opt.txt`. Raises `UserError` if the file is missing or unreadable."""
    return opt_values(_read(path, "check the run's name and folder"))


def _read(path: str | Path, remedy: str) -> str:
    """Read the text of a flag file. If the file cannot be read, raises a `UserError` whose message ends with `remedy`."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError("it is not a regular file")
        return bounded_text(path, LONGEST_FILE)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error


def opt_values(text: str) -> dict[str, str]:
    """Return the keys and values of the `key: value` lines of a text, as strings."""
    pairs = (line.partition(":") for line in text.replace("\r", "").split("\n") if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def from_opt(config_class: type[Config], path: str | Path, **overrides: Any) -> Config:
    """Build a config from an `opt.txt`. The values in `overrides` take precedence over the values in the file.

    Unknown keys in the file are ignored. Fields that the file does not contain get their defaults. Raises `UserError` if the file
    is missing, or if a value has the wrong type or is not among the choices.
    """
    stored = read_opt(path)
    values = {}
    for option, kind, is_list in _options(config_class):
        if option.name in stored and option.name not in overrides:
            try:
                values[option.name] = _from_text(stored[option.name], kind, is_list, option.metadata["choices"])
            except (ValueError, SyntaxError, TypeError):
                line = f"{option.name}: {stored[option.name]}"
                raise UserError(f"{path}: invalid value in '{line}'; correct or remove the line") from None
    return config_class(**values, **overrides)


def read_config(config_class: type, path: str | Path) -> dict[str, Any]:
    """Read a file of `flag: value` lines, such as an `opt.txt`. Lines that start with # and flags in `NOT_IN_FILES` are ignored.

    Raises `UserError` if a flag is unknown or is given twice, or if a value has the wrong type, is out of range or is not among the
    choices. The message of the error states the number of the line. `from_opt` is less strict than this function: `from_opt`
    ignores unknown flags and checks no ranges.
    """
    known = {}
    for option, kind, is_list in _options(config_class):
        for flag in (option.name, *option.metadata["flags"]):
            known[flag.lstrip("-").replace("-", "_")] = (option, kind, is_list)
    values: dict[str, Any] = {}
    for number, line in enumerate(_read(path, "check --config").removeprefix("\ufeff").splitlines(), start=1):
        line, location = line.strip(), f"{path}, line {number}"
        if not line or line.startswith("#") or re.fullmatch("-+ (Options|End) -+", line):
            continue
        key, colon, text = (part.strip() for part in line.partition(":"))
        if not colon:
            raise UserError(f"{location}: '{line}' is not of the form 'flag: value'")
        option, kind, is_list = known.get(key.removeprefix("--").replace("-", "_"), (None, None, None))
        if option is None:
            raise UserError(f"{location}: unknown flag '{key}'; --help lists the flags")
        if option.name in NOT_IN_FILES:
            continue
        if option.name in values:
            raise UserError(f"{location}: '{key}' is given twice; remove one")
        try:
            value = _from_text(text, kind, is_list, option.metadata["choices"])
            if value is None and option.default is not None:
                raise ValueError(text)
            check_ranges({option.name: value})
        except UserError as error:
            raise UserError(f"{location}: {error}") from None
        except (ValueError, SyntaxError, TypeError):
            raise UserError(f"{location}: '{line}' must be {_expected(kind, is_list, option.metadata['choices'])}") from None
        values[option.name] = value
    return values


def _expected(kind: type, is_list: bool, choices: tuple | None) -> str:
    """Describe the values that a flag accepts, for an error message."""
    item = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a string")
    item = f"one of {', '.join(map(str, choices))}" if choices else item
    example = list(choices[:2]) if choices else ["a", "b"] if kind is str else [1, 2]
    return f"a list such as {example}, each {item}" if is_list else item


def _parser(config_class: type) -> argparse.ArgumentParser:
    """Build a parser with one flag per field of a config dataclass, which adds the defaults; the parser itself has none."""
    parser = Parser(
        description=config_class.__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS, formatter_class=_HelpFormatter
    )
    for option, kind, is_list in _options(config_class):
        if option.metadata["positional"]:
            parser.add_argument(option.name, type=kind, metavar=option.name.upper(), help=option.metadata["help"])
            continue
        default = " ".join(map(str, option.default_factory())) if option.default is MISSING else option.default
        text = option.metadata["help"] + ("" if default in (None, "") else f" (default: {default})")
        nargs = option.metadata["nargs"] or ("+" if is_list else None)
        settings = _settings(option.name, kind, text, nargs, option.metadata["choices"])
        parser.add_argument(f"--{option.name}", *option.metadata["flags"], **settings)
    if legacy := _legacy(config_class):
        group = parser.add_argument_group("flags of the released scripts")
        for flag in legacy:
            settings = _settings(flag.name, flag.kind, flag.help, flag.nargs, flag.choices)
            group.add_argument(f"--{flag.name}", *flag.flags, **settings)
    return parser


def _settings(name: str, kind: type, help: str, nargs: str | int | None, choices: tuple | None) -> dict[str, Any]:
    """Return the keyword arguments with which `add_argument` declares a flag."""
    settings = {"dest": name, "help": help.replace("%", "%%")}
    if kind is bool:
        return settings | {"type": true_or_false, "nargs": "?", "const": True, "metavar": "true|false"}
    return settings | {"type": kind, "nargs": nargs, "choices": choices, "metavar": None if choices else _metavar(name, kind, help)}


def _metavar(name: str, kind: type, help: str) -> str:
    """Return the placeholder that stands for a flag's value in the help.

    The placeholder is N for integers and X for floats. A string gets the placeholder NAME if the name of the flag ends
    with `name`, and DIR if the name of the flag ends with `dir`. For all other flags, the placeholder depends on the first words of
    the help text.
    """
    if kind in (int, float):
        return "N" if kind is int else "X"
    if name.endswith(("name", "dir")):
        return "DIR" if name.endswith("dir") else "NAME"
    words = re.findall(r"\w+", help)[:METAVAR_WORDS]
    return next((METAVARS[word] for word in words if word in METAVARS), "VALUE")


def _legacy(config_class: type) -> tuple[LegacyFlag, ...]:
    """Return the flags of LaMP's released script for the same task that are not fields of the config class."""
    return LEGACY.get(config_class.__name__, ())


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


def _options(config_class: type) -> list[tuple[Field, type, bool]]:
    """Return (field, type of one value, whether the flag takes a list) for each flag of a config. The type of `X | None` is X."""
    hints = typing.get_type_hints(config_class)
    return [(option, *_one_value(hints[option.name])) for option in fields(config_class) if "help" in option.metadata]


def _one_value(hint: Any) -> tuple[type, bool]:
    """Return the type of one value of a field whose type hint is `hint`, and whether the field is a list."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) in (list, tuple):
        return typing.get_args(hint)[0], True
    return hint, False


def true_or_false(text: str) -> bool:
    """Convert "true" or "false" to a bool. argparse shows this function's name in the message "invalid true_or_false value"."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _to_text(value: Any) -> str:
    """Format a value as one line. The line is `str(value)`, or a JSON string if `_from_text` could not parse `str(value)`."""
    text = str(value)
    if isinstance(value, str) and (text == "None" or text != text.strip() or text[:1] == '"' or not text.isprintable()):
        return json.dumps(text)
    return text


def _from_text(text: str, kind: type, is_list: bool, choices: tuple | None) -> Any:
    """Parse a value that `_to_text` formatted."""
    if text == "None":
        return None
    if kind is str and not is_list and text[:1] == '"' == text[-1:] and len(text) > 1:
        text = json.loads(text)
    convert = true_or_false if kind is bool else kind
    values = [convert(part) for part in (ast.literal_eval(text) if is_list else [text])]
    if choices and not set(values) <= set(choices):
        raise ValueError(text)
    return values if is_list else values[0]
