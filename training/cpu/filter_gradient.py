"""The gradient of a mirrored convolution's filters, with a third of the multiplications. Knows tensors' memory.

It is a matrix product of what the filters are multiplied with in `convolve` and of the gradients of sum and difference
of the output. For the rows y0 and y1 of a pair in these, and rows d0 to d3 of the folded input around it, the products
at the four points are

    m0 = (d0 - d2) y0    m1 = (d1 + d2) (y0 + y1)    m2 = (d2 - d1) (y0 - y1)    m3 = (d1 - d3) y1

and the three rows of the filters m0 + (m1 + m2) / 2, (m1 - m2) / 2 and (m1 + m2) / 2 - m3.
"""

import numpy as np
import torch
from torch import Tensor

from training.cpu.convolve import rows_at
from training.cpu.fold import GROWTH, fetch_places, fold_rows, halves
from training.cpu.formats import factor_size, has_whole_factors, scatter, store_word
from training.cpu.lanes import LANES, every, load, store
from training.cpu.team import block_of_work, rows_in_cache, run, unpack
from training.cpu.tile import TILE_COLUMNS, TILE_ROWS, multiply

LARGEST, CHUNK = 2.0**12, 60
"""Whole factors, of input and of gradient, are at most this: int32 can hold the sum of that many steps of a product."""


