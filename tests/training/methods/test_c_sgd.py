"""c-SGD: weights are s (1 - s) of the averaged error s, plus their mean."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot


def test_weights_are_the_closeness_of_the_mean_error_plus_its_mean():
    known = snapshot(200)
    closeness = known.mean_error * (1 - known.mean_error)
    assert made("c-sgd").weights(1, known) == pytest.approx(closeness + closeness.mean(), rel=1e-5)
    latest = known.error * (1 - known.error)
    weights = made("c-sgd", score="latest", smoothing=0.0).weights(1, known)
    assert weights / weights.mean() == pytest.approx(latest / latest.mean(), rel=1e-5)


def test_it_warms_up_as_p_sgd_does():
    uniform, known = made("uniform"), snapshot(200)
    for compat, is_uniform in (("none", True), ("arazo", False)):
        ids = made("c-sgd", warmup_epochs=1, compat=compat).plan(0, known).ids
        assert np.array_equal(ids, uniform.plan(0).ids) == is_uniform
