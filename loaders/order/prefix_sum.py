"""Draws by the running sum of the weights: systematic sampling, and sampling with replacement.

Sums are made per block and then over blocks, always in the same order, so no result depends on the number of threads.
Weights are float32 or float64 [N], finite and >= 0. `threads` is an upper limit; None takes all cores.
"""

from typing import NamedTuple

import numpy as np

from ..compiled import compiled
from ..threads import for_blocks
from .bit_array import BLOCK, bit_array
from .permutation import fisher_yates, permutation
from .rng import fold_in, hash64
from .top_k import exponential

_GRAIN = 64  # least number of blocks for a thread


class WeightCounts(NamedTuple):
    """Number of positive weights, and of bad ones: negative, infinite or NaN."""

    positive: int
    bad: int


@compiled(nogil=True, error_model="numpy")
def _count(first, last, weights, positive, bad):
    for block in range(first, last):
        p, b = 0, 0
        for j in range(block * BLOCK, min((block + 1) * BLOCK, len(weights))):
            w = weights[np.uint64(j)]
            b += not (0.0 <= w < np.inf)
            p += w > 0.0
        positive[block], bad[block] = p, b


def count_weights(weights: np.ndarray) -> WeightCounts:
    """Count positive and bad weights in one pass; float32 or float64 [N]."""
    blocks = -(-len(weights) // BLOCK)
    positive, bad = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    for_blocks(_count, blocks, weights, positive, bad, grain=_GRAIN)
    return WeightCounts(int(positive.sum()), int(bad.sum()))


@compiled(nogil=True, error_model="numpy")
def _sums(first, last, weights, sums):
    for block in range(first, last):
        s = 0.0
        for j in range(block * BLOCK, min((block + 1) * BLOCK, len(weights))):
            s += np.float64(weights[np.uint64(j)])
        sums[block] = s


def block_sums(weights: np.ndarray, threads: int | None = None) -> np.ndarray:
    """The sum of the weights of each block of `BLOCK` items: float64 [ceil(N / BLOCK)]."""
    sums = np.empty(-(-len(weights) // BLOCK))
    for_blocks(_sums, len(sums), weights, sums, threads=threads, grain=_GRAIN)
    return sums


def total(weights: np.ndarray, threads: int | None = None) -> float:
    """The sum of all weights."""
    return float(np.cumsum(block_sums(weights, threads))[-1])


@compiled(nogil=True, error_model="numpy")
def _clipped(first, last, weights, scale, sums, certain):
    for block in range(first, last):
        s, c = 0.0, 0
        for j in range(block * BLOCK, min((block + 1) * BLOCK, len(weights))):
            p = scale * np.float64(weights[j])
            c += p >= 1.0
            s += p if p < 1.0 else 0.0
        sums[block], certain[block] = s, c


def _clipped_sums(weights: np.ndarray, scale: float, threads: int | None) -> tuple[np.ndarray, int]:
    """The sum of scale * w over the items of each block for which it is below one, and the number of other items."""
    blocks = -(-len(weights) // BLOCK)
    sums, certain = np.empty(blocks), np.empty(blocks, np.int64)
    for_blocks(_clipped, blocks, weights, scale, sums, certain, threads=threads, grain=_GRAIN)
    return sums, int(certain.sum())


def clipped_scale(weights: np.ndarray, k: int, threads: int | None = None) -> float:
    """The c for which sum(min(1, c w)) = k. At least k weights must be positive.

    Found by iteration: given which items are certain to be drawn (c w >= 1), c follows from the others. The set of
    certain items only grows, so the iteration ends, after a few passes over the weights. Where c w of an item is one up
    to rounding, it may also come and go in a cycle: then any c of the cycle will do.
    """
    scale, certain, tried = k / total(weights, threads), -1, set[float]()
    while True:
        sums, now = _clipped_sums(weights, scale, threads)
        rest = float(np.cumsum(sums)[-1])
        if now == certain or rest <= 0.0 or now >= k or scale in tried:
            return scale
        tried.add(scale)
        scale, certain = scale * ((k - now) / rest), now


@compiled(nogil=True, error_model="numpy")
def _systematic(first, last, weights, scale, order, edges, start, key, bits):
    place = np.empty(BLOCK, np.int64)
    for position in range(first, last):
        block = order[position]
        base, size = block * BLOCK, min(BLOCK, len(weights) - block * BLOCK)
        for j in range(size):
            place[j] = j
        fisher_yates(place[:size], hash64(key, np.uint64(block)))
        running, end = edges[position], edges[position + 1]
        spare = np.int64(-1)
        for j in range(size):
            i = base + place[j]
            p = scale * np.float64(weights[i])
            taken = p >= 1.0
            if 0.0 < p < 1.0:
                following = min(running + p, end)
                taken = np.ceil(following - start) > np.ceil(running - start)
                running = following
                if not taken:
                    spare = i
            if taken:
                bits[i >> 6] |= np.uint64(1) << np.uint64(i & 63)
        if np.ceil(end - start) > np.ceil(running - start) and spare >= 0:  # a rounding error hid the last point
            bits[spare >> 6] |= np.uint64(1) << np.uint64(spare & 63)


def systematic_bits(weights: np.ndarray, scale: float, k: int, key: int, threads: int | None = None) -> np.ndarray:
    """Choose k ids by systematic sampling with probabilities min(1, scale * w).

    Blocks are visited in random order, and the items of a block in random order. One point is drawn in the unit
    interval, and every interval between two integers of the running sum of the probabilities takes the item that covers
    the point at that place.

    Returns:
        A set bit per chosen id (see `loaders.order.bit_array.bit_array`).
    """
    sums, certain = _clipped_sums(weights, scale, threads)
    order = permutation(fold_in(key, 0), len(sums))
    edges = np.concatenate(([0.0], np.cumsum(sums[order])))
    edges *= (k - certain) / edges[-1] if edges[-1] > 0 else 1.0
    edges[-1] = k - certain
    bits = bit_array(len(weights))
    start = ((fold_in(key, 1) >> 12) + 0.5) * 2.0**-52
    item_key = np.uint64(fold_in(key, 2))
    for_blocks(_systematic, len(sums), weights, scale, order, edges, start, item_key, bits, threads=threads, grain=8)
    return bits


@compiled(nogil=True)
def _spacing_sums(first, last, n, key, sums):
    for block in range(first, last):
        s = 0.0
        for j in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            s += exponential(hash64(key, np.uint64(j)))
        sums[block] = s


@compiled(nogil=True, error_model="numpy")
def _merge(first, last, weights, weight_edges, key, spacing_edges, unit, out):
    for block in range(first, last):
        point, top = spacing_edges[block], 0.0
        at, end, running, item = np.int64(0), np.int64(0), 0.0, np.int64(0)
        for d in range(block * BLOCK, min((block + 1) * BLOCK, len(out))):
            point += exponential(hash64(key, np.uint64(d)))
            target = min(point * unit, weight_edges[-1] * (1.0 - 2.0**-52))
            if target >= top:  # jump to the block of weights that covers the target
                inside = np.searchsorted(weight_edges, target, side="right") - 1
                at, end = inside * BLOCK, min((inside + 1) * BLOCK, len(weights))
                running, top = weight_edges[inside], weight_edges[inside + 1]
            while running <= target and at < end:
                w = np.float64(weights[at])
                running += w
                if w > 0.0:
                    item = at
                at += 1
            out[d] = item


def replacement_ids(weights: np.ndarray, k: int, key: int, threads: int | None = None) -> np.ndarray:
    """Draw k ids with replacement, with probabilities w / sum(w): int64 [k], in ascending order.

    k + 1 exponential spacings, divided by their sum, are the gaps between k sorted uniforms (Devroye, "Non-uniform
    random variate generation", 1986, V.2.1).
    """
    blocks = -(-(k + 1) // BLOCK)
    spacings, item_key = np.empty(blocks), np.uint64(key)
    for_blocks(_spacing_sums, blocks, k + 1, item_key, spacings, threads=threads, grain=_GRAIN)
    spacing_edges = np.concatenate(([0.0], np.cumsum(spacings)))
    weight_edges = np.concatenate(([0.0], np.cumsum(block_sums(weights, threads))))
    out = np.empty(k, np.int64)
    unit = weight_edges[-1] / spacing_edges[-1]
    for_blocks(_merge, -(-k // BLOCK), weights, weight_edges, item_key, spacing_edges, unit, out, threads=threads)
    return out
