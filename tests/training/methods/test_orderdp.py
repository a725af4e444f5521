"""OrderDP: the largest losses of a uniform pool, samples never seen before all others."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot

KNOWN = snapshot(200)


def test_the_pool_is_the_budget_over_six_tenths():
    assert made("orderdp").scheduler.pool == pytest.approx(0.5)
    assert made("orderdp", budget=0.9).scheduler.pool == 1
    assert made("orderdp", pool_fraction=0.4).scheduler.pool == 0.4


def test_the_whole_set_as_a_pool_gives_the_largest_losses():
    ids = made("orderdp", pool_fraction=1.0).plan(1, KNOWN).ids
    assert set(ids) == set(KNOWN.loss.argsort()[-60:])


def test_a_pool_of_the_budgets_size_is_a_uniform_draw():
    method, counts = made("orderdp", pool_fraction=0.3), np.zeros(200)
    for epoch in range(1, 401):
        counts[method.plan(epoch, KNOWN).ids] += 1
    z = (counts - 120) / np.sqrt(400 * 0.3 * 0.7)
    assert np.abs(z).max() < 4.5


def test_samples_never_seen_come_first():
    visits = np.where(np.arange(200) < 60, 0, 3).astype(np.float32)
    ids = made("orderdp", pool_fraction=1.0).plan(1, KNOWN._replace(visits=visits)).ids
    assert sorted(ids) == list(range(60))


def test_it_warms_up_uniformly():
    warm, later = (made("orderdp", pool_fraction=1.0, warmup_epochs=2).plan(epoch, KNOWN).ids for epoch in (1, 2))
    largest = set(KNOWN.loss.argsort()[-60:])
    assert set(warm) != largest
    assert set(later) == largest


@pytest.mark.parametrize("fraction", [0.2, 0.0, 1.5])
def test_a_pool_smaller_than_the_budget_or_larger_than_all_is_refused(fraction):
    with pytest.raises(
        ValueError, match=rf"pool_fraction is at least 0\.3, the budget, and at most 1, got {fraction:g}"
    ):
        made("orderdp", pool_fraction=fraction)
