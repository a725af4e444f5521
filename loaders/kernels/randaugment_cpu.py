"""Compiled CPU kernels of RandAugment on uint8 [H * W * 3], equal to Pillow's operations to the bit.

The formulas were derived from what Pillow computes: integers where it computes in integers, float32 or float64 in the
same order where it does so.
"""

from typing import NamedTuple

import numpy as np

from ..augment.draws import RANDAUGMENT
from ..augment.randaugment import LEFT, OPERATION, SIGN, TOP
from ..compiled import compiled
from ..order.rng import below, hash64

# How an operation is carried out.
NOTHING, TABLE, STRETCH, EQUALIZE, COLOR, CONTRAST, SHARPNESS, AFFINE, RECTANGLE = range(9)


class Prepared(NamedTuple):
    """The operations as arrays that a kernel can read; an axis of length two is the sign."""

    rounds: int
    kinds: np.ndarray  # int64 [K]
    values: np.ndarray  # float64 [K, 2]
    tables: np.ndarray  # uint8 [K, 2, 256]
    matrices: np.ndarray  # int64 [K, 2, 6]
    grey: np.ndarray  # uint8 [3]


@compiled(nogil=True)
def look_up(image, table):
    """Replace every byte by its entry in a table, uint8 [256], in place."""
    for j in range(len(image)):
        image[j] = table[image[j]]


@compiled(nogil=True)
def blend(degenerate, value, factor):
    """degenerate + factor * (value - degenerate) in float32, cut off to a byte. The three are int32, int32, float32."""
    mixed = np.float32(degenerate) + factor * np.float32(value - degenerate)
    return np.uint8(min(max(mixed, np.float32(0)), np.float32(255)))


