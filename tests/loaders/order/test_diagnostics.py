import numpy as np
import pytest

from loaders.order.diagnostics import describe_visits, describe_weights


def test_equal_weights():
    flat = describe_weights(np.full(200, 3.0))
    assert flat == pytest.approx(describe_weights(None))
    assert flat == pytest.approx({"ess": 1, "cv": 0, "tau": 1, "top1_fraction": 0.01})


def test_one_heavy_sample():
    weights = np.ones(100)
    weights[7] = 101
    got = describe_weights(weights)
    assert got["top1_fraction"] == pytest.approx(101 / 200)
    assert got["ess"] == pytest.approx(200**2 / (99 + 101**2) / 100)
    assert got["tau"] == pytest.approx(np.sqrt(100 * (weights**2).sum()) / weights.sum())  # sqrt(B sum g^2)


def test_weights_at_the_ends_of_floating_point():
    assert describe_weights(np.zeros(3)) == describe_weights(None), "no weight is larger than another"
    got = [describe_weights(np.array([1.0, 3.0]) * scale) for scale in (1, 1e-310, 1e300)]
    assert got[1] == pytest.approx(got[0])
    assert got[2] == pytest.approx(got[0])
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="weights must be finite and not negative"):
            describe_weights(np.array([1.0, bad]))


def test_visits():
    even = describe_visits(np.full(50, 2))
    wanted = {"entropy": np.log(50), "entropy_deficit": 0, "cv": 0, "distinct": 50, "min": 2, "max": 2}
    assert even == pytest.approx(wanted, abs=1e-12)
    some = describe_visits(np.array([1, 3, 0, 0]))
    assert some["entropy"] == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert some["cv"] == pytest.approx(np.std([1, 3, 0, 0]))
    assert (some["distinct"], some["min"], some["max"]) == (2, 0, 3)
    none = describe_visits(np.zeros(5))
    assert (none["entropy"], none["cv"], none["distinct"]) == (0, 0, 0)
