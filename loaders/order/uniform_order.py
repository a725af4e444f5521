"""Draws that begin with a uniform order: whole passes, one scan over many epochs, the top of a uniform pool.

This module imports neither torch nor a backend.
"""

import numpy as np

from loaders.order.designs import Draw, race
from loaders.order.permutation import permutation, shuffle
from loaders.order.rng import fold_in

_POOL, _SHUFFLE, _PASSES = 0, 1, 3


def pool(weights, n: int, k: int, key: int, size: int, threads: int | None = None) -> Draw:
    """The K largest weights among `size` items drawn uniformly without replacement; ties are broken at random.

    The chance of the item of rank j (0 is the largest weight) is size / n * P(H < K) with H hypergeometric: how many of
    the j larger ones are among the other size - 1. So sums over the draw are unbiased for the sum of f by these
    chances, Ordered SGD's objective (Kawaguchi and Lu, AISTATS 2020) for the whole data set.
    """
    if weights is None:
        return race(None, n, k, key, threads)._replace(design="pool", scale=np.nan)
    ids = permutation(fold_in(key, _POOL), n, 0, size, threads)
    values = weights[ids]
    smallest = np.partition(values, size - k)[size - k]
    above = ids[values > smallest]
    ties = ids[values == smallest][: k - len(above)]  # the ids are in random order
    return Draw(shuffle(np.concatenate((above, ties)), fold_in(key, _SHUFFLE), threads), "pool", np.nan)


def scan(n: int, k: int, run_key: int, epoch: int, threads: int | None = None) -> Draw:
    """Positions epoch * K .. (epoch + 1) * K - 1 of one shuffled pass over all n items after another.

    Each pass is a permutation of its own, so visits differ by at most one at any time; an epoch that spans two passes
    may hold an item twice.
    """
    parts, position, end = [], epoch * k, (epoch + 1) * k
    while position < end:
        number, start = divmod(position, n)
        stop = min(n, start + end - position)
        parts.append(permutation(fold_in(run_key, _PASSES, number), n, start, stop, threads))
        position += stop - start
    return Draw(np.concatenate(parts), "scan", k / n)


def passes(n: int, count: int, key: int, threads: int | None = None) -> np.ndarray:
    """`count` whole passes over n items, each in a random order of its own: int64 [count * n]."""
    return np.concatenate([permutation(fold_in(key, _PASSES, j), n, threads=threads) for j in range(count)])
