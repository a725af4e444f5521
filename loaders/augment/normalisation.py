"""The value that each pixel value becomes in a float batch."""

import numpy as np

from .config import Augment


def normalisation_table(augment: Augment) -> np.ndarray:
    """float32 [C, 256]: the normalised value of every pixel value, computed in float64 and rounded once.

    Reading a table instead of computing makes every backend and every output type exact.
    """
    pixel = np.arange(256, dtype=np.float64) / 255
    mean, std = np.array(augment.mean, np.float64), np.array(augment.std, np.float64)
    return ((pixel - mean[:, None]) / std[:, None]).astype(np.float32)
