"""Intervals of means and differences, Holm's correction, and a test of equivalence: all with unequal variances.

Fewer than two runs have no interval: their bounds are infinite, and their p-values 1.
"""

import math
import statistics  # exact sums: equal runs have a variance of zero, not of 1e-34
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two means with its confidence interval, and the two-sided p-value of its null hypothesis."""

    value: float
    low: float
    high: float
    p: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % confidence interval, by Student's t.

    Args:
        values: at least one.
    """
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(_t().ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(statistics.variance(values) / n)
    return Interval(mean, mean - half, mean + half)


def welch(a: Sequence[float], b: Sequence[float], null: float = 0.0) -> Difference:
    """mean(a) - mean(b), its 95 % confidence interval, and the p-value of "the difference is `null`".

    Welch's t with Satterthwaite's degrees of freedom (Welch, "The generalization of Student's problem when several
    different population variances are involved", Biometrika 1947).

    Args:
        a, b: at least one value each.
    """
    value, error, freedom = _welch_terms(a, b)
    if math.isinf(error):
        return Difference(value, -math.inf, math.inf, 1.0)
    half = error * float(_t().ppf((1 + CONFIDENCE) / 2, freedom))
    p = 2 * _upper_tail(abs(value - null), error, freedom)
    return Difference(value, value - half, value + half, min(1.0, p))


def equivalence(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """p-value of "the means differ by `margin` or more": below 0.05 they are equivalent within the margin.

    Two one-sided Welch tests (TOST; Schuirmann, "A comparison of the two one-sided tests procedure and the power
    approach", 1987); the larger p-value counts.

    Args:
        a, b: at least one value each.
        margin: > 0, in the unit of the values.
    """
    value, error, freedom = _welch_terms(a, b)
    if math.isinf(error):
        return 1.0
    return max(_upper_tail(value + margin, error, freedom), _upper_tail(margin - value, error, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the same order.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _welch_terms(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Difference of the means, its standard error (infinite without two values on each side), degrees of freedom."""
    value = statistics.mean(a) - statistics.mean(b)
    if min(len(a), len(b)) < 2:
        return value, math.inf, math.nan
    of_a, of_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if of_a + of_b == 0:
        return value, 0.0, len(a) + len(b) - 2.0
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    return value, math.sqrt(of_a + of_b), freedom


def _upper_tail(distance: float, error: float, freedom: float) -> float:
    """Chance of a t larger than distance / error."""
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(_t().sf(distance / error, freedom))


def _t():
    from scipy import stats  # of the extra `study`

    return stats.t
