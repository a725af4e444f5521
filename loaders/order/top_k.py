"""Find the K smallest of N random keys, without a sort and without storing the keys.

Each id has a key, a function of its weight and of random bits, computed again wherever it is needed. A small random
sample of the keys brackets the K-th smallest one. One pass over all ids marks those surely below the bracket and those
perhaps inside it, in two bit arrays (N / 4 bytes together). Only the latter, a few per cent, are compared exactly.
"""

import math
from typing import NamedTuple

import numpy as np

from ..compiled import compiled
from ..threads import for_blocks
from .bit_array import BLOCK, WORDS, bit_array, block_offsets, extract, ids_of_bits
from .rng import fold_in, hash64

_GRAIN = 12  # least number of blocks for a thread

_ONE_BITS = np.uint64(0x3FF0_0000_0000_0000)
_TWO52_BITS = np.uint64(0x4330_0000_0000_0000)
_SQRT_HALF = np.uint64(0x3FE6_A09E << 32)
_SHIFT = np.uint64((0x3FF0_0000 - 0x3FE6_A09E) << 32)
_MANTISSA = np.uint64(0xF_FFFF_FFFF_FFFF)
_U12, _U52 = np.uint64(12), np.uint64(52)
_LN2 = float(np.log(2.0))
_HUGE = 1.7e308


@compiled(inline="always", error_model="numpy")
def uniform(bits: np.uint64) -> float:
    """Turn 64 random bits into a uniform float64 in (0, 1), an odd multiple of 2^-53."""
    return (np.uint64((bits >> _U12) | _ONE_BITS).view(np.float64) - 1.0) + 2.0**-53


@compiled(inline="always", error_model="numpy")
def exponential(bits: np.uint64) -> float:
    """Turn 64 random bits into a standard exponential, -log(1 - u) for uniform u; relative error below 1e-10.

    It uses additions, multiplications and one division, in a fixed order. So the result is the same to the bit on every
    machine, unlike that of the C library's logarithm, and a loop over it is vectorised.
    """
    x = (2.0 - np.uint64((bits >> _U12) | _ONE_BITS).view(np.float64)) - 2.0**-53  # 1 - u, exact
    shifted = np.float64(x).view(np.uint64) + _SHIFT
    exponent = np.uint64((shifted >> _U52) | _TWO52_BITS).view(np.float64) - (2.0**52 + 1023.0)
    f = np.uint64((shifted & _MANTISSA) + _SQRT_HALF).view(np.float64) - 1.0  # x = (1 + f) 2^exponent
    s = f / (2.0 + f)
    z = s * s
    series = 1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11)))))  # atanh(s) / s
    return -(exponent * _LN2 + 2.0 * s * series)


@compiled(nogil=True, error_model="numpy")
def _mark_race(first, last, key, weights, n, low, high, surely, perhaps):
    """Mark ids whose key exponential / weight is surely below `low`, and other ids whose key is perhaps below `high`.

    The bounds 2u / (2 - u) <= -log(1 - u) <= u (2 - u) / (2 (1 - u)) decide all but a few per cent without a logarithm.
    """
    for word in range(first * WORDS, min(last * WORDS, (n + 63) >> 6)):
        sure, maybe = np.uint64(0), np.uint64(0)
        for j in range(min(64, n - word * 64)):
            u = uniform(hash64(key, np.uint64(word * 64 + j)))
            w = np.float64(weights[np.uint64(word * 64 + j)])
            sure |= np.uint64(u * (2.0 - u) < 2.0 * (1.0 - u) * (low * w)) << np.uint64(j)
            maybe |= np.uint64(2.0 * u < (high * w) * (2.0 - u)) << np.uint64(j)
        surely[word], perhaps[word] = sure, maybe & ~sure


@compiled(nogil=True, error_model="numpy")
def _mark_plain(first, last, key, weights, n, low, high, surely, perhaps):
    """Mark ids as `_mark_race` does, for the keys uniform - weight; an empty `weights` counts as zeros."""
    for word in range(first * WORDS, min(last * WORDS, (n + 63) >> 6)):
        sure, maybe = np.uint64(0), np.uint64(0)
        for j in range(min(64, n - word * 64)):
            k = uniform(hash64(key, np.uint64(word * 64 + j)))
            if len(weights):
                k -= np.float64(weights[np.uint64(word * 64 + j)])
            sure |= np.uint64(k < low) << np.uint64(j)
            maybe |= np.uint64(k <= high) << np.uint64(j)
        surely[word], perhaps[word] = sure, maybe & ~sure


@compiled(nogil=True, error_model="numpy")
def _exact_keys(first, last, race, key, weights, ids, out):
    """Compute the keys of some ids."""
    for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
        out[j] = np.float64(weights[np.uint64(ids[j])]) if len(weights) else 0.0
    if race:
        for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
            k = min(exponential(hash64(key, np.uint64(ids[j]))) / out[j], _HUGE)
            out[j] = k if out[j] > 0.0 else np.inf
    else:
        for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
            out[j] = uniform(hash64(key, np.uint64(ids[j]))) - out[j]


