"""The runs of a study that differ in nothing but the seed, put together."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from training.compare.answer.statistics import Interval, mean_interval
from training.compare.outcome import Outcome

MAIN, POSITIVE, NEGATIVE = "main", "positive control", "negative control"


@dataclass(frozen=True, order=True)
class Cell:
    """What methods are compared in: everything that their runs have in common."""

    role: str
    variant: str
    augmentation: str
    budget: float

    def __str__(self) -> str:
        words = [self.augmentation, f"budget {self.budget:g}", self.variant]
        return ", ".join(([] if self.role == MAIN else [self.role]) + [word for word in words if word])


@dataclass(frozen=True)
class Arm:
    """The runs of one method in one cell, by seed."""

    cell: Cell
    method: str
    outcomes: tuple[Outcome, ...]

    @cached_property
    def finished(self) -> tuple[Outcome, ...]:
        """The runs that have an accuracy."""
        return tuple(one for one in self.outcomes if one.status == "finished" and one.accuracy is not None)

    @cached_property
    def accuracies(self) -> tuple[float, ...]:
        """Of the finished runs, in [0, 1]."""
        return tuple(one.accuracy for one in self.finished if one.accuracy is not None)

    @property
    def num_failed(self) -> int:
        """Runs that ended without an accuracy."""
        return len(self.outcomes) - len(self.finished)

    @property
    def interval(self) -> Interval | None:
        """Mean accuracy with its 95 % interval; None without a finished run."""
        return mean_interval(self.accuracies) if self.accuracies else None

    def mean_of(self, name: str) -> float | None:
        """Mean of a number of summary.json over the finished runs; None where one of them lacks it."""
        values = [one.summary.get(name) for one in self.finished]
        told = [value for value in values if value is not None]
        return statistics.fmean(told) if told and len(told) == len(values) else None

    @property
    def did_not_choose(self) -> tuple[str, ...]:
        """Reasons of the runs that did not choose, whose results say nothing about their method."""
        return tuple(str(one.summary["did_not_choose"]) for one in self.finished if one.summary.get("did_not_choose"))


def group(outcomes: Iterable[Outcome]) -> dict[Cell, dict[str, Arm]]:
    """The arms of each cell by method, both in the order of their first run."""
    runs: dict[Cell, dict[str, list[Outcome]]] = {}
    for one in outcomes:
        cell = Cell(one.role, one.variant, one.augmentation, one.budget)
        runs.setdefault(cell, {}).setdefault(one.method, []).append(one)
    return {
        cell: {name: Arm(cell, name, tuple(sorted(some, key=lambda run: run.seed))) for name, some in methods.items()}
        for cell, methods in runs.items()
    }


def better_of(arms: Iterable[Arm]) -> Arm | None:
    """The arm with the larger mean accuracy, among those with two finished runs if there are any."""
    with_runs = [arm for arm in arms if arm.accuracies]
    if not with_runs:
        return None
    return max(with_runs, key=lambda arm: (len(arm.accuracies) > 1, statistics.mean(arm.accuracies)))
