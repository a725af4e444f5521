"""Which box of an image is cut out and resized: random-resized-crop and centre-crop, from the epoch's key.

One function serves every backend, so all of them look at the same pixels; only how they resize differs.
"""

import math

import numpy as np

from ..order.rng import hash_array
from .config import Augment
from .draws import RESIZED_CROP

TRIES = 10
_AREA, _RATIO, _Y, _X = range(4)


def boxes(augment: Augment, key: int, positions: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Choose the box of each image that is cut out and resized.

    With `random_resized_crop` a try draws an area (a fraction of the image's, uniform) and an aspect ratio (uniform in
    its logarithm); the first of ten tries whose box fits is placed uniformly, and when none fits the box is the largest
    centred one whose ratio is allowed (Szegedy et al., "Going deeper with convolutions", 2014, section 6, as in
    torchvision's RandomResizedCrop). Without, it is the centred square over `center_crop` of the smaller dimension.

    Args:
        augment: its `resize` is not zero.
        key: of the epoch.
        positions: int64 [B], global.
        heights, widths: int64 [B], pixels.

    Returns:
        int64 [B, 4]: top, left, height, width; inside the image and never empty.
    """
    if augment.random_resized_crop is None:
        size = np.maximum((np.minimum(heights, widths) * augment.center_crop).astype(np.int64), 1)
        return np.stack([(heights - size) // 2, (widths - size) // 2, size, size], axis=1)
    bits = hash_array(key, positions)
    area = np.asarray(heights * widths, np.float64)
    found = _largest(heights, widths, augment.ratio)
    pending = np.ones(len(found), np.bool_)
    for attempt in range(TRIES):
        drawn = [_uniform(bits, RESIZED_CROP + 4 * attempt + what) for what in (_AREA, _RATIO, _Y, _X)]
        low, high = augment.random_resized_crop
        fraction = low + drawn[_AREA] * (high - low)
        low, high = map(math.log, augment.ratio)
        ratio = np.exp(low + drawn[_RATIO] * (high - low))
        height = np.rint(np.sqrt(area * fraction / ratio)).astype(np.int64)
        width = np.rint(np.sqrt(area * fraction * ratio)).astype(np.int64)
        top = (drawn[_Y] * (heights - height + 1)).astype(np.int64)
        left = (drawn[_X] * (widths - width + 1)).astype(np.int64)
        fits = pending & (height > 0) & (width > 0) & (height <= heights) & (width <= widths)
        found[fits] = np.stack([top, left, height, width], axis=1)[fits]
        pending &= ~fits
        if not pending.any():
            break
    return found


def _largest(heights: np.ndarray, widths: np.ndarray, ratio: tuple[float, float]) -> np.ndarray:
    """The largest centred box of an allowed aspect ratio."""
    height = np.clip(np.rint(widths / ratio[0]), 1, heights).astype(np.int64)
    width = np.clip(np.rint(heights * ratio[1]), 1, widths).astype(np.int64)
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width], axis=1)


def _uniform(bits: np.ndarray, index: int) -> np.ndarray:
    """float64 in [0, 1), 53 bits."""
    return (hash_array(bits, index) >> np.uint64(11)) * 2.0**-53
