"""Triton kernels that cut boxes out of images and resize them, which give the bytes of `loaders.kernels.resize_cpu`.

The first computes the weights of each image's rows and columns, once, in float64 as on the CPU. The second sums, in the
same order in float32; each value of the result reads all pixels under the filter, which lie in the cache. They are
imported as `loaders.kernels.augment_gpu` is, before whose kernel they are launched.
"""

from typing import Any

import triton
import triton.language as tl

from .augment_gpu import EXACT

BLOCK = 1024  # values a program
LINE = 128  # rows or columns at a time


@triton.jit
def _weight(start, k, center, support):
    """The triangle at pixel start + k: float64."""
    return tl.maximum(1 - tl.abs((start + k).to(tl.float64) + 0.5 - center) / support, 0.0)


@triton.jit(do_not_specialize_on_alignment=["boxes"])
def weigh(first, weights, boxes, most, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Compute what the rows (program_id(1) is 0) or the columns (1) of image program_id(0) are summed of.

    Args:
        first: int32 [B, 2, SIZE], the first pixel of each.
        weights: float32 [B, 2, most, SIZE], see `resize_cpu.taps`; zero behind the last pixel.
        boxes: int32 [B, 4], top, left, height and width in the image.
    """
    i, axis = tl.program_id(0), tl.program_id(1)
    low, length = tl.load(boxes + 4 * i + axis), tl.load(boxes + 4 * i + 2 + axis)
    scale = length.to(tl.float64) / tl.full([1], SIZE, tl.float64)
    support = tl.maximum(scale, 1.0)
    row = (2 * i + axis).to(tl.int64)
    for begin in range(0, SIZE, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < SIZE
        center = low.to(tl.float64) + (place.to(tl.float64) + 0.5) * scale
        start = tl.maximum((center - support + 0.5).to(tl.int32), low)
        count = tl.minimum((center + support + 0.5).to(tl.int32), low + length) - start
        total = tl.full([BLOCK], 0, tl.float64)
        for k in range(0, most):
            total += tl.where(k < count, _weight(start, k, center, support), 0.0)
        total = tl.where(total > 0, total, 1.0)  # zero behind the last place
        for k in range(0, most):
            weight = tl.where(k < count, _weight(start, k, center, support) / total, 0.0)
            tl.store(weights + (row * most + k) * SIZE + place, weight.to(tl.float32), mask=inside)
        tl.store(first + row * SIZE + place, start, mask=inside)


@triton.jit(do_not_specialize_on_alignment=["starts", "widths", "boxes"])
def sum_up(out, data, starts, widths, boxes, first, weights, most, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Make BLOCK values, from BLOCK * program_id(1) on, of image program_id(0) of a batch.

    Args:
        out: uint8 [B, SIZE, SIZE, 3].
        data: uint8, pixels of all images.
        starts: int64 [B], the first byte of each image.
        widths: int32 [B], pixels in a row of each.
        boxes, first, weights, most: as in `weigh`.
    """
    i = tl.program_id(0)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < SIZE * SIZE * 3
    c, pixel = place % 3, place // 3
    y, x = pixel // SIZE, pixel % SIZE
    top, left = tl.load(boxes + 4 * i), tl.load(boxes + 4 * i + 1)
    bottom, right = top + tl.load(boxes + 4 * i + 2), left + tl.load(boxes + 4 * i + 3)
    image, width, row = data + tl.load(starts + i), tl.load(widths + i), i.to(tl.int64) * 2
    first_y = tl.load(first + row * SIZE + y, mask=inside, other=0)
    first_x = tl.load(first + (row + 1) * SIZE + x, mask=inside, other=0)
    weights_y, weights_x = weights + row * most * SIZE + y, weights + (row + 1) * most * SIZE + x
    rows, columns = _reach(bottom - top, SIZE), _reach(right - left, SIZE)
    total = tl.full([BLOCK], 0.5, tl.float32)
    for k in range(0, columns):
        column = tl.full([BLOCK], 0, tl.float32)
        for r in range(0, rows):
            seen = inside & (first_y + r < bottom) & (first_x + k < right)
            at = ((first_y + r) * width + first_x + k) * 3 + c
            value = tl.load(image + at, mask=seen, other=0).to(tl.float32)
            column += tl.load(weights_y + r * SIZE, mask=inside, other=0.0) * value
        total += tl.load(weights_x + k * SIZE, mask=inside, other=0.0) * column
    tl.store(out + i.to(tl.int64) * (SIZE * SIZE * 3) + place, total.to(tl.int32).to(tl.uint8), mask=inside)


@triton.jit
def _reach(length, SIZE: tl.constexpr):
    """The most pixels in a row or a column under the filter, as `most_pixels`."""
    return 2 * tl.maximum((length + SIZE - 1) // SIZE, 1) + 1


def most_pixels(length: int, size: int) -> int:
    """The most pixels in a row or a column that a pixel is made of, where `length` of them become `size`."""
    return 2 * max(-(-length // size), 1) + 1


def launch(out, data, starts, widths, boxes, first, weights, most: int) -> None:
    """Queue both kernels for a whole batch on the current stream.

    Args:
        most: `most_pixels` of the longest side of a box.
        Others as in `sum_up`; `first` and `weights` for as many images or more are overwritten.
    """
    num, size, _, _ = out.shape
    line: dict[str, Any] = {"SIZE": size, "BLOCK": LINE, **EXACT}
    block: dict[str, Any] = {**line, "BLOCK": BLOCK}
    weigh[(num, 2)](first, weights, boxes, most, **line)
    grid = (num, triton.cdiv(size * size * 3, BLOCK))
    sum_up[grid](out, data, starts, widths, boxes, first, weights, most, **block)
