"""The methods against the published ones, as runs would use them: draws, rates and savings with numbers.

Beside it stand tests/loaders/order/test_policies.py (unseen samples, smoothing), test_designs.py and
test_uniform_order.py (the draws), tests/loaders/test_importance.py (running statistics), and here methods/ (each
method's formula) and test_mixing.py (the reference's credit).
"""

import numpy as np
import pytest

from loaders.order.diagnostics import describe_visits
from loaders.types import Snapshot
from tests.goodness import chi_square
from training.arguments import make_config
from training.budget import make_budget
from training.ledger import Flops
from training.methods import make_method
from training.methods.base import Context, Method

ARAZO = {"compat": "arazo", "optimizer": "sgd", "batch_size": 128, "epochs": 200}


def known(error: np.ndarray, visits=None) -> Snapshot:
    error = error.astype(np.float32)
    visits = np.ones_like(error) if visits is None else visits.astype(np.float32)
    return Snapshot(visits, error, error, 3 * error, error, error / 9, error)


def make(method: str, num_samples: int, **settings) -> Method:
    return make_method(Context(make_config({"method": method, **settings}), num_samples))


def draws(method: str, snapshot: Snapshot, epochs: int, groups: np.ndarray, **changes) -> np.ndarray:
    """How often each group was drawn in so many epochs."""
    chooser = make(method, len(groups), budget=0.3, batch_size=1, **changes)
    counts = np.zeros(groups.max() + 1)
    for epoch in range(1, epochs + 1):
        counts += np.bincount(groups[chooser.plan(epoch, snapshot).ids], minlength=len(counts))
    return counts


@pytest.mark.parametrize("method", ["p-sgd", "c-sgd"])
def test_draws_are_those_of_the_references_choice(method):
    """`np.random.choice(N, K, replace=False, p)`, p half uniform and half by score; ten groups of equal score."""
    groups = np.arange(1000) % 10
    error = (groups + 0.5) / 10
    score = error if method == "p-sgd" else error * (1 - error)
    p = 0.5 / 1000 + 0.5 * score / score.sum()
    rng, epochs = np.random.RandomState(0), 150
    theirs = np.zeros(10)
    for _ in range(epochs):
        theirs += np.bincount(groups[rng.choice(1000, 300, replace=False, p=p)], minlength=10)
    mine = draws(method, known(error), epochs, groups, compat="arazo")
    table = np.stack([mine, theirs])
    expected = np.broadcast_to(table.mean(0), table.shape)
    assert chi_square(table.ravel(), expected.ravel()) > 1e-3
    uniform = np.full(10, epochs * 30.0)
    assert chi_square(mine, uniform) < 1e-6, "the draw must not be uniform"


def test_unseen_samples_under_the_references_c_sgd_and_ours():
    """Half unseen, and one of the seen near p = 0: the reference visits the unseen less than uniform, we more."""
    groups = (np.arange(1000) >= 500).astype(int)
    error = np.where(groups == 0, np.linspace(0, 1, 1000, endpoint=False) * 2, 0).clip(0, 0.99)
    snapshot = known(error, visits=1 - groups)
    drawn = {compat: draws("c-sgd", snapshot, 50, groups, compat=compat)[1] / 15_000 for compat in ("arazo", "none")}
    assert drawn["arazo"] < 0.4
    assert drawn["none"] > 0.53


@pytest.mark.parametrize(("n", "steps"), [(50_000, (390, 195, 117, 78, 39)), (73_257, (572, 286, 171, 114, 57))])
def test_steps_and_rates_of_the_reference(n, steps):
    """M = int(N b / B) steps an epoch; the rate is a linspace over the T M steps, its first step 0.1, its last 1e-6."""
    for b, m in zip((1, 0.5, 0.3, 0.2, 0.1), steps, strict=True):
        budget = make_budget(make_config({"budget": b, **ARAZO}), n, {None: Flops(1.0, 1.0)})
        assert budget.total_steps == 200 * m


def test_scores_that_are_noise_give_uniform_visits():
    """What the reference's RICAP comes to: every score about 1 - 1/C. Entropies of visits, in nats, 60 epochs."""
    n, rng = 2000, np.random.default_rng(0)
    noise = known(rng.normal(0.9, 0.02, n).clip(0, 1))
    spread = known(rng.beta(0.3, 1.2, n))
    deficit = {}
    for name, method, snapshot in (("uniform", "uniform", noise), ("noise", "p-sgd", noise), ("p", "p-sgd", spread)):
        deficit[name] = describe_visits(draws(method, snapshot, 60, np.arange(n)))["entropy_deficit"]
    expected = 0.7 / (60 * 0.3) / 2  # half the squared cv of binomial visits
    assert deficit["uniform"] == pytest.approx(expected, rel=0.1)
    assert deficit["noise"] == pytest.approx(deficit["uniform"], rel=0.1)
    assert deficit["p"] > 3 * deficit["uniform"]


@pytest.mark.parametrize(("ratio", "until"), [(0.5, 0.875), (0.3, 0.5)])
def test_infobatch_saves_r_delta_p(ratio, until):
    n, loss = 10_000, np.random.default_rng(1).gamma(0.3, 1.0, 10_000)
    snapshot = known(loss / 3)
    easy = np.mean(snapshot.loss < snapshot.loss.mean(dtype=np.float64))
    method = make("infobatch", n, batch_size=100, prune_ratio=ratio, prune_until=until)
    lengths = [len(method.plan(epoch, snapshot, epoch / 40)) for epoch in range(40)]
    assert 1 - np.sum(lengths) / (40 * n) == pytest.approx(ratio * until * easy, abs=0.01), "whole batches cut 1 %"
    assert easy > 0.6, "most losses are below their mean"
    assert lengths[-1] == n
    assert not method.even_epochs


def test_infobatch_is_unbiased_with_batches_cut():
    """Of N = 40, sum of chances 29, cut to 25: each sample's weighted visits have the same mean, 25 / 29."""
    loss = np.where(np.arange(40) < 22, 0.1, 1.0)
    method = make("infobatch", 40, batch_size=5)
    total, runs = np.zeros(40), 8000
    for epoch in range(runs):
        plan = method.plan(epoch, known(loss))
        assert len(plan) == 25
        total[plan.ids] += plan.weights
    assert set(plan.weights.tolist()) == {1.0, 2.0}
    chance = 25 / 29 * np.where(loss < 0.5, 0.5, 1)
    sigma = np.sqrt(runs * chance * (1 - chance)) * np.where(loss < 0.5, 2, 1)
    assert np.abs((total - runs * 25 / 29) / sigma).max() < 4


def test_infobatch_depends_on_the_runs_seed():
    snapshot = known(np.linspace(0, 1, 100))
    orders = [make("infobatch", 100, batch_size=5, seed=seed).plan(1, snapshot) for seed in (0, 1)]
    assert set(orders[0].ids.tolist()) != set(orders[1].ids.tolist())
