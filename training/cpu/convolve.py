"""Pictures times packed filters: the convolution of `fold`, two rows at a time. Knows tensors' memory, no gradient.

Along the rows it is S. Winograd's F(2, 3): two outputs of a filter with three taps by four products in place of six. Of
the rows d0 to d3 around a pair, whose two are d1 and d2, the products at four points are

    (d0 - d2) g0    (d1 + d2) (g0 + g1 + g2) / 2    (d2 - d1) (g0 - g1 + g2) / 2    (d1 - d3) g2

and the outputs m0 + m1 + m2 and m1 - m2 - m3 (A. Lavin and S. Gray, "Fast algorithms for convolutional neural
networks", arXiv:1509.09308, section 4.1). With the fold a third of the multiplications is left. The last of an odd
number of rows is d0 g0 + d1 g1, since there is nothing below it.
"""

import torch
from torch import Tensor

from training.cpu.fold import GROWTH, NO_ROW, fetch_bytes, fetch_places, fold_rows
from training.cpu.formats import factor_size, has_whole_factors, larger_size, size_of, store_number
from training.cpu.lanes import LANES, every, load, store
from training.cpu.packing import LARGEST, Packed
from training.cpu.team import block_of_work, rows_in_cache, run, unpack
from training.cpu.tile import TILE_COLUMNS, TILE_ROWS, multiply

CHUNK = 192
"""Steps of a product at a time: the filters of a tile's columns stay in the first cache."""


