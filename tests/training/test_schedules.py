"""Rates at the beginning, the end, and between."""

import numpy as np
import pytest

from training.schedules import linear


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
    with pytest.raises(ValueError, match="both are shares"):
        linear(progress, 1.0, 0.0, until)
