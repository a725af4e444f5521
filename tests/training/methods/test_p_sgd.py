"""p-SGD: weights are the averaged error plus their mean; which error, and how much of the mean, are options."""

import numpy as np
import pytest

from tests.training.methods.toy import made, make_run, snapshot, train

KNOWN = snapshot(200)


def test_weights_are_the_mean_error_plus_its_mean():
    expected = KNOWN.mean_error + KNOWN.mean_error.mean()
    assert made("p-sgd").weights(1, KNOWN) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("score", "errors"), [("mean", KNOWN.mean_error), ("latest", KNOWN.error), ("average", KNOWN.error_average)]
)
def test_the_score_says_which_error(score, errors):
    weights = made("p-sgd", score=score, smoothing=0.25).weights(1, KNOWN)
    assert weights / weights.mean() == pytest.approx(0.25 + 0.75 * errors / errors.mean(), rel=1e-5)


def test_the_decay_reaches_the_table():
    errors = {}
    for decay in (0.0, 0.5):
        run = make_run("p-sgd", lr=0.2, score="average", score_decay=decay)
        train(run, 3)
        errors[decay] = run.table.snapshot()
    assert errors[0.0].error_average == pytest.approx(errors[0.0].error), "nothing is left of the epochs before"
    assert not np.allclose(errors[0.5].error_average, errors[0.5].error)


def test_the_reference_counts_epochs_from_one():
    """It draws uniformly while epoch < W: W means W - 1."""
    uniform = made("uniform")
    for compat, epochs in (("none", 2), ("arazo", 1)):
        method = made("p-sgd", warmup_epochs=2, compat=compat)
        same = [np.array_equal(method.plan(epoch, KNOWN).ids, uniform.plan(epoch).ids) for epoch in range(4)]
        assert same == [epoch < epochs for epoch in range(4)]


def test_options_that_cannot_work():
    with pytest.raises(ValueError, match="smoothing must be at least 0 and below 1, got 1"):
        made("p-sgd", smoothing=1.0)
    with pytest.raises(ValueError, match="warmup_epochs must not be negative, got -1"):
        made("p-sgd", warmup_epochs=-1)
    with pytest.raises(ValueError, match="decay is at least 0 and below 1"):
        make_run("p-sgd", score_decay=1.0)
