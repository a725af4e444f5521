"""Which samples a core-set takes: pure functions of scores, labels and a key."""

import numpy as np

from loaders.order.rng import hash_array
from loaders.order.rounding import floor_fraction


def quotas(sizes_C: np.ndarray, total: int) -> np.ndarray:
    """Split `total` over classes in proportion to their sizes, by largest remainders: int64 [C], each at most its size.

    Of equal remainders the earlier class wins.
    """
    sizes_C = np.asarray(sizes_C, np.int64)
    whole_C, rest_C = np.divmod(sizes_C * total, sizes_C.sum())
    extra = np.argsort(-rest_C, kind="stable")[: total - whole_C.sum()]
    whole_C[extra] += 1
    return whole_C


def hardest(scores_N: np.ndarray, fraction: float, offset: float, key: int, labels_N: np.ndarray | None = None):
    """The samples with the largest scores after those that the offset drops; equal scores in the order of a hash.

    Args:
        scores_N: float or integer [N], finite; all equal is a uniform draw.
        fraction: of the samples, in (0, 1].
        offset: fraction of the very hardest that is left out; fraction + offset <= 1.
        key: 64-bit key of the hash.
        labels_N: int64 [N]: take the fraction, and drop the offset, of each class by itself; None ranks all together.

    Returns:
        int64 ids, sorted.
    """
    n = len(scores_N)
    order = np.lexsort((hash_array(key, np.arange(n)), -np.asarray(scores_N)))
    total = floor_fraction(n, fraction)
    if labels_N is None:
        start = floor_fraction(n, offset)
        return np.sort(order[start : start + total])
    chosen, classes = [], labels_N[order]
    for label, quota in enumerate(quotas(np.bincount(labels_N), total)):
        members = order[classes == label]
        start = floor_fraction(len(members), offset)
        chosen.append(members[start : start + quota])
    return np.sort(np.concatenate(chosen))
