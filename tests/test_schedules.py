"""Learning rates at the first steps, the last, and past the end."""

import numpy as np
import pytest

from training.schedules import linear_table, warmup_linear


def test_fall_without_warmup():
    assert warmup_linear(0, 10) == 1.0
    assert warmup_linear(1, 10) == pytest.approx(0.9)
    assert warmup_linear(9, 10) == pytest.approx(0.1)
    assert [warmup_linear(step, 10) for step in (10, 11, 1000)] == [0.0, 0.0, 0.0]


def test_warmup_rises_to_the_full_rate_and_then_falls():
    factors = [warmup_linear(step, 12, warmup_steps=4) for step in range(12)]
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert factors[-1] == pytest.approx(1 / 8)
    assert np.diff(factors[4:]) == pytest.approx(-1 / 8)


def test_final_rate_is_kept_past_the_end():
    assert warmup_linear(0, 10, final=0.2) == pytest.approx(1.0)
    assert warmup_linear(5, 10, final=0.2) == pytest.approx(0.6)
    assert warmup_linear(10, 10, final=0.2) == 0.2


def test_run_that_is_all_warmup():
    assert [warmup_linear(step, 2, warmup_steps=2) for step in range(3)] == [0.5, 1.0, 0.0]


def test_linear_table_is_linspace():
    table = np.linspace(0.1, 1e-6, 37)
    assert [linear_table(step, 37, 0.1) for step in range(37)] == pytest.approx(table, abs=1e-15)
    assert linear_table(0, 37, 0.1) == 0.1
    assert linear_table(36, 37, 0.1) == pytest.approx(1e-6, abs=1e-15)
    assert linear_table(37, 37, 0.1) == 1e-6
    assert linear_table(0, 1, 0.1) == 0.1


@pytest.mark.parametrize(("step", "total", "warmup"), [(-1, 10, 0), (0, 0, 0), (0, 10, 11)])
def test_bad_numbers_are_named(step, total, warmup):
    with pytest.raises(ValueError, match="total_steps"):
        warmup_linear(step, total, warmup_steps=warmup)


def test_linear_table_refuses_a_negative_step():
    with pytest.raises(ValueError, match="step >= 0"):
        linear_table(-1, 10, 0.1)
