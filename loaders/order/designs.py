"""The sampling designs: from weights and a key to ids in random order.

| design        | repeats | chance of an item                                    | weights for unbiased means        |
| ------------- | ------- | ---------------------------------------------------- | --------------------------------- |
| `race`        | no      | successive sampling, as NumPy's `choice(p=...)`      | from the threshold (bottom-k)     |
| `systematic`  | no      | exactly min(1, c w)                                  | 1 / (N pi), exact                 |
| `replacement` | yes     | K draws of w / sum(w)                                | 1 / (N K p)                       |
| `paged`       | no      | as `race`                                            | as `race`                         |
| `scan`        | yes     | all equally, one pass after another                  | equal                             |
| `sequential`  | yes     | the first K in the order of the file, in each epoch  | none                              |
| `pool`        | no      | the K largest weights of a uniform pool              | none                              |

Each costs time linear in N; `race`, `systematic` and `replacement` with equal weights, time linear in K. `scan`,
`sequential` and `pool` are in `loaders.order.uniform_order`.

A new design is one function and one line in `DESIGNS`.
"""

import numpy as np

from ..order import inclusion
from .bit_array import ids_of_bits
from .draw import PAGES, SELECT, SHUFFLE, Context, Design, Draw
from .permutation import permutation, shuffle
from .prefix_sum import clipped_scale, replacement_ids, systematic_bits, total
from .rng import fold_in, hash_array
from .top_k import k_smallest
from .uniform_order import pool, scan, sequential


def race(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw K of N without replacement, distributed as NumPy's `choice(n, k, replace=False, p=weights / sum)`.

    Takes the K smallest of the exponential keys E_i / w_i (Efraimidis and Spirakis, "Weighted random sampling with a
    reservoir", IPL 2006), which is successive (Plackett-Luce) sampling. The ids are then shuffled, so their order is
    independent of their weights. With equal weights: the first K positions of a keyed permutation, in time and memory
    linear in K.
    """
    key, threads = context.key, context.threads
    if weights is None:
        return Draw(permutation(fold_in(key, SHUFFLE), n, 0, k, threads))
    chosen = k_smallest(weights, n, k, fold_in(key, SELECT), threads=threads)
    return Draw(shuffle(ids_of_bits(chosen.bits, threads), fold_in(key, SHUFFLE), threads), chosen.threshold)


def systematic(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw K of N without replacement, with inclusion probabilities exactly pi_i = min(1, c w_i), sum(pi) = K.

    Systematic sampling with probability proportional to size over a random order (Madow 1949; Hartley and Rao 1962).
    The order is random blocks and random places inside each block, so memory is read in streams.
    """
    if weights is None:
        return race(None, n, k, context)
    key, threads = context.key, context.threads
    scale = clipped_scale(weights, k, threads)
    ids = ids_of_bits(systematic_bits(weights, scale, k, fold_in(key, SELECT), threads), threads)
    return Draw(shuffle(ids, fold_in(key, SHUFFLE), threads), scale)


def replacement(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw K times independently with probabilities w / sum(w); an item drawn twice comes twice.

    The sorted uniforms of the K draws are made from exponential spacings and merged with the running sum of the
    weights: one stream over both. An alias table would read memory at random, which is slower for large N.
    """
    key, threads = context.key, context.threads
    if weights is None:
        ids = (hash_array(fold_in(key, SELECT), np.arange(k)) >> np.uint64(11)).astype(np.float64) * (n * 2.0**-53)
        return Draw(ids.astype(np.int64))
    ids = replacement_ids(weights, k, fold_in(key, SELECT), threads)
    return Draw(shuffle(ids, fold_in(key, SHUFFLE), threads), k / total(weights, threads))


def paged(weights: np.ndarray | None, n: int, k: int, context: Context) -> Draw:
    """Draw as `race` does, in an order for a file that does not fit in memory: each page is read in one window only.

    Pages are grouped into windows of `context.window` pages at random, and the ids of a window are shuffled together.

    Raises:
        ValueError: `context.page` or `context.window` is below one.
    """
    key, threads, page, window = context.key, context.threads, context.page, context.window
    if page < 1 or window < 1:
        raise ValueError(f"page and window are numbers of samples and of pages >= 1, got {page} and {window}")
    chosen = k_smallest(weights, n, k, fold_in(key, SELECT), race=weights is not None, threads=threads)
    ids = ids_of_bits(chosen.bits, threads)
    pages = -(-n // page)
    edges = np.searchsorted(ids, np.arange(pages + 1) * page)
    order = permutation(fold_in(key, PAGES), pages)
    windows: list[np.ndarray] = []
    for first in range(0, pages, window):
        inside = [ids[edges[p] : edges[p + 1]] for p in order[first : first + window]]
        windows.append(shuffle(np.concatenate(inside), fold_in(key, SHUFFLE, first), threads))
    return Draw(np.concatenate(windows), chosen.threshold)


# For any policy.
DESIGNS = {
    "race": Design(race, inclusion.bottom_k),
    "systematic": Design(systematic, inclusion.clipped),
    "replacement": Design(replacement, inclusion.proportional, repeats=True),
    "paged": Design(paged, inclusion.bottom_k),
}
# For evaluation (sequential), or for one training method each.
SPECIAL_DESIGNS = {
    "scan": Design(scan, inclusion.proportional, repeats=True, weighted=False),
    "sequential": Design(sequential, repeats=True, weighted=False),
    "pool": Design(pool, takes_zeros=True),
}
