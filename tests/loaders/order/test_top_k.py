import numpy as np
import pytest

from loaders.order import top_k as selection
from loaders.order.rng import hash_array
from loaders.order.top_k import ids_of_bits, k_smallest
from tests.goodness import kolmogorov

RNG = np.random.default_rng(0)


def all_keys(weights, n, key, race):
    keys = np.empty(n)
    weights = np.empty(0, np.float32) if weights is None else weights
    selection._exact_keys(0, -(-n // selection.BLOCK), race, np.uint64(key), weights, np.arange(n), keys)
    return keys


SHAPES = {
    "flat": lambda n: RNG.random(n, dtype=np.float32) + 0.01,
    "extreme": lambda n: 10.0 ** RNG.uniform(-6, 6, n),
    "equal": np.ones,
    "sorted heavy tail": lambda n: np.sort(RNG.pareto(1, n) + 1e-9).astype(np.float32),
    "mostly zero": lambda n: np.where(np.arange(n) % 10 == 0, 1.0, 0.0),
    "tiny": lambda n: np.full(n, 1e-305) * (1 + RNG.random(n)),
}


@pytest.mark.parametrize("n", [1, 3, 64, 100, 4096, 8193, 50_000, 200_001])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_a_full_sort(n, shape):
    weights = SHAPES[shape](n)
    for fraction in (1e-4, 0.01, 0.3, 0.9, 1.0):
        k = max(1, int(fraction * n))
        for race in (True, False):
            if race and (weights > 0).sum() < k:
                continue
            got = k_smallest(weights, n, k, 5, race)
            keys = all_keys(weights, n, 5, race)
            assert np.array_equal(ids_of_bits(got.bits), np.sort(np.argsort(keys, kind="stable")[:k]))
            assert got.threshold == (np.sort(keys)[k] if k < n else np.inf)


def test_same_bits_on_any_number_of_threads():
    weights = SHAPES["extreme"](300_000)
    results = [k_smallest(weights, 300_000, 90_000, 1, threads=threads) for threads in (1, 2, 8)]
    assert all(np.array_equal(r.bits, results[0].bits) and r.threshold == results[0].threshold for r in results)


def test_equal_keys_go_to_the_smaller_ids():
    """With weights of 1e-320 every key is the same huge number."""
    weights = np.full(50_000, 1e-320)
    assert np.array_equal(ids_of_bits(k_smallest(weights, 50_000, 777, 3).bits), np.arange(777))


def test_bits():
    bits = selection.bit_array(10_000)
    ids = np.unique(RNG.integers(0, 10_000, 500))
    np.bitwise_or.at(bits, ids >> 6, np.uint64(1) << (ids & 63).astype(np.uint64))
    assert np.array_equal(ids_of_bits(bits), ids)


def test_exponential_against_the_library():
    bits = hash_array(3, np.arange(200_000))
    got = np.array([selection.exponential(b) for b in bits[:2000]])
    u = selection.uniform
    exact = -np.log1p(-np.array([u(b) for b in bits[:2000]]))
    assert np.max(np.abs(got / exact - 1)) < 1e-10
    keys = all_keys(np.ones(200_000), 200_000, 11, True)
    assert kolmogorov(keys, lambda x: -np.expm1(-x)) > 1e-4
    edge = [np.uint64(0), np.uint64(2**64 - 1)]
    assert [float(selection.exponential(b)) for b in edge] == pytest.approx([2.0**-53, 53 * np.log(2)], rel=1e-9)
