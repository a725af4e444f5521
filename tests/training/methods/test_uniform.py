"""unif-SGD: each epoch draws its own subset, each sample as likely as any other."""

import numpy as np

from tests.goodness import chi_square
from tests.training.methods.toy import made, snapshot


def test_every_sample_is_as_likely_in_each_epoch_anew():
    method, counts = made("uniform", 40), np.zeros(40)
    for epoch in range(400):
        ids = method.plan(epoch, snapshot(40)).ids
        assert len(np.unique(ids)) == len(ids) == 10
        counts[ids] += 1
    assert chi_square(counts) > 1e-3
    assert set(method.plan(0).ids) != set(method.plan(1).ids)
    assert method.weights(1, snapshot(40)) is None
