"""The random decisions about one image, as pure functions of (epoch key, global position).

Every backend takes its decisions from here, so every backend makes the same pixels, whatever the number of threads,
processes or GPUs. A decision has a number, its draw index; its random bits are hash64(hash64(key, position), index).
"""

import numpy as np

from ..order.rng import below_array, hash_array
from ..types import EpochPlan

CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X, VERTICAL_FLIP = range(6)
JITTER = 6  # the first of the three of `loaders.augment.color_jitter`
ERASE, ERASE_NOISE = 9, 10
RANDAUGMENT = 16  # the first of the 48 draw indices of `loaders.augment.randaugment`
RESIZED_CROP = 64  # the first of the 40 draw indices of `loaders.augment.crop`
ERASE_BOX = 104  # the first of the 40 draw indices of `loaders.augment.erasing`


def draw(key: int, positions: np.ndarray, index: int, n: int) -> np.ndarray:
    """Draw one decision for each of the samples at these global positions.

    Args:
        key: 64-bit key of the epoch.
        positions: int64 [B].
        index: which decision, a draw index.
        n: number of outcomes.

    Returns:
        int64 [B], uniform in 0..n-1.
    """
    return below_array(hash_array(hash_array(key, positions), index), n)


def alternating_sides(plan: EpochPlan, first: int = 0, last: int | None = None) -> np.ndarray:
    """Which images first..last-1 of a plan an alternating flip mirrors: a coin per id, turned over in odd epochs.

    The coin is drawn under the run's key, so an image keeps it over all epochs.

    Returns:
        int64 [last - first], 0 or 1.
    """
    return draw(plan.run_key, plan.ids[first:last], FLIP, 2) ^ (plan.epoch & 1)
