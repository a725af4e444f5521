"""Accuracy against visits per sample: a power law through a few runs, and where the next run will lie.

accuracy = limit - drop * (visits / reference) ** -power, with limit <= 1, drop >= 0 and a bounded power. For each power
of a grid the law is linear in the other two, so its best fit is found for all of them at once and without a start
("variable projection": Golub and Pereyra, SIAM Journal on Numerical Analysis 1973).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

POWERS = np.geomspace(0.05, 3, 300)
CONFIDENCE = 0.95
DRAWS = 2000  # of the bootstrap
_PARAMETERS = 3


@dataclass(frozen=True)
class Curve:
    """A power law of the visits per sample.

    Attributes:
        limit: accuracy that it comes close to, at most 1.
        drop: how far below the limit it is at `reference` visits.
        power: how quickly it comes closer.
        reference: visits per sample.
    """

    limit: float
    drop: float
    power: float
    reference: float

    def __call__(self, visits: float | np.ndarray) -> np.ndarray:
        """Accuracy at so many visits per sample, of the same shape."""
        return self.limit - self.drop * (np.asarray(visits, np.float64) / self.reference) ** -self.power


class Expected(NamedTuple):
    """What a curve expects at some number of visits, with 95 % intervals; all from 0 to 1.

    Attributes:
        accuracy: of the curve.
        low, high: of the curve, that is of the mean of many runs.
        run_low, run_high: of one run.
    """

    accuracy: float
    low: float
    high: float
    run_low: float
    run_high: float


def can_fit(visits_P: np.ndarray) -> bool:
    """Whether there are enough runs: more than the law has parameters, at as many numbers of visits at least."""
    return len(visits_P) > _PARAMETERS and len(np.unique(visits_P)) >= _PARAMETERS


def fit(visits_P: np.ndarray, accuracy_P: np.ndarray) -> Curve:
    """The curve with the least squared distance from some runs.

    Args:
        visits_P, accuracy_P: float [P], of each run, with which `can_fit`.
    """
    reference = _reference(visits_P)
    limit_R, drop_R, power_R = _fits(visits_P / reference, accuracy_P[None])
    return Curve(float(limit_R[0]), float(drop_R[0]), float(power_R[0]), reference)


def expect(
    visits_P: np.ndarray, accuracy_P: np.ndarray, at: float, generator: np.random.Generator
) -> tuple[Curve, Expected]:
    """The curve through some runs, and what it expects at `at` visits per sample.

    The intervals are those of a parametric bootstrap: the runs are drawn again around the curve, with normal noise, and
    fitted again. The noise's variance is that of the runs about the curve, over P - 3; since it is known from a few
    runs only, each draw has another one, by the chi-squared distribution of its estimate. So runs that do not follow
    the law, as far as the runs themselves show it, widen the intervals. What the law gets wrong beyond the largest
    number of visits does not.

    Args:
        visits_P, accuracy_P: float [P], as for `fit`.
    """
    curve, num = fit(visits_P, accuracy_P), len(visits_P)
    fitted_P, freedom = curve(visits_P), num - _PARAMETERS
    deviation = np.sqrt(np.sum((accuracy_P - fitted_P) ** 2) / freedom)
    deviation_R = deviation * np.sqrt(freedom / generator.chisquare(freedom, DRAWS))
    drawn_RP = fitted_P + deviation_R[:, None] * generator.standard_normal((DRAWS, num))
    limit_R, drop_R, power_R = _fits(visits_P / curve.reference, drawn_RP)
    mean_R = limit_R - drop_R * (at / curve.reference) ** -power_R
    run_R = mean_R + deviation_R * generator.standard_normal(DRAWS)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    bounds = np.concatenate([np.quantile(mean_R, tails), np.quantile(run_R, tails)])
    return curve, Expected(*np.clip([float(curve(at)), *bounds], 0, 1).tolist())


def _reference(visits_P: np.ndarray) -> float:
    """The geometric mean: about it, limit and drop are fitted with the least dependence on each other."""
    return float(np.exp(np.log(visits_P).mean()))


def _fits(visits_P: np.ndarray, accuracy_RP: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """limit, drop and power of the best fit of each row, float [R] each; visits in units of the reference.

    For a power, accuracy is a line in x = visits ** -power. Where the best line breaks a bound, the best one on that
    bound takes its place: squares are convex.
    """
    x_CP = visits_P ** -POWERS[:, None]
    x_C, y_R1 = x_CP.mean(1), accuracy_RP.mean(1, keepdims=True)
    apart_CP = x_CP - x_C[:, None]
    product_RC, square_C = accuracy_RP @ apart_CP.T, (apart_CP**2).sum(1)
    drop_RC = np.maximum(-product_RC / square_C, 0)
    limit_RC = y_R1 + drop_RC * x_C
    on_bound_RC = np.maximum(((1 - accuracy_RP) @ x_CP.T) / (x_CP**2).sum(1), 0)
    drop_RC, limit_RC = np.where(limit_RC > 1, on_bound_RC, drop_RC), np.minimum(limit_RC, 1)
    # The squared distances, less those of the accuracies from their mean, which are the same for all powers.
    shift_RC = y_R1 - limit_RC + drop_RC * x_C
    distance_RC = drop_RC * (2 * product_RC + drop_RC * square_C) + len(visits_P) * shift_RC**2
    best_R = distance_RC.argmin(1)
    rows_R = np.arange(len(accuracy_RP))
    return limit_RC[rows_R, best_R], drop_RC[rows_R, best_R], POWERS[best_R]
