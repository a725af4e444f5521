"""Weights by the latest loss and the latest EL2N."""

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot

KNOWN = snapshot(200)


@pytest.mark.parametrize(("method", "scores"), [("loss", KNOWN.loss), ("el2n", KNOWN.el2n)])
def test_weights_are_the_scores_partly_levelled(method, scores):
    assert made(method).weights(1, KNOWN) == pytest.approx(scores)
    levelled = made(method, smoothing=0.25).weights(1, KNOWN)
    assert levelled / levelled.mean() == pytest.approx(0.25 + 0.75 * scores / scores.mean(), rel=1e-5)


def test_unseen_samples_count_as_the_largest():
    visits = np.where(np.arange(200) < 50, 0, 3).astype(np.float32)
    weights = made("loss").weights(1, KNOWN._replace(visits=visits))
    assert weights[:50] == pytest.approx(np.full(50, KNOWN.loss[50:].max()))


def test_more_than_all_of_it_uniform_is_refused():
    with pytest.raises(ValueError, match=r"0 <= lam <= 1, got 1\.5"):
        made("loss", smoothing=1.5)
