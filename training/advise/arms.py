"""The pilots of one augmentation and one method, and the curve through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.advise.curve import Curve, Expected, can_fit, expect
from training.advise.pilots import SCAN
from training.compare.outcome import Outcome


@dataclass(frozen=True)
class Arm:
    """A combination of augmentation and method that may be recommended, with the results of its pilots.

    Attributes:
        augmentation, method: labels.
        visits: per sample, of each pilot that counts.
        accuracies: of these, on the images that are held out, in [0, 1].
        num_failed: pilots that diverged.
        num_idle: pilots whose method did not choose; they say nothing of it, and are not counted.
        curve: through the pilots; None where there are too few.
        expected: of the planned run.
    """

    augmentation: str
    method: str
    visits: tuple[float, ...]
    accuracies: tuple[float, ...]
    num_failed: int = 0
    num_idle: int = 0
    curve: Curve | None = None
    expected: Expected | None = None

    def __str__(self) -> str:
        return f"{self.augmentation} with {self.method}"

    @property
    def is_plain(self) -> bool:
        """Whether its method visits all samples equally often."""
        return self.method == SCAN


def make_arms(outcomes: Sequence[Outcome], num_trainable: int, planned_visits: float) -> list[Arm]:
    """The arms, in the order of their first pilot.

    Args:
        num_trainable: training images that are not held out.
        planned_visits: visits per sample of the planned run.
    """
    runs: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        runs.setdefault((one.augmentation, one.method), []).append(one)
    return [
        _arm(*names, some, num_trainable, planned_visits, np.random.default_rng(index))
        for index, (names, some) in enumerate(runs.items())
    ]


def _arm(
    augmentation: str,
    method: str,
    outcomes: list[Outcome],
    num_trainable: int,
    planned_visits: float,
    generator: np.random.Generator,
) -> Arm:
    counted: list[tuple[float, float]] = []
    num_failed = num_idle = 0
    for one in outcomes:
        if one.accuracy is None:
            num_failed += 1
        elif one.summary.get("did_not_choose"):
            num_idle += 1
        else:
            counted.append((one.summary["samples"] / num_trainable, one.accuracy))
    visits, accuracies = (tuple(column) for column in zip(*counted, strict=True)) if counted else ((), ())
    visits_P, accuracy_P = np.array(visits), np.array(accuracies)
    curve, expected = None, None
    if can_fit(visits_P):
        curve, expected = expect(visits_P, accuracy_P, planned_visits, generator)
    return Arm(augmentation, method, visits, accuracies, num_failed, num_idle, curve, expected)
