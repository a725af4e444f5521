"""The five sampling designs: weights and a key in, ids in random order out.

| design        | repeats | chance of an item                                   | weights for unbiased means        |
| ------------- | ------- | --------------------------------------------------- | --------------------------------- |
| `race`        | no      | successive sampling, as NumPy's `choice(p=...)`     | from the threshold (bottom-k)     |
| `systematic`  | no      | exactly min(1, c w)                                 | 1 / (N pi), exact                 |
| `replacement` | yes     | K draws of w / sum(w)                               | 1 / (N K p)                       |
| `credit`      | no      | the largest arrears against the items' fair share   | none                              |
| `paged`       | no      | as `race`                                           | as `race`                         |

Every design is a pure function of its arguments, gives the same bits on any number of threads, and costs time linear in
N (for equal weights linear in K, `paged` apart). Weights are float32 or float64 [N], finite, >= 0; None means equal
weights. Two more, of one method each, are in `loaders.order.uniform_order`. This module imports
neither torch nor a backend.
"""

from typing import NamedTuple

import numpy as np

from loaders.order.permutation import permutation, shuffle
from loaders.order.prefix_sum import check, clipped_scale, replacement_ids, systematic_bits, total
from loaders.order.rng import fold_in, hash_array
from loaders.order.top_k import ids_of_bits, k_smallest

_SELECT, _SHUFFLE, _PAGES = 0, 1, 2


class Draw(NamedTuple):
    """`ids` int64 [K] in random order; `design` and `scale` tell `inverse_inclusion` how likely each was."""

    ids: np.ndarray
    design: str
    scale: float


def check_weights(weights: np.ndarray | None, n: int, needed: int, threads: int | None = None) -> np.ndarray | None:
    """Refuse weights that no design can draw from; return them as float32 or float64, contiguous.

    Args:
        n: number of items that the weights must be for.
        needed: how many weights must be positive (K without repeats, 1 with).

    Raises:
        ValueError: with what was found, what is allowed, and what to do.
    """
    if weights is None:
        return None
    weights = np.ascontiguousarray(weights)
    if weights.dtype not in (np.float32, np.float64):
        weights = weights.astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(f"expected one weight for each of {n} samples, got an array of shape {weights.shape}")
    found = check(weights, threads)
    if found.bad:
        i = int(np.argmax(~(np.isfinite(weights) & (weights >= 0))))
        raise ValueError(
            f"{found.bad} of {n} weights are negative, infinite or NaN (first: sample {i} has {weights[i]}); "
            "weights must be finite and >= 0"
        )
    if found.positive < needed:
        raise ValueError(
            f"{needed} different samples are to be drawn but only {found.positive} of {n} weights are positive; "
            "lower the budget, smooth the weights with mixture(policy, lam), or use design='replacement'"
        )
    return weights


def race(weights, n: int, k: int, key: int, threads: int | None = None) -> Draw:
    """K of N without replacement, the distribution of NumPy's `choice(n, k, replace=False, p=weights / sum)`.

    Exponential keys E_i / w_i, the K smallest (Efraimidis and Spirakis, "Weighted random sampling with a reservoir",
    IPL 2006): the order of the keys is successive (Plackett-Luce) sampling. The order of the ids is independent of
    their weights. Equal weights are the first K positions of a keyed permutation, in time and memory linear in K.
    """
    if weights is None:
        return Draw(permutation(fold_in(key, _SHUFFLE), n, 0, k, threads), "race", np.inf if k == n else k / n)
    chosen = k_smallest(weights, n, k, fold_in(key, _SELECT), threads=threads)
    return Draw(shuffle(ids_of_bits(chosen.bits, threads), fold_in(key, _SHUFFLE), threads), "race", chosen.threshold)


def systematic(weights, n: int, k: int, key: int, threads: int | None = None) -> Draw:
    """K of N without replacement with inclusion probabilities exactly pi_i = min(1, c w_i), sum(pi) = K.

    Systematic sampling with probability proportional to size over a random order (Madow 1949; Hartley and Rao 1962).
    The order is random blocks and random places inside each block, so memory is read in streams.
    """
    if weights is None:
        return race(None, n, k, key, threads)._replace(design="systematic", scale=k / n)
    scale = clipped_scale(weights, k, threads)
    ids = ids_of_bits(systematic_bits(weights, scale, k, fold_in(key, _SELECT), threads), threads)
    return Draw(shuffle(ids, fold_in(key, _SHUFFLE), threads), "systematic", scale)


