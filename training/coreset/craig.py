"""CRAIG: few samples whose last-layer gradients stand for those of a whole class.

Mirzasoleiman, Bilmes and Leskovec, "Coresets for Data-efficient Training of Machine Learning Models", ICML 2020,
section 3.
"""

import heapq

import numpy as np

from loaders.order.rng import hash_array
from training.coreset.choose import quotas

MAX_CLASS = 30_000
"""Samples of the largest class: its similarities are float32 [n, n], 3.6 GB then."""

_BLOCK = 512  # rows of distances at a time, in float64


def craig(gradients_ND: np.ndarray, labels_N: np.ndarray, total: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose `total` samples, from each class in proportion to its size.

    Args:
        gradients_ND: float32 [N, D], the loss's gradient by the logits, softmax - onehot.
        labels_N: int64 [N].
        total: M, samples to choose.
        key: 64-bit key that decides between equal gains.

    Returns:
        ids int64 [M], sorted, and weights float32 [M]: for how many samples of its class each one stands, over the mean
        of that number, so that the weights' mean is one.

    Raises:
        ValueError: a class is too large for its matrix of similarities.
    """
    require_small_classes(labels_N)
    chosen, stands_for = [], []
    for label, quota in enumerate(quotas(np.bincount(labels_N), total)):
        if quota:
            members = np.flatnonzero(labels_N == label)
            similarity = similarities(gradients_ND[members])
            picks = lazy_greedy(similarity, quota, hash_array(key, members))
            chosen.append(members[picks])
            stands_for.append(cluster_sizes(similarity, picks))
    ids, counts = np.concatenate(chosen), np.concatenate(stands_for)
    order = np.argsort(ids)
    return ids[order], (counts[order] / counts.mean()).astype(np.float32)


def require_small_classes(labels_N: np.ndarray) -> None:
    """Raises ValueError where a class is too large for its matrix of similarities, before a network is trained."""
    largest = np.bincount(labels_N).max()
    if largest > MAX_CLASS:
        raise ValueError(
            f"craig compares all pairs of a class, and one has {largest:,} samples, above {MAX_CLASS:,}: "
            "choose by el2n, grand, forgetting, entropy, margin or random"
        )


def similarities(vectors_ND: np.ndarray) -> np.ndarray:
    """float32 [N, N]: the largest distance between two vectors, less the distance of each pair; never negative."""
    vectors_ND = np.asarray(vectors_ND, np.float64)
    squares_N = (vectors_ND**2).sum(axis=1)
    distances = np.empty((len(vectors_ND),) * 2, np.float32)
    for start in range(0, len(vectors_ND), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = squares_N[rows, None] + squares_N - 2 * vectors_ND[rows] @ vectors_ND.T
        distances[rows] = np.sqrt(block.clip(0))
    np.fill_diagonal(distances, 0)
    np.minimum(distances, distances.T, out=distances)  # rounding may have made the two halves differ
    return np.subtract(distances.max(), distances, out=distances)


def lazy_greedy(similarity_NN: np.ndarray, count: int, ties_N: np.ndarray) -> np.ndarray:
    """The greedy maximum of facility location, sum_i max_{j in S} similarity[i, j], over sets S of `count` samples.

    At least 1 - 1/e of the best set's value (Nemhauser, Wolsey and Fisher 1978). Gains only fall as S grows, rounding
    included, so a sample is looked at again only when its last known gain leads (Minoux 1978); the result is that of
    computing all gains in each round.

    Args:
        similarity_NN: symmetric, >= 0.
        count: 1..N.
        ties_N: uint64 [N], the smaller wins between equal gains.

    Returns:
        int64 [count], in the order of choice.
    """
    covered_N = np.zeros(len(similarity_NN), np.float32)

    def gain(sample: int) -> float:
        return float(np.maximum(similarity_NN[sample] - covered_N, 0).sum(dtype=np.float64))

    queue = [(-gain(sample), int(tie), sample) for sample, tie in enumerate(ties_N)]
    heapq.heapify(queue)
    chosen = []
    while len(chosen) < count:
        _, tie, sample = queue[0]
        now = (-gain(sample), tie, sample)
        if now > min(queue[1:3], default=now):
            heapq.heapreplace(queue, now)
            continue
        heapq.heappop(queue)
        chosen.append(sample)
        np.maximum(covered_N, similarity_NN[sample], out=covered_N)
    return np.array(chosen, np.int64)


def cluster_sizes(similarity_NN: np.ndarray, chosen_M: np.ndarray) -> np.ndarray:
    """How many samples each chosen one stands for: int64 [M], at least 1 each, N in all.

    A sample belongs to the most similar chosen one (of equals the one chosen first), a chosen one to itself.
    """
    nearest_N = similarity_NN[:, chosen_M].argmax(axis=1)
    nearest_N[chosen_M] = np.arange(len(chosen_M))
    return np.bincount(nearest_N, minlength=len(chosen_M))
