"""Compiled CPU kernels that make a batch: gather, crop, flip, cut out, erase and normalise a range of its samples.

Images are moved byte by byte with unsigned indices into flat arrays. That matters: Numba checks a signed index for a
wrap-around and counts references to a slice, and either one keeps these loops from becoming vector instructions.
"""

from typing import NamedTuple

import numpy as np

from ..augment.draws import CROP_X, CROP_Y, CUTOUT_X, CUTOUT_Y, ERASE_NOISE, FLIP, VERTICAL_FLIP
from ..augment.erasing import Erasing, erased_box
from ..compiled import compiled
from ..order.rng import below, hash64

_U = np.uint64
_CROP_Y, _CROP_X, _FLIP, _CUTOUT_Y, _CUTOUT_X = map(_U, (CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X))
_VERTICAL_FLIP, _ERASE_NOISE = map(_U, (VERTICAL_FLIP, ERASE_NOISE))


class Recipe(NamedTuple):
    """What the kernels do to the images of one batch; each field has one Numba type."""

    key: np.uint64  # of the epoch
    position: int  # global position of the batch's first sample
    stride: int  # between the global positions of neighbours in the batch
    padding: int  # pixels
    reflect: bool  # pad with mirrored pixels, not with zeros
    flip: bool
    cutout: int  # size in pixels
    vertical_flip: bool


class Extras(NamedTuple):
    """What most batches do without: where None takes its place, the kernels are compiled as if it did not exist."""

    erasing: Erasing
    # Of an alternating flip: the sides of even epochs are coins under the run's key, those of odd epochs the others.
    alternating: bool
    turn: int  # the epoch modulo two
    run_key: np.uint64
    samples: np.ndarray  # int64 [B], the ids of the batch's samples


@compiled(nogil=True, inline="always")
def drawn(bits, index, n):
    """The decision with this draw index in 0..n-1, from the random bits of a position."""
    return np.int64(below(hash64(bits, index), _U(n)))


@compiled(nogil=True)
def mirror(i, n):
    """The pixel shown at place i of a row of n that goes on beyond its ends by reflection; -n < i < 2n - 1."""
    i = -i if i < 0 else i
    return 2 * (n - 1) - i if i >= n else i


@compiled(nogil=True)
def copy_bytes(out, at, image, start, count):
    """Copy `count` bytes from image[start] on to out[at] on."""
    for j in range(count):
        out[_U(at + j)] = image[_U(start + j)]


@compiled(nogil=True)
def reverse_pixels(out, at, image, start, count):
    """Copy `count` pixels from image[start] on to out[at] on, the last one first."""
    for x in range(count):
        to, source = at + 3 * x, start + 3 * (count - 1 - x)
        for c in range(3):
            out[_U(to + c)] = image[_U(source + c)]


@compiled(nogil=True)
def clear_bytes(out, first, last):
    """Set out[first:last] to zero."""
    for j in range(first, last):
        out[_U(j)] = 0


@compiled(nogil=True)
def reflect_pixels(out, at, image, start, width, first, last, shift, flip):
    """Fill columns first..last-1 of an output row, which lie outside the image, by reflection.

    `at` and `start` are the bytes where column 0 of the row in `out` and in `image` stands.
    """
    for x in range(first, last):
        to, source = at + 3 * x, start + 3 * mirror((width - 1 - x if flip else x) + shift, width)
        for c in range(3):
            out[_U(to + c)] = image[_U(source + c)]


@compiled(nogil=True)
def erase_box(out, height, width, erasing, bits, box):
    """Erase what a box shows of the rectangle that is erased of its augmented image; arguments as in `move_box`."""
    top, left, rows, columns = erased_box(bits, height, width, erasing)
    down, right = top - box[4], left - box[5]
    first, last = max(right, 0), min(right + columns, box[3])
    noise = hash64(bits, _ERASE_NOISE)
    for y in range(max(down, 0), min(down + rows, box[2])):
        for x in range(first, last):
            j = _U(3 * (width * (box[0] + y) + box[1] + x))
            if erasing.noise:
                drawn_bits = hash64(noise, _U(width * (box[4] + y) + box[5] + x))
                out[j] = drawn_bits >> _U(56)
                out[j + _U(1)] = (drawn_bits >> _U(48)) & _U(255)
                out[j + _U(2)] = (drawn_bits >> _U(40)) & _U(255)
            else:
                out[j], out[j + _U(1)], out[j + _U(2)] = erasing.red, erasing.green, erasing.blue