@compiled(nogil=True, error_model="numpy")
def _sample(race, key, weights, n, places_key, ids, out):
    """Draw ids uniformly with replacement, and compute their keys into `out`."""
    for j in range(len(ids)):
        ids[j] = np.int64(np.float64(hash64(places_key, np.uint64(j)) >> np.uint64(11)) * 2.0**-53 * n)
    _exact_keys(0, (len(ids) + BLOCK - 1) // BLOCK, race, key, weights, ids, out)


@compiled(nogil=True, error_model="numpy")
def _split(race, key, weights, n, low, high, surely, perhaps, offsets):
    """Mark, extract and compute keys in one call, for so few ids that threads do not pay.

    Returns the number of ids that are surely chosen, the ids that perhaps are, and the keys of the latter.
    """
    blocks = len(offsets)
    if race:
        _mark_race(0, blocks, key, weights, n, low, high, surely, perhaps)
    else:
        _mark_plain(0, blocks, key, weights, n, low, high, surely, perhaps)
    num_sure = block_offsets(surely, offsets)
    ids = np.empty(block_offsets(perhaps, offsets), np.int64)
    extract(0, blocks, perhaps, offsets, ids)
    keys = np.empty(len(ids))
    _exact_keys(0, (len(ids) + BLOCK - 1) // BLOCK, race, key, weights, ids, keys)
    return num_sure, ids, keys


@compiled(nogil=True)
def _add_smallest(bits, ids, keys, count, threshold):
    """Set the bits of `count` ids: those with keys below the threshold, then the first with keys equal to it."""
    for j in range(len(ids)):
        count -= keys[j] < threshold
    for j in range(len(ids)):
        is_tie = keys[j] == threshold and count > 0
        count -= is_tie
        bits[ids[j] >> 6] |= np.uint64(keys[j] < threshold or is_tie) << np.uint64(ids[j] & 63)


class Smallest(NamedTuple):
    """The result of `k_smallest`.

    Attributes:
        bits: a set bit per chosen id (see `bit_array`).
        threshold: the (K+1)-th smallest key; infinity if there is none.
    """

    bits: np.ndarray
    threshold: float


def k_smallest(
    weights: np.ndarray | None, n: int, k: int, key: int, race: bool = True, threads: int | None = None
) -> Smallest:
    """Choose the k ids with the smallest keys; among equal keys, the smaller ids.

    Args:
        weights: float32 or float64 [N], finite; for a race also >= 0. None is all zeros, for `race=False`.
        n, k: 0 < k <= n; a race needs at least k positive weights.
        key: 64-bit key of the random bits.
        race: the keys are Exp(1) / weight, and weight zero is never chosen. Otherwise they are Uniform(0, 1) - weight.
        threads: upper limit; None takes all cores.
    """
    weights = np.empty(0, np.float32) if weights is None else weights
    bits_key, blocks = np.uint64(key), -(-n // BLOCK)
    surely, perhaps, sample = bit_array(n), bit_array(n), np.empty(0)
    if n > 2 * BLOCK:
        size = int(n ** (2 / 3))
        sample = np.empty(size)
        _sample(race, bits_key, weights, n, np.uint64(fold_in(int(bits_key), size)), np.empty(size, np.int64), sample)
    for sigmas in (3.0, 12.0, math.inf):
        low, high = _bracket(sample, k / n, sigmas)
        if blocks < 2 * _GRAIN:
            offsets = np.empty(blocks, np.int64)
            num_sure, ids, keys = _split(race, bits_key, weights, n, low, high, surely, perhaps, offsets)
        else:
            mark = _mark_race if race else _mark_plain
            for_blocks(mark, blocks, bits_key, weights, n, low, high, surely, perhaps, threads=threads, grain=_GRAIN)
            num_sure = int(np.bitwise_count(surely).sum(dtype=np.int64))
            ids = ids_of_bits(perhaps, threads)
            keys = np.empty(len(ids))
            batches = -(-len(ids) // BLOCK)
            for_blocks(_exact_keys, batches, race, bits_key, weights, ids, keys, threads=threads, grain=_GRAIN)
        need = k - num_sure
        if not 0 <= need <= len(ids):
            continue
        threshold = float(np.partition(keys, need)[need]) if need < len(ids) else math.inf
        if low <= threshold <= high or math.isinf(sigmas):
            break
    _add_smallest(surely, ids, keys, need, threshold)
    return Smallest(surely, threshold)


def _bracket(sample: np.ndarray, quantile: float, sigmas: float) -> tuple[float, float]:
    """Two keys of a sample around a quantile, `sigmas` standard deviations of its rank to each side.

    A side that falls outside the sample is unbounded. The sample is put in another order.
    """
    size = len(sample)
    if not size or math.isinf(sigmas):
        return -math.inf, math.inf
    rank, spread = quantile * size, sigmas * math.sqrt(quantile * (1 - quantile) * size) + sigmas
    low, high = int(rank - spread), int(rank + spread) + 1
    sample.partition([place for place in (low, high) if 0 <= place < size] or 0)
    bounded = high < size and sample[high] < _HUGE
    return float(sample[low]) if low >= 0 else -math.inf, float(sample[high]) if bounded else math.inf
