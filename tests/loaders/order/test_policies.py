from functools import partial

import numpy as np
import pytest

from loaders.order import policies as policy
from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot


def snapshot(
    mean_error=(0.01, 0.5, 0.6, 0.9, 0.0, 0.0), visits=(3, 1, 2, 1, 0, 0), loss=None, el2n=None, error_variance=None
):
    mean_error = np.array(mean_error, np.float32)
    loss = mean_error * 3 if loss is None else np.array(loss, np.float32)
    el2n = mean_error if el2n is None else np.array(el2n, np.float32)
    variance = mean_error / 10 if error_variance is None else np.array(error_variance, np.float32)
    return Snapshot(np.array(visits, np.float32), mean_error, mean_error**2, loss, el2n, variance, mean_error**3)


def test_p_sgd_is_half_uniform_half_proportional():
    s = np.array([0.01, 0.5, 0.6, 0.9, 0.9, 0.9])  # unseen count as the largest seen
    got = policy.p_sgd(snapshot())
    assert got / got.sum() == pytest.approx(0.5 / 6 + 0.5 * s / s.sum(), rel=1e-6)
    assert (got / got.sum()).min() >= 1 / 12


def test_c_sgd_fills_unseen_after_the_transform():
    s = np.array([0.01, 0.5, 0.6, 0.9])
    c = np.append(s * (1 - s), [0.25, 0.25])
    got = policy.c_sgd(snapshot())
    assert got / got.sum() == pytest.approx((c + c.mean()) / (2 * c.sum()), rel=1e-6)


def test_c_sgd_of_the_reference_starves_the_unseen():
    """Five unseen beside p = .99, .5, .4, .1, .02: each gets 0.0575, where uniform is 0.1."""
    seen = [0.99, 0.5, 0.4, 0.1, 0.02]
    state = snapshot(seen + [0] * 5, [1] * 5 + [0] * 5)
    faithful = policy.resolve("c-sgd", compat="arazo")(state)
    fixed = policy.resolve("c-sgd")(state)
    assert faithful[5:] / faithful.sum() == pytest.approx([0.0575] * 5, abs=1e-4)
    assert np.all(fixed[5:] / fixed.sum() > 0.1)


@pytest.mark.parametrize("name", [name for name in policy.BY_NAME if name != "uniform"])
@pytest.mark.parametrize("compat", [None, "arazo"])
def test_first_epoch_knows_nothing(name, compat):
    got = policy.resolve(name, compat)(snapshot([0.0] * 6, [0] * 6))
    weights = got.weights if isinstance(got, policy.Preference) else got
    assert np.ptp(weights) == 0
    assert weights[0] > 0


def test_all_scores_zero_is_uniform():
    for function in (policy.p_sgd, policy.c_sgd, lambda s: policy.c_sgd(s, "arazo")):
        assert np.array_equal(function(snapshot([0.0] * 6, [1] * 6)), np.ones(6))


def test_loss_and_el2n_take_the_latest_and_fill_unseen():
    assert policy.loss(snapshot(loss=[1, 5, 2, 3, 0, 0])).tolist() == [1, 5, 2, 3, 5, 5]
    weights = policy.el2n(snapshot(el2n=[0.5, 1, 0, 0.25, 0, 0])).tolist()
    assert weights == [0.5, 1, np.float32(1e-10), 0.25, 1, 1]


@pytest.mark.parametrize(
    "score", [policy.loss, policy.el2n, partial(policy.p_sgd, smoothing=0.0), partial(policy.c_sgd, smoothing=0.0)]
)
def test_errors_that_round_to_zero_do_not_end_a_run(score):
    """A gap of 17 between logits makes an error of exactly 0 in float32; most samples end so."""
    known = np.zeros(100, np.float32)
    known[:5] = 0.5
    scores = Snapshot(np.ones(100, np.float32), *[known] * (len(Snapshot._fields) - 1))
    ids = IndexScheduler(100, score, budget=0.3).plan(1, scores).ids
    assert len(set(ids.tolist())) == 30
    assert set(range(5)) <= set(ids.tolist())


def test_rank_decays_exponentially():
    weights = policy.rank(snapshot(loss=[1, 5, 2, 3, 4, 6], visits=[1] * 6), pressure=64)
    assert weights[[5, 1, 4, 3, 2, 0]] == pytest.approx(64.0 ** (-np.arange(6) / 6))


