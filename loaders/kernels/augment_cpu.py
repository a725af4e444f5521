"""The compiled CPU kernels: gather, crop, flip, cut out, normalise, for a block of samples of one batch.

Geometry is done in bytes, straight from the file into the output (uint8) or into an image that stays in the first
level of the cache and is then read through the table. Knows the draws and the layout of memory; knows no plan.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from loaders.augment.draws import CROP_X, CROP_Y, CUTOUT_X, CUTOUT_Y, FLIP
from loaders.intrinsics import clear16, copy, copy32, normalise24, reverse5
from loaders.order.rng import below, hash64

_U = np.uint64
_CROP_Y, _CROP_X, _FLIP, _CUTOUT_Y, _CUTOUT_X = map(_U, (CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X))


class Recipe(NamedTuple):
    """What the kernels do to an image; plain numbers, one type each."""

    key: np.uint64  # of the epoch
    position: int  # global position of the batch's first sample
    stride: int  # between the global positions of neighbours in the batch
    padding: int  # pixels
    reflect: bool
    flip: bool
    cutout: int  # pixels


@njit(nogil=True, cache=True, inline="always")
def drawn(bits, index, n):
    return np.int64(below(hash64(bits, index), _U(n)))


@njit(nogil=True, cache=True)
def mirror(i, n):
    """The pixel that stands at place i of a row of n, continued without repeating its edge; -n < i < 2n - 1."""
    i = -i if i < 0 else i
    return 2 * (n - 1) - i if i >= n else i


@njit(nogil=True, cache=True)
def move(target, source, n):
    """Copy n bytes between addresses, by vectors: libc's copy of a few kilobytes (`rep movsb`) takes twice as long."""
    if n < 32:
        copy(target, source, n)
        return
    for j in range(0, n - 32, 32):
        copy32(target + _U(j), source + _U(j))
    copy32(target + _U(n - 32), source + _U(n - 32))


@njit(nogil=True, cache=True)
def reverse(target, source, n):
    """Write n pixels in reverse; bytes at addresses. May write one byte beyond the last pixel."""
    j = 0
    while j + 5 <= n:
        reverse5(target + _U(3 * j), source + _U(3 * (n - 5 - j)))
        j += 5
    if j < n and n >= 5:
        reverse5(target + _U(3 * (n - 5)), source)
    elif j < n:
        for k in range(j, n):
            copy(target + _U(3 * k), source + _U(3 * (n - 1 - k)), 3)


@njit(nogil=True, cache=True)
def reverse_exactly(target, source, n):
    for k in range(n):
        copy(target + _U(3 * k), source + _U(3 * (n - 1 - k)), 3)


@njit(nogil=True, cache=True)
def edges(out, source, row, width, shift, flip, reflect, first, last):
    """Fill the pixels of one output row that lie outside the image: columns first..last-1.

    `out` uint8 [H * W * 3]; `row` its first byte; `source` uint8, the row of the image (for reflection).
    """
    for x in range(first, last):
        at = row + 3 * x
        if reflect:
            i = 3 * mirror((width - 1 - x if flip else x) + shift, width)
            for c in range(3):
                out[at + c] = source[i + c]
        else:
            for c in range(3):
                out[at + c] = 0


