"""Compiled CPU kernel of `ColorJitter` on uint8 [H * W * 3], equal to Pillow's ImageEnhance to the bit.

Each operation is a loop of its own over the image, which stays in the first level of the cache: such loops become
vector instructions, where a table of all 256 values, looked up byte by byte, does not.
"""

from typing import NamedTuple

import numpy as np

from ..augment.color_jitter import ColorJitter
from ..augment.draws import JITTER
from ..compiled import compiled
from ..order.rng import hash64
from .randaugment_cpu import blend

_U, _I, _F = np.uint64, np.int32, np.float32


class Jitter(NamedTuple):
    """A `ColorJitter` as a kernel reads it; the factors in the order of use."""

    low: np.ndarray  # float32 [3], the smallest factors
    span: np.ndarray  # float32 [3], from there to the largest
    has_contrast: bool
    has_saturation: bool


def prepare_jitter(jitter: ColorJitter) -> Jitter:
    """Turn a `ColorJitter` into what a kernel reads."""
    return Jitter(*jitter.ranges, *jitter.changes[1:])


@compiled(nogil=True, inline="always")
def _factor(bits, k, jitter):
    """The factor of operation k, drawn as `color_jitter.jitter_factors` does."""
    return jitter.low[k] + _F(hash64(bits, _U(JITTER + k)) >> _U(40)) * _F(2.0**-24) * jitter.span[k]


@compiled(nogil=True, inline="always")
def _luma(red, green, blue):
    """ITU-R 601-2 in 16-bit fixed point, of int32."""
    return _I((red * _I(19595) + green * _I(38470) + blue * _I(7471) + _I(0x8000)) >> _I(16))


@compiled(nogil=True)
def _brighten(out, image, factor):
    """Blend an image with black."""
    for j in range(len(out)):
        out[_U(j)] = blend(_I(0), _I(image[_U(j)]), factor)


@compiled(nogil=True)
def _mean_luma(image):
    """The mean luma of an image, rounded half up: int32."""
    total, num = 0, len(image) // 3
    for j in range(0, len(image), 3):
        k = _U(j)
        total += _luma(_I(image[k]), _I(image[k + _U(1)]), _I(image[k + _U(2)]))
    return _I((2 * total + num) // (2 * num))


@compiled(nogil=True)
def _change_contrast(image, mean, factor):
    """Blend an image with its mean luma, in place."""
    for j in range(len(image)):
        image[_U(j)] = blend(mean, _I(image[_U(j)]), factor)


@compiled(nogil=True)
def _saturate(image, factor):
    """Blend each pixel of an image with its luma, in place."""
    for j in range(0, len(image), 3):
        k = _U(j)
        red, green, blue = _I(image[k]), _I(image[k + _U(1)]), _I(image[k + _U(2)])
        grey = _luma(red, green, blue)
        image[k] = blend(grey, red, factor)
        image[k + _U(1)] = blend(grey, green, factor)
        image[k + _U(2)] = blend(grey, blue, factor)


@compiled(nogil=True)
def jitter_block(first, last, data, offsets, rows, out, height, width, key, position, stride, jitter):
    """Jitter the colours of samples first..last-1 of a batch.

    Args:
        data, offsets, rows: image i begins at data[offsets[rows[i]]].
        out: uint8 [B, H * W * 3].
        key, position, stride: as in `augment_cpu.Recipe`.
        jitter: a `Jitter`.
    """
    size = height * width * 3
    for i in range(first, last):
        start, line = offsets[rows[i]], out[i]
        bits = hash64(key, _U(position + stride * i))
        _brighten(line, data[start : start + size], _factor(bits, 0, jitter))
        if jitter.has_contrast:
            _change_contrast(line, _mean_luma(line), _factor(bits, 1, jitter))
        if jitter.has_saturation:
            _saturate(line, _factor(bits, 2, jitter))
