"""Which samples are taken: quotas, offset and ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.order.rounding import floor_fraction
from training.coreset.choose import hardest, quotas


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(any), st.floats(0, 1))
@settings(deadline=None, max_examples=200)
def test_quotas_are_proportional_and_add_up(sizes, fraction):
    total = floor_fraction(sum(sizes), fraction)
    got = quotas(np.array(sizes), total)
    assert got.sum() == total
    exact = np.array(sizes) * total / sum(sizes)
    assert (np.abs(got - exact) < 1).all()
    assert (got <= sizes).all()


def test_quotas_by_hand():
    assert quotas([50, 30, 20], 10).tolist() == [5, 3, 2]
    assert quotas([5, 3, 2], 5).tolist() == [3, 1, 1]  # 2.5, 1.5, 1: the earlier of equal remainders
    assert quotas([0, 7], 3).tolist() == [0, 3]


def test_the_largest_scores_behind_the_offset():
    scores = np.array([5, 1, 9, 7, 3, 8, 2, 6, 4, 0])
    assert hardest(scores, 0.3, 0.0, key=1).tolist() == [2, 3, 5]
    assert hardest(scores, 0.3, 0.2, key=1).tolist() == [0, 3, 7]
    assert hardest(scores, 0.8, 0.2, key=1).tolist() == [0, 1, 3, 4, 6, 7, 8, 9]


def test_balanced_takes_the_fraction_of_each_class():
    labels = np.array([0] * 10 + [1] * 20)
    scores = np.arange(30)
    assert hardest(scores, 0.3, 0.0, 1).tolist() == list(range(21, 30))
    assert hardest(scores, 0.3, 0.0, 1, labels).tolist() == [7, 8, 9, *range(24, 30)]
    assert hardest(scores, 0.3, 0.1, 1, labels).tolist() == [6, 7, 8, *range(22, 28)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 1), st.floats(0, 1), st.booleans())
@settings(deadline=None, max_examples=200)
def test_always_the_number_that_was_asked_for(labels, fraction, part, balanced):
    labels = np.array(labels)
    ids = hardest(np.zeros(len(labels)), fraction, part * (1 - fraction), 7, labels if balanced else None)
    assert len(ids) == floor_fraction(len(labels), fraction)
    assert (np.diff(ids) > 0).all()
    if balanced:
        counts = np.bincount(labels[ids], minlength=5)
        np.testing.assert_array_equal(counts, quotas(np.bincount(labels, minlength=5), len(ids)))


def test_equal_scores_are_drawn_by_the_key_and_not_by_the_id():
    first, again, other = (hardest(np.zeros(2000), 0.3, 0.0, key) for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) == pytest.approx(180, abs=50)
    assert np.bincount(first // 500) == pytest.approx([150] * 4, abs=45)
    scores = np.repeat([1, 0], 1000)
    ids = hardest(scores, 0.75, 0.0, 1)
    np.testing.assert_array_equal(ids[:1000], np.arange(1000))
    assert np.bincount(ids[1000:] // 250) == pytest.approx([0, 0, 0, 0, 125, 125, 125, 125], abs=45)
