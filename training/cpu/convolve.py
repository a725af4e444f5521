"""Pictures times packed filters: the convolution of `fold`, two rows at a time. Knows tensors' memory, no gradient.

Along the rows it is S. Winograd's F(2, 3): two outputs of a filter with three taps by four products in place of six. Of
the rows d0 to d3 around a pair, whose two are d1 and d2, the products at four points are

    (d0 - d2) g0    (d1 + d2) (g0 + g1 + g2) / 2    (d2 - d1) (g0 - g1 + g2) / 2    (d1 - d3) g2

and the outputs m0 + m1 + m2 and m1 - m2 - m3 (A. Lavin and S. Gray, "Fast algorithms for convolutional neural
networks", arXiv:1509.09308, section 4.1). With the fold a third of the multiplications is left.
"""

import torch
from torch import Tensor

from training.cpu.fold import folded
from training.cpu.lanes import LANES, every, load, narrow, store, store_bfloat16
from training.cpu.team import block_of_work, run, unpack
from training.cpu.tile import TILE_COLUMNS, TILE_ROWS, multiply

BLOCK = 96
"""Pairs that a thread works on at a time: what they are expanded to stays in its cache."""


def convolve(x: Tensor, packed: Tensor, half_out: int) -> Tensor:
    """bfloat16 [B, 2 C, H, W], channels last -> [B, 2 D, H, W].

    Args:
        packed: bfloat16 [2 (e, o), ceil(D / 32), 4 points, 3 kinds, C / 2, 32, 2], of `packing`.
        half_out: D.
    """
    batch, channels, height, width = x.shape
    y = torch.empty((batch, 2 * half_out, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    pairs, half_in = batch * ((height + 1) // 2) * width, channels // 2
    scratch = BLOCK * 2 * 4 * 3 * half_in * 2 + 9 * TILE_ROWS * TILE_COLUMNS * 4
    addresses = x.data_ptr(), y.data_ptr(), packed.data_ptr()
    run(_convolve_block, -(-pairs // BLOCK), *addresses, pairs, height, width, half_in, half_out, scratch=scratch)
    return y


@block_of_work
def _convolve_block(block, z, numbers):
    x, y, packed, pairs, height, width, half_in, half_out = unpack(numbers, 8)
    first = block * BLOCK
    count = min(BLOCK, pairs - first)
    _expand(x, z, first, count, height, width, half_in)
    point_bytes, steps, row_bytes = 3 * half_in * 2, 3 * half_in // 2, TILE_COLUMNS * 4
    pair_bytes, tile_bytes, filter_bytes = 8 * point_bytes, TILE_ROWS * row_bytes, steps * TILE_COLUMNS * 4
    zero = z + BLOCK * pair_bytes
    sums = zero + tile_bytes
    for k in range(0, tile_bytes, 4 * LANES):
        store(zero + k, every(0.0))
    panels = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS
    for panel in range(panels):
        for tile in range(0, count, TILE_ROWS):
            for point in range(8):  # four of e, then four of o
                a = z + tile * pair_bytes + point * point_bytes
                b = packed + ((point // 4 * panels + panel) * 4 + point % 4) * filter_bytes
                multiply(a, pair_bytes, 4, b, steps, zero, sums + point * tile_bytes, row_bytes)
            rows = min(TILE_ROWS, count - tile)
            _collect(sums, tile_bytes, y, first + tile, rows, height, width, half_out, panel * TILE_COLUMNS)


@block_of_work
def _expand(x, z, first, count, height, width, half):
    """Writes what the four products of pairs of rows are made with: bfloat16 [count, 2 (e, o), 4, 3 kinds, half]."""
    point = 3 * half * 2
    per_picture = (height + 1) // 2 * width
    for pair in range(first, first + count):
        picture, row, column = pair // per_picture, pair % per_picture // width * 2, pair % width
        for c in range(0, half, LANES):
            d0 = _row(x, picture, row - 1, column, height, width, half, c)
            d1 = _row(x, picture, row, column, height, width, half, c)
            d2 = _row(x, picture, row + 1, column, height, width, half, c)
            d3 = _row(x, picture, row + 2, column, height, width, half, c)
            to = z + (pair - first) * 8 * point + 2 * c
            _store_points(to, point, d0[0], d1[0], d2[0], d3[0])
            _store_points(to + 2 * half, point, d0[1], d1[1], d2[1], d3[1])
            _store_points(to + 4 * half, point, d0[2], d1[2], d2[2], d3[2])
            to += 4 * point
            _store_points(to, point, d0[3], d1[3], d2[3], d3[3])
            _store_points(to + 2 * half, point, d0[4], d1[4], d2[4], d3[4])
            _store_points(to + 4 * half, point, d0[5], d1[5], d2[5], d3[5])


@block_of_work
def _row(x, picture, row, column, height, width, half, c):
    z = every(0.0), every(0.0), every(0.0), every(0.0), every(0.0), every(0.0)
    if 0 <= row < height:
        z = folded(x, (picture * height + row) * width + column, column, width, half, c)
    return z


@block_of_work
def _store_points(to, point, d0, d1, d2, d3):
    store_bfloat16(to, narrow(d0 - d2))
    store_bfloat16(to + point, narrow(d1 + d2))
    store_bfloat16(to + 2 * point, narrow(d2 - d1))
    store_bfloat16(to + 3 * point, narrow(d1 - d3))


@block_of_work
def _collect(sums, point, y, first, count, height, width, half, panel):
    """Writes both rows of some pairs from their products, float32 [2 (e, o), 4, 12, 32], for a panel of channels."""
    per_picture = (height + 1) // 2 * width
    for i in range(count):
        pair = first + i
        picture, row, column = pair // per_picture, pair % per_picture // width * 2, pair % width
        pixel = (picture * height + row) * width + column
        for c in range(0, min(TILE_COLUMNS, half - panel), LANES):
            at = sums + 4 * (i * TILE_COLUMNS + c)
            to = y + 2 * (pixel * 2 * half + panel + c)
            e1, e2, o1, o2 = load(at + point), load(at + 2 * point), load(at + 5 * point), load(at + 6 * point)
            e, o = load(at) + e1 + e2, load(at + 4 * point) + o1 + o2
            store_bfloat16(to, narrow(e + o))
            store_bfloat16(to + 2 * half, narrow(e - o))
            if row + 1 < height:
                to += 4 * width * half
                e, o = e1 - e2 - load(at + 3 * point), o1 - o2 - load(at + 7 * point)
                store_bfloat16(to, narrow(e + o))
                store_bfloat16(to + 2 * half, narrow(e - o))
