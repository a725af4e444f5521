import numpy as np
import pytest

from loaders.order.designs import DESIGNS
from loaders.order.policies import mixture
from loaders.order.scheduler import IndexScheduler
from loaders.types import EpochPlan, Snapshot

WEIGHTS = np.arange(1.0, 11)


def weighted(_):
    return WEIGHTS


# Users rely on these orders: a change means that no run of the past can be repeated.
GOLDEN = {
    ("race", "uniform"): [[2, 6, 7, 8, 0], [8, 7, 3, 9, 0]],
    ("race", "weighted"): [[6, 9, 3, 0, 5], [5, 8, 6, 9, 7]],
    ("systematic", "uniform"): [[2, 6, 7, 8, 0], [8, 7, 3, 9, 0]],
    ("systematic", "weighted"): [[8, 9, 4, 2, 7], [4, 8, 5, 9, 7]],
    ("replacement", "uniform"): [[0, 1, 3, 2, 5], [6, 2, 5, 8, 9]],
    ("replacement", "weighted"): [[6, 8, 2, 0, 5], [3, 7, 3, 9, 5]],
    ("paged", "uniform"): [[9, 6, 3, 0, 1], [9, 7, 1, 2, 6]],
    ("paged", "weighted"): [[9, 6, 3, 5, 0], [9, 5, 7, 8, 6]],
}


@pytest.mark.parametrize(("design", "kind"), GOLDEN)
def test_golden_orders(design, kind):
    policy = "uniform" if kind == "uniform" else weighted
    scheduler = IndexScheduler(10, policy, budget=0.5, design=design, seed=42, page=3, window=2)
    first = scheduler.plan(0).ids
    visits = np.bincount(first, minlength=10).astype(np.float32)
    scores = Snapshot(visits, *[np.zeros(10, np.float32)] * (len(Snapshot._fields) - 1))
    assert [first.tolist(), scheduler.plan(1, scores).ids.tolist()] == GOLDEN[design, kind]


def random_snapshot(n, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.random((7, n), dtype=np.float32)
    return Snapshot(np.round(values[0] * 5), *values[1:])


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("policy", ["uniform", "p-sgd", "c-sgd", "loss", "el2n", "rank", mixture(weighted, 0.3)])
def test_plan_is_pure_and_of_constant_length(design, policy):
    n = 10 if callable(policy) else 1000
    scheduler = IndexScheduler(n, policy, budget=0.3, design=design, seed=1, batch_size=3)
    plans = [scheduler.plan(epoch, random_snapshot(n, epoch)) for epoch in range(3)]
    assert {len(plan) for plan in plans} == {len(scheduler)} == {int(n * 0.3) // 3 * 3}
    again = IndexScheduler(n, policy, budget=0.3, design=design, seed=1, batch_size=3)
    for epoch in (2, 0, 1):
        assert np.array_equal(again.plan(epoch, random_snapshot(n, epoch)).ids, plans[epoch].ids)
        assert again.plan(epoch, random_snapshot(n, epoch)).key == plans[epoch].key


def test_budget_counts_as_in_the_paper():
    """floor(N b / B) steps: the table of the reference for CIFAR and SVHN at batch 128."""
    for n, budgets in {50_000: (390, 195, 117, 78, 39), 73_257: (572, 286, 171, 114, 57)}.items():
        steps = [len(IndexScheduler(n, budget=b, batch_size=128)) // 128 for b in (1, 0.5, 0.3, 0.2, 0.1)]
        assert steps == list(budgets)
    assert len(IndexScheduler(10, budget=0.3)) == 3
    assert len(IndexScheduler(100, budget=0.29)) == 29  # 0.29 * 100 is 28.999999999999996


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
def test_ranks_share_one_order(design, world_size):
    plan = IndexScheduler(10, weighted, budget=1.0 if design == "replacement" else 0.9, design=design, seed=3).plan(0)
    shards = [plan.shard(rank, world_size) for rank in range(world_size)]
    assert len({len(shard) for shard in shards}) == 1
    together = np.stack([shard.ids for shard in shards], axis=1).reshape(-1)
    assert np.array_equal(together, plan.ids[: len(plan) // world_size * world_size])
    places = np.concatenate([shard.positions for shard in shards])
    assert np.array_equal(np.sort(places), np.arange(len(together)))


def test_a_shard_is_not_sharded_again():
    with pytest.raises(ValueError, match="already the shard 0 of 2"):
        IndexScheduler(10).plan(0).shard(0, 2).shard(1, 2)
    with pytest.raises(ValueError, match=r"rank 2 is not in 0\.\.1"):
        IndexScheduler(10).plan(0).shard(2, 2)


def test_no_correlation_between_neighbouring_seeds_and_epochs():
    """Overlap of two subsets of half the ids is hypergeometric: mean 5000, standard deviation 50."""
    n = 20_000
    subsets = {(s, e): set(IndexScheduler(n, budget=0.5, seed=s).plan(e).ids.tolist()) for s in (0, 1) for e in (0, 1)}
    pairs = [(a, b) for a in subsets for b in subsets if a < b]
    overlaps = [len(subsets[a] & subsets[b]) for a, b in pairs]
    assert np.all(np.abs(np.array(overlaps) - 5000) < 4.5 * 50)
    keys = {IndexScheduler(n, seed=s).plan(e).key for s in range(30) for e in range(30)}
    assert len(keys) == 900


def test_unbiased_weights_have_mean_one():
    scheduler = IndexScheduler(10, weighted, budget=0.4, design="systematic", unbiased=True)
    means = [scheduler.plan(epoch).weights.mean() for epoch in range(2000)]
    assert np.mean(means) == pytest.approx(1, abs=4.5 * np.std(means) / np.sqrt(2000))
    uniform = IndexScheduler(10, budget=0.4, unbiased=True).plan(0)
    assert uniform.weights.tolist() == [1.0] * 4
    assert IndexScheduler(10, weighted, budget=0.4).plan(0).weights is None


def test_infobatch_sets_its_own_length_and_weights():
    state = random_snapshot(1000)._replace(visits=np.ones(1000, np.float32))
    scheduler = IndexScheduler(1000, "infobatch", design="systematic", seed=2)
    plan = scheduler.plan(3, state)
    easy = state.loss < state.loss.mean(dtype=np.float64)
    assert len(plan) == int(easy.sum() * 0.5 + (~easy).sum())
    assert len(set(np.flatnonzero(~easy)) - set(plan.ids.tolist())) <= 1, "the half sample that was cut off"
    assert np.array_equal(plan.weights, np.where(easy[plan.ids], 2, 1))
    with pytest.raises(ValueError, match="use design='systematic', not 'race'"):
        IndexScheduler(1000, "infobatch").plan(3, state)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"budget": 0}, r"budget is the fraction of samples drawn each epoch, in \(0, 1\], got 0"),
        ({"budget": 1.5}, "got 1.5"),
        ({"budget": float("nan")}, "got nan"),
        ({"design": "alias"}, "unknown design 'alias': choose one of race, systematic"),
        ({"policy": "p"}, "unknown policy 'p'"),
        ({"batch_size": 11}, "less than one batch of 11"),
        ({"batch_size": -4}, "batch_size is at least 1, or None"),
        ({"batch_size": 0}, "batch_size is at least 1, or None"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"design": "pool", "policy": "orderdp", "unbiased": True}, "no unbiased weights"),
    ],
)
def test_bad_arguments_are_one_sentence(kwargs, message):
    with pytest.raises(ValueError, match=message):
        IndexScheduler(**{"num_samples": 10, **kwargs})


