"""From a command line to settings: defaults < the resumed run's settings < YAML file < command line.

Knows the parser and where runs lie; must not know what the settings mean.
"""

import dataclasses
import difflib
import re
import sys
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from training.config import FIELDS, Config, run_name


def parse_args(argv: list[str] | None = None) -> tuple[Config, str | None]:
    """Read a command line: defaults < settings of the run that --resume continues < --config FILE < other options.

    Returns:
        the configuration, and where to resume from: a checkpoint's path, "" for a new run.

    Raises:
        ValueError: one sentence for an unknown option or key, or for a value out of bounds.
    """
    values = _parse(argv, None)
    if values.resume is None:
        return _config(values), None
    checkpoint = _newest(_config(values)) if values.resume == "auto" else find_checkpoint(values.resume)
    if values.out is not None and Path(values.out).resolve() != checkpoint.parent.resolve():
        raise ValueError(f"--resume continues {checkpoint.parent} in place, but --out is {values.out}: leave --out out")
    settings = checkpoint.with_name("config.yaml")
    if settings.exists():
        read_yaml(settings)
        values = _parse(argv, settings)
    return dataclasses.replace(_config(values), out=str(checkpoint.parent)), checkpoint


def read_yaml(path: str | Path) -> dict:
    """The settings in a YAML file, its keys checked.

    Raises:
        ValueError: the file is missing, is not a YAML mapping, or has a key that is no setting.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values or {}, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got a {type(values).__name__}")
    for key in values or {}:
        if key not in FIELDS:
            raise ValueError(f"{path}: unknown key {str(key)!r}{_suggestion(str(key))}")
    return values or {}


def find_checkpoint(resume: str) -> Path:
    """The checkpoint that --resume means: a file, or a run's folder."""
    path = Path(resume)
    if not path.exists():
        raise ValueError(f"--resume {resume}: there is no such file or folder")
    return path / "checkpoint.pt" if path.is_dir() else path


def _newest(config: Config) -> Path:
    """The checkpoint of the run in --out; without --out, of the newest unfinished runs/<name> of this data, method,
    budget and seed."""
    if config.out:
        return Path(config.out) / "checkpoint.pt"
    name = run_name(config)
    pattern = re.compile(re.escape(name) + r"(-\d+)?")
    found = [path.parent for path in Path("runs").glob("*/config.yaml") if pattern.fullmatch(path.parent.name)]
    found = [path for path in found if not (path / "summary.json").exists()]
    if not found:
        raise ValueError(f"--resume: there is no unfinished run runs/{name}: leave --resume out, or give it a path")
    return max(found, key=lambda path: (path / "config.yaml").stat().st_mtime) / "checkpoint.pt"


def _parse(argv: list[str] | None, settings: Path | None):
    parser = ArgumentParser(
        prog="python -m training.run",
        description="Train an image classifier under a budget. Later wins: defaults, --config FILE, other options.",
        exit_on_error=False,
        default_config_files=[str(settings)] if settings else None,
    )
    parser.add_argument("--config", action="config", help="YAML file of settings; only what differs from the defaults")
    parser.add_argument("--resume", nargs="?", const="auto", metavar="PATH", help=_RESUME_HELP)
    parser.add_class_arguments(Config, as_group=False)
    files, others = _files_first(sys.argv[1:] if argv is None else argv)
    for file in files:
        read_yaml(file)
    try:
        return parser.parse_args([*(f"--config={file}" for file in files), *others])
    except ArgumentError as error:
        raise ValueError(parser_sentence(str(error))) from None


_RESUME_HELP = (
    "continue a run from its last checkpoint, with its settings: a run's folder, or nothing for the run in --out "
    "(without --out: the newest unfinished one of the same name)"
)


def _files_first(argv: list[str]) -> tuple[list[str], list[str]]:
    """The values of --config, and the other arguments: the command line wins wherever --config stands on it."""
    files, others, rest = [], [], iter(argv)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            files.append(value if equals else next(rest, ""))
        else:
            others.append(argument)
    return files, underscored(others)


def underscored(argv: list[str]) -> list[str]:
    """Options written with dashes, --budget-unit, by their names, --budget_unit; values are left alone."""
    return [re.sub(r"^--[\w-]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), item) for item in argv]


def _config(values) -> Config:
    return Config(**{name: getattr(values, name) for name in FIELDS})


def sentence(error: Exception) -> str:
    """An error in words: an OSError of ours carries its sentence in `strerror`, one of the system's needs its file."""
    is_ours = isinstance(error, OSError) and error.strerror and not error.filename
    return error.strerror if is_ours else str(error)


def parser_sentence(message: str) -> str:
    """The parser's message, with its Python types in plain words."""
    forms = (
        r'Parser key "(\w+)":\s+Expected an? (.+?)\. Got value: (.*)',
        r'Parser key "(\w+)":.+Subtypes: \[(.+), <class \'NoneType\'>\].+Given value: (.*)',
    )
    bad = next(filter(None, (re.match(form, message, re.DOTALL) for form in forms)), None)
    if not bad:
        return f"{message} (--help lists what is allowed)"
    key, kind, value = bad.groups()
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind).replace("typing.Literal", "one of ")
    return f"{key}: expected {kind}, got {value}"


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, FIELDS, 1)
    return f" (did you mean {close[0]!r}?)" if close else f"; allowed are {', '.join(FIELDS)}"