@compiled(nogil=True, inline="always")
def grey(image, j):
    """Luma of the pixel whose red stands at j, ITU-R 601-2 in 16-bit fixed point: int32."""
    red, green, blue = np.int32(image[j]), np.int32(image[j + 1]), np.int32(image[j + 2])
    return np.int32((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)


@compiled(nogil=True)
def color(image, factor):
    """Blend with the grey image (factor < 1), or move away from it, in place."""
    for j in range(0, len(image), 3):
        middle = grey(image, j)
        for c in range(j, j + 3):
            image[c] = blend(middle, np.int32(image[c]), factor)


@compiled(nogil=True)
def contrast(image, factor, table):
    """Blend with the mean luma, rounded half up, or move away from it. `table` uint8 [256] is overwritten."""
    total = 0
    for j in range(0, len(image), 3):
        total += grey(image, j)
    mean = np.int32(total / (len(image) // 3) + 0.5)
    for i in range(256):
        table[i] = blend(mean, np.int32(i), factor)
    look_up(image, table)


@compiled(nogil=True)
def sharpness(target, image, height, width, factor):
    """Towards or away from the image under the 3 x 3 kernel with 5 in the middle and 1 around it, over 13.

    No sum of bytes over 13 ends in one half, so the rounding of Pillow's float32 sums does not show. The outermost
    pixels stay.
    """
    target[:] = image
    line = 3 * width
    for y in range(1, height - 1):
        at = y * line
        above, here, below = image[at - line : at], image[at : at + line], image[at + line : at + 2 * line]
        row = target[at : at + line]
        for j in range(3, line - 3):
            total = np.int32(5) * np.int32(here[j]) + np.int32(above[j]) + np.int32(below[j])
            for k in (j - 3, j + 3):
                total += np.int32(above[k]) + np.int32(here[k]) + np.int32(below[k])
            smooth = np.int32((np.uint32(2 * total + 13) * np.uint32(20165)) >> np.uint32(19))  # over 26, rounded down
            row[j] = blend(smooth, np.int32(here[j]), factor)


@compiled(nogil=True)
def stretch(image, counts, tables, equal):
    """AutoContrast, or Equalize where `equal`: a table for each channel from its histogram, in place.

    `counts` int64 [3, 256] and `tables` uint8 [3, 256] are overwritten.
    """
    counts[:] = 0
    for j in range(0, len(image), 3):
        for c in range(3):
            counts[c, image[j + c]] += 1
    for c in range(3):
        count, table = counts[c], tables[c]
        low, high = 0, 255
        while count[low] == 0:
            low += 1
        while count[high] == 0:
            high -= 1
        step = (len(image) // 3 - count[high]) // 255 if equal else high - low
        if step == 0:
            for i in range(256):
                table[i] = i
        elif equal:
            total = step // 2
            for i in range(256):
                table[i] = min(total // step, 255)
                total += count[i]
        else:
            scale = 255.0 / step
            offset = -low * scale
            for i in range(256):
                table[i] = np.uint8(min(max(i * scale + offset, 0.0), 255.0))
    for j in range(0, len(image), 3):
        for c in range(3):
            image[j + c] = tables[c, image[j + c]]


@compiled(nogil=True)
def affine(target, image, height, width, matrix):
    """Nearest pixel under an affine map, black outside; matrix int64 [6] in 16.16 fixed point, from target to source.

    Target pixel (x, y) shows the source pixel (m2 + m0 x + m1 y, m5 + m3 x + m4 y) >> 16.
    """
    for y in range(height):
        u, v = matrix[2] + matrix[1] * y, matrix[5] + matrix[4] * y
        for x in range(width):
            column, row = u >> 16, v >> 16
            j = 3 * (y * width + x)
            if 0 <= column < width and 0 <= row < height:
                i = 3 * (row * width + column)
                target[j], target[j + 1], target[j + 2] = image[i], image[i + 1], image[i + 2]
            else:
                target[j] = target[j + 1] = target[j + 2] = 0
            u += matrix[0]
            v += matrix[3]


@compiled(nogil=True)
def rectangle(image, height, width, size, x, y, colour):
    """A rectangle of one colour (uint8 [3]), size / 2 up and left of (x, y), in pixels with fractions.

    Its right and lower edge, cut off to whole pixels, belong to it.
    """
    left, top = int(max(0.0, x - size / 2)), int(max(0.0, y - size / 2))
    for row in range(top, min(int(top + size), height - 1) + 1):
        for column in range(left, min(int(left + size), width - 1) + 1):
            for c in range(3):
                image[3 * (row * width + column) + c] = colour[c]


@compiled(nogil=True)
def randaugment_block(first, last, data, offsets, rows, out, height, width, key, position, stride, ops):
    """Apply RandAugment to samples first..last-1 of a batch.

    Args:
        data, offsets, rows: image i begins at data[offsets[rows[i]]].
        out: uint8 [B, H * W * 3].
        key, position, stride: as in `augment_cpu.Recipe`.
        ops: a `Prepared`.
    """
    size = height * width * 3
    spare, table = np.empty(size, np.uint8), np.empty(256, np.uint8)
    counts, tables = np.empty((3, 256), np.int64), np.empty((3, 256), np.uint8)
    for i in range(first, last):
        start = offsets[rows[i]]
        bits = hash64(key, np.uint64(position + stride * i))
        now, other = out[i], spare
        now[:] = data[start : start + size]
        for r in range(ops.rounds):
            index = RANDAUGMENT + 4 * r
            k = np.int64(below(hash64(bits, np.uint64(index + OPERATION)), np.uint64(len(ops.kinds))))
            sign = np.int64(below(hash64(bits, np.uint64(index + SIGN)), np.uint64(2)))
            kind, value = ops.kinds[k], ops.values[k, sign]
            if kind == TABLE:
                look_up(now, ops.tables[k, sign])
            elif kind in (STRETCH, EQUALIZE):
                stretch(now, counts, tables, kind == EQUALIZE)
            elif kind == COLOR:
                color(now, np.float32(value))
            elif kind == CONTRAST:
                contrast(now, np.float32(value), table)
            elif kind == SHARPNESS:
                sharpness(other, now, height, width, np.float32(value))
                now, other = other, now
            elif kind == AFFINE:
                affine(other, now, height, width, ops.matrices[k, sign])
                now, other = other, now
            elif kind == RECTANGLE:
                y = height + (1 - height) * ((hash64(bits, np.uint64(index + TOP)) >> np.uint64(11)) * 2.0**-53)
                x = width + (1 - width) * ((hash64(bits, np.uint64(index + LEFT)) >> np.uint64(11)) * 2.0**-53)
                rectangle(now, height, width, value, x, y, ops.grey)
        if now.ctypes.data != out[i].ctypes.data:
            out[i] = now