def replacement(weights, n: int, k: int, key: int, threads: int | None = None) -> Draw:
    """K independent draws with probabilities w / sum(w); repeats come back repeated.

    The sorted uniforms of the K draws are made from exponential spacings and merged with the running sum of the
    weights: one stream over both, no table of N entries (an alias table reads memory at random, which is slower for
    large N).
    """
    if weights is None:
        ids = (hash_array(fold_in(key, _SELECT), np.arange(k)) >> np.uint64(11)).astype(np.float64) * (n * 2.0**-53)
        return Draw(ids.astype(np.int64), "replacement", k / n)
    ids = replacement_ids(weights, k, fold_in(key, _SELECT), threads)
    return Draw(shuffle(ids, fold_in(key, _SHUFFLE), threads), "replacement", k / total(weights, threads))


def credit(weights, n: int, k: int, run_key: int, epoch: int, visits=None, key: int = 0, threads=None) -> Draw:
    """The K items that are furthest behind their fair share: error diffusion over epochs.

    Arrears are (epoch + 1) pi_i + u_i - visits_i with pi = min(1, c w) and a phase u_i in (0, 1) that stays the same in
    the whole run. With constant weights visits stay within about one of the share; with equal weights, where `visits`
    is not read, epoch e takes positions eK..(e+1)K-1 of one permutation, read round and round: visits differ by at most
    one.

    Args:
        run_key: 64-bit key of the whole run; `key` of the epoch only orders the ids.
        visits: float [N], how often each item has been drawn before this epoch; None is never.
    """
    if weights is None:
        start = epoch * k % n
        ids = permutation(run_key, n, start, min(start + k, n), threads)
        if start + k > n:
            ids = np.concatenate((ids, permutation(run_key, n, 0, start + k - n, threads)))
        return Draw(shuffle(ids, fold_in(key, _SHUFFLE), threads), "credit", np.nan)
    scale = clipped_scale(weights, k, threads)
    arrears = np.multiply(weights, scale, dtype=np.float32, casting="same_kind")
    np.minimum(arrears, 1, out=arrears)
    arrears *= epoch + 1
    if visits is not None:
        arrears -= visits
    arrears[weights == 0] = -1e30
    chosen = k_smallest(arrears, n, k, run_key, race=False, threads=threads)
    return Draw(shuffle(ids_of_bits(chosen.bits, threads), fold_in(key, _SHUFFLE), threads), "credit", np.nan)


def paged(weights, n: int, k: int, key: int, page: int, window: int, threads: int | None = None) -> Draw:
    """The draw of `race`, ordered for a file that does not fit in memory: each page is read in one window only.

    Args:
        page: samples per page of the file; page p holds the ids p * page to (p + 1) * page - 1.
        window: pages held in memory together; pages are grouped into windows at random and the ids of a window are
            shuffled together.
    """
    if page < 1 or window < 1:
        raise ValueError(f"page and window are numbers of samples and of pages >= 1, got {page} and {window}")
    chosen = k_smallest(weights, n, k, fold_in(key, _SELECT), race=weights is not None, threads=threads)
    ids = ids_of_bits(chosen.bits, threads)
    pages = -(-n // page)
    edges = np.searchsorted(ids, np.arange(pages + 1) * page)
    order = permutation(fold_in(key, _PAGES), pages)
    out = []
    for w in range(0, pages, window):
        inside = [ids[edges[p] : edges[p + 1]] for p in order[w : w + window]]
        out.append(shuffle(np.concatenate(inside), fold_in(key, _SHUFFLE, w), threads))
    return Draw(np.concatenate(out), "paged", chosen.threshold)


def inverse_inclusion(draw: Draw, weights: np.ndarray | None, n: int) -> np.ndarray:
    """Weights that make sums over the draw unbiased: mean of f over all N = E[sum over the draw of result * f].

    systematic: 1 / (N min(1, c w)), exact. race and paged: 1 / (N (1 - exp(-w t))) with t the (K+1)-th smallest key
    (bottom-k sketches: Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007). replacement: 1 / (N K
    p).

    Returns:
        float64 [K].
    """
    if draw.design in ("credit", "pool"):
        raise ValueError(
            f"design {draw.design!r} follows a quota or ranks and has no unbiased weights; use 'systematic' or 'race'"
        )
    if weights is None:
        return np.full(len(draw.ids), 1.0 / len(draw.ids))
    w = weights[draw.ids].astype(np.float64)
    if draw.design == "systematic":
        inclusion = np.minimum(draw.scale * w, 1.0)
    elif draw.design == "replacement":
        inclusion = draw.scale * w
    else:
        inclusion = -np.expm1(-w * draw.scale)
    return 1.0 / (n * inclusion)
