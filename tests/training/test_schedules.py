"""Rates, image sizes, averaging and mixing at the beginning, the end, and between."""

import numpy as np
import pytest

from training.schedules import Schedule, linear


def test_the_end_lies_behind_the_last_step():
    assert [linear(k / 10, 0.5, 0.0) for k in range(11)] == pytest.approx(np.linspace(0.5, 0.0, 11))
    assert linear(0, 0.5, 0.0) == 0.5
    assert linear(1, 0.5, 0.0) == 0


def test_an_earlier_end_is_kept():
    assert [linear(p, 1.0, 0.2, until=0.5) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([1, 0.6, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("n", [1, 2, 37])
def test_until_the_last_step_it_is_linspace(n):
    table = np.linspace(0.1, 1e-6, n)
    assert [linear(k / n, 0.1, 1e-6, until=(n - 1) / n) for k in range(n)] == pytest.approx(table, abs=1e-15)


@pytest.mark.parametrize(("progress", "until"), [(-0.1, 1), (1.1, 1), (0.5, 1.5), (0.5, -1)])
def test_bad_numbers_are_named(progress, until):
    with pytest.raises(ValueError, match="both are fractions from 0 to 1"):
        linear(progress, 1.0, 0.0, until)


def test_rates_fall_to_zero_over_the_budget():
    rates = [Schedule().rate(step / 10, 0.5) for step in range(11)]
    assert rates[0] == 0.5
    assert rates[10] == 0
    assert np.allclose(np.diff(rates), -0.05)


def test_rates_of_the_reference():
    total = 200 * (15_000 // 128)
    schedule, table = Schedule(final_lr=1e-6, until=(total - 1) / total), np.linspace(0.1, 1e-6, total)
    steps = (0, 1, 117, total - 1)
    rates = [schedule.rate(step / total, 0.1) for step in steps]
    assert rates == pytest.approx([table[step] for step in steps], rel=1e-9)
    assert schedule.rate(1, 0.1) == 1e-6


def test_image_sizes_have_equal_parts_of_the_run():
    schedule = Schedule(sizes=(20, 24, 32))
    assert [schedule.image_size(step / 7) for step in range(7)] == [20, 20, 20, 24, 24, 32, 32]
    assert schedule.image_size(1) == 32
    fifths = Schedule(sizes=(8, 9, 10, 11, 12))
    assert [fifths.image_size(step / 100) for step in (19, 20, 59, 60)] == [8, 9, 10, 11]
    assert Schedule().image_size(0.5) is None


def test_an_average_forgets_its_beginning():
    schedule = Schedule(ema=0.99)
    assert [schedule.decay(steps) for steps in (1, 2, 8)] == pytest.approx([2 / 11, 3 / 12, 9 / 18])
    assert schedule.decay(10_000) == 0.99


def test_the_clean_end():
    schedule = Schedule(clean_fraction=0.25)
    assert [schedule.is_clean(step / 8) for step in range(9)] == [False] * 6 + [True] * 3
    assert Schedule(clean_fraction=0.3).is_clean(0.7), "1 - 0.3 is not 0.7 to the bit"
    assert not Schedule().is_clean(0.999)


def test_work_counts_the_cheap_steps_as_cheap():
    schedule, cost = Schedule(sizes=(24, 24, 32)), {24: 9.0, 32: 16.0}.__getitem__
    assert [schedule.work(progress, cost) for progress in (0, 1 / 3, 2 / 3, 1)] == pytest.approx(
        [0, 9 / 34, 18 / 34, 1]
    )
    assert schedule.work(0.5, cost) == pytest.approx(13.5 / 34)
    assert Schedule().work(0.25, lambda size: 7.0) == 0.25
