"""Options of `python -m training.compare`: a frozen value and its command line."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loaders.formats.sentence import one_line
from training.arguments import underscored
from training.compare.store import STUDY, read_values
from training.config import Config
from training.machine.commands import command
from training.own_code import is_own
from training.settings_file import read_yaml

_EPILOG = (
    "STUDY is a YAML file, or the folder of a study to continue. Other options are settings of every run (python -m "
    "training.run --help): --epochs 50 --model resnet8. A study may be stopped at any time; the same command "
    "continues it. docs/how-to/compare.md has examples."
)


@dataclass(frozen=True)
class Options:
    """What to do with which study.

    Attributes:
        folder: of the study.
        values: of its study file.
        action: "run", "worker", "dry_run", "status" or "report".
        launcher: what starts the workers: "processes" or "ray".
        num_workers: None is one for each GPU, or for each core.
        gpus: GPUs of one Ray worker, may be a fraction.
        own: policies and networks FILE.py:FUNCTION that may run.
        update: take over a study file that has changed.
        controls: whether the two control arms are added.
        parent: process that started this worker, or None.
    """

    folder: Path
    values: dict[str, Any]
    action: str
    launcher: str
    num_workers: int | None
    gpus: float
    own: tuple[str, ...]
    update: bool
    controls: bool
    parent: int | None


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for what is not allowed.
    """
    parser = Parser(
        prog=command("compare"),
        usage=f"{command('compare')} (STUDY | --methods NAME ... [settings]) [options]",
        description="Run a grid of methods, augmentations, budgets and seeds, and evaluate it.",
        epilog=_EPILOG,
        allow_abbrev=False,  # --seed 3 is one seed, --seeds 3 are three
    )
    parser.add_argument("--out", help="folder of the study; studies/NAME when not given")
    for name, kind, what in (
        ("methods", str, "methods to compare, in place of a study file"),
        ("mixers", str, "augmentations: none, mixup, cutmix, ricap"),
        ("budgets", float, "fractions of the training set that an epoch may use"),
    ):
        parser.add_argument(f"--{name}", nargs="+", type=kind, help=what)
    parser.add_argument("--seeds", type=int, help="runs of each cell")
    parser.add_argument("--controls", action="store_true", help="add arms that show whether an effect could be seen")
    actions = parser.add_mutually_exclusive_group()
    for name, what in (
        ("dry_run", "print cells, FLOPs and expected time"),
        ("status", "print how far the study is"),
        ("report", "write the report of what is done"),
        ("worker", "run cells in this process until none waits: for job arrays"),
    ):
        actions.add_argument(f"--{name}", dest="action", action="store_const", const=name, help=what)
    parser.add_argument("--workers", type=int, help="processes; one for each GPU, or for each core, when not given")
    parser.add_argument("--launcher", choices=("processes", "ray"), default="processes", help="what starts the workers")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of one Ray worker; 0.25 puts four on one")
    parser.add_argument(
        "--own", action="append", default=[], help="a policy or network FILE.py:FUNCTION of the study that may run"
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="accept a study file that has changed, and keep finished cells",
    )
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    known, others = parser.parse_known_args(underscored(sys.argv[1:] if argv is None else argv))
    if known.workers is not None and known.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {known.workers}")
    if known.gpus and known.launcher != "ray":
        raise ValueError(
            f"--gpus {known.gpus:g} is for workers that Ray starts: add --launcher ray, or leave it out (other workers "
            "take the GPUs in turn)"
        )
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), others))
    if len(words) > 1:
        raise ValueError(f"one study at a time, got {', '.join(words)}")
    folder, values = _study(known, words[0] if words else None, settings_of(others[len(words) :]))
    named = (*(known.methods or ()), str(values.get("settings", {}).get("model", "")) if known.methods else "")
    own = (*known.own, *filter(is_own, named))
    return Options(
        folder=folder,
        values=values,
        action=known.action or "run",
        launcher=known.launcher,
        num_workers=known.workers,
        gpus=known.gpus,
        own=own,
        update=known.update,
        controls=known.controls,
        parent=known.parent,
    )


def _study(known: argparse.Namespace, study: str | None, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Folder and values of the study that a command line means."""
    given = [f"--{name}" for name in ("methods", "mixers", "budgets", "seeds") if getattr(known, name) is not None]
    given += [f"--{name}" for name in settings]
    if study is not None:
        if given:
            raise ValueError(f"{', '.join(given)}: a study has these in its file; give one of the two")
        path = Path(study)
        if path.is_dir() or path.name == STUDY:
            folder = path if path.is_dir() else path.parent
            if known.out and Path(known.out) != folder:
                raise ValueError(f"{folder} is the folder of a study already: leave --out {known.out} out")
            return folder, read_values(folder)
        return Path(known.out or f"studies/{path.stem}"), {"name": path.stem, **read_yaml(path)}
    if not known.methods:
        raise ValueError("give a study file, or at least --methods (--help lists the options)")
    for name, plural in (("method", "methods"), ("mixer", "mixers"), ("budget", "budgets"), ("seed", "seeds")):
        if name in settings:
            raise ValueError(f"--{name} is of one run: a study has --{plural}")
    folder = Path(known.out or f"studies/{Path(settings.get('data', Config.data)).name}")
    mixers = known.mixers or ["none"]
    values: dict[str, Any] = {
        "name": folder.name,
        "settings": settings,
        "methods": list(known.methods),
        "augmentations": {"standard" if mixer == "none" else mixer: {"mixer": mixer} for mixer in mixers},
        "budgets": known.budgets or [0.3],
        "seeds": 3 if known.seeds is None else known.seeds,
    }
    return folder, values


def settings_of(words: list[str]) -> dict[str, Any]:
    """Settings of every run from `--name value` or `--name=value`; several words are a list.

    Raises:
        ValueError: a word that is no option, or an option without a value.
    """
    settings: dict[str, Any] = {}
    name = ""
    for word in words:
        if re.match("--?[a-z]", word):
            if not word.startswith("--"):
                raise ValueError(f"there is no option {word} (--help lists the options)")
            name, equals, value = word[2:].partition("=")
            settings[name] = [value] if equals else []
        else:
            settings[name].append(word)
    return {key: _value(key, given) for key, given in settings.items()}


def _value(name: str, words: list[str]) -> Any:
    if not words:
        raise ValueError(f"--{name} needs a value (--help lists the options)")
    try:
        return yaml.safe_load(words[0] if len(words) == 1 else f"[{', '.join(words)}]")
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError(f"--{name}: {one_line(' '.join(words), 100)!r} is no value") from None


class Parser(argparse.ArgumentParser):
    """Raises one sentence instead of ending the process."""

    def error(self, message: str) -> Any:
        raise ValueError(f"{message} (--help lists the options)")
