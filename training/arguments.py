"""From a command line to settings: defaults < the resumed run's settings < YAML file < command line."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import reprlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from loaders.formats.sentence import one_line
from training import checkpoint
from training.config import FIELDS, GROUPS, Config
from training.machine.commands import command
from training.methods import METHODS, method_class
from training.own_code import is_own
from training.report.folder import CONFIG, SUMMARY
from training.settings_file import read_yaml

T = TypeVar("T")

_RESUME_HELP = (
    "continue a run from its last checkpoint, with its settings: a run's folder, or nothing for the run in --out "
    "(without --out: the newest unfinished one of the same name)"
)


def parse_args(argv: list[str] | None = None) -> tuple[Config, Path | None]:
    """Read a command line: defaults < settings of the run that --resume continues < --config FILE < other options.

    Returns:
        the configuration, and the checkpoint to resume from, None for a new run.

    Raises:
        ValueError: one sentence for an unknown option or key, for a value out of bounds, or for a file of settings that
            names a Python file to run, which the command line does not repeat.
    """
    argv = sys.argv[1:] if argv is None else argv
    config, path = _read(argv)
    _require_repeated(config, argv)
    return config, path


def continue_command(folder: Path, config: Config) -> str:
    """The command that continues a run; code of one's own must be named again, since no file may name what runs."""
    return command("train", "--resume", str(folder), *own_code(config))


def own_code(config: Config) -> list[str]:
    """The options of a command line that name the Python files that a run calls."""
    named = {"--method": config.method, "--model": config.model}
    return [word for option, name in named.items() if is_own(name) for word in (option, name)]


def _require_repeated(config: Config, argv: list[str]) -> None:
    """Refuse FILE.py:FUNCTION from a file of settings: it would run code that the caller has not named.

    Raises:
        ValueError: the command line does not name it; says what to add.
    """
    words = own_code(config)
    missing = [
        (option, name)
        for option, name in zip(words[::2], words[1::2], strict=True)
        if _value(underscored(argv), option[2:]) != name
    ]
    if missing:
        _, name = missing[0]
        again = command("train", *argv, *(word for pair in missing for word in pair))
        raise ValueError(
            f"the settings name a Python file to run, {reprlib.repr(name)}, which the command line does not name: "
            f"read that file, then add it to your command, as in: {one_line(again, 1000)}"
        )


def _read(argv: list[str]) -> tuple[Config, Path | None]:
    """The configuration and the checkpoint, whatever names the method."""
    resume, out = _value(argv, "resume"), _value(argv, "out")
    if resume is None:
        return _parse(argv, None), None
    if resume:
        path = _find_checkpoint(resume)
    elif out:
        path = Path(out) / checkpoint.FILE
    else:
        path = _newest(_parse(argv, None))
    if out and Path(out).resolve() != path.parent.resolve():
        raise ValueError(f"--resume continues {path.parent} in place, but --out is {out}: leave --out out")
    settings = path.with_name(CONFIG)
    config = _parse(argv, settings if settings.exists() else None)
    return dataclasses.replace(config, out=str(path.parent)), path


def make_config(values: dict[str, Any]) -> Config:
    """Settings by name, those of the method among them.

    Raises:
        ValueError: an unknown name, an option of another method, or a value out of bounds.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    kind = method_class(values.get("method", Config.method))
    mine = option_names(kind.Options)
    for name in values:
        if name not in FIELDS and name not in mine:
            raise ValueError(_unknown(name, values.get("method", Config.method)))
    options = kind.Options(**{name: values[name] for name in mine if name in values})
    return Config(**{name: values[name] for name in FIELDS if name in values}, options=options)


def check_settings(values: dict[str, Any]) -> Config:
    """Settings by name as a file gives them, whose values may be of any type; missing ones have their defaults.

    Raises:
        ValueError: as `make_config`, or a value of another type than its setting's.
    """
    kind = method_class(str(values.get("method", Config.method)))
    _check_names(values, (*FIELDS, *option_names(kind.Options)), kind.Options, str(values.get("method", Config.method)))
    try:
        parsed = _parser_of_values(kind.Options).parse_object(values)
    except (ArgumentError, ArithmeticError, TypeError) as error:  # the others from numbers beyond all types
        raise ValueError(f"{one_line(error, 1000)} ({command('train', '--help')} says what is allowed)") from None
    return make_config({name: getattr(parsed, name) for name in (*FIELDS, *option_names(kind.Options))})


def option_names(options: type) -> tuple[str, ...]:
    """Names of a method's options."""
    return tuple(field.name for field in dataclasses.fields(options))


def parse(parser: ArgumentParser, argv: list[str]) -> Any:
    """Parse by jsonargparse, its error as one sentence."""
    try:
        return parser.parse_args(argv)
    except (ArgumentError, ArithmeticError, TypeError) as error:  # the others from numbers beyond all types
        raise ValueError(f"{one_line(error, 1000)} (--help lists what is allowed)") from None


def parse_run_options(options: type[T], program: str, description: str, argv: list[str] | None) -> T:
    """Read the command line of a program that takes the folder of a run.

    Args:
        options: a dataclass with the program's options, `run` the first.
        program: its name, as "inspect".

    Raises:
        ValueError: one sentence for an unknown option, or for a value that is not allowed.
    """
    parser = ArgumentParser(prog=command(program), description=description, exit_on_error=False)
    parser.add_argument("run", help="folder of a run, finished or not")
    parser.add_class_arguments(options, as_group=False, skip={"run"})
    values = parse(parser, underscored(sys.argv[1:] if argv is None else argv))
    return options(**{name: getattr(values, name) for name in option_names(options)})


