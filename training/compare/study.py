"""A study as a file describes it: which runs there are, and what their settings are called."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loaders.formats.sentence import one_line
from training.arguments import check_settings
from training.config import Config
from training.methods import METHODS
from training.own_code import is_own
from training.settings_file import read_yaml

ROLES = ("main", "positive control", "negative control")
MAX_COMBINATIONS = 10_000  # of labels and budgets in a part of the grid; of seeds
BASELINES = ("uniform", "scan", "fixed", "random-batch")  # methods that look at no score
MARGIN = 0.01  # of accuracy, within which two arms count as equal, where a study does not say

_KEYS = (
    "name", "description", "margin", "settings", "methods", "augmentations", "variants", "budgets", "seeds", "grids",
)  # fmt: skip
_GRID_KEYS = ("role", "methods", "augmentations", "variants", "budgets", "seeds")
_OF_THE_GRID = {
    "budget": "list budgets under `budgets`",
    "seed": "list seeds, or give their number, under `seeds`",
    "out": "each run has a folder of its own in that of the study",
}
UNNAMED = ("out", "tensorboard", "tracker", "eval_every")  # they say where and how often, never what is computed

Settings = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        method, augmentation, variant: labels of the study file.
        role: one of ROLES.
        config: all settings of the run, but where its folder is.
    """

    method: str
    augmentation: str
    variant: str
    role: str
    config: Config

    @functools.cached_property
    def name(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the settings that are not at their default.

        So a setting that a later version adds changes no name.
        """
        config = self.config
        defaults = Config(options=type(config.options)()).as_dict()
        values = {key: value for key, value in config.as_dict().items() if value != defaults[key]}
        text = json.dumps({key: values[key] for key in sorted(values) if key not in UNNAMED})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def labels(self) -> dict[str, Any]:
        """What distinguishes this cell from the others."""
        values = {name: getattr(self, name) for name in ("method", "augmentation", "variant", "role")}
        return values | {"budget": self.config.budget, "seed": self.config.seed}

    @property
    def text(self) -> str:
        """The labels as text."""
        parts = [self.method, self.augmentation, self.variant, f"budget {self.config.budget:g}"]
        return ", ".join(part for part in (*parts, f"seed {self.config.seed}") if part)


@dataclass(frozen=True)
class Study:
    """A grid of runs.

    Attributes:
        name, description: shown in the report.
        margin: of accuracy, within which two arms count as equal.
        cells: in the order in which they are run: all of one seed, then of the next.
        methods, augmentations, variants: labels in the order of the file; the first augmentation is the standard one.
        baselines: labels of the methods that importance has to beat: they look at no score, and at no core-set that
            was chosen.
    """

    name: str
    description: str
    margin: float
    cells: tuple[Cell, ...]
    methods: tuple[str, ...]
    augmentations: tuple[str, ...]
    variants: tuple[str, ...]
    baselines: tuple[str, ...]


def read_study(path: Path, own: tuple[str, ...] = ()) -> Study:
    """The study of a YAML file (docs/how-to/compare.md).

    Args:
        own: policies FILE.py:FUNCTION that may run: no file may name what runs, unless the command line repeats it.

    Raises:
        ValueError: one sentence on what the file lacks, naming file and key.
    """
    try:
        return make_study({"name": path.stem, **read_yaml(path)}, own)
    except ValueError as error:
        text = one_line(error, 1000)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None


def make_study(values: Settings, own: tuple[str, ...] = ()) -> Study:
    """The study of the values of a study file.

    Raises:
        ValueError: an unknown key, a value of another type, or an empty grid.
    """
    _only(values, _KEYS, "a study")
    methods = _named(values, "methods", {name: {} for name in ("scan", "uniform", "p-sgd", "c-sgd")})
    augmentations = _named(values, "augmentations", {"standard": {}})
    variants = _named(values, "variants", {"": {}})
    settings = _mapping(values.get("settings", {}), "settings")
    grids = values.get("grids", [{}])
    if not isinstance(grids, list) or not grids:
        raise ValueError("grids is a list of parts, each with methods, augmentations, variants, budgets, seeds, role")
    methods = {label: {"method": label, **given} for label, given in methods.items()}
    cells: dict[str, Cell] = {}
    for grid in grids:
        defaults = {key: values[key] for key in ("budgets", "seeds") if key in values}
        for cell in _cells(defaults | _mapping(grid, "grids"), settings, methods, augmentations, variants, own):
            other = cells.setdefault(cell.name, cell)
            if other.labels != cell.labels:
                raise ValueError(f"two cells have the same settings: {other.text} ({other.role}), and {cell.text}")
    if not cells:
        raise ValueError("the grid is empty: give at least one method, augmentation, budget and seed")
    margin = values.get("margin", MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, float | int) or not 0 < margin < 1:
        raise ValueError(f"margin is a fraction of accuracy such as 0.01, got {margin!r}")
    used = sorted(cells.values(), key=lambda cell: cell.config.seed)  # stable: a seed's cells stay in their order
    return Study(
        name=str(values.get("name", "study")),
        description=str(values.get("description", "")).strip(),
        margin=float(margin),
        cells=tuple(used),
        methods=_order(methods, used, "method"),
        augmentations=_order(augmentations, used, "augmentation"),
        variants=_order(variants, used, "variant"),
        baselines=tuple(
            label for label, given in methods.items() if given["method"] in BASELINES and not given.get("coreset")
        ),
    )


def _cells(
    grid: Settings,
    settings: Settings,
    methods: dict[str, Settings],
    augmentations: dict[str, Settings],
    variants: dict[str, Settings],
    own: tuple[str, ...],
) -> Iterator[Cell]:
    """The cells of one part of a study file."""
    _only(grid, _GRID_KEYS, "a part of grids")
    role = grid.get("role", "main")
    if role not in ROLES:
        raise ValueError(f"role is one of {', '.join(ROLES)}, got {role!r}")
    budgets, seeds = _budgets(grid), _seeds(grid.get("seeds", 3))
    labels = [_chosen(grid, key, named) for key, named in (("variants", variants), ("augmentations", augmentations))]
    count = len(labels[0]) * len(labels[1]) * len(budgets) * len(methods)
    if count > MAX_COMBINATIONS:
        raise ValueError(f"a part of grids has {count:,} combinations, at most {MAX_COMBINATIONS:,} are allowed")
    for variant, budget, augmentation in itertools.product(labels[0], budgets, labels[1]):
        for method in _chosen(grid, "methods", methods):
            given = settings | variants[variant] | augmentations[augmentation] | methods[method]
            for name, instead in _OF_THE_GRID.items():
                if name in given:
                    raise ValueError(f"{name} is no setting of a study: {instead}")
            try:
                config = check_settings({"eval_every": 0, **given, "budget": budget})
            except ValueError as error:
                told = ", ".join(label for label in (method, augmentation, variant) if label)
                raise ValueError(f"{told}: {error}") from None
            for name in (config.method, config.model):
                if is_own(name) and name not in own:
                    raise ValueError(
                        f"{method} names a Python file to run, {name!r}, which the command line does not name: "
                        f"read that file, then add --own {shlex.quote(name)}"
                    )
            for seed in seeds:
                yield Cell(method, augmentation, variant, role, dataclasses.replace(config, seed=seed, out=None))


def _named(values: Settings, key: str, default: dict[str, Settings]) -> dict[str, Settings]:
    """Labels and the settings that each stands for; a list of names of methods stands for those methods."""
    given = values.get(key, default)
    if key == "methods" and isinstance(given, list):
        given = {str(name): {} for name in given}
    named = {str(label): _mapping(some, f"{key}: {label}") for label, some in _mapping(given, key).items()}
    for label, some in named.items():
        if key == "methods" and "method" not in some and label not in METHODS and ":" not in label:
            raise ValueError(
                f"methods: {label!r} is no method: name one of {', '.join(METHODS)}, or give the label its `method`"
            )
    return named


def _chosen(grid: Settings, key: str, named: Mapping[str, Settings]) -> list[str]:
    """The labels that a part of the grid takes: all of them where it does not say."""
    labels = grid.get(key, list(named))
    if not isinstance(labels, list):
        raise ValueError(f"{key} of a part of grids is a list of labels, got {labels!r}")
    for label in labels:
        if not isinstance(label, str) or label not in named:
            raise ValueError(f"{key} of a part of grids has {label!r:.100}, which is none of {', '.join(named)}")
    return [str(label) for label in labels]


def _budgets(grid: Settings) -> list[Any]:
    budgets = grid.get("budgets", [0.3])
    if not isinstance(budgets, list):
        raise ValueError(f"budgets is a list of numbers, got {budgets!r:.100}")
    return budgets


def _seeds(seeds: Any) -> list[int]:
    """Seeds from their number, or the listed ones."""
    is_number = isinstance(seeds, int) and not isinstance(seeds, bool) and seeds <= MAX_COMBINATIONS
    numbers = list(range(seeds)) if is_number else seeds
    if not isinstance(numbers, list) or not all(isinstance(seed, int) and seed >= 0 for seed in numbers):
        raise ValueError(f"seeds is their number, or a list of whole numbers, got {seeds!r:.100}")
    return numbers


def _order(named: Mapping[str, Settings], cells: list[Cell], what: str) -> tuple[str, ...]:
    used = {getattr(cell, what) for cell in cells}
    return tuple(label for label in named if label in used)


def _mapping(value: Any, key: str) -> Settings:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} must hold `key: value` lines, got {value!r:.100}")
    return {str(name): some for name, some in value.items()}


def _only(values: Settings, allowed: tuple[str, ...], what: str) -> None:
    for key in values:
        if key not in allowed:
            raise ValueError(f"{what} has no key {key!r}: allowed are {', '.join(allowed)}")
