"""The compiled CPU kernels of mixed batches: each image straight from its partners' pixels in the file.

Boxes (CutMix, RICAP) are copies: of every partner only the part that is seen is cropped, flipped and cut out. Blends
(mixup) are computed from two augmented images in the first level of the cache. Knows geometry, draws nothing of it.
"""

import numpy as np
from numba import njit

from loaders.augment.draws import CROP_X, CROP_Y, CUTOUT_X, CUTOUT_Y, FLIP
from loaders.intrinsics import rounded_to
from loaders.kernels.augment_cpu import augment_image, drawn, edges, mirror, move, normalise, reverse, reverse_exactly
from loaders.order.rng import hash64

_U = np.uint64
_CROP_Y, _CROP_X, _FLIP, _CUTOUT_Y, _CUTOUT_X = map(_U, (CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X))


@njit(nogil=True, cache=True)
def _augment_box(out, image, height, width, recipe, bits, box):
    """A box of an augmented image into its place; `augment_image` with a window. box: see `mixers.MixGeometry`.

    `row` is the byte of `out` at which column 0 of the augmented image would stand.
    """
    rows, columns, from_top, from_left = box[2], box[3], box[4], box[5]
    dy = dx = 0
    if recipe.padding:
        dy = drawn(bits, _CROP_Y, 2 * recipe.padding + 1) - recipe.padding
        dx = drawn(bits, _CROP_X, 2 * recipe.padding + 1) - recipe.padding
    flip = recipe.flip and drawn(bits, _FLIP, 2) == 1
    line, end = 3 * width, from_left + columns
    start = line * box[0] + 3 * (box[1] - from_left)
    # Columns of the augmented image that show stored ones: first..last - 1 inside the box.
    visible = max(dx, 0) if flip else max(-dx, 0)
    first = min(max(visible, from_left), end)
    last = max(min(visible + width - abs(dx), end), first)
    count = last - first
    target, source = _U(out.ctypes.data), _U(image.ctypes.data)
    for y in range(rows):
        row = start + line * y
        i = from_top + y + dy
        if recipe.reflect:
            i = mirror(i, height)
        elif i < 0 or i >= height:
            out[row + 3 * from_left : row + 3 * end] = 0
            continue
        stored = image[i * line : (i + 1) * line]
        edges(out, stored, row, width, dx, flip, recipe.reflect, from_left, first)
        edges(out, stored, row, width, dx, flip, recipe.reflect, last, end)
        if count and not flip:
            move(target + _U(row + 3 * first), source + _U(i * line + 3 * (first + dx)), 3 * count)
        elif count:
            begin, after = target + _U(row + 3 * first), row + 3 * last
            pixels = source + _U(i * line + 3 * (width - last + dx))
            if after < len(out):
                kept = out[after]  # the byte that `reverse` spoils
                reverse(begin, pixels, count)
                out[after] = kept
            else:
                reverse_exactly(begin, pixels, count)
    if recipe.cutout:
        top = drawn(bits, _CUTOUT_Y, height) - recipe.cutout // 2
        left = drawn(bits, _CUTOUT_X, width) - recipe.cutout // 2
        first, last = max(left, from_left), min(left + recipe.cutout, end)
        for y in range(max(top - from_top, 0), min(top + recipe.cutout - from_top, rows)):
            row = start + line * y
            out[row + 3 * first : row + 3 * max(first, last)] = 0


@njit(nogil=True, cache=True)
def _compose(out, i, data, offsets, ids, height, width, recipe, partners, boxes):
    """Image i of the batch, put together from boxes: out uint8 [H * W * 3]."""
    for k in range(len(boxes)):
        box = boxes[k]
        if box[2] == 0 or box[3] == 0:
            continue
        j = partners[i, k]
        start = offsets[ids[j]]
        image = data[start : start + len(out)]
        bits = hash64(recipe.key, _U(recipe.position + recipe.stride * j))
        if box[2] == height and box[3] == width:
            augment_image(out, image, height, width, recipe, bits)
        else:
            _augment_box(out, image, height, width, recipe, bits, box)


