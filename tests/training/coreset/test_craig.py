"""CRAIG against brute force: greedy by computing every gain, the best set by trying every set."""

import itertools
import math

import numpy as np
import pytest

from training.coreset import craig as module
from training.coreset.craig import cluster_sizes, craig, lazy_greedy, similarities


def value(similarity: np.ndarray, chosen) -> float:
    """Facility location, by its definition."""
    return float(similarity[:, list(chosen)].max(axis=1).sum(dtype=np.float64))


def plain_greedy(similarity: np.ndarray, count: int, ties: np.ndarray) -> list[int]:
    """Every gain in every round."""
    chosen = []
    for _ in range(count):
        before = value(similarity, chosen) if chosen else 0.0
        gains = [(-(value(similarity, [*chosen, j]) - before), ties[j], j) for j in range(len(ties)) if j not in chosen]
        chosen.append(min(gains)[2])
    return chosen


def vectors(seed: int, num: int, whole: bool) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(seed))
    # Whole numbers make many equal distances and some equal vectors; similarities are then compared exactly.
    return random.integers(0, 4, (num, 1)).astype(float) if whole else random.normal(size=(num, 3))


def test_similarities_are_the_largest_distance_less_each():
    points = vectors(0, 700, whole=False)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    got = similarities(points.astype(np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, distances.max() - distances, atol=1e-5)
    np.testing.assert_array_equal(got, got.T)
    assert (np.diag(got) == got.max()).all()
    assert got.min() == 0


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_lazy_is_plain_greedy(seed, whole):
    similarity = similarities(vectors(seed, 25, whole))
    ties = np.random.Generator(np.random.Philox(seed + 100)).permutation(25).astype(np.uint64)
    for count in (1, 4, 25):
        got = lazy_greedy(similarity, count, ties)
        assert len({*got.tolist()}) == count
        if whole:
            assert got.tolist() == plain_greedy(similarity, count, ties)
        else:  # rounding may decide between gains that differ in the last bit only
            assert value(similarity, got) == pytest.approx(
                value(similarity, plain_greedy(similarity, count, ties)), rel=1e-6
            )


@pytest.mark.parametrize("seed", range(10))
def test_greedy_is_near_the_best_of_all_sets(seed):
    similarity = similarities(vectors(seed, 10, whole=False))
    best = max(value(similarity, chosen) for chosen in itertools.combinations(range(10), 3))
    got = value(similarity, lazy_greedy(similarity, 3, np.arange(10, dtype=np.uint64)))
    assert (1 - 1 / math.e) * best <= got <= best * (1 + 1e-6)


def test_weights_are_cluster_sizes_without_one_too_many():
    near, far = np.eye(3), 9 + np.eye(5)[:, :3]
    ids, weights = craig(np.concatenate([near, far]).astype(np.float32), np.zeros(8, np.int64), 2, key=1)
    assert (ids < 3).tolist() == [True, False]
    assert weights.tolist() == [3 / 4, 5 / 4]


def test_equal_vectors_stand_for_themselves_and_are_chosen_by_the_key():
    similarity = similarities(np.zeros((30, 2)))
    picks = [lazy_greedy(similarity, 12, np.roll(np.arange(30, dtype=np.uint64), shift)) for shift in (0, 5)]
    assert sorted(picks[0]) == list(range(12))
    assert sorted(picks[1]) == list(range(5, 17))
    sizes = cluster_sizes(similarity, picks[0])
    assert sizes.min() == 1
    assert sizes.sum() == 30


def test_each_class_is_represented_in_proportion():
    random = np.random.Generator(np.random.Philox(5))
    labels = np.repeat([0, 1, 3], [60, 30, 10])[random.permutation(100)]
    gradients = random.normal(size=(100, 4)).astype(np.float32)
    ids, weights = craig(gradients, labels, 30, key=2)
    assert np.bincount(labels[ids]).tolist() == [18, 9, 0, 3]
    assert (np.diff(ids) > 0).all()
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1)
    for label, size in ((0, 60), (1, 30), (3, 10)):
        assert (weights[labels[ids] == label] * 100 / 30).sum() == pytest.approx(size, rel=1e-5)
    again = craig(gradients, labels, 30, key=2)
    np.testing.assert_array_equal(again[0], ids)
    np.testing.assert_array_equal(again[1], weights)


def test_the_whole_set_has_equal_weights():
    gradients = np.random.Generator(np.random.Philox(6)).normal(size=(20, 3)).astype(np.float32)
    ids, weights = craig(gradients, np.arange(20) % 2, 20, key=1)
    assert ids.tolist() == list(range(20))
    assert (weights == 1).all()


def test_a_class_that_is_too_large(monkeypatch):
    monkeypatch.setattr(module, "MAX_CLASS", 5)
    with pytest.raises(ValueError, match="craig compares all pairs of a class, and one has 6 samples, above 5"):
        craig(np.zeros((7, 2)), np.array([0, 1, 1, 1, 1, 1, 1]), 2, key=1)