def filter_gradient(x: Tensor, grad: Tensor, factors: torch.dtype) -> Tensor:
    """Input [B, 2 C, H, W] and gradient of the output [B, 2 D, H, W], channels last, of one type -> float32
    [D, 2 C, 3, 3], channels last."""
    batch, _, height, width = x.shape
    half_in, half_out = x.shape[1] // 2, grad.shape[1] // 2
    pairs, columns = batch * ((height + 1) // 2) * width, -(-half_out // TILE_COLUMNS) * TILE_COLUMNS
    parts = min(max(pairs // 1024, 1), 8)  # of the batch, with sums of their own, however many threads there are
    products = torch.empty(4, parts, 2, 3 * half_in, columns)
    pair_bytes = 2 * (3 * half_in + columns) * factors.itemsize
    block = rows_in_cache(pair_bytes, 2)
    addresses, sizes = (x.data_ptr(), grad.data_ptr(), products.data_ptr()), (height, width, half_in, half_out)
    run(_multiply_part, factors, 4 * parts, *addresses, parts, pairs, block, *sizes, scratch=block * pair_bytes)
    result = torch.empty(half_out, 2 * half_in, 3, 3).to(memory_format=torch.channels_last)
    numbers = products.data_ptr(), result.data_ptr(), parts, half_in, half_out
    run(_collect_channels, x.dtype, half_out // LANES, *numbers)
    return result


@block_of_work
def _multiply_part(dtype, item, z, numbers):
    """Sums at one point over a part of the batch: float32 [2 (e, o), 3 kinds, C, D], rows padded to whole tiles."""
    x, grad, products, parts, pairs, block, height, width, half_in, half_out = unpack(numbers, 10)
    part, point = item // 4, item % 4  # so that points of a part, which read the same, are neighbours in time
    columns = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    y = z + block * 6 * half_in * factor_size(dtype)
    size = 3 * half_in * columns
    products += (point * parts + part) * 2 * size * 4
    for k in range(0, 2 * size, LANES):
        store(products + 4 * k, every(0.0))
    end = pairs * (part + 1) // parts
    for first in range(pairs * part // parts, end, block):
        count = min(block, end - first)
        steps = (count * factor_size(dtype) + 3) // 4
        shape, lines, step_bytes = (height, width, half_in), (height + 1) // 2, 12 * half_in
        scale = every(LARGEST / GROWTH) / fetch_places(dtype, x, shape, lines, first, count)
        power = fetch_places(dtype, grad, (height, width, half_out), lines, first, count)
        grad_scale = every(LARGEST / (GROWTH / 2)) / power  # no neighbours are added
        # [2 (e, o), steps, 3 kinds, C]
        fold_rows(dtype, x, shape, lines, rows_at(point), first, count, z, step_bytes, steps * step_bytes, True, scale)
        _combine_gradients(dtype, point, y, grad, first, count, height, width, half_out, columns, grad_scale)
        unit = every(1.0) / (scale * grad_scale)
        for group in range(2):
            a, b, c = z + group * steps * 12 * half_in, y + group * steps * 4 * columns, products + 4 * group * size
            for column in range(0, columns, TILE_COLUMNS):
                panel = b + column * steps * 4
                for row in range(0, 3 * half_in, TILE_ROWS):
                    to = c + 4 * (row * columns + column)
                    _multiply(dtype, a + 4 * row, 12 * half_in, panel, steps, to, 4 * columns, unit)


@block_of_work
def _multiply(dtype, a, a_step, b, steps, to, to_row, unit):
    """Adds a tile to what is there."""
    if not has_whole_factors(dtype):
        multiply(dtype, a, 4, a_step, b, steps, to, to, to_row, unit)
        return
    for k in range(0, steps, CHUNK):
        b_k = b + 4 * k * TILE_COLUMNS
        multiply(dtype, a + k * a_step, 4, a_step, b_k, min(CHUNK, steps - k), to, to, to_row, unit)


@block_of_work
def _combine_gradients(dtype, point, y, grad, first, count, height, width, half, columns, scale):
    """Writes the gradients of sums and differences of some pairs at a point, [2 (e, o), panels, steps, TILE_COLUMNS] in
    `tile`'s order, nothing into columns behind `half`."""
    steps, line, per_picture = (count * factor_size(dtype) + 3) // 4, 4 * TILE_COLUMNS, (height + 1) // 2 * width
    for k in range(count):
        pair = first + k
        place = pair // per_picture, pair % per_picture // width * 2, pair % width
        for c in range(0, half, LANES):
            e, o = _gradient_at(dtype, point, grad, place, height, width, half, c)
            to = y + (c // TILE_COLUMNS * steps + k * factor_size(dtype) // 4) * line + c % TILE_COLUMNS * 4
            store_word(dtype, to, k, e, scale)
            store_word(dtype, to + columns * steps * 4, k, o, scale)


@block_of_work
def _gradient_at(dtype, point, grad, place, height, width, half, c):
    """Of e and o: y0, y0 + y1, y0 - y1 or y1."""
    picture, row, column = place
    pixel = (picture * height + row) * width + column
    e = o = e2 = o2 = every(0.0)
    if point < 3:
        e, o = halves(dtype, grad, pixel, half, c)
    if point > 0 and row + 1 < height:
        e2, o2 = halves(dtype, grad, pixel + width, half, c)
    if point == 2:
        return e - e2, o - o2
    return e + e2, o + o2


@block_of_work
def _collect_channels(dtype, block, scratch, numbers):
    """The gradient of the filters of sixteen output channels, from the products of all parts."""
    products, result, parts, half_in, half_out = unpack(numbers, 5)
    d, column, filter_bytes = block * LANES, 8 * half_in, 72 * half_in
    half, quarter = every(0.5), every(0.25)
    for c in range(half_in):
        middle = _rows(products, parts, 0, c, d, half_in, half_out)
        outer = _rows(products, parts, 1, c, d, half_in, half_out)
        across = _rows(products, parts, 2, c, d, half_in, half_out)
        for row in range(3):
            (e0, o0), (e1, o1), (e2, o2) = middle[row], outer[row], across[row]
            to = result + d * filter_bytes + 3 * row * column + 4 * c
            even, odd = (e1 + o1) * quarter, (e2 + o2) * quarter
            scatter(np.float32, to, filter_bytes, even + odd)
            scatter(np.float32, to + column, filter_bytes, (e0 + o0) * half)
            scatter(np.float32, to + 2 * column, filter_bytes, even - odd)
            to += 4 * half_in
            even, odd = (e1 - o1) * quarter, (o2 - e2) * quarter
            scatter(np.float32, to, filter_bytes, even + odd)
            scatter(np.float32, to + column, filter_bytes, (e0 - o0) * half)
            scatter(np.float32, to + 2 * column, filter_bytes, even - odd)


@block_of_work
def _rows(products, parts, kind, c, d, half_in, half_out):
    """Of sum and difference: the gradient of the filters' three rows of a kind."""
    e0, o0 = _totals(products, parts, 0, kind, c, d, half_in, half_out)
    e1, o1 = _totals(products, parts, 1, kind, c, d, half_in, half_out)
    e2, o2 = _totals(products, parts, 2, kind, c, d, half_in, half_out)
    e3, o3 = _totals(products, parts, 3, kind, c, d, half_in, half_out)
    half = every(0.5)
    e, o = (e1 + e2) * half, (o1 + o2) * half
    return (e0 + e, o0 + o), ((e1 - e2) * half, (o1 - o2) * half), (e - e3, o - o3)


@block_of_work
def _totals(products, parts, point, kind, c, d, half_in, half_out):
    """Products with e and with o at a point, summed over all parts."""
    columns = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    size = 3 * half_in * columns
    e = o = every(0.0)
    for part in range(parts):
        at = products + 4 * ((point * parts + part) * 2 * size + (kind * half_in + c) * columns + d)
        e, o = e + load(at), o + load(at + 4 * size)
    return e, o
