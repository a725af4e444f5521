"""Draws from a subset alone: a core-set, or the fixed part of the data that a baseline trains on."""

import numpy as np
import pytest

from loaders.order.designs import DESIGNS
from loaders.order.policies import p_sgd
from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot

SUBSET = np.array([1, 4, 5, 11, 17, 18, 19])


def snapshot(n: int) -> Snapshot:
    rng = np.random.default_rng(3)
    return Snapshot(np.ones(n, np.float32), *rng.random((len(Snapshot._fields) - 1, n), dtype=np.float32))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("policy", ["uniform", "p-sgd"])
@pytest.mark.parametrize("budget", [0.2, 0.35, 1.0])
def test_an_epoch_is_as_long_as_the_budget_says_and_in_the_subset(design, policy, budget):
    scheduler = IndexScheduler(20, policy, budget, design, seed=1, subset=SUBSET)
    for epoch in range(3):
        plan = scheduler.plan(epoch, snapshot(20))
        assert len(plan) == len(scheduler) == round(20 * budget)
        assert set(plan.ids.tolist()) <= set(SUBSET.tolist())
        if design != "replacement":
            counts = np.bincount(plan.ids, minlength=20)[SUBSET]
            whole = (len(plan) - 1) // len(SUBSET)
            assert set(counts.tolist()) <= {whole, whole + 1}
            for j in range(whole):
                assert set(plan.ids[7 * j : 7 * (j + 1)].tolist()) == set(SUBSET.tolist()), "whole passes come first"


def test_passes_have_orders_of_their_own():
    subset = np.arange(100, 200)
    plan = IndexScheduler(300, subset=subset).plan(0)
    passes = plan.ids.reshape(3, 100)
    assert all(np.array_equal(np.sort(one), subset) for one in passes)
    assert not np.array_equal(passes[0], passes[1])
    assert not np.array_equal(passes[1], passes[2])


def test_the_policy_sees_the_subset_alone():
    state = snapshot(20)
    inside = Snapshot(*(values[SUBSET] for values in state))
    scheduler = IndexScheduler(20, "p-sgd", 0.2, subset=SUBSET)
    assert np.array_equal(scheduler.weights(state), p_sgd(inside))
    alone = IndexScheduler(7, "p-sgd", 4 / 7, seed=0).plan(2, inside)
    assert np.array_equal(scheduler.plan(2, state).ids, SUBSET[alone.ids])


def test_a_subset_of_all_is_no_subset():
    for design in DESIGNS:
        a, b = (IndexScheduler(20, "p-sgd", 0.4, design, subset=subset) for subset in (None, np.arange(20)))
        assert np.array_equal(a.plan(1, snapshot(20)).ids, b.plan(1, snapshot(20)).ids)


def test_weights_of_the_subset_travel_with_the_plan():
    weights = np.array([0.5, 1, 1.5, 1, 2, 0.5, 0.5], np.float32)
    plan = IndexScheduler(20, budget=0.8, subset=SUBSET, subset_weights=weights).plan(0)
    assert np.array_equal(plan.weights, weights[np.searchsorted(SUBSET, plan.ids)])
    state, arguments = snapshot(20), {"policy": "infobatch", "design": "systematic", "subset": SUBSET}
    plain = IndexScheduler(20, **arguments).plan(0, state)
    both = IndexScheduler(20, **arguments, subset_weights=weights).plan(0, state)
    assert np.array_equal(both.ids, plain.ids)
    assert np.array_equal(both.weights, plain.weights * weights[np.searchsorted(SUBSET, plain.ids)])


@pytest.mark.parametrize("design", ["systematic", "replacement"])
def test_unbiased_over_passes_and_rest(design):
    values = np.arange(20.0) ** 2
    scheduler = IndexScheduler(20, lambda s: np.arange(1.0, 8), 0.5, design, unbiased=True, subset=SUBSET)
    means = [np.mean(plan.weights * values[plan.ids]) for plan in map(scheduler.plan, range(3000))]
    assert np.mean(means) == pytest.approx(values[SUBSET].mean(), abs=4.5 * np.std(means) / np.sqrt(3000))


@pytest.mark.parametrize(
    "subset", [[], [1, 1], [3, 2], [-1, 2], [2, 20], [[1, 2]]], ids=["none", "twice", "order", "below", "above", "axes"]
)
def test_a_bad_subset_is_one_sentence(subset):
    with pytest.raises(ValueError, match=r"different ids of 0\.\.19, in ascending order"):
        IndexScheduler(20, subset=np.array(subset))


@pytest.mark.parametrize("weights", [[1.0, 1], [1] * 6 + [2], [1] * 5 + [-1, 3], [np.nan] * 7])
def test_bad_weights_of_a_subset_are_one_sentence(weights):
    with pytest.raises(ValueError, match="one number >= 0 for each of 7 samples, of mean one"):
        IndexScheduler(20, subset=SUBSET, subset_weights=np.array(weights))
    with pytest.raises(ValueError, match="need a subset"):
        IndexScheduler(20, subset_weights=np.array(weights))
