"""scan-SGD: shuffled passes over all samples, one after another."""

import numpy as np

from tests.training.methods.toy import made, snapshot


def test_visits_differ_by_at_most_one_at_any_time():
    method, counts = made("scan", budget=0.35), np.zeros(200, int)
    for epoch in range(9):
        np.add.at(counts, method.plan(epoch, snapshot(200)).ids, 1)
        assert counts.max() - counts.min() <= 1
    assert counts.sum() == 9 * 70
    assert method.scheduler.design == "scan"


def test_each_pass_has_an_order_of_its_own():
    method = made("scan", budget=1.0)
    first, second = method.plan(0).ids, method.plan(1).ids
    assert sorted(first) == sorted(second) == list(range(200))
    assert not np.array_equal(first, second)
