"""`ColorJitter`: random brightness, contrast and saturation, and the factors that are drawn for an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..order.rng import hash_array
from .checks import is_number
from .draws import JITTER

NAMES = ("brightness", "contrast", "saturation")  # in the order in which they are applied
LARGEST = 255  # a larger factor leaves nothing but the ends of the range
_SHIFT, _UNIT = np.uint64(40), np.float32(2.0**-24)  # 24 random bits, as many as float32 holds


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast and saturation, always in this order, as torchvision's ColorJitter of Pillow images.

    Each draws a factor f and blends the image with another one, `other + f * (image - other)`, cut off to a byte:
    brightness with black, contrast with the mean luma of the whole image (of what came before it, rounded to a byte),
    saturation with the luma of each pixel. torchvision shuffles the order of the operations and has a hue as well.

    Attributes:
        brightness, contrast, saturation: a number x >= 0 draws the factor uniformly from max(0, 1 - x) to 1 + x, and 0
            changes nothing; two numbers are the smallest and the largest factor. Kept as two numbers.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0

    def __post_init__(self):
        for name in NAMES:
            object.__setattr__(self, name, _factors(name, getattr(self, name)))

    @property
    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest factors, and by how much the largest ones exceed them: float32 [3] each, in the order of use."""
        low, high = np.array([getattr(self, name) for name in NAMES], np.float32).T
        return np.ascontiguousarray(low), high - low

    @property
    def changes(self) -> tuple[bool, ...]:
        """Whether each of the three can change an image."""
        return tuple(getattr(self, name) != (1.0, 1.0) for name in NAMES)


def jitter_factors(jitter: ColorJitter, key: int, positions: np.ndarray) -> np.ndarray:
    """Draw the factors of the images at these global positions, as `kernels.jitter_cpu` does, to the bit.

    Args:
        jitter: how far they reach.
        key: 64-bit key of the epoch.
        positions: int64 [B].

    Returns:
        float32 [B, 3], in the order of `NAMES`.
    """
    low, span = jitter.ranges
    bits = hash_array(hash_array(key, positions)[:, None], np.arange(JITTER, JITTER + len(NAMES)))
    return low + (bits >> _SHIFT).astype(np.float32) * _UNIT * span


def _factors(name: str, value: Any) -> tuple[float, float]:
    """The smallest and the largest factor.

    Raises:
        ValueError: neither a number >= 0, nor two in order.
    """
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) == 2 and all(map(is_number, both)):
        low, high = map(float, both)
        if not isinstance(value, tuple | list):
            low, high = max(0.0, 1 - low), 1 + high
        if 0 <= low <= high <= LARGEST:
            return low, high
    raise ValueError(
        f"{name} is a number >= 0, such as 0.4 for factors from 0.6 to 1.4, or the smallest and the largest factor, "
        f"which is at most {LARGEST}, got {value!r}"
    )