def convolve(x: Tensor, packed: Packed, half_out: int) -> Tensor:
    """[B, 2 C, H, W], channels last -> [B, 2 D, H, W].

    Args:
        packed: the filters by `packing`.
        half_out: D.
    """
    batch, channels, height, width = x.shape
    y = torch.empty((batch, 2 * half_out, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    filters, units = packed
    kinds_bytes, tile_bytes = 3 * channels // 2 * filters.itemsize, TILE_ROWS * TILE_COLUMNS * 4
    tasks = (_convolve_pairs, height // 2, 8), (_convolve_last_row, height % 2, 4)
    for task, lines, points in tasks:
        if lines:
            places, block = batch * lines * width, rows_in_cache(points * kinds_bytes, TILE_ROWS)
            addresses = (t.data_ptr() for t in (x, y, filters, units))
            numbers = *addresses, places, block, height, width, channels // 2, half_out
            scratch = block * points * kinds_bytes + 9 * tile_bytes
            run(task, filters.dtype, -(-places // block), *numbers, scratch=scratch)
    return y


@block_of_work
def _convolve_pairs(dtype, block, z, numbers):
    x, y, packed, units, pairs, size, height, width, half_in, half_out = unpack(numbers, 10)
    first = block * size
    count = min(size, pairs - first)
    point_bytes, tile_bytes = 3 * half_in * factor_size(dtype), TILE_ROWS * TILE_COLUMNS * 4
    shape = height, width, half_in, height // 2, 2
    scale = every(LARGEST / (2 * GROWTH)) / fetch_places(dtype, x, shape, first, count)
    for point in range(4):  # [count, 2 (e, o), 4, 3 kinds, C]
        to = z + point * point_bytes
        fold_rows(dtype, x, shape, _rows_at(point), first, count, to, 8 * point_bytes, 4 * point_bytes, 0, scale)
    zero = z + size * 8 * point_bytes
    _clear_tile(zero)
    panels = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS
    for panel in range(panels):
        for tile in range(0, count, TILE_ROWS):
            for point in range(8):  # four of e, then four of o
                a, which = z + (tile * 8 + point) * point_bytes, point % 4 + (point % 4 > 0)
                b = packed + ((point // 4 * panels + panel) * 5 + which) * point_bytes * TILE_COLUMNS
                to = zero + (point + 1) * tile_bytes
                _multiply(dtype, a, 8 * point_bytes, b, point_bytes // 4, zero, to, every(1.0) / scale)
            rows, column = min(TILE_ROWS, count - tile), panel * TILE_COLUMNS
            sums = zero + tile_bytes
            _collect_pairs(dtype, sums, units, y, first + tile, rows, height, width, half_out, column)


@block_of_work
def _rows_at(point):
    """What is multiplied at a point, as `two_rows` takes it: d0 - d2, d1 + d2, d2 - d1 or d1 - d3."""
    if point == 0:
        return -1, 1, -1
    if point == 1:
        return 0, 1, 1
    if point == 2:
        return 1, 0, -1
    return 0, 2, -1


@block_of_work
def _collect_pairs(dtype, sums, units, y, first, count, height, width, half, panel):
    """Writes both rows of some pairs from their products, float32 [2 (e, o), 4, TILE_ROWS, TILE_COLUMNS], for a panel
    of channels."""
    size, point = size_of(dtype), TILE_ROWS * TILE_COLUMNS * 4
    for i in range(count):
        pair, per_picture = first + i, height // 2 * width
        picture, row, column = pair // per_picture, pair % per_picture // width * 2, pair % width
        for c in range(0, min(TILE_COLUMNS, half - panel), LANES):
            at = sums + 4 * (i * TILE_COLUMNS + c)
            e1, e2, o1, o2 = load(at + point), load(at + 2 * point), load(at + 5 * point), load(at + 6 * point)
            e, o = _scaled_back(dtype, load(at) + e1 + e2, load(at + 4 * point) + o1 + o2, units, half, panel + c)
            to = y + size * (((picture * height + row) * width + column) * 2 * half + panel + c)
            store_number(dtype, to, e + o)
            store_number(dtype, to + size * half, e - o)
            e, o = e1 - e2 - load(at + 3 * point), o1 - o2 - load(at + 7 * point)
            e, o = _scaled_back(dtype, e, o, units, half, panel + c)
            to += size * 2 * width * half
            store_number(dtype, to, e + o)
            store_number(dtype, to + size * half, e - o)


@block_of_work
def _scaled_back(dtype, e, o, units, half, c):
    """Sums and differences of sixteen channels in place of whole factors' products."""
    columns = (half + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    at = units + 4 * c
    if has_whole_factors(dtype):
        return e * load(at), o * load(at + 4 * columns)
    return e, o


@block_of_work
def _convolve_last_row(dtype, block, z, numbers):
    x, y, packed, units, places, size, height, width, half_in, half_out = unpack(numbers, 10)
    first = block * size
    count = min(size, places - first)
    kinds_bytes, tile_bytes = 3 * half_in * factor_size(dtype), TILE_ROWS * TILE_COLUMNS * 4
    shape = height, width, half_in, 1, height
    power, row_bytes = every(0.0), width * 2 * half_in * size_of(dtype)
    for picture in range(first // width, (first + count - 1) // width + 1):
        end = x + (picture + 1) * height * row_bytes
        power = larger_size(power, fetch_bytes(dtype, end - min(height, 2) * row_bytes, end))
    scale = every(LARGEST / GROWTH) / power
    for i in range(2):  # [count, 2 (e, o), 2 rows, 3 kinds, C]
        rows, to = (height - 2 + i, NO_ROW, 1), z + i * kinds_bytes
        fold_rows(dtype, x, shape, rows, first, count, to, 4 * kinds_bytes, 2 * kinds_bytes, 0, scale)
    zero = z + size * 4 * kinds_bytes
    _clear_tile(zero)
    panels = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS
    for panel in range(panels):
        for tile in range(0, count, TILE_ROWS):
            for group in range(2):  # e, then o
                a = z + (tile * 4 + group * 2) * kinds_bytes
                b, to = (
                    packed + (group * panels + panel) * 5 * kinds_bytes * TILE_COLUMNS,
                    zero + (group + 1) * tile_bytes,
                )
                _multiply(dtype, a, 4 * kinds_bytes, b, 2 * kinds_bytes // 4, zero, to, every(1.0) / scale)
            rows, column = min(TILE_ROWS, count - tile), panel * TILE_COLUMNS
            sums = zero + tile_bytes
            _collect_last_row(dtype, sums, units, y, first + tile, rows, height, width, half_out, column)


@block_of_work
def _collect_last_row(dtype, sums, units, y, first, count, height, width, half, panel):
    """Writes some places of the last row from the products, float32 [2 (e, o), TILE_ROWS, TILE_COLUMNS], for a panel of
    channels."""
    size = size_of(dtype)
    for i in range(count):
        picture, column = (first + i) // width, (first + i) % width
        for c in range(0, min(TILE_COLUMNS, half - panel), LANES):
            at = sums + 4 * (i * TILE_COLUMNS + c)
            e, o = load(at), load(at + TILE_ROWS * TILE_COLUMNS * 4)
            e, o = _scaled_back(dtype, e, o, units, half, panel + c)
            to = y + size * (((picture * height + height - 1) * width + column) * 2 * half + panel + c)
            store_number(dtype, to, e + o)
            store_number(dtype, to + size * half, e - o)


@block_of_work
def _multiply(dtype, a, a_row, b, steps, zero, to, unit):
    """A tile at `to`."""
    start, line = zero, 4 * TILE_COLUMNS
    for k in range(0, steps, CHUNK):
        b_k = b + k * line
        multiply(dtype, TILE_ROWS, a + 4 * k, a_row, 4, b_k, min(CHUNK, steps - k), start, to, line, unit)
        start = to


@block_of_work
def _clear_tile(to):
    for k in range(0, TILE_ROWS * TILE_COLUMNS, LANES):
        store(to + 4 * k, every(0.0))
