"""Random permutations that are pure functions of a key, equal on any number of threads.

`permutation` computes the ids at some positions of a permutation of 0..n-1; `shuffle` puts a given array in random
order, in cache-sized pieces.
"""

import math

import numpy as np

from ..compiled import compiled
from ..threads import for_blocks
from .rng import below, fold_in, hash64

EXACT_BELOW = 1 << 16  # up to this n the whole permutation is made, by Fisher-Yates
_ROUNDS = 6
_CHUNK = 1024  # positions encrypted together: two uint32 arrays of this length stay in the L1 cache
_BUCKET = 1 << 14  # ids per bucket of `shuffle`: 128 KiB, inside the L2 cache
_BLOCK = 1 << 15  # ids per counting block of `shuffle`
_LOW = np.uint64(0xFFFF_FFFF)


@compiled(inline="always", error_model="numpy")
def _hash32(x):
    # Two multiply-xorshift rounds, with the constants of Wellons' "lowbias32".
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & _LOW
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & _LOW
    return x ^ (x >> np.uint64(16))


@compiled(inline="always", error_model="numpy")
def _add_round(x, other, round_key, modulus):
    x = x + ((_hash32(other ^ round_key) * modulus) >> np.uint64(32))
    return x - modulus * np.uint64(x >= modulus)


@compiled(nogil=True, error_model="numpy")
def _encrypt(first, last, start, round_keys, rows, columns, n, out):
    """Encrypt positions by a Feistel network on rows x columns >= n, again and again until the result is below n."""
    left, right = np.empty(_CHUNK, np.uint32), np.empty(_CHUNK, np.uint32)
    for chunk in range(first, last):
        base = chunk * _CHUNK
        size = min(_CHUNK, len(out) - base)
        row, column = (start + base) // columns, (start + base) % columns
        for j in range(size):
            left[j], right[j] = row, column
            column += 1
            if column == columns:
                row, column = row + 1, 0
        for r in range(0, _ROUNDS, 2):
            for j in range(size):
                right[j] = _add_round(np.uint64(right[j]), np.uint64(left[j]), round_keys[r], np.uint64(columns))
            for j in range(size):
                left[j] = _add_round(np.uint64(left[j]), np.uint64(right[j]), round_keys[r + 1], np.uint64(rows))
        for j in range(size):
            value = np.int64(left[j]) * columns + np.int64(right[j])
            while value >= n:  # fewer than one value in sqrt(n) lies outside
                a, b = np.uint64(value // columns), np.uint64(value % columns)
                for r in range(0, _ROUNDS, 2):
                    b = _add_round(b, a, round_keys[r], np.uint64(columns))
                    a = _add_round(a, b, round_keys[r + 1], np.uint64(rows))
                value = np.int64(a) * columns + np.int64(b)
            out[base + j] = value


@compiled(inline="always", error_model="numpy")
def fisher_yates(items: np.ndarray, key: np.uint64) -> None:
    """Shuffle fewer than 2^32 items in place; every order is equally likely."""
    for i in range(len(items) - 1, 0, -1):
        j = below(hash64(key, np.uint64(i)), np.uint64(i + 1))
        items[i], items[j] = items[j], items[i]


@compiled(nogil=True)
def _fisher_yates(items, key):
    fisher_yates(items, key)


def permutation(key: int, n: int, start: int = 0, stop: int | None = None, threads: int | None = None) -> np.ndarray:
    """The ids at positions start..stop-1 of a random permutation of 0..n-1, which depends on `key` and n alone.

    Up to 2^16 ids it is a Fisher-Yates shuffle: every order is equally likely. Above, it is a format-preserving cipher:
    a six-round Feistel network on ceil(sqrt(n)) rows and ceil(n / rows) columns with modular addition and cycle walking
    (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Then only the asked positions take memory
    and time: 1 % of 10^9 ids costs what 10^7 ids do.

    Args:
        key: 64-bit key.
        n: number of ids, 1 <= n < 2^62.
        start, stop: positions, 0 <= start <= stop <= n; stop None is n.
        threads: upper limit; None takes all cores.

    Returns:
        int64 [stop - start], no id twice.

    Raises:
        ValueError: the positions are not inside 0..n, or n is too large.
    """
    stop = n if stop is None else stop
    if not 0 <= start <= stop <= n < 1 << 62:
        raise ValueError(
            f"positions {start} to {stop} are not inside a permutation of {n} ids: 0 <= start <= stop <= n < 2^62"
        )
    if n <= EXACT_BELOW:
        ids = np.arange(n)
        _fisher_yates(ids, np.uint64(key))
        return ids[start:stop]
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    round_keys = np.array([fold_in(key, r) & 0xFFFF_FFFF for r in range(_ROUNDS)], np.uint64)
    out = np.empty(stop - start, np.int64)
    chunks = -(-len(out) // _CHUNK)
    for_blocks(_encrypt, chunks, start, round_keys, rows, columns, n, out, threads=threads, grain=32)
    return out


@compiled(nogil=True, error_model="numpy")
def _count_buckets(first, last, n, key, counts):
    buckets = np.uint64(counts.shape[1])
    for block in range(first, last):
        for j in range(block * _BLOCK, min((block + 1) * _BLOCK, n)):
            counts[block, below(hash64(key, np.uint64(j)), buckets)] += 1


@compiled(nogil=True, error_model="numpy")
def _scatter(first, last, ids, key, offsets, out):
    buckets = np.uint64(offsets.shape[1])
    for block in range(first, last):
        offset = offsets[block]
        for j in range(block * _BLOCK, min((block + 1) * _BLOCK, len(ids))):
            bucket = below(hash64(key, np.uint64(j)), buckets)
            out[offset[bucket]] = ids[j]
            offset[bucket] += 1


@compiled(nogil=True, error_model="numpy")
def _shuffle_buckets(first, last, edges, key, out):
    for bucket in range(first, last):
        fisher_yates(out[edges[bucket] : edges[bucket + 1]], hash64(key, np.uint64(bucket)))


def shuffle(ids: np.ndarray, key: int, threads: int | None = None) -> np.ndarray:
    """Put ids in random order.

    Every id falls into a random bucket, and every bucket is shuffled in the cache. Independent uniform buckets, and
    uniform orders inside them, make every order equally likely (Sanders, "Random permutations on distributed, external
    and hierarchical memory", IPL 1998).

    Args:
        ids: int64 [K]; up to 2^14 ids are shuffled in place.
        key: 64-bit key.
        threads: upper limit; None takes all cores.

    Returns:
        int64 [K]; `ids` itself where they were shuffled in place.
    """
    buckets = -(-len(ids) // _BUCKET)
    if buckets <= 1:
        _fisher_yates(ids, np.uint64(fold_in(key, 1)))
        return ids
    blocks = -(-len(ids) // _BLOCK)
    counts = np.zeros((blocks, buckets), np.int64)
    bucket_key, order_key = np.uint64(fold_in(key, 0)), np.uint64(fold_in(key, 1))
    for_blocks(_count_buckets, blocks, len(ids), bucket_key, counts, threads=threads)
    ends = np.cumsum(counts.T).reshape(buckets, blocks)
    edges = np.concatenate(([0], ends[:, -1]))
    offsets = ends.T - counts
    out = np.empty_like(ids)
    for_blocks(_scatter, blocks, ids, bucket_key, offsets, out, threads=threads)
    for_blocks(_shuffle_buckets, buckets, edges, order_key, out, threads=threads)
    return out
