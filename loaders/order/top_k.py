"""The K smallest of N computed keys, without a sort and without storing the keys.

A key is a function of (64-bit key, id, weight), computed again wherever it is needed. A small keyed sample brackets the
K-th smallest key; one pass marks the ids surely below the bracket and those perhaps inside it in two bit arrays (N/4
bytes together); only the latter, a few per cent, are compared exactly.
This module imports neither torch nor a backend.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from loaders.order.rng import fold_in, hash64
from loaders.threads import for_blocks

BLOCK = 4096  # ids per block: its keys stay in the L1 cache
_WORDS = BLOCK // 64
_GRAIN = 12

_ONE_BITS = np.uint64(0x3FF0_0000_0000_0000)
_TWO52_BITS = np.uint64(0x4330_0000_0000_0000)
_SQRT_HALF = np.uint64(0x3FE6_A09E << 32)
_SHIFT = np.uint64((0x3FF0_0000 - 0x3FE6_A09E) << 32)
_MANTISSA = np.uint64(0xF_FFFF_FFFF_FFFF)
_U12, _U52 = np.uint64(12), np.uint64(52)
_LN2 = float(np.log(2.0))
_HUGE = 1.7e308


@numba.njit(cache=True, inline="always", error_model="numpy")
def uniform(bits):
    """float64 in (0, 1), an odd multiple of 2^-53, from 64 random bits."""
    return (np.uint64((bits >> _U12) | _ONE_BITS).view(np.float64) - 1.0) + 2.0**-53


@numba.njit(cache=True, inline="always", error_model="numpy")
def exponential(bits):
    """A standard exponential, -log(1 - u), from 64 random bits; relative error below 1e-10.

    Only additions, multiplications and one division, in a fixed order: the same bits on every machine, unlike the
    logarithm of the C library, and a loop over it becomes vector instructions.
    """
    x = (2.0 - np.uint64((bits >> _U12) | _ONE_BITS).view(np.float64)) - 2.0**-53  # 1 - u, exact
    shifted = np.float64(x).view(np.uint64) + _SHIFT
    exponent = np.uint64((shifted >> _U52) | _TWO52_BITS).view(np.float64) - (2.0**52 + 1023.0)
    f = np.uint64((shifted & _MANTISSA) + _SQRT_HALF).view(np.float64) - 1.0  # x = (1 + f) 2^exponent
    s = f / (2.0 + f)
    z = s * s
    series = 1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11)))))  # atanh(s) / s
    return -(exponent * _LN2 + 2.0 * s * series)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark_race(first, last, key, weights, n, low, high, surely, perhaps):
    """Bits of the ids whose key exponential(u) / weight is surely below `low`, and of those not surely above `high`.

    No logarithm: 2u / (2 - u) <= -log(1 - u) <= u (2 - u) / (2 (1 - u)) decides all but a few per cent.
    """
    for word in range(first * _WORDS, min(last * _WORDS, (n + 63) >> 6)):
        sure, maybe = np.uint64(0), np.uint64(0)
        for j in range(min(64, n - word * 64)):
            u = uniform(hash64(key, np.uint64(word * 64 + j)))
            w = np.float64(weights[np.uint64(word * 64 + j)])
            sure |= np.uint64(u * (2.0 - u) < 2.0 * (1.0 - u) * (low * w)) << np.uint64(j)
            maybe |= np.uint64(2.0 * u < (high * w) * (2.0 - u)) << np.uint64(j)
        surely[word], perhaps[word] = sure, maybe & ~sure


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark_plain(first, last, key, weights, n, low, high, surely, perhaps):
    """The same for keys uniform - weight; an empty `weights` counts as zeros."""
    for word in range(first * _WORDS, min(last * _WORDS, (n + 63) >> 6)):
        sure, maybe = np.uint64(0), np.uint64(0)
        for j in range(min(64, n - word * 64)):
            k = uniform(hash64(key, np.uint64(word * 64 + j)))
            if len(weights):
                k -= np.float64(weights[np.uint64(word * 64 + j)])
            sure |= np.uint64(k < low) << np.uint64(j)
            maybe |= np.uint64(k <= high) << np.uint64(j)
        surely[word], perhaps[word] = sure, maybe & ~sure


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _exact_keys(first, last, race, key, weights, ids, out):
    for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
        out[j] = np.float64(weights[np.uint64(ids[j])]) if len(weights) else 0.0
    if race:
        for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
            k = min(exponential(hash64(key, np.uint64(ids[j]))) / out[j], _HUGE)
            out[j] = k if out[j] > 0.0 else np.inf
    else:
        for j in range(first * BLOCK, min(last * BLOCK, len(ids))):
            out[j] = uniform(hash64(key, np.uint64(ids[j]))) - out[j]


@numba.njit(cache=True, nogil=True, inline="always")
def count_ones(word):
    """The number of set bits of a uint64, as uint64; LLVM knows this form and makes one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555_5555_5555_5555))
    word = (word & np.uint64(0x3333_3333_3333_3333)) + ((word >> np.uint64(2)) & np.uint64(0x3333_3333_3333_3333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F_0F0F_0F0F_0F0F)
    return (word * np.uint64(0x0101_0101_0101_0101)) >> np.uint64(56)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _extract(first, last, bits, offsets, out):
    for block in range(first, last):
        at = offsets[block]
        for word in range(block * _WORDS, (block + 1) * _WORDS):
            rest = bits[word]
            while rest:
                out[at] = word * 64 + np.int64(count_ones(~rest & (rest - np.uint64(1))))  # trailing zeros
                at += 1
                rest &= rest - np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _offsets(bits, offsets):
    """How many bits are set ahead of each block; returns how many there are."""
    total = 0
    for block in range(len(offsets)):
        offsets[block] = total
        for word in range(block * _WORDS, (block + 1) * _WORDS):
            total += np.int64(count_ones(bits[word]))
    return total


def bit_array(n: int) -> np.ndarray:
    """A zeroed bit per id, in whole blocks: uint64 [ceil(n / BLOCK) * BLOCK / 64]."""
    return np.zeros(-(-n // BLOCK) * _WORDS, np.uint64)


def ids_of_bits(bits: np.ndarray, threads: int | None = None) -> np.ndarray:
    """The set bits as ascending ids, int64."""
    offsets = np.empty(len(bits) // _WORDS, np.int64)
    out = np.empty(_offsets(bits, offsets), np.int64)
    for_blocks(_extract, len(offsets), bits, offsets, out, threads=threads, grain=_GRAIN * 4)
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sample(race, key, weights, n, places_key, ids, out):
    """Keys of ids drawn with repeats."""
    for j in range(len(ids)):
        ids[j] = np.int64(np.float64(hash64(places_key, np.uint64(j)) >> np.uint64(11)) * 2.0**-53 * n)
    _exact_keys(0, (len(ids) + BLOCK - 1) // BLOCK, race, key, weights, ids, out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _split(race, key, weights, n, low, high, surely, perhaps, offsets):
    """All that threads do for many ids, in one call: how many are surely chosen; the ids perhaps, and their keys."""
    blocks = len(offsets)
    if race:
        _mark_race(0, blocks, key, weights, n, low, high, surely, perhaps)
    else:
        _mark_plain(0, blocks, key, weights, n, low, high, surely, perhaps)
    num_sure = _offsets(surely, offsets)
    ids = np.empty(_offsets(perhaps, offsets), np.int64)
    _extract(0, blocks, perhaps, offsets, ids)
    keys = np.empty(len(ids))
    _exact_keys(0, (len(ids) + BLOCK - 1) // BLOCK, race, key, weights, ids, keys)
    return num_sure, ids, keys


@numba.njit(cache=True, nogil=True)
def _add_smallest(bits, ids, keys, count, threshold):
    """Set the bits of `count` ids: those with keys below the threshold, and the first of those that are equal to it."""
    for j in range(len(ids)):
        count -= keys[j] < threshold
    for j in range(len(ids)):
        is_tie = keys[j] == threshold and count > 0
        count -= is_tie
        bits[ids[j] >> 6] |= np.uint64(keys[j] < threshold or is_tie) << np.uint64(ids[j] & 63)


class Smallest(NamedTuple):
    """`bits`: a set bit per chosen id; `threshold`: the (K+1)-th smallest key (infinity if there is none)."""

    bits: np.ndarray
    threshold: float


def k_smallest(weights: np.ndarray | None, n: int, k: int, key: int, race: bool = True, threads=None) -> Smallest:
    """Choose the k ids with the smallest keys; of equal keys the smaller ids.

    Args:
        weights: float32 or float64 [N], finite and >= 0; None is all zeros (for `race=False`).
        n, k: 0 < k <= n; a race needs at least k positive weights.
        key: 64-bit key of the draws.
        race: keys Exp(1) / weight, where weight zero is never chosen; otherwise uniform(0, 1) - weight.
    """
    weights = np.empty(0, np.float32) if weights is None else weights
    key, blocks = np.uint64(key), -(-n // BLOCK)
    surely, perhaps, sample = bit_array(n), bit_array(n), np.empty(0)
    if n > 2 * BLOCK:
        size = int(n ** (2 / 3))
        sample = np.empty(size)
        _sample(race, key, weights, n, np.uint64(fold_in(int(key), size)), np.empty(size, np.int64), sample)
    for sigmas in (3.0, 12.0, math.inf):
        low, high = _bracket(sample, k / n, sigmas)
        if blocks < 2 * _GRAIN:
            offsets = np.empty(blocks, np.int64)
            num_sure, ids, keys = _split(race, key, weights, n, low, high, surely, perhaps, offsets)
        else:
            mark = _mark_race if race else _mark_plain
            for_blocks(mark, blocks, key, weights, n, low, high, surely, perhaps, threads=threads, grain=_GRAIN)
            num_sure = int(np.bitwise_count(surely).sum(dtype=np.int64))
            ids = ids_of_bits(perhaps, threads)
            keys = np.empty(len(ids))
            batches = -(-len(ids) // BLOCK)
            for_blocks(_exact_keys, batches, race, key, weights, ids, keys, threads=threads, grain=_GRAIN)
        need = k - num_sure
        if not 0 <= need <= len(ids):
            continue
        threshold = float(np.partition(keys, need)[need]) if need < len(ids) else math.inf
        if low <= threshold <= high or math.isinf(sigmas):
            break
    _add_smallest(surely, ids, keys, need, threshold)
    return Smallest(surely, threshold)


def _bracket(sample: np.ndarray, share: float, sigmas: float) -> tuple[float, float]:
    """Two keys of the sample, which is put in another order, around the quantile `share`, `sigmas` standard deviations
    of its rank to each side.

    A side that falls outside the sample is unbounded.
    """
    size = len(sample)
    if not size or math.isinf(sigmas):
        return -math.inf, math.inf
    rank, spread = share * size, sigmas * math.sqrt(share * (1 - share) * size) + sigmas
    low, high = int(rank - spread), int(rank + spread) + 1
    sample.partition([place for place in (low, high) if 0 <= place < size] or 0)
    bounded = high < size and sample[high] < _HUGE
    return float(sample[low]) if low >= 0 else -math.inf, float(sample[high]) if bounded else math.inf