def test_bad_scores_are_one_sentence():
    with pytest.raises(ValueError, match="scores are of 9 samples, the scheduler is for 10"):
        IndexScheduler(10).plan(1, random_snapshot(9))
    bad = random_snapshot(10)
    bad.mean_error[3] = np.nan
    with pytest.raises(ValueError, match="negative, infinite or NaN"):
        IndexScheduler(10, "p-sgd").plan(1, bad._replace(visits=np.ones(10, np.float32)))
    with pytest.raises(ValueError, match="only 1 of 10 weights are positive"):
        IndexScheduler(10, lambda s: np.eye(10)[0], budget=0.5).plan(0)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("policy", ["p-sgd", "c-sgd", "loss", "el2n"])
def test_a_policy_that_knows_nothing_draws_what_uniform_draws(design, policy):
    uniform = IndexScheduler(500, "uniform", 0.3, design, seed=4).plan(0)
    nothing = Snapshot(*[np.zeros(500, np.float32)] * 7)
    for scores in (None, nothing):
        assert np.array_equal(IndexScheduler(500, policy, 0.3, design, seed=4).plan(0, scores).ids, uniform.ids)
    known = IndexScheduler(500, weighted_by_id, 0.3, "race", seed=4).plan(0)
    assert not np.array_equal(np.sort(known.ids), np.sort(uniform.ids)), "weights that need no scores count at once"


def weighted_by_id(snapshot):
    return np.arange(1.0, 501)


def test_ids_are_integers():
    with pytest.raises(ValueError, match="ids of a plan are integers, got float64"):
        EpochPlan([0.5, 1.0])
    with pytest.raises(ValueError, match=r"ids of a plan are integers, got bool: of a mask take np\.flatnonzero"):
        EpochPlan(np.array([True, False]))
    with pytest.raises(ValueError, match=r"a subset is ids, integers, got bool: of a mask take np\.flatnonzero"):
        IndexScheduler(4, subset=np.array([True, False, True, False]))
    assert len(EpochPlan([])) == 0


def test_a_plan_and_a_subset_are_copies():
    ids, weights, subset = np.array([3, 1, 2]), np.ones(3, np.float32), np.array([0, 1, 2])
    plan, scheduler = EpochPlan(ids, weights), IndexScheduler(10, subset=subset)
    ids[:], weights[:], subset[:] = 99, 99, 9
    assert plan.ids.tolist() == [3, 1, 2]
    assert plan.weights.tolist() == [1, 1, 1]
    assert set(scheduler.plan(0).ids.tolist()) == {0, 1, 2}
    for array in (plan.ids, plan.weights, scheduler.subset):
        assert not array.flags.writeable
    ids.flags.writeable = False
    assert EpochPlan(ids).ids is not ids, "who made it read-only may write again"


def test_any_integer_is_a_key():
    plan = EpochPlan([0], key=-1, run_key=2**64 + 5)
    assert (plan.key, plan.run_key) == (2**64 - 1, 5)
    assert EpochPlan([0, 1], key=np.int64(-1)).shard(1, 2).key == 2**64 - 1
