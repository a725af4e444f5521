"""The power law: known curves come back, the fit is the best one, the intervals cover."""

import numpy as np
import pytest

from training.advise import curve as curves
from training.advise.curve import Curve, can_fit, expect, fit

VISITS = np.repeat([3.75, 7.5, 15.0, 30.0], 3)


@pytest.mark.parametrize(
    "truth", [Curve(0.9, 0.2, 0.7, 10), Curve(1.0, 0.4, 0.3, 10), Curve(0.6, 0.1, 1.5, 10), Curve(0.55, 0.0, 1.0, 10)]
)
def test_a_known_curve_comes_back(truth):
    found = fit(VISITS, truth(VISITS))
    assert np.abs(found(VISITS) - truth(VISITS)).max() < 5e-4
    assert abs(found(60) - truth(60)) < 1e-3
    if truth.drop:
        assert found.power == pytest.approx(truth.power, rel=0.02)
        assert found.limit == pytest.approx(truth.limit, abs=0.02)


def test_the_fit_is_that_of_scipy_from_its_best_start():
    optimize = pytest.importorskip("scipy.optimize", reason="needs the extra rebar-loaders[study]")
    generator, reference = np.random.default_rng(0), float(np.exp(np.log(VISITS).mean()))

    def law(visits, limit, drop, power):
        return limit - drop * (visits / reference) ** -power

    for truth in (Curve(0.8, 0.3, 0.6, 15), Curve(0.97, 0.2, 0.2, 15), Curve(0.6, 0.02, 1.0, 15)):
        accuracy = truth(VISITS) + 0.01 * generator.standard_normal(len(VISITS))
        found = fit(VISITS, accuracy)
        assert found.limit <= 1
        assert found.drop >= 0
        best = min(
            np.sum((law(VISITS, *optimize.curve_fit(law, VISITS, accuracy, start, bounds=bounds)[0]) - accuracy) ** 2)
            for start in ((0.7, 0.1, 0.3), (0.9, 0.3, 1.0))
            for bounds in [([0, 0, curves.POWERS[0]], [1, np.inf, curves.POWERS[-1]])]
        )
        assert np.sum((found(VISITS) - accuracy) ** 2) <= best * 1.002


def test_falling_accuracies_give_a_level_line_and_accuracies_near_one_a_bounded_limit():
    level = fit(VISITS, 0.6 - VISITS / 1000)
    assert level.drop == 0
    assert level(60) == pytest.approx(np.mean(0.6 - VISITS / 1000))
    assert fit(VISITS, 0.5 + VISITS / 60).limit <= 1


@pytest.mark.parametrize(
    "truth", [Curve(0.9, 0.2, 0.7, 15), pytest.param(Curve(0.6, 0.1, 1.5, 15), marks=pytest.mark.slow)]
)
def test_the_intervals_cover_what_they_say(truth, monkeypatch):
    """Of 95 % intervals at twice the visits of the largest run: of the mean, and of one more run."""
    monkeypatch.setattr(curves, "DRAWS", 400)
    generator, num = np.random.default_rng(5), 200
    of_mean = of_run = 0
    for index in range(num):
        accuracy = truth(VISITS) + 0.01 * generator.standard_normal(len(VISITS))
        found = expect(VISITS, accuracy, 60.0, np.random.default_rng(index))[1]
        of_mean += found.low <= truth(60) <= found.high
        of_run += found.run_low <= truth(60) + 0.01 * generator.standard_normal() <= found.run_high
    assert of_mean / num > 0.9
    assert of_run / num > 0.9


def test_the_intervals_are_keyed_and_grow_with_the_noise():
    noise = np.random.default_rng(2).standard_normal(len(VISITS))
    accuracy = Curve(0.8, 0.2, 0.7, 15)(VISITS)
    quiet, again, loud = (
        expect(VISITS, accuracy + size * noise, 60.0, np.random.default_rng(0))[1] for size in (0.005, 0.005, 0.02)
    )
    assert quiet == again
    assert loud.high - loud.low > 2 * (quiet.high - quiet.low)
    assert quiet.run_low < quiet.low < quiet.accuracy < quiet.high < quiet.run_high


def test_a_curve_needs_four_runs_at_three_numbers_of_visits():
    assert can_fit(np.array([1.0, 2, 4, 4]))
    assert not can_fit(np.array([1.0, 2, 4]))
    assert not can_fit(np.array([1.0, 1, 2, 2, 2]))
