"""The random decisions about one image, as pure functions of (epoch key, global position).

Every backend takes its decisions from here, so every backend makes the same pixels, whatever the number of threads,
processes or GPUs. A decision has a number, its draw index; its random bits are hash64(hash64(key, position), index).
"""

import numpy as np

from ..order.rng import below_array, hash_array

CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X = range(5)
RANDAUGMENT = 16  # the first of the 48 draw indices of `loaders.augment.randaugment`
RESIZED_CROP = 64  # the first of the 40 draw indices of `loaders.augment.crop`


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
