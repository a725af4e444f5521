"""Online batch selection: exponential weights in the rank of the loss, whose pressure may change."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot

KNOWN = snapshot(200)


def test_weights_decay_exponentially_in_the_rank():
    weights = made("rank", pressure=64).weights(1, KNOWN)
    ranks = (-KNOWN.loss).argsort().argsort()
    assert weights == pytest.approx(np.exp(-np.log(64) * ranks / 200))


def test_the_pressure_falls_geometrically():
    method = made("rank", pressure=64, final_pressure=4)
    for progress, pressure in ((0, 64), (0.5, 16), (1, 4)):
        weights = method.weights(1, KNOWN, progress)
        assert weights.max() / weights.min() == pytest.approx(pressure ** (199 / 200))
    constant = made("rank", pressure=64)
    assert np.array_equal(constant.weights(1, KNOWN, 0.9), constant.weights(1, KNOWN, 0.1))


def test_it_warms_up_uniformly_with_a_falling_pressure_too():
    uniform = made("uniform")
    for changes in ({}, {"final_pressure": 4}):
        method = made("rank", warmup_epochs=1, **changes)
        same = [np.array_equal(method.plan(epoch, KNOWN, 0.2).ids, uniform.plan(epoch).ids) for epoch in range(3)]
        assert same == [True, False, False]


@pytest.mark.parametrize("changes", [{"pressure": 0.5}, {"final_pressure": 0.5}, {"final_pressure": 0.0}])
def test_a_pressure_below_one_is_refused(changes):
    with pytest.raises(ValueError, match="pressures are at least 1"):
        made("rank", **changes)