def test_rank_shares_the_weights_of_equal_losses():
    """The two unseen, which count as the largest loss seen, and that sample itself hold the first three ranks."""
    weights = policy.rank(snapshot(loss=[1, 5, 2, 2, 0, 0]), pressure=64)
    by_rank = 64.0 ** (-np.arange(6) / 6)
    assert weights[[1, 4, 5]] == pytest.approx([by_rank[:3].mean()] * 3)
    assert weights[[2, 3]] == pytest.approx([by_rank[3:5].mean()] * 2)
    assert weights[0] == pytest.approx(by_rank[5])
    assert np.array_equal(policy.rank(snapshot(), pressure=1), np.ones(6))
    with pytest.raises(ValueError, match=r"pressure of rank is finite and at least 1, got 0\.5"):
        policy.rank(snapshot(), pressure=0.5)


def test_smoothing_is_the_share_of_uniform():
    s = np.array([0.01, 0.5, 0.6, 0.9, 0.9, 0.9])
    for fraction in (0, 0.1, 0.5, 0.9):
        got = policy.p_sgd(snapshot(), smoothing=fraction)
        assert got / got.sum() == pytest.approx(fraction / 6 + (1 - fraction) * s / s.sum(), rel=1e-6)
    for fraction in (1, -0.1):
        with pytest.raises(ValueError, match="fraction of uniform draws, at least 0 and below 1"):
            policy.p_sgd(snapshot(), smoothing=fraction)


def test_scores_may_be_latest_or_an_average():
    state = snapshot(visits=[1] * 6)
    assert policy.p_sgd(state, score="latest", smoothing=0) == pytest.approx(state.error, abs=1e-9)
    s = state.error_average
    assert policy.c_sgd(state, score="average", smoothing=0) == pytest.approx(s * (1 - s), abs=1e-9)
    assert not np.array_equal(state.error, s)
    with pytest.raises(ValueError, match="unknown score 'median': choose one of mean, latest, average"):
        policy.p_sgd(state, score="median")


def test_active_bias_by_variance():
    """Three visits: v + v^2 / 2; two: v + v^2; one or none: as the largest."""
    got = policy.active_bias(snapshot(visits=[3, 2, 1, 2, 0, 9], error_variance=[0.2, 0.1, 0, 0.05, 0, 0]), smoothing=0)
    expected = np.sqrt([0.22, 0.11, 0.22, 0.0525, 0.22, 0])
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)
    half = policy.active_bias(snapshot(visits=[3, 2, 1, 2, 0, 9], error_variance=[0.2, 0.1, 0, 0.05, 0, 0]))
    assert half == pytest.approx(expected + expected.mean(), rel=1e-6)
    assert np.ptp(policy.active_bias(snapshot(visits=[1] * 6))) == 0, "one visit tells no variance"


def test_active_bias_by_closeness_is_c_sgd_put_right():
    assert np.array_equal(policy.active_bias(snapshot(), "closeness"), policy.c_sgd(snapshot()))
    with pytest.raises(ValueError, match="'variance' or 'closeness', got 'both'"):
        policy.active_bias(snapshot(), "both")


def test_orderdp_puts_the_unseen_first():
    assert policy.orderdp(snapshot(loss=[1, 5, 2, 3, 0, 0])).tolist() == [1, 5, 2, 3, 6, 6]


def test_infobatch_keeps_half_of_the_easy_and_weighs_them_twice():
    got = policy.infobatch(snapshot(loss=[1, 5, 2, 4, 0, 0]))
    assert got.weights.tolist() == [0.5, 1, 0.5, 1, 1, 1]
    assert got.importance.tolist() == [2, 1, 2, 1, 1, 1]
    assert got.num_draws == 5
    with pytest.raises(ValueError, match="0 <= ratio < 1"):
        policy.infobatch(snapshot(), ratio=1)


def test_class_balanced():
    labels = np.array([0, 0, 0, 1, 1, 2])
    weights = policy.class_balanced(labels)(snapshot())
    assert np.bincount(labels, weights) == pytest.approx([1, 1, 1])


def test_mixture_is_a_mixture():
    weights = policy.mixture(policy.loss, 0.2)(snapshot(loss=[1, 5, 2, 3, 0, 0]))
    raw = np.array([1, 5, 2, 3, 5, 5])
    assert weights / weights.sum() == pytest.approx(0.2 / 6 + 0.8 * raw / raw.sum())
    assert policy.mixture(policy.uniform, 0.3)(snapshot()) is None
    half = policy.mixture(lambda s: policy.fill_unseen(s.mean_error, s.visits > 0), 0.5)(snapshot())
    p = policy.p_sgd(snapshot())
    assert half / half.sum() == pytest.approx(p / p.sum())
    with pytest.raises(ValueError, match="fraction of uniform 0 <= lam <= 1"):
        policy.mixture(policy.loss, 1.5)


def test_unknown_names_are_one_sentence():
    with pytest.raises(ValueError, match="unknown policy 'psgd': choose one of uniform, p-sgd, c-sgd"):
        policy.resolve("psgd")
    with pytest.raises(ValueError, match="compat is None or 'arazo', got 'yes'"):
        policy.resolve("p-sgd", "yes")
