"""A hold-out of the training set, for tuning: the test set stays untouched."""

import numpy as np

from loaders.order.rng import VALIDATION, fold_in, hash_array
from training.coreset.choose import quotas


def held_out(labels_N: np.ndarray, fraction: float) -> np.ndarray:
    """The ids that are held out: that fraction of the samples, of each class in proportion to its size.

    A pure function of the labels and the fraction: runs with any seed hold out the same samples, so their accuracies
    compare.

    Returns:
        int64, ascending.

    Raises:
        ValueError: the fraction holds out no sample.
    """
    total = round(len(labels_N) * fraction)
    if total < 1:
        raise ValueError(f"validation {fraction:g} of {len(labels_N)} samples holds out none: raise it")
    order = hash_array(fold_in(0, VALIDATION), np.arange(len(labels_N)))
    chosen = []
    for label, quota in enumerate(quotas(np.bincount(labels_N), total)):
        members = np.flatnonzero(labels_N == label)
        chosen.append(members[np.argsort(order[members], kind="stable")[:quota]])
    return np.sort(np.concatenate(chosen))
