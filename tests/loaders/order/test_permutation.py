import itertools

import numpy as np
import pytest

from loaders.order.permutation import EXACT_BELOW, permutation, shuffle
from tests.goodness import chi_square, kolmogorov


@pytest.mark.parametrize("n", [1, 2, 10, EXACT_BELOW, EXACT_BELOW + 1, 65_537, 99_991, 2**20, 1_000_003])
def test_every_id_once(n):
    assert np.array_equal(np.sort(permutation(5, n)), np.arange(n))


def test_a_part_needs_no_whole():
    whole = permutation(9, 300_000)
    assert np.array_equal(permutation(9, 300_000, 1234, 250_001), whole[1234:250_001])
    assert np.array_equal(permutation(9, 300_000, threads=1), permutation(9, 300_000, threads=8))
    part = permutation(9, 10**12, 5 * 10**11, 5 * 10**11 + 1000)
    assert part.min() >= 0
    assert part.max() < 10**12
    assert len(np.unique(part)) == 1000


def test_positions_outside_are_refused():
    with pytest.raises(ValueError, match=r"positions 3 to 11 are not inside a permutation of 10 ids"):
        permutation(1, 10, 3, 11)


def test_all_orders_of_a_small_set_are_equally_likely():
    orders = {order: 0 for order in itertools.permutations(range(4))}
    for key in range(24_000):
        orders[tuple(permutation(key * 7919, 4).tolist())] += 1
    assert chi_square(list(orders.values())) > 1e-4


def test_cipher_looks_random():
    """First place, inclusion in a prefix, neighbours and parity of a large permutation, over keys."""
    n, keys = 70_000, range(3000)
    firsts = np.array([permutation(key, n, 0, 2) for key in keys])
    assert chi_square(np.bincount(firsts[:, 0] * 16 // n, minlength=16)) > 1e-4
    assert chi_square(np.bincount((firsts[:, 1] - firsts[:, 0]) % n * 16 // n, minlength=16)) > 1e-4
    one = permutation(17, 1_000_000)
    limit = 4.5 / np.sqrt(len(one))
    assert abs(np.corrcoef(one, np.arange(len(one)))[0, 1]) < limit
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < limit
    assert abs(np.corrcoef(one, permutation(18, 1_000_000))[0, 1]) < limit
    in_prefix = np.sort(one[:300_000])
    assert kolmogorov(in_prefix / 1_000_000) > 1e-4
    gaps = np.bincount(np.minimum(np.diff(in_prefix), 12), minlength=13)[1:]
    expected = 0.3 * 0.7 ** np.arange(12)
    expected[-1] = 0.7**11
    assert chi_square(gaps, expected * gaps.sum()) > 1e-4


@pytest.mark.parametrize("n", [0, 1, 1000, 100_000])
def test_shuffle_keeps_the_items(n):
    ids = np.arange(n) * 3
    shuffled = shuffle(ids.copy(), 4)
    assert np.array_equal(np.sort(shuffled), ids)
    assert np.array_equal(shuffled, shuffle(ids.copy(), 4, threads=1))
    assert np.array_equal(shuffled, shuffle(ids.copy(), 4, threads=8))


def test_shuffle_over_many_buckets_is_uniform():
    n, runs = 40_000, 400
    place = np.array([np.flatnonzero(shuffle(np.arange(n), key) == 123)[0] for key in range(runs)])
    assert kolmogorov(place / n) > 1e-4
    one = shuffle(np.arange(1_000_000), 3)
    assert abs(np.corrcoef(one, np.arange(len(one)))[0, 1]) < 4.5e-3
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 4.5e-3
