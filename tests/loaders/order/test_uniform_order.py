"""Scan and pool: what they promise of visits and of chances, over whole runs."""

import math

import numpy as np
import pytest

from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot
from tests.goodness import chi_square


def snapshot(loss, visits=None) -> Snapshot:
    loss = np.array(loss, np.float32)
    visits = np.ones(len(loss), np.float32) if visits is None else np.array(visits, np.float32)
    return Snapshot(visits, loss, loss, loss, loss, loss, loss)


@pytest.mark.parametrize(("n", "budget", "batch_size"), [(100, 0.3, 1), (100, 0.3, 7), (97, 1.0, 10), (100, 0.01, 1)])
def test_scan_visits_differ_by_at_most_one_at_any_time(n, budget, batch_size):
    scheduler = IndexScheduler(n, budget=budget, design="scan", seed=3, batch_size=batch_size)
    stream = np.concatenate([scheduler.plan(epoch).ids for epoch in range(25)])
    assert len(stream) == 25 * len(scheduler)
    visits = np.zeros(n, int)
    for i in stream.tolist():
        visits[i] += 1
        assert np.ptp(visits) <= 1
    for start in range(0, len(stream) - n + 1, n):
        assert len(set(stream[start : start + n].tolist())) == n, "each pass holds every sample once"


def test_scan_gives_each_pass_an_order_of_its_own_and_needs_no_past():
    scheduler = IndexScheduler(100, budget=0.5, design="scan", seed=3)
    first, second = (np.concatenate([scheduler.plan(e).ids for e in (2 * p, 2 * p + 1)]) for p in (0, 1))
    assert not np.array_equal(first, second)
    again = IndexScheduler(100, budget=0.5, design="scan", seed=3)
    assert np.array_equal(again.plan(3).ids, second[50:])
    assert not np.array_equal(IndexScheduler(100, budget=0.5, design="scan", seed=4).plan(3).ids, second[50:])


def test_scan_stays_in_a_subset_smaller_than_an_epoch():
    subset = np.arange(0, 100, 5)
    plan = IndexScheduler(100, budget=0.5, design="scan", subset=subset).plan(1)
    assert len(plan) == 50
    assert set(np.bincount(plan.ids, minlength=100)[subset].tolist()) <= {2, 3}


def test_scan_golden():
    scheduler = IndexScheduler(10, budget=0.4, design="scan", seed=42)
    assert [scheduler.plan(epoch).ids.tolist() for epoch in range(3)] == [[7, 8, 6, 2], [1, 4, 5, 9], [0, 3, 1, 0]]


def pool_chance(rank: int, n: int, size: int, k: int) -> float:
    """size / n times the chance that fewer than k of the `rank` larger ones are in the pool too."""
    ways = sum(math.comb(rank, h) * math.comb(n - 1 - rank, size - 1 - h) for h in range(min(k, rank + 1)))
    return size / n * ways / math.comb(n - 1, size - 1)


def test_pool_is_exact_in_budget_and_unbiased_for_its_ordered_sum():
    """Twelve samples, eight in the pool, the hardest four taken: chances by rank are hypergeometric."""
    n, k, loss = 12, 4, np.random.default_rng(0).permutation(12) + 1.0
    scheduler = IndexScheduler(n, "orderdp", k / n, "pool", pool=8 / n)
    counts, sums, runs = np.zeros(n), [], 4000
    for epoch in range(runs):
        plan = scheduler.plan(epoch, snapshot(loss))
        assert len(plan) == len(set(plan.ids.tolist())) == k
        counts[plan.ids] += 1
        sums.append((loss[plan.ids] ** 2).sum())
    chances = np.empty(n)
    chances[np.argsort(-loss)] = [pool_chance(rank, n, 8, k) for rank in range(n)]
    assert chances.sum() == pytest.approx(k)
    assert chances.max() == pytest.approx(8 / n)
    reached = chances > 0
    assert not counts[~reached].any(), "the easiest are never among the hardest four of eight"
    z = (counts - runs * chances)[reached] / np.sqrt(runs * chances * (1 - chances))[reached]
    assert np.abs(z).max() < 4
    assert np.mean(sums) == pytest.approx((chances * loss**2).sum(), abs=4.5 * np.std(sums) / runs**0.5)


def test_pool_breaks_ties_at_random_and_takes_unseen_first():
    scheduler = IndexScheduler(10, "orderdp", 0.3, "pool", pool=0.5)
    counts = np.zeros(10)
    for epoch in range(2000):
        counts[scheduler.plan(epoch, snapshot([1.0] * 10)).ids] += 1
    assert chi_square(counts) > 1e-4
    whole = IndexScheduler(10, "orderdp", 0.3, "pool")
    plan = whole.plan(1, snapshot([9, 0, 2, 3, 0, 5, 6, 7, 8, 0], visits=[1, 0, 1, 1, 0, 1, 1, 1, 1, 1]))
    assert set(plan.ids.tolist()) == {0, 1, 4}


def test_pool_knows_nothing_at_first():
    uniform = IndexScheduler(50, budget=0.2, seed=5).plan(0)
    assert np.array_equal(IndexScheduler(50, "orderdp", 0.2, "pool", seed=5, pool=0.4).plan(0).ids, uniform.ids)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"policy": "p-sgd", "design": "scan"}, "visits all samples equally: use policy 'uniform'"),
        ({"budget": 0.5, "design": "pool", "pool": 0.4}, r"at least the budget 0\.5 and at most 1, got 0\.4"),
        ({"design": "pool", "unbiased": True}, "no unbiased weights"),
    ],
)
def test_what_they_cannot_do_is_one_sentence(kwargs, message):
    with pytest.raises(ValueError, match=message):
        IndexScheduler(10, **kwargs)


def test_a_sequence_is_that_of_the_ids_in_every_epoch():
    order = IndexScheduler(9, design="sequential", seed=3)
    assert [order.plan(epoch).ids.tolist() for epoch in (0, 5)] == [list(range(9))] * 2
    assert order.plan(0).key != order.plan(5).key, "what is drawn for an image differs"
    assert IndexScheduler(9, design="sequential", budget=0.5).plan(1).ids.tolist() == [0, 1, 2, 3]
    some = IndexScheduler(9, design="sequential", subset=np.array([2, 3, 7]), budget=4 / 9)
    assert some.plan(0).ids.tolist() == [2, 3, 7, 2]
    with pytest.raises(ValueError, match="design 'sequential' visits all samples equally: use policy 'uniform'"):
        IndexScheduler(9, "p-sgd", design="sequential")