@compiled(nogil=True)
def move_box(out, image, height, width, recipe, bits, flip, box):
    """Crop, flip and cut out a box of one image, and write it to its place in the result.

    Args:
        out, image, height, width, recipe, box: as in `augment_box`.
        bits: the random bits of the image's position.
        flip: whether it is mirrored left to right.
    """
    top, left, rows, columns, from_top, from_left = box[0], box[1], box[2], box[3], box[4], box[5]
    dy = dx = 0
    if recipe.padding:
        dy = drawn(bits, _CROP_Y, 2 * recipe.padding + 1) - recipe.padding
        dx = drawn(bits, _CROP_X, 2 * recipe.padding + 1) - recipe.padding
    first_row, step = dy + from_top, 1
    if recipe.vertical_flip and drawn(bits, _VERTICAL_FLIP, 2) == 1:
        first_row, step = dy + height - 1 - from_top, -1
    line, end = 3 * width, from_left + columns
    # Columns first..last-1 of the augmented image lie in the box and show stored pixels, from `begin` on.
    visible = max(dx, 0) if flip else max(-dx, 0)
    first = min(max(visible, from_left), end)
    last = max(min(visible + width - abs(dx), end), first)
    begin = (width - last if flip else first) + dx
    for y in range(rows):
        at = line * (top + y) + 3 * (left - from_left)
        row = first_row + step * y
        if recipe.reflect:
            row = mirror(row, height)
            reflect_pixels(out, at, image, line * row, width, from_left, first, dx, flip)
            reflect_pixels(out, at, image, line * row, width, last, end, dx, flip)
        elif row < 0 or row >= height:
            clear_bytes(out, at + 3 * from_left, at + 3 * end)
            continue
        elif dx:
            clear_bytes(out, at + 3 * from_left, at + 3 * end)  # the whole row: faster than its two ends
        if flip:
            reverse_pixels(out, at + 3 * first, image, line * row + 3 * begin, last - first)
        else:
            copy_bytes(out, at + 3 * first, image, line * row + 3 * begin, 3 * (last - first))
    if recipe.cutout:
        down = drawn(bits, _CUTOUT_Y, height) - recipe.cutout // 2 - from_top
        right = drawn(bits, _CUTOUT_X, width) - recipe.cutout // 2 - from_left
        first, last = max(right, 0), min(right + recipe.cutout, columns)
        for y in range(max(down, 0), min(down + recipe.cutout, rows)):
            at = line * (top + y) + 3 * left
            clear_bytes(out, at + 3 * first, at + 3 * last)


@compiled(nogil=True, inline="always")
def augment_box(out, image, height, width, recipe, extras, i, box):
    """Write a box of one augmented image to its place in the result; nothing outside the box is computed.

    Args:
        out: uint8 [H * W * 3], the result.
        image: uint8 [H * W * 3], as stored.
        height, width: H and W in pixels.
        recipe: a `Recipe`.
        extras: `Extras`, or None.
        i: place of the image in the batch.
        box: six int64: top, left, height and width in the result; top and left in the augmented image.
    """
    bits = hash64(recipe.key, _U(recipe.position + recipe.stride * i))
    flip = recipe.flip and drawn(bits, _FLIP, 2) == 1
    if extras is not None and extras.alternating:
        flip = drawn(hash64(extras.run_key, _U(extras.samples[i])), _FLIP, 2) != extras.turn
    move_box(out, image, height, width, recipe, bits, flip, box)
    if extras is not None and extras.erasing.chance > 0:
        erase_box(out, height, width, extras.erasing, bits, box)


@compiled(nogil=True, inline="always")
def augment_sample(out, i, data, offsets, ids, height, width, recipe, extras):
    """Augment sample i of a batch: `out` uint8 [H * W * 3]; the rest as in `pixels`."""
    start = offsets[ids[i]]
    image = data[start : start + len(out)]
    augment_box(out, image, height, width, recipe, extras, i, (0, 0, height, width, 0, 0))


@compiled(nogil=True)
def pixels(first, last, data, offsets, ids, out, recipe, extras):
    """Make samples first..last-1 of a batch as bytes.

    Args:
        data: uint8, pixels of all images.
        offsets: int64, the first byte of each image in `data`.
        ids: int64 [B], into `offsets`.
        out: uint8 [B, H, W, 3].
        recipe: a `Recipe`.
        extras: `Extras`, or None.
    """
    height, width = out.shape[1], out.shape[2]
    flat = out.reshape(out.shape[0], height * width * 3)
    for i in range(first, last):
        augment_sample(flat[i], i, data, offsets, ids, height, width, recipe, extras)


@compiled(nogil=True)
def normalise(values, image, table):
    """Write the value of each byte of `image` uint8 [H * W * 3] to `values` [H * W * 3]; `table` as in `normalised`."""
    red, green, blue = table[0], table[1], table[2]
    for j in range(0, len(image), 3):
        k = _U(j)
        values[k] = red[image[k]]
        values[k + _U(1)] = green[image[k + _U(1)]]
        values[k + _U(2)] = blue[image[k + _U(2)]]


@compiled(nogil=True)
def normalised(first, last, data, offsets, ids, out, recipe, extras, table):
    """Make samples first..last-1 of a batch as `pixels` does, each value normalised.

    Args:
        data, offsets, ids, recipe, extras: as in `pixels`.
        out: float32, uint16 (bit patterns of bfloat16) or int16 (of float16), [B, H, W, 3].
        table: [3, 256] of that type, the value of each byte.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat = out.reshape(out.shape[0], size)
    image = np.empty(size, np.uint8)  # stays in the first level of the cache
    for i in range(first, last):
        augment_sample(image, i, data, offsets, ids, height, width, recipe, extras)
        normalise(flat[i], image, table)
