"""Intervals, Holm's correction and the equivalence test against scipy and known values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from training.compare.answer.statistics import equivalence, holm, mean_interval, welch

stats = pytest.importorskip("scipy.stats", reason="needs the extra rebar-loaders[study]")

A, B = [0.524, 0.531, 0.519, 0.528, 0.533], [0.521, 0.522, 0.517, 0.530]
accuracies = some.lists(some.integers(0, 10_000).map(lambda right: right / 10_000), min_size=2, max_size=9)


def test_known_values():
    # By statsmodels 0.15.0: DescrStatsW.tconfint_mean, CompareMeans.tconfint_diff (unequal variances), ttost_ind,
    # multipletests.
    assert mean_interval(A) == pytest.approx((0.527, 0.5200311780938445, 0.5339688219061556))
    assert welch(A, B) == pytest.approx((0.0045, -0.004349607834933378, 0.013349607834933497, 0.2656768187207036))
    assert equivalence(A, B, 0.01) == pytest.approx(0.09163335406865808)
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])


def test_an_interval_by_hand():
    # mean 2, standard deviation 1, n = 3: half a width of t(0.975; 2) / sqrt 3 = 4.302653 / 1.732051
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 2.484138, 2 + 2.484138), abs=1e-6)


@given(accuracies, accuracies)
def test_welch_and_equivalence_are_those_of_scipy(a, b):
    if len(set(a)) == 1 or len(set(b)) == 1:
        return  # scipy warns of values that are nearly equal
    expected = stats.ttest_ind(a, b, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    found = welch(a, b)
    assert (found.low, found.high, found.p) == pytest.approx((bounds.low, bounds.high, expected.pvalue), abs=1e-9)
    above = stats.ttest_ind([x + 0.01 for x in a], b, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind([x - 0.01 for x in a], b, equal_var=False, alternative="less").pvalue
    assert equivalence(a, b, 0.01) == pytest.approx(max(above, below), abs=1e-9)


def test_a_null_hypothesis_other_than_zero_shifts_the_values():
    expected = stats.ttest_ind(A, [x + 0.003 for x in B], equal_var=False)
    assert welch(A, B, null=0.003).p == pytest.approx(expected.pvalue)


def test_one_run_has_no_interval():
    assert mean_interval([0.5]) == (0.5, -math.inf, math.inf)
    assert welch([0.5], B)[1:] == (-math.inf, math.inf, 1.0)
    assert equivalence([0.5], [0.5], 0.01) == 1.0


@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_runs_have_no_variance(n):
    # 0.1 has no exact float: sums of it must not look like a difference between n and 2 n runs.
    assert welch([0.1] * n, [0.1] * (2 * n)) == (0, 0, 0, 1)
    assert equivalence([0.1] * n, [0.1] * n, 0.01) == 0
    assert welch([0.2] * n, [0.1] * n) == (0.1, 0.1, 0.1, 0)
    assert equivalence([0.2] * n, [0.1] * n, 0.01) == 1


@given(some.lists(some.floats(0, 1), max_size=12))
def test_holm_raises_p_values_keeps_their_order_and_stays_below_bonferroni(p_values):
    corrected = holm(p_values)
    assert all(p <= c <= min(1, len(p_values) * p) or p == 0 for p, c in zip(p_values, corrected, strict=True))
    by_p = [c for _, c in sorted(zip(p_values, corrected, strict=True))]
    assert by_p == sorted(by_p)


def test_intervals_cover_the_truth_in_19_of_20_cases():
    import numpy as np

    draws = np.random.default_rng(7).normal((0.5, 0.48), (0.002, 0.01), (2000, 6, 2))
    found = [welch(one[:, 0].tolist(), one[:, 1].tolist()) for one in draws]
    covered = sum(one.low < 0.02 < one.high for one in found)
    assert stats.binomtest(covered, len(found), 0.95).pvalue > 0.001
