"""Designs that draw all items equally: one pass after another over many epochs, the order of the file, whole passes.

And `pool`, which takes the largest weights of a uniform draw.
"""

import numpy as np

from .draw import PASSES, SELECT, SHUFFLE, Context, Draw
from .permutation import permutation, shuffle
from .rng import fold_in


def pool(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw the K largest weights among `context.pool_size` uniformly drawn items; ties are broken at random.

    The chance of the item of rank j (0 is the largest weight) is size / n * P(H < K), where H, the number of the j
    larger ones that are in the pool too, is hypergeometric. Sums over the draw are therefore unbiased for the sum of
    f times these chances, the objective of Ordered SGD (Kawaguchi and Lu, AISTATS 2020) for the whole data set.
    """
    key, threads, size = context.key, context.threads, context.pool_size
    if weights is None:
        return Draw(permutation(fold_in(key, SHUFFLE), n, 0, k, threads))
    ids = permutation(fold_in(key, SELECT), n, 0, size, threads)
    values = weights[ids]
    smallest = np.partition(values, size - k)[size - k]
    above = ids[values > smallest]
    ties = ids[values == smallest][: k - len(above)]  # the ids are in random order
    return Draw(shuffle(np.concatenate((above, ties)), fold_in(key, SHUFFLE), threads))


def scan(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw positions epoch * K to (epoch + 1) * K - 1 of one shuffled pass over all n items after another.

    Each pass is a permutation of its own, so visits differ by at most one at any time. An epoch that spans two passes
    may hold an item twice. Weights are not read.
    """
    parts: list[np.ndarray] = []
    position, end = context.epoch * k, (context.epoch + 1) * k
    while position < end:
        number, start = divmod(position, n)
        stop = min(n, start + end - position)
        parts.append(permutation(fold_in(context.run_key, PASSES, number), n, start, stop, context.threads))
        position += stop - start
    return Draw(np.concatenate(parts))


def sequential(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Items 0 to K - 1 in this order, in each epoch; behind the last item comes the first again. Nothing is drawn."""
    return Draw(np.arange(k, dtype=np.int64) % n)


def whole_passes(n: int, count: int, key: int) -> np.ndarray:
    """`count` passes over n items, each in a random order of its own: int64 [count * n]."""
    return np.concatenate([permutation(fold_in(key, PASSES, j), n) for j in range(count)])