@njit(nogil=True, cache=True)
def _augment_sample(out, j, data, offsets, ids, height, width, recipe):
    """The augmented image j of the batch: out uint8 [H * W * 3]."""
    start = offsets[ids[j]]
    bits = hash64(recipe.key, _U(recipe.position + recipe.stride * j))
    augment_image(out, data[start : start + len(out)], height, width, recipe, bits)


@njit(nogil=True, cache=True)
def boxed_pixels(first, last, data, offsets, ids, out, recipe, partners, boxes):
    """Samples first..last-1 of a batch that is put together from boxes, as bytes.

    Args:
        data, offsets, ids, out, recipe: as in `kernels.pixels`.
        partners, boxes: of a `mixers.MixGeometry`.
    """
    height, width = out.shape[1], out.shape[2]
    flat = out.reshape(out.shape[0], height * width * 3)
    for i in range(first, last):
        _compose(flat[i], i, data, offsets, ids, height, width, recipe, partners, boxes)


@njit(nogil=True, cache=True)
def boxed_normalised(first, last, data, offsets, ids, out, recipe, table, scale, shift, exact, partners, boxes):
    """The same as `boxed_pixels`, each value normalised as in `kernels.normalised`."""
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, image = out.reshape(out.shape[0], size), np.empty(size, np.uint8)
    for i in range(first, last):
        _compose(image, i, data, offsets, ids, height, width, recipe, partners, boxes)
        normalise(flat[i], image, out, table, scale, shift, exact)


@njit(cache=True)
def cycles(partners):
    """The samples of a batch in such an order that each, if it can, follows the one whose partner it is: int64 [B]."""
    order, seen, n = np.empty(len(partners), np.int64), np.zeros(len(partners), np.bool_), 0
    for start in range(len(partners)):
        i = start
        while not seen[i]:
            seen[i] = True
            order[n] = i
            n += 1
            i = partners[i, 1]
    return order


@njit(nogil=True, cache=True)
def blended_pixels(first, last, data, offsets, ids, out, recipe, partners, blend, order):
    """Blend samples order[first..last-1] of a batch as bytes, rounded half up: (s a + (2^16 - s) b + 2^15) >> 16.

    Args:
        data, offsets, ids, out, recipe: as in `kernels.pixels`.
        partners, blend: of a `mixers.MixGeometry`; partners[i, 0] = i.
        order: int64 [B], of `cycles`: an image is augmented once for both images that show it.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, images = out.reshape(out.shape[0], size), np.empty((2, size), np.uint8)
    latest, fraction, half, sixteen = -1, np.int32(blend), np.int32(32768), np.int32(16)
    for t in range(first, last):
        i, mine, other = order[t], images[t % 2], images[1 - t % 2]
        if latest != i:
            _augment_sample(mine, i, data, offsets, ids, height, width, recipe)
        latest = partners[i, 1]
        _augment_sample(other, latest, data, offsets, ids, height, width, recipe)
        line = flat[i]
        for j in range(size):
            apart = np.int32(mine[j]) - np.int32(other[j])
            line[j] = np.uint8(np.int32(other[j]) + np.int32(np.int32(apart * fraction + half) >> sixteen))


@njit(nogil=True, cache=True)
def blended_normalised(
    first, last, data, offsets, ids, out, recipe, table, scale, shift, exact, partners, blend, order
):
    """The same as `blended_pixels`, normalised before it is blended: s * a + (1 - s) * b, two products and one sum in
    float32, each rounded, the sum then rounded to the type of `out`.

    Args:
        table, scale, shift, exact: as in `kernels.normalised`, for float32 whatever the type of `out`.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, image = out.reshape(out.shape[0], size), np.empty(size, np.uint8)
    values = np.empty((2, size), np.float32)
    latest, one, two = -1, np.float32(blend / 65536), np.float32((65536 - blend) / 65536)
    for t in range(first, last):
        i, mine, other = order[t], values[t % 2], values[1 - t % 2]
        if latest != i:
            _augment_sample(image, i, data, offsets, ids, height, width, recipe)
            normalise(mine, image, values, table, scale, shift, exact)
        latest = partners[i, 1]
        _augment_sample(image, latest, data, offsets, ids, height, width, recipe)
        normalise(other, image, values, table, scale, shift, exact)
        line = flat[i]
        for j in range(size):
            line[j] = rounded_to(out, one * mine[j] + two * other[j])
