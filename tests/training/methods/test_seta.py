"""SeTa: which groups an epoch trains on, how they are made, what it does with the budget."""

import numpy as np
import pytest

from tests.training.methods.toy import made, make_run, snapshot, train
from training.methods.seta import group_by_loss, seta, window

KNOWN = snapshot(200)


def within(groups: np.ndarray, losses: np.ndarray) -> float:
    """Summed squared distance to the mean of the group."""
    return sum(((losses[groups == g] - losses[groups == g].mean()) ** 2).sum() for g in np.unique(groups))


def best_split(losses: np.ndarray, num_groups: int) -> float:
    """The smallest such sum over all ways to cut the sorted losses into intervals, by dynamic programming."""
    x = np.sort(losses).astype(np.float64)
    n = len(x)

    def cost(i: int, j: int) -> float:
        return ((x[i:j] - x[i:j].mean()) ** 2).sum()

    best = [cost(0, j) for j in range(1, n + 1)]
    for k in range(2, num_groups + 1):
        best = [np.inf] * (k - 1) + [min(best[i - 1] + cost(i, j) for i in range(k - 1, j)) for j in range(k, n + 1)]
    return best[-1]


def test_groups_are_those_of_k_means():
    """Lloyd's algorithm stops where no loss is nearer to another mean; the sum is near the smallest there is."""
    rng = np.random.default_rng(0)
    sums = []
    for key in range(20):
        losses = rng.exponential(size=60).astype(np.float32)
        groups = group_by_loss(losses, 4, key)
        means = np.array([losses[groups == g].astype(np.float64).mean() for g in range(4)])
        assert (np.diff(means) > 0).all(), "0 is the easiest"
        assert np.array_equal(groups, np.abs(losses[:, None] - means).argmin(axis=1))
        sums.append(within(groups, losses) / best_split(losses, 4))
    assert min(sums) == pytest.approx(1)
    assert np.median(sums) < 1.3


def test_losses_with_fewer_values_than_groups_are_one_group():
    assert not group_by_loss(np.zeros(10, np.float32), 3, 0).any()
    assert not group_by_loss(np.arange(2, dtype=np.float32), 3, 0).any()
    assert group_by_loss(np.arange(3, dtype=np.float32), 3, 0).tolist() == [0, 1, 2]


def test_the_window_slides_from_easy_to_hard_and_begins_again():
    """round(groups * fraction) groups, first group epoch % (groups - size + 1)."""
    places = [window(epoch, 5, 0.6) for epoch in range(1, 7)]
    assert [(place.start, place.stop) for place in places] == [(1, 4), (2, 5), (0, 3), (1, 4), (2, 5), (0, 3)]
    assert window(3, 5, 1.0) == slice(0, 5)
    assert window(1, 5, 0.9) == slice(1, 5), "round(4.5) is 4, as in theirs"


def test_an_epoch_is_the_window_of_a_random_subset():
    losses = KNOWN.loss
    for groups in (slice(0, 2), slice(1, 4)):
        wanted = seta(KNOWN, key=3, prune_ratio=0.25, num_groups=4, groups=groups)
        subset = np.flatnonzero(seta(KNOWN, 3, 0.25, 4, slice(0, 4)).weights)
        assert len(subset) == 150
        chosen = np.flatnonzero(wanted.weights)
        assert wanted.num_draws == len(chosen)
        left = np.setdiff1d(subset, chosen)
        assert np.isin(chosen, subset).all()
        assert losses[chosen].min() > losses[left].min() or groups.start == 0
        inside = (losses[left] > losses[chosen].min()) & (losses[left] < losses[chosen].max())
        assert not inside.any(), "the window is an interval of losses"


def test_a_window_of_too_few_samples_takes_easier_ones_too():
    known = KNOWN._replace(loss=np.where(np.arange(200) < 3, 100 + np.arange(200), KNOWN.loss).astype(np.float32))
    wanted = seta(known, key=0, prune_ratio=0.0, num_groups=4, groups=slice(3, 4), at_least=10)
    assert wanted.num_draws >= 10
    assert wanted.weights[:3].all()
    assert seta(known, 0, 0.99, 4, slice(3, 4), at_least=10).num_draws == 10


def test_the_first_epoch_and_the_end_train_on_all_groups():
    method = made("seta", prune_ratio=0.2, num_groups=4, window_fraction=0.5, prune_until=0.6)
    assert len(method.plan(0)) == 160
    assert len(method.plan(0, KNOWN)) == 160
    assert len(method.plan(3, KNOWN, 0.59)) < 160
    assert len(method.plan(3, KNOWN, 0.6)) == 160
    assert method.plan(3, KNOWN).weights is None, "as in theirs, what stays weighs no more"
    a, b = method.plan(3, KNOWN, 0.6), method.plan(4, KNOWN, 0.6)
    assert 0 < len(np.setdiff1d(a.ids, b.ids)) < 100, "another subset in each epoch"


def test_the_budget_is_that_of_the_run_and_what_is_left_out_is_told():
    run = make_run("seta", lr=0.1, prune_ratio=0.2)
    train(run, 4)
    assert run.ledger.covered_samples == 4 * 1200
    assert 0.2 < run.ledger.saved_fraction < 0.6
    assert run.ledger.forward_samples == run.ledger.samples, "its scores cost no passes"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prune_ratio": 1.0}, "prune_ratio is at least 0 and below 1, got 1"),
        ({"num_groups": 0}, "num_groups is at least 1, got 0"),
        ({"window_fraction": 0.0}, "window_fraction is above 0 and at most 1, got 0"),
        ({"prune_until": 1.5}, r"prune_until is at least 0 and at most 1, got 1\.5"),
        ({"budget_unit": "epochs", "epoch_fraction": 0.5}, "seta decides how long an epoch is: leave epoch_fraction"),
    ],
)
def test_options_that_cannot_work(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made("seta", **changes)