def underscored(argv: list[str]) -> list[str]:
    """Options written with dashes, --budget-unit, by their names, --budget_unit; values are left alone."""
    return [re.sub(r"^--[\w-]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), item) for item in argv]


def _value(argv: list[str], name: str) -> str | None:
    """What a command line gives for an option; "" where it stands without a value, None where it is not there."""
    found = None
    for item, following in zip(argv, [*argv, "--"][1:], strict=True):
        flag, equals, value = item.partition("=")
        if flag == f"--{name}":
            found = value if equals else "" if following.startswith("--") else following
    return found


def _parse(argv: list[str], settings: Path | None) -> Config:
    """The configuration; `settings` are those of the run that is resumed."""
    files, others = _files_first(argv)
    all_files = ([settings] if settings else []) + files
    values = [read_yaml(file) for file in all_files]
    places = f" (set on the command line, or in {' or '.join(map(str, all_files))})" if all_files else ""
    method = _method(others, values)
    with _in_file("", places):
        kind = method_class(method)
    parser = _parser(kind.Options, settings)
    parser.add_argument("--config", action="config", help="YAML file of settings; only what differs from the defaults")
    parser.add_argument("--resume", nargs="?", const="auto", metavar="PATH", help=_RESUME_HELP)
    mine = option_names(kind.Options)
    known = (*FIELDS, *mine, "resume", "help", "print_config")
    for item in others:
        name = item.partition("=")[0][2:]
        if item.startswith("--") and name not in known:
            raise ValueError(_unknown(name, method))
    for file, names in zip(all_files, values, strict=True):  # each by itself, so that the sentence names it
        with _in_file(f"{file}: "):
            _check_names(names, known, kind.Options, method)
            parse(parser, [f"--config={file}"])
    parsed = parse(parser, [*(f"--config={file}" for file in files), *others])
    with _in_file("", places):
        return make_config({name: getattr(parsed, name) for name in (*FIELDS, *mine)})


def _check_names(values: dict[str, Any], known: tuple[str, ...], options: type, method: str) -> None:
    """Refuse an unknown setting, and null where a value is needed, which jsonargparse lets pass."""
    for name, value in values.items():
        if name not in known:
            raise ValueError(_unknown(name, method))
        if value is None and getattr(Config, name, getattr(options, name, None)) is not None:
            raise ValueError(f"{name} is null, needed: a value")


@contextmanager
def _in_file(before: str, behind: str = "") -> Iterator[None]:
    """Name the file in a ValueError of the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{before}{error}{behind}") from None


@functools.cache
def _parser_of_values(options: type) -> ArgumentParser:
    return _parser(options, None)


def _parser(options: type, settings: Path | None) -> ArgumentParser:
    """A parser of the settings of every run and of a method's options; `settings` is a file of other defaults."""
    parser = ArgumentParser(
        prog=command("train"),
        description="Train an image classifier under a budget. Later wins: defaults, --config FILE, other options.",
        exit_on_error=False,
        default_config_files=[str(settings)] if settings else [],
    )
    for group in GROUPS:
        parser.add_class_arguments(group)
    if option_names(options):
        parser.add_class_arguments(options)
    return parser


def _files_first(argv: list[str]) -> tuple[list[Path], list[str]]:
    """The values of --config, and the other arguments: the command line wins wherever --config stands on it."""
    files, others, rest = [], [], iter(argv)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            files.append(Path(value if equals else next(rest, "")))
        else:
            others.append(argument)
    return files, underscored(others)


def _method(argv: list[str], files: list[dict[str, Any]]) -> str:
    """The method that a command line names, whose options it may have; the last mention wins."""
    in_files = next((file["method"] for file in reversed(files) if "method" in file), Config.method)
    return str(_value(argv, "method") or in_files)


def _unknown(name: str, method: str) -> str:
    """What is wrong with an option that neither every run nor this method has."""
    owners = [other for other, kind in METHODS.items() if name in option_names(kind.Options)]
    if owners:
        return f"{name} is an option of {', '.join(owners)}, and method {method[:100]} does not have it: leave it out"
    close = difflib.get_close_matches(name, (*FIELDS, *option_names(method_class(method).Options)), 1)
    return f"unknown setting {reprlib.repr(name)}" + (
        f": did you mean {close[0]!r}?" if close else " (--help lists what is allowed)"
    )


def _find_checkpoint(resume: str) -> Path:
    """The checkpoint that --resume means: a file, or a run's folder, which has settings before it has a checkpoint.

    Raises:
        ValueError: there is no such file or folder, or the folder is not that of a run.
    """
    path = Path(resume)
    if not path.exists():
        raise ValueError(f"--resume {resume}: there is no such file or folder")
    if not path.is_dir():
        return path
    if not any((path / name).exists() for name in (checkpoint.FILE, CONFIG)):
        raise ValueError(
            f"--resume {resume}: that folder is not a run's, it holds neither {checkpoint.FILE} nor {CONFIG}: name "
            "the folder of a run, such as runs/cifar10-scan-b0.3-s0"
        )
    return path / checkpoint.FILE


def _newest(config: Config) -> Path:
    """The checkpoint of the newest unfinished runs/<name> of this data, method, budget and seed; or that in `out`."""
    if config.out:
        return Path(config.out) / checkpoint.FILE
    name = config.run_name
    pattern = re.compile(re.escape(name) + r"(-\d+)?")
    found = [path.parent for path in Path("runs").glob(f"*/{CONFIG}") if pattern.fullmatch(path.parent.name)]
    found = [path for path in found if not (path / SUMMARY).exists()]
    if not found:
        raise ValueError(f"--resume: there is no unfinished run runs/{name}: leave --resume out, or give it a path")
    return max(found, key=lambda path: (path / CONFIG).stat().st_mtime) / checkpoint.FILE
