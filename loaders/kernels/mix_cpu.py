"""Compiled CPU kernels that make a mixed batch, each image straight from its partners' bytes in the file.

Boxes (CutMix, RICAP) are copied: of each partner only the part that is seen is augmented. Blends (mixup) are computed
from two augmented images that stay in the first level of the cache.
"""

import numpy as np

from ..compiled import compiled
from .augment_cpu import augment_box, augment_sample, normalise

_U = np.uint64


@compiled(nogil=True)
def _compose(out, i, data, offsets, ids, height, width, recipe, extras, partners, boxes):
    """Put image i of the batch together from boxes: `out` uint8 [H * W * 3]."""
    for k in range(len(boxes)):
        if boxes[k, 2] == 0 or boxes[k, 3] == 0:
            continue
        j = partners[i, k]
        start = offsets[ids[j]]
        augment_box(out, data[start : start + len(out)], height, width, recipe, extras, j, boxes[k])


@compiled(nogil=True)
def boxed_pixels(first, last, data, offsets, ids, out, recipe, extras, partners, boxes):
    """Make samples first..last-1 of a batch that is put together from boxes, as bytes.

    Args:
        data, offsets, ids, out, recipe, extras: as in `augment_cpu.pixels`.
        partners, boxes: of a `mixers.MixGeometry`.
    """
    height, width = out.shape[1], out.shape[2]
    flat = out.reshape(out.shape[0], height * width * 3)
    for i in range(first, last):
        _compose(flat[i], i, data, offsets, ids, height, width, recipe, extras, partners, boxes)


@compiled(nogil=True)
def boxed_normalised(first, last, data, offsets, ids, out, recipe, extras, table, partners, boxes):
    """Make samples first..last-1 as `boxed_pixels` does, each value normalised as in `augment_cpu.normalised`."""
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, image = out.reshape(out.shape[0], size), np.empty(size, np.uint8)
    for i in range(first, last):
        _compose(image, i, data, offsets, ids, height, width, recipe, extras, partners, boxes)
        normalise(flat[i], image, table)


@compiled()
def cycles(partners):
    """Order the samples of a batch so that, where possible, each follows the one whose partner it is: int64 [B].

    An image is then augmented once for the two blends that show it. `partners` int64 [B, 2].
    """
    order, seen, n = np.empty(len(partners), np.int64), np.zeros(len(partners), np.bool_), 0
    for start in range(len(partners)):
        i = start
        while not seen[i]:
            seen[i] = True
            order[n] = i
            n += 1
            i = partners[i, 1]
    return order


@compiled(nogil=True)
def blended_pixels(first, last, data, offsets, ids, out, recipe, extras, partners, blend, order):
    """Blend samples order[first..last-1] of a batch as bytes, rounded half up: (s a + (2^16 - s) b + 2^15) >> 16.

    Args:
        data, offsets, ids, out, recipe, extras: as in `augment_cpu.pixels`.
        partners, blend: of a `mixers.MixGeometry`; partners[i, 0] = i.
        order: int64 [B], of `cycles`.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, images = out.reshape(out.shape[0], size), np.empty((2, size), np.uint8)
    latest, fraction, half, sixteen = -1, np.int32(blend), np.int32(32768), np.int32(16)
    for t in range(first, last):
        i, mine, other = order[t], images[t % 2], images[1 - t % 2]
        if latest != i:
            augment_sample(mine, i, data, offsets, ids, height, width, recipe, extras)
        latest = partners[i, 1]
        augment_sample(other, latest, data, offsets, ids, height, width, recipe, extras)
        line = flat[i]
        for j in range(size):
            apart = np.int32(mine[j]) - np.int32(other[j])
            line[j] = np.uint8(np.int32(other[j]) + np.int32(np.int32(apart * fraction + half) >> sixteen))


@compiled(nogil=True)
def blended_normalised(first, last, data, offsets, ids, out, recipe, extras, table, partners, blend, order):
    """Blend samples order[first..last-1] of a batch after normalising them: s a + (1 - s) b.

    The two products and the sum are rounded to float32 one by one, as in every backend.

    Args:
        data, offsets, ids, recipe, extras: as in `augment_cpu.pixels`.
        out: float32 [B, H, W, 3].
        table: float32 [3, 256], the value of each byte.
        partners, blend, order: as in `blended_pixels`.
    """
    height, width = out.shape[1], out.shape[2]
    size = height * width * 3
    flat, image = out.reshape(out.shape[0], size), np.empty(size, np.uint8)
    values = np.empty((2, size), np.float32)
    latest, one, two = -1, np.float32(blend / 65536), np.float32((65536 - blend) / 65536)
    for t in range(first, last):
        i, mine, other = order[t], values[t % 2], values[1 - t % 2]
        if latest != i:
            augment_sample(image, i, data, offsets, ids, height, width, recipe, extras)
            normalise(mine, image, table)
        latest = partners[i, 1]
        augment_sample(image, latest, data, offsets, ids, height, width, recipe, extras)
        normalise(other, image, table)
        line = flat[i]
        for j in range(size):
            line[j] = one * mine[j] + two * other[j]


@compiled(nogil=True)
def to_bfloat16(first, last, values, out):
    """Round float32 images first..last-1 to bfloat16, ties to even: [B, H, W, 3] -> bit patterns, uint16."""
    size = values[0].size
    flat, line = values.reshape(-1).view(np.uint32), out.reshape(-1)
    for j in range(first * size, last * size):
        bits = flat[_U(j)]
        odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
        line[_U(j)] = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


def to_float16(first: int, last: int, values: np.ndarray, out: np.ndarray) -> None:
    """Round float32 images first..last-1 to float16, ties to even: [B, H, W, 3] -> bit patterns, int16."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, as in torch
        out[first:last].view(np.float16)[...] = values[first:last]
