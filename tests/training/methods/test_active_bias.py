"""Active bias: weights are the uncertainty of the prediction, after a warm-up of a tenth of the epochs."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot

KNOWN = snapshot(200)


def test_variance_is_raised_for_the_little_that_few_visits_tell():
    """sqrt(v + v^2 / (visits - 1)) plus its mean (Chang et al. 2017); each sample has three visits."""
    v = KNOWN.error_variance.astype(float)
    deviation = np.sqrt(v + v**2 / 2)
    assert made("active-bias", warmup_epochs=0).weights(1, KNOWN) == pytest.approx(deviation + deviation.mean())


def test_closeness_is_that_of_the_mean():
    closeness = KNOWN.mean_error * (1 - KNOWN.mean_error)
    weights = made("active-bias", warmup_epochs=0, uncertainty="closeness", smoothing=0.0).weights(1, KNOWN)
    assert weights / weights.mean() == pytest.approx(closeness / closeness.mean(), rel=1e-5)


@pytest.mark.parametrize(("changes", "epochs"), [({"epochs": 30}, 3), ({"epochs": 5}, 1), ({"warmup_epochs": 0}, 0)])
def test_a_tenth_of_the_epochs_is_uniform_unless_said_otherwise(changes, epochs):
    method, uniform = made("active-bias", **changes), made("uniform")
    same = [np.array_equal(method.plan(epoch, KNOWN).ids, uniform.plan(epoch).ids) for epoch in range(5)]
    assert same == [epoch < epochs for epoch in range(5)]


def test_options_that_cannot_work():
    with pytest.raises(ValueError, match="warmup_epochs must not be negative, got -2"):
        made("active-bias", warmup_epochs=-2)
    with pytest.raises(ValueError, match="below 1"):
        made("active-bias", smoothing=1.0)
