"""The designs against exact probabilities, against NumPy, and against their own promises."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.order.designs import DESIGNS
from loaders.order.draw import Context, Design, Draw, check_weights
from loaders.order.inclusion import inverse_inclusion
from loaders.order.rng import fold_in
from loaders.order.scheduler import IndexScheduler
from tests.goodness import chi_square

WEIGHTS = {
    "equal": np.ones(6),
    "linear": np.arange(1.0, 7),
    "steep": 4.0 ** np.arange(6),
    "extreme": np.array([1e-6, 1e-3, 1.0, 1e3, 1e6, 1.0]),
    "with zeros": np.array([0.0, 1, 0, 2, 3, 4]),
}
DRAWS = 4000


def draw(design: str, weights, n: int, k: int, key: int, **context) -> Draw:
    context = {"page": 4, "window": 2, "run_key": key, **context}
    return DESIGNS[design].draw(weights, n, k, Context(key, **context))


def successive(weights, k):
    """Exact probability of every set of k items under draws one by one by weight, without replacement."""
    chance = {}
    for order in itertools.permutations(np.flatnonzero(weights), k):
        p, rest = 1.0, weights.sum()
        for i in order:
            p *= weights[i] / rest
            rest -= weights[i]
        chance[frozenset(order)] = chance.get(frozenset(order), 0.0) + p
    return chance


@pytest.mark.parametrize(("design", "k"), [("race", 1), ("race", 2), ("race", 3), ("paged", 2)])
@pytest.mark.parametrize("shape", WEIGHTS)
def test_race_is_successive_sampling(design, shape, k):
    weights = WEIGHTS[shape]
    exact = successive(weights, k)
    counts = dict.fromkeys(exact, 0)
    for i in range(DRAWS):
        counts[frozenset(draw(design, weights, 6, k, fold_in(3, i)).ids.tolist())] += 1
    expected = np.array(list(exact.values())) * DRAWS
    observed = np.array(list(counts.values()))
    rare = expected < 5
    if rare.any():
        expected, observed = (np.append(a[~rare], a[rare].sum()) for a in (expected, observed))
        assert observed[-1] <= expected[-1] + 5 * np.sqrt(expected[-1]) + 1
        expected, observed = expected[:-1], observed[:-1]
    if len(expected) > 1:
        assert chi_square(observed, expected * observed.sum() / expected.sum()) > 1e-4


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_race_has_numpys_inclusion_frequencies(scale):
    """Ten groups of equal weights among 20,000 items: how many of each are drawn, against `np.random.choice`."""
    rng = np.random.default_rng(1)
    n, k, runs = 20_000, 6_000, 30
    group = rng.integers(0, 10, n)
    weights = 10.0 ** (scale * (group / 9 - 0.5))
    ours, theirs = np.zeros((runs, 10)), np.zeros((runs, 10))
    for i in range(runs):
        ours[i] = np.bincount(group[draw("race", weights, n, k, fold_in(5, i)).ids], minlength=10)
        theirs[i] = np.bincount(group[rng.choice(n, k, replace=False, p=weights / weights.sum())], minlength=10)
    spread = np.sqrt((ours.var(axis=0, ddof=1) + theirs.var(axis=0, ddof=1)) / runs) + 1e-9
    assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / spread < 4.5)


@pytest.mark.parametrize("shape", WEIGHTS)
def test_systematic_has_exact_inclusion_probabilities(shape):
    weights, k = WEIGHTS[shape], 3
    counts = np.zeros(6)
    for i in range(DRAWS):
        drawn = draw("systematic", weights, 6, k, fold_in(7, i))
        counts[drawn.ids] += 1
    inclusion = np.full(6, k / 6) if shape == "equal" else np.minimum(drawn.scale * weights, 1.0)
    assert inclusion.sum() == pytest.approx(k)
    random = (inclusion > 0) & (inclusion < 1)
    assert np.array_equal(counts[inclusion == 0], np.zeros((inclusion == 0).sum()))
    assert np.array_equal(counts[inclusion == 1], np.full((inclusion == 1).sum(), DRAWS))
    z = (counts - DRAWS * inclusion)[random] / np.sqrt(DRAWS * inclusion * (1 - inclusion))[random]
    assert np.all(np.abs(z) < 4.5)


@pytest.mark.parametrize("seed", range(20))
def test_systematic_ends_where_an_item_is_certain_up_to_rounding(seed):
    rest = np.random.default_rng(seed).random(10)
    for k in (3, 4):
        weights = np.append(rest, rest.sum() / (k - 1))  # the last one's probability is exactly one
        ids = draw("systematic", weights, 11, k, key=seed).ids
        assert len(np.unique(ids)) == k
        if weights.argmax() == 10:
            assert 10 in ids


def test_systematic_over_many_blocks():
    rng = np.random.default_rng(2)
    n, k, runs = 30_000, 9_000, 40
    weights = rng.pareto(1.2, n).astype(np.float32)
    counts = np.zeros(n)
    for i in range(runs):
        drawn = draw("systematic", weights, n, k, fold_in(8, i))
        assert len(np.unique(drawn.ids)) == k
        counts[drawn.ids] += 1
    inclusion = np.minimum(drawn.scale * weights.astype(np.float64), 1.0)
    assert inclusion.sum() == pytest.approx(k, rel=1e-9)
    for lo, hi in itertools.pairwise(np.quantile(inclusion, [0, 0.2, 0.4, 0.6, 0.8])):
        inside = (inclusion >= lo) & (inclusion < hi)
        expected = runs * inclusion[inside].sum()
        assert abs(counts[inside].sum() - expected) < 4.5 * np.sqrt(expected)


@pytest.mark.parametrize("shape", WEIGHTS)
def test_replacement_draws_are_multinomial(shape):
    weights, k = WEIGHTS[shape], 5
    counts = np.zeros(6)
    repeats = 0
    for i in range(DRAWS):
        ids = draw("replacement", weights, 6, k, fold_in(9, i)).ids
        np.add.at(counts, ids, 1)
        repeats += ids[0] == ids[1]
    p = weights / weights.sum()
    likely = p * DRAWS * k >= 5
    assert chi_square(counts[likely], p[likely] / p[likely].sum() * counts[likely].sum()) > 1e-4
    assert np.all(counts[p == 0] == 0)
    pair = (p**2).sum()
    assert abs(repeats - DRAWS * pair) < 4.5 * np.sqrt(DRAWS * pair * (1 - pair)) + 1


def test_replacement_over_many_blocks():
    rng = np.random.default_rng(3)
    weights = np.where(rng.random(50_000) < 0.5, 0.0, rng.pareto(2, 50_000)).astype(np.float32)
    weights[20_000:30_000] = 0
    counts = np.bincount(draw("replacement", weights, 50_000, 400_000, 5).ids, minlength=50_000)
    assert np.all(counts[weights == 0] == 0)
    expected = 400_000 * weights / weights.sum(dtype=np.float64)
    bins = np.arange(50_000) // 1000
    observed, wanted = np.bincount(bins, counts), np.bincount(bins, expected)
    used = wanted > 0
    assert chi_square(observed[used], wanted[used] * observed.sum() / wanted.sum()) > 1e-4


@pytest.mark.parametrize("design", ["race", "systematic", "replacement", "paged"])
@pytest.mark.parametrize("shape", ["linear", "steep", "with zeros"])
def test_weighted_totals_are_unbiased(design, shape):
    weights = WEIGHTS[shape]
    f = np.where(weights > 0, np.array([3.0, -1, 4, 1, 5, 9]), 0)
    estimates = np.empty(DRAWS)
    for i in range(DRAWS):
        drawn = draw(design, weights, 6, 3, fold_in(11, i))
        estimates[i] = (inverse_inclusion(DESIGNS[design].inclusion, drawn, weights, 6) * f[drawn.ids]).sum()
    assert abs(estimates.mean() - f.mean()) < 4.5 * estimates.std() / np.sqrt(DRAWS)


def test_place_in_the_order_is_independent_of_weight():
    weights = np.repeat([1.0, 30.0], 5000)
    for design in ("race", "systematic", "replacement"):
        heavy = draw(design, weights, 10_000, 6000, 13).ids >= 5000
        z = (np.flatnonzero(heavy).mean() - 2999.5) / (np.sqrt(6000**2 / 12 / heavy.sum() * (1 - heavy.mean())) + 1e-9)
        assert abs(z) < 4.5, design


def test_paged_reads_each_page_in_one_window():
    n, page, window = 10_000, 64, 8
    ids = draw("paged", np.random.default_rng(5).random(n), n, 3000, 7, page=page, window=window).ids
    pages = ids // page
    changes = np.flatnonzero(np.diff(pages)) + 1
    first, last = {}, {}
    for place, p in enumerate(pages.tolist()):
        first.setdefault(p, place)
        last[p] = place
    open_pages = np.zeros(len(ids) + 1, int)
    for p in first:
        open_pages[first[p]] += 1
        open_pages[last[p] + 1] -= 1
    assert np.cumsum(open_pages).max() <= window
    assert len(changes) > 2000  # shuffled across the pages of the window, not page after page


weight_lists = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    design=st.sampled_from(list(DESIGNS)),
    values=weight_lists,
    equal=st.booleans(),
    fraction=st.floats(0, 1),
    key=st.integers(0, 2**64 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_draw_keeps_its_promises(design, values, equal, fraction, key, dtype):
    n = len(values)
    weights = None if equal else np.array(values, dtype)
    available = n if equal else int((weights > 0).sum())
    if available == 0:
        return
    k = max(1, round(fraction * (3 * n if design == "replacement" else available)))
    ids = draw(design, weights, n, k, key).ids
    assert ids.dtype == np.int64
    assert len(ids) == k
    assert ids.min() >= 0
    assert ids.max() < n
    if design != "replacement":
        assert len(np.unique(ids)) == k
    if not equal:
        assert np.all(weights[ids] > 0)
    assert np.array_equal(ids, draw(design, weights, n, k, key).ids)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_on_any_number_of_threads(design, weighted):
    n = 400_000
    weights = np.random.default_rng(6).random(n, dtype=np.float32) if weighted else None
    kwargs = {"page": 1000, "window": 7} if design == "paged" else {}
    orders = [draw(design, weights, n, 120_000, 3, threads=threads, **kwargs).ids for threads in (1, 2, 8)]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


@pytest.mark.parametrize(
    ("weights", "needed", "message"),
    [
        ([1.0, np.nan, 2.0], 1, r"1 of 3 weights are negative, infinite or NaN \(first: sample 1 has nan\)"),
        ([1.0, 1.0, -2.0], 1, r"first: sample 2 has -2.0"),
        ([np.inf, 1.0, 1.0], 1, r"first: sample 0 has inf"),
        ([1.0, 0.0, 0.0], 2, r"2 different samples are to be drawn but only 1 of 3 weights are positive"),
        ([1.0, 1.0], 1, r"one weight for each of 3 samples, got an array of shape \(2,\)"),
    ],
)
def test_bad_weights_are_one_sentence(weights, needed, message):
    with pytest.raises(ValueError, match=message):
        check_weights(np.array(weights), 3, needed)


def test_more_than_2_to_the_24_weights():
    """torch.multinomial refuses this many, and NumPy is slow."""
    n = 2**24 + 4096
    weights = np.zeros(n, np.float32)
    weights[-5000:] = 1
    weights[:5000] = 1
    ids = draw("race", weights, n, 5000, 1).ids
    low = (ids < 5000).sum()
    assert np.all(weights[ids] == 1)
    assert abs(low - 2500) < 4.5 * np.sqrt(5000 / 8)


def test_a_new_design_is_one_function_and_one_line(monkeypatch):
    monkeypatch.setitem(DESIGNS, "first", Design(lambda weights, n, k, context: Draw(np.arange(k) + context.epoch)))
    assert IndexScheduler(10, budget=0.3, design="first").plan(2).ids.tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="design 'first' has no unbiased weights"):
        IndexScheduler(10, design="first", unbiased=True)


@pytest.mark.parametrize("design", ["race", "systematic", "replacement", "paged"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_weights_by_a_power_of_two_changes_nothing(design, dtype):
    weights = (np.random.default_rng(3).random(500) + 0.01).astype(dtype)
    expected = scheduled(weights, design)
    exponents = (-120, -30, 7, 120) if dtype == np.float32 else (-1010, -300, -40, 1, 50, 900, 1020)
    for exponent in exponents:
        assert np.array_equal(scheduled(np.ldexp(weights, exponent), design), expected), exponent


def scheduled(weights, design):
    return IndexScheduler(len(weights), lambda _: weights, 0.3, design, seed=5, unbiased=True).plan(1).ids