@njit(nogil=True, cache=True)
def augment_image(out, image, height, width, recipe, bits):
    """One augmented image: `image` uint8 [H * W * 3] as stored -> `out` uint8 [H * W * 3]."""
    dy = dx = 0
    if recipe.padding:
        dy = drawn(bits, _CROP_Y, 2 * recipe.padding + 1) - recipe.padding
        dx = drawn(bits, _CROP_X, 2 * recipe.padding + 1) - recipe.padding
    flip = recipe.flip and drawn(bits, _FLIP, 2) == 1
    line = 3 * width
    inside = max(width - abs(dx), 0)
    # Columns of the output that show the image: left..right - 1.
    left = min(max(dx, 0) if flip else max(-dx, 0), width)
    right = left + inside
    target, source = _U(out.ctypes.data), _U(image.ctypes.data) + _U(3 * min(max(dx, 0), width))
    for y in range(height):
        row = y * line
        i = y + dy
        if recipe.reflect:
            i = mirror(i, height)
            edges(out, image[i * line : (i + 1) * line], row, width, dx, flip, True, 0, left)
            edges(out, image[i * line : (i + 1) * line], row, width, dx, flip, True, right, width)
        elif i < 0 or i >= height or inside == 0:
            out[row : row + line] = 0
            continue
        begin, stored = target + _U(row + 3 * left), source + _U(i * line)
        if (height - 1 - y) * line < 16:
            if flip:
                reverse_exactly(begin, stored, inside)
            else:
                move(begin, stored, 3 * inside)
            if not recipe.reflect:
                edges(out, image, row, width, dx, flip, False, 0, left)
                edges(out, image, row, width, dx, flip, False, right, width)
            continue
        # What is written too much, less than 16 bytes, is overwritten by what follows, in this row or the next ones.
        if not recipe.reflect:
            for k in range(0, 3 * left, 16):
                clear16(target + _U(row + k))
        if flip:
            kept = out[row + 3 * right] if recipe.reflect else 0
            reverse(begin, stored, inside)
            out[row + 3 * right] = kept
        else:
            move(begin, stored, 3 * inside)
        if not recipe.reflect:
            for k in range(3 * right, line, 16):
                clear16(target + _U(row + k))
    if recipe.cutout:
        top = drawn(bits, _CUTOUT_Y, height) - recipe.cutout // 2
        left = drawn(bits, _CUTOUT_X, width) - recipe.cutout // 2
        first, last = max(left, 0), min(left + recipe.cutout, width)
        for y in range(max(top, 0), min(top + recipe.cutout, height)):
            out[y * line + 3 * first : y * line + 3 * last] = 0


@njit(nogil=True, cache=True)
def pixels(first, last, data, offsets, ids, out, recipe):
    """Samples first..last-1 of a batch as bytes.

    Args:
        data: uint8, pixels of all images; offsets: int64, the first byte of each; ids: int64 [B], into `offsets`.
        out: uint8 [B, H, W, 3].
        recipe: a `Recipe`.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat = out.reshape(out.shape[0], size)
    for i in range(first, last):
        start = offsets[ids[i]]
        bits = hash64(recipe.key, _U(recipe.position + recipe.stride * i))
        augment_image(flat[i], data[start : start + size], height, width, recipe, bits)


@njit(nogil=True, cache=True, inline="always")
def normalise(line, image, out, table, scale, shift, exact):
    """Bytes `image` uint8 [H * W * 3] -> values `line` [H * W * 3], a row of `out`; the rest as in `normalised`."""
    steps = len(image) // 24 if exact else 0
    addresses = _U(line.ctypes.data), _U(image.ctypes.data)
    normalise24(out, addresses[0], addresses[1], steps, _U(scale.ctypes.data), _U(shift.ctypes.data))
    red, green, blue = table[0], table[1], table[2]
    for j in range(24 * steps, len(image), 3):
        line[j] = red[image[j]]
        line[j + 1] = green[image[j + 1]]
        line[j + 2] = blue[image[j + 2]]


@njit(nogil=True, cache=True)
def normalised(first, last, data, offsets, ids, out, recipe, table, scale, shift, exact):
    """The same as `pixels`, each value normalised.

    Args:
        out: float32, uint16 (bit patterns of bfloat16) or int16 (of float16), [B, H, W, 3].
        table: [3, 256] of that type, the value of each byte.
        scale, shift: float64 [24], value = scale * byte + shift for 8 pixels.
        exact: the formula gives the table's values for every byte, so that it may stand in for the table.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat = out.reshape(out.shape[0], size)
    image = np.empty(size, np.uint8)
    for i in range(first, last):
        start = offsets[ids[i]]
        bits = hash64(recipe.key, _U(recipe.position + recipe.stride * i))
        augment_image(image, data[start : start + size], height, width, recipe, bits)
        normalise(flat[i], image, out, table, scale, shift, exact)
