"""`RandomErasing`: which rectangle of an image is erased, and what it then shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..compiled import compiled
from ..order.rng import below, hash64
from .checks import is_number
from .draws import ERASE, ERASE_BOX

TRIES = 10
_U = np.uint64
_AREA, _RATIO, _TOP, _LEFT = range(4)


@dataclass(frozen=True)
class RandomErasing:
    """Erase a random rectangle of an image with probability p (Zhong et al., "Random erasing data augmentation", AAAI
    2020), drawn as torchvision's RandomErasing draws it.

    The first of ten tries whose rectangle is less high and less wide than the image is placed uniformly; where none is,
    nothing is erased. It happens before the image is normalised.

    Attributes:
        p: probability.
        scale: the smallest and the largest fraction of the image's area that is erased, drawn uniformly.
        ratio: the smallest and the largest height / width of the rectangle, uniform in its logarithm.
        value: what an erased pixel shows, one number or one for each channel, in units of [0, 1]; or "random", uniform
            noise of its own for each pixel and channel, as Zhong et al. draw it (torchvision's is normal).
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | tuple[float, float, float] | str = 0.0

    def __post_init__(self):
        if not is_number(self.p) or not 0 <= self.p <= 1:
            raise ValueError(f"p of RandomErasing is a probability, 0 to 1, got {self.p!r}")
        scale = _range("scale", self.scale, "fractions of the image's area, at most 1", 1)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "ratio", _range("ratio", self.ratio, "values of height / width", 1e6))
        object.__setattr__(self, "value", _value(self.value))


class Erasing(NamedTuple):
    """A `RandomErasing` as the compiled functions read it; the default erases nothing."""

    chance: float = 0.0
    smallest: float = 0.0  # fractions of the area
    largest: float = 0.0
    low: float = 0.0  # logarithms of height / width
    high: float = 0.0
    noise: bool = False
    red: int = 0
    green: int = 0
    blue: int = 0


def prepare_erasing(erasing: RandomErasing | None) -> Erasing:
    """Turn a `RandomErasing` into the numbers that the compiled functions read."""
    if erasing is None:
        return Erasing()
    noise = isinstance(erasing.value, str)
    value = (0.0,) if isinstance(erasing.value, str) else np.atleast_1d(erasing.value)
    red, green, blue = np.rint(255 * np.broadcast_to(value, 3)).astype(int).tolist()
    ratio = math.log(erasing.ratio[0]), math.log(erasing.ratio[1])
    return Erasing(float(erasing.p), *erasing.scale, *ratio, noise, red, green, blue)


@compiled(nogil=True)
def uniform(bits, index):
    """The decision with this draw index as a float64 in [0, 1), 53 bits."""
    return (hash64(bits, _U(index)) >> _U(11)) * 2.0**-53


@compiled(nogil=True)
def erased_box(bits, height, width, erasing):
    """Draw the rectangle that is erased, for every backend.

    Args:
        bits: the random bits of the image's position.
        height, width: of the image, in pixels.
        erasing: an `Erasing`.

    Returns:
        Top, left, height and width, four int64; all zero where nothing is erased.
    """
    if uniform(bits, ERASE) < erasing.chance:
        for attempt in range(TRIES):
            index = ERASE_BOX + 4 * attempt
            fraction = erasing.smallest + uniform(bits, index + _AREA) * (erasing.largest - erasing.smallest)
            ratio = math.exp(erasing.low + uniform(bits, index + _RATIO) * (erasing.high - erasing.low))
            rows = np.int64(np.rint(math.sqrt(height * width * fraction * ratio)))
            columns = np.int64(np.rint(math.sqrt(height * width * fraction / ratio)))
            if rows < height and columns < width:
                top = np.int64(below(hash64(bits, _U(index + _TOP)), _U(height - rows + 1)))
                left = np.int64(below(hash64(bits, _U(index + _LEFT)), _U(width - columns + 1)))
                return top, left, rows, columns
    return 0, 0, 0, 0


@compiled(nogil=True)
def erased_boxes(first, last, bits, height, width, erasing, out):
    """Draw the rectangles of positions first..last-1 of a plan: bits uint64 [K] -> out int32 [K, 4]."""
    for i in range(first, last):
        top, left, rows, columns = erased_box(bits[i], height, width, erasing)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = top, left, rows, columns


def _range(name: str, values: object, what: str, most: float) -> tuple[float, float]:
    """The smallest and the largest of a random number.

    Raises:
        ValueError: they are not two numbers in order, above 0 and at most `most`.
    """
    both = values if isinstance(values, tuple | list) and all(map(is_number, values)) else ()
    if len(both) == 2 and 0 < both[0] <= both[1] <= most:
        return float(both[0]), float(both[1])
    raise ValueError(f"{name} of RandomErasing is two {what}, 0 < smallest <= largest, got {values!r}")


def _value(value: Any) -> float | tuple[float, ...] | str:
    """What erased pixels show.

    Raises:
        ValueError: it is neither "random" nor one or three numbers from 0 to 1.
    """
    channels = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value, value, value)
    if isinstance(value, str) and value == "random":
        return value
    if len(channels) == 3 and all(is_number(x) and 0 <= x <= 1 for x in channels):
        return channels if isinstance(value, tuple | list | np.ndarray) else channels[0]
    raise ValueError(
        "value of RandomErasing is a number, or one for each of three channels, from 0 to 1, where 1 is the pixel "
        f"value 255, or 'random', got {value!r}"
    )
