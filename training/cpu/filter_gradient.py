"""The gradient of a mirrored convolution's filters, with half of the multiplications. Knows tensors' memory.

By the identity of `fold`, applied to the gradient of the output, it is a matrix product between that, folded, and the
sums and differences e and o of the input in the rows above, of and below each pixel.
"""

import torch
from torch import Tensor

from training.cpu.fold import folded, halves
from training.cpu.lanes import LANES, every, load, narrow, store, store_pairs
from training.cpu.team import block_of_work, run, unpack
from training.cpu.tile import TILE_COLUMNS, TILE_ROWS, multiply

BLOCK = 192
"""Pixels that a thread works on at a time: what they are rearranged to stays in its cache."""
PARTS = 8
"""Parts of the batch, each a block of work with sums of its own, however many threads there are."""


def filter_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Input bfloat16 [B, 2 C, H, W] and gradient of the output bfloat16 [B, 2 D, H, W], both channels last -> float32
    [D, 2 C, 3, 3], channels last."""
    batch, _, height, width = x.shape
    half_in, half_out = x.shape[1] // 2, grad.shape[1] // 2
    columns = -(-3 * half_in // TILE_COLUMNS) * TILE_COLUMNS
    products = torch.empty(PARTS, 2, 3 * half_out, columns)
    numbers = batch * height * width, height, width, half_in, half_out
    scratch = BLOCK * (3 * half_out + columns) * 4
    run(_multiply_part, PARTS, x.data_ptr(), grad.data_ptr(), products.data_ptr(), *numbers, scratch=scratch)
    result = torch.empty(half_out, 2 * half_in, 3, 3).to(memory_format=torch.channels_last)
    run(_collect_channel, half_out, products.data_ptr(), result.data_ptr(), half_in, half_out)
    return result


@block_of_work
def _multiply_part(part, z, numbers):
    """Sums over a part of the batch: float32 [2 (e, o), 3 kinds, D, 3 rows, C], rows padded to whole tiles."""
    x, grad, products, pixels, height, width, half_in, half_out = unpack(numbers, 8)
    columns = (3 * half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    r = z + BLOCK * 3 * half_out * 4
    size = 3 * half_out * columns
    products += part * 2 * size * 4
    for k in range(0, 2 * size, LANES):
        store(products + 4 * k, every(0.0))
    end = pixels * (part + 1) // PARTS
    for first in range(pixels * part // PARTS, end, BLOCK):
        count = min(BLOCK, end - first)
        pairs = (count + 1) // 2
        _fold_pairs(z, grad, first, count, width, half_out)
        _row_pairs(r, x, first, count, height, width, half_in, columns)
        for group in range(2):
            a, b, c = z + group * pairs * 12 * half_out, r + group * pairs * columns * 4, products + 4 * group * size
            for column in range(0, columns, TILE_COLUMNS):
                for row in range(0, 3 * half_out, TILE_ROWS):
                    to = c + 4 * (row * columns + column)
                    multiply(a + 4 * row, 4, 12 * half_out, b + column * pairs * 4, pairs, to, to, 4 * columns)


@block_of_work
def _fold_pairs(z, grad, first, count, width, half):
    """Writes z_e and z_o of some pixels, two side by side: bfloat16 [2, count / 2, 3 half, 2]; zeros beyond an odd
    end."""
    other = (count + 1) // 2 * 3 * half * 4
    for pixel in range(first, first + count, 2):
        to = z + (pixel - first) // 2 * 3 * half * 4
        column, column2 = pixel % width, (pixel + 1) % width
        for c in range(0, half, LANES):
            e, es, od, o, os, ed = folded(grad, pixel, column, width, half, c)
            e2 = es2 = od2 = o2 = os2 = ed2 = every(0.0)
            if pixel + 1 < first + count:
                e2, es2, od2, o2, os2, ed2 = folded(grad, pixel + 1, column2, width, half, c)
            at = to + 4 * c
            store_pairs(at, narrow(e), narrow(e2))
            store_pairs(at + 4 * half, narrow(es), narrow(es2))
            store_pairs(at + 8 * half, narrow(od), narrow(od2))
            store_pairs(at + other, narrow(o), narrow(o2))
            store_pairs(at + other + 4 * half, narrow(os), narrow(os2))
            store_pairs(at + other + 8 * half, narrow(ed), narrow(ed2))


@block_of_work
def _row_pairs(r, x, first, count, height, width, half, columns):
    """Writes e and o of the rows above, of and below some pixels, two side by side, in panels: bfloat16 [2,
    columns / 32, count / 2, 32, 2]; zeros beyond an odd end, nothing into columns behind 3 half."""
    pairs = (count + 1) // 2
    other = columns * pairs * 4
    for pixel in range(first, first + count, 2):
        pair = (pixel - first) // 2
        row, row2 = pixel // width % height, (pixel + 1) // width % height
        for tap in range(3):
            source = pixel + (tap - 1) * width
            is_in = 0 <= row + tap - 1 < height
            is_in2 = 0 <= row2 + tap - 1 < height and pixel + 1 < first + count
            for c in range(0, half, LANES):
                e = o = e2 = o2 = every(0.0)
                if is_in:
                    e, o = halves(x, source, half, c)
                if is_in2:
                    e2, o2 = halves(x, source + 1, half, c)
                panel, inner = (tap * half + c) // TILE_COLUMNS, (tap * half + c) % TILE_COLUMNS
                to = r + 4 * ((panel * pairs + pair) * TILE_COLUMNS + inner)
                store_pairs(to, narrow(e), narrow(e2))
                store_pairs(to + other, narrow(o), narrow(o2))


@block_of_work
def _collect_channel(d, scratch, numbers):
    """The gradient of one output channel's filters, from the products of all parts."""
    products, result, half_in, half_out = unpack(numbers, 4)
    half, quarter = every(0.5), every(0.25)
    for row in range(3):
        for c in range(0, half_in, LANES):
            e, o = _totals(products, 0, d, row, half_in, half_out, c)
            es, os = _totals(products, 1, d, row, half_in, half_out, c)
            ed, od = _totals(products, 2, d, row, half_in, half_out, c)
            to = result + 4 * ((d * 3 + row) * 3 * 2 * half_in + c)
            _store_columns(to, 8 * half_in, (e + o) * half, (es + os) * quarter, (ed + od) * quarter)
            _store_columns(to + 4 * half_in, 8 * half_in, (e - o) * half, (es - os) * quarter, (ed - od) * quarter)


@block_of_work
def _totals(products, kind, d, row, half_in, half_out, c):
    """Sixteen products with z_e and with z_o, summed over all parts."""
    columns = (3 * half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    size = 3 * half_out * columns
    e = o = every(0.0)
    for part in range(PARTS):
        at = products + 4 * (2 * part * size + (kind * half_out + d) * columns + row * half_in + c)
        e, o = e + load(at), o + load(at + 4 * size)
    return e, o


@block_of_work
def _store_columns(to, column, middle, even, odd):
    store(to, even - odd)
    store(to + column, middle)
    store(to + 2 * column, even + odd)
