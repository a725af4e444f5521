import numba
import numpy as np
import pytest

from loaders.order.rng import below, below_array, fold_in, hash64, hash_array
from tests.goodness import chi_square


@numba.njit
def compiled(key, position, n):
    bits = hash64(key, position)
    return bits, below(bits, n)


def test_golden_values():
    """Runs in the field depend on these bits: they may never change."""
    assert fold_in(42, 1, 0) == 10646091845267208524
    assert hash_array(7, np.arange(3)).tolist() == [7191089600892374487, 309689372594955804, 16616101746815609346]


def test_numpy_and_numba_agree_to_the_bit():
    key = np.uint64(fold_in(3, 4, 5))
    bits = hash_array(int(key), np.arange(1000))
    draws = below_array(bits, 9)
    for i in (0, 1, 17, 999):
        assert compiled(key, np.uint64(i), np.uint64(9)) == (bits[i], draws[i])


def test_every_word_and_its_place_matter():
    keys = {fold_in(*words) for words in [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (-1,), (2**64 - 2,), (0, 0, 0)]}
    assert len(keys) == 9
    assert fold_in(-1) == fold_in(2**64 - 1)


def test_numpys_integers_are_integers():
    assert fold_in(np.int64(42), np.uint8(1), np.int32(0)) == fold_in(42, 1, 0)
    assert fold_in(np.int64(-1)) == fold_in(-1)
    with pytest.raises(TypeError, match="float"):
        fold_in(1.5)


def test_seed_plus_epoch_is_not_the_key():
    assert len({fold_in(seed, 1, epoch) for seed in range(100) for epoch in range(100)}) == 10_000


@pytest.mark.parametrize("n", [2, 9, 1000])
def test_below_is_uniform(n):
    counts = np.bincount(below_array(hash_array(fold_in(1, n), np.arange(200_000)), n), minlength=n)
    assert chi_square(counts) > 1e-4


def test_neighbouring_keys_are_unrelated():
    rows = np.stack([hash_array(fold_in(seed, 1, 0), np.arange(20_000)) for seed in range(4)]).astype(np.float64)
    correlation = np.corrcoef(rows)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(20_000)
