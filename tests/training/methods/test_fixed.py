"""A subset that is drawn once for the whole run."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot


def test_it_is_one_uniform_subset_in_a_new_order_each_epoch():
    plans = [made("fixed").plan(epoch, snapshot(200)) for epoch in range(3)]
    assert len({frozenset(plan.ids.tolist()) for plan in plans}) == 1
    assert not np.array_equal(plans[0].ids, plans[1].ids)
    counts = np.zeros(200)
    for seed in range(2000):
        counts[made("fixed", seed=seed).scheduler.subset] += 1
    z = (counts - 600) / np.sqrt(2000 * 0.3 * 0.7)
    assert counts.mean() == 600
    assert np.abs(z).max() < 4.5, "each sample is in with chance 0.3"
    assert z.std() == pytest.approx(1, abs=0.2)


def test_a_fixed_subset_is_not_a_core_set():
    with pytest.raises(ValueError, match="use method uniform with a core-set"):
        made("fixed", coreset="some.npz", subset=np.arange(50))
