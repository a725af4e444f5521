"""Images times packed filters: the convolution of `fold`, two or four rows at a time by the points of `winograd`.
Knows tensors' memory, no gradient.

The last of an odd number of rows, or of one more than a multiple of four, is d0 g0 + d1 g1, with d0 the row above it,
since there is nothing below it.
"""

import torch
from torch import Tensor

from training.cpu.fold import GROWTH, fetch_last_rows, fetch_places, fold_rows
from training.cpu.formats import factor_size, has_whole_factors, size_of, store_number
from training.cpu.lanes import LANES, every, load, store
from training.cpu.packing import LARGEST, Packed
from training.cpu.team import block_of_work, rows_in_cache, run, unpack
from training.cpu.tile import TILE_COLUMNS, TILE_ROWS, multiply
from training.cpu.winograd import FAR, NEAR, four_taps, lines_of_image, single_tap, sum_of_sizes, two_taps

CHUNK = 192
"""Steps of a product at a time: the filters of a tile's columns stay in the first cache."""
POINT_BYTES = TILE_ROWS * TILE_COLUMNS * 4
"""Of a tile's sums, float32."""


def convolve(x: Tensor, packed: Packed, half_out: int) -> Tensor:
    """[B, 2 C, H, W], channels last -> [B, 2 D, H, W].

    Args:
        packed: the filters by `packing`, for this height.
        half_out: D.
    """
    batch, channels, height, width = x.shape
    y = torch.empty((batch, 2 * half_out, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    filters, units = packed
    rows = filters.shape[1] - 3  # there are two more points, and the middle row
    lines, alone = lines_of_image(height, rows)
    kinds_bytes = 3 * channels // 2 * filters.itemsize
    tasks = (_convolve_lines, lines, 2 * (rows + 2)), (_convolve_last_row, alone, 4)
    for task, lines, points in tasks:
        if lines:
            places, block = batch * lines * width, rows_in_cache(points * kinds_bytes, TILE_ROWS)
            addresses = (t.data_ptr() for t in (x, y, filters, units))
            numbers = *addresses, rows, lines, places, block, height, width, channels // 2, half_out
            scratch = block * points * kinds_bytes + (1 + points) * POINT_BYTES + 4 * LANES * points
            run(task, filters.dtype, -(-places // block), *numbers, scratch=scratch)
    return y


@block_of_work
def _convolve_lines(dtype, block, z, numbers):
    """Two or four rows at a time."""
    x, y, packed, units, rows, lines, places, size, height, width, half_in, half_out = unpack(numbers, 12)
    first, points = block * size, rows + 2
    count = min(size, places - first)
    point_bytes = 3 * half_in * factor_size(dtype)
    shape, place_bytes = (height, width, half_in, lines, rows), 2 * points * point_bytes
    zero = z + size * place_bytes
    one_over = zero + (1 + 2 * points) * POINT_BYTES
    power = fetch_places(dtype, x, shape, first, count)
    for point in range(points):  # [count, 2 (e, o), points, 3 kinds, C]
        to = z + point * point_bytes
        if rows == 2:
            taps = two_taps(point)
            scale = every(LARGEST / GROWTH / sum_of_sizes(taps)) / power
            fold_rows(dtype, x, shape, taps, first, count, to, place_bytes, place_bytes // 2, 0, scale)
        else:
            four = four_taps(point)
            scale = every(LARGEST / GROWTH / sum_of_sizes(four)) / power
            fold_rows(dtype, x, shape, four, first, count, to, place_bytes, place_bytes // 2, 0, scale)
        store(one_over + 4 * LANES * point, every(1.0) / scale)
    _clear_tile(zero)
    panels = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS
    for panel in range(panels):
        for tile in range(0, count, TILE_ROWS):
            for k in range(2 * points):  # those of e, then those of o
                point, which = k % points, (k // points * panels + panel) * (points + 1)
                b = packed + (which + point + min(point, 1)) * point_bytes * TILE_COLUMNS
                a, to = z + tile * place_bytes + k * point_bytes, zero + (k + 1) * POINT_BYTES
                unit = load(one_over + 4 * LANES * point)
                _multiply(dtype, a, place_bytes, b, point_bytes // 4, zero, to, unit)
            number, column = min(TILE_ROWS, count - tile), panel * TILE_COLUMNS
            sums = zero + POINT_BYTES
            _collect_lines(dtype, sums, units, y, shape, first + tile, number, half_out, column)


@block_of_work
def _collect_lines(dtype, sums, units, y, shape, first, count, half, panel):
    """Writes the rows of some places from their products, float32 [2 (e, o), points, TILE_ROWS, TILE_COLUMNS], for a
    panel of channels."""
    height, width, _, lines, rows = shape
    size, row_bytes, others = size_of(dtype), size_of(dtype) * 2 * width * half, (rows + 2) * POINT_BYTES
    for i in range(count):
        place, per_image = first + i, lines * width
        image, row, column = place // per_image, place % per_image // width * rows, place % width
        for c in range(0, min(TILE_COLUMNS, half - panel), LANES):
            at = sums + 4 * (i * TILE_COLUMNS + c)
            to = y + size * (((image * height + row) * width + column) * 2 * half + panel + c)
            if rows == 2:
                (e0, e1), (o0, o1) = _two_outputs(at), _two_outputs(at + others)
                _write(dtype, to, e0, o0, units, half, panel + c)
                _write(dtype, to + row_bytes, e1, o1, units, half, panel + c)
            else:
                (e0, e1, e2, e3), (o0, o1, o2, o3) = _four_outputs(at), _four_outputs(at + others)
                _write(dtype, to, e0, o0, units, half, panel + c)
                if row + 1 < height:
                    _write(dtype, to + row_bytes, e1, o1, units, half, panel + c)
                if row + 2 < height:
                    _write(dtype, to + 2 * row_bytes, e2, o2, units, half, panel + c)
                if row + 3 < height:
                    _write(dtype, to + 3 * row_bytes, e3, o3, units, half, panel + c)


@block_of_work
def _two_outputs(at):
    m1, m2 = load(at + POINT_BYTES), load(at + 2 * POINT_BYTES)
    return load(at) + m1 + m2, m1 - m2 + load(at + 3 * POINT_BYTES)


@block_of_work
def _four_outputs(at):
    """Rows of the output, by the transposed GRADIENT of `winograd`."""
    m1, m2, m3, m4 = (
        load(at + POINT_BYTES), load(at + 2 * POINT_BYTES), load(at + 3 * POINT_BYTES), load(at + 4 * POINT_BYTES)
    )  # fmt: skip
    near_sum, near, far_sum, far = m1 + m2, (m1 - m2) * every(NEAR), m3 + m4, (m3 - m4) * every(FAR)
    return (
        load(at) + near_sum + far_sum,
        near + far,
        near_sum * every(NEAR**2) + far_sum * every(FAR**2),
        near * every(NEAR**2) + far * every(FAR**2) + load(at + 5 * POINT_BYTES),
    )


@block_of_work
def _write(dtype, to, e, o, units, half, c):
    """Sixteen channels of both halves at a place, from sum and difference."""
    e, o = _scaled_back(dtype, e, o, units, half, c)
    store_number(dtype, to, e + o)
    store_number(dtype, to + size_of(dtype) * half, e - o)


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
    x, y, packed, units, rows, _, places, size, height, width, half_in, half_out = unpack(numbers, 12)
    first = block * size
    count = min(size, places - first)
    kinds_bytes = 3 * half_in * factor_size(dtype)
    shape = height, width, half_in, 1, height
    scale = every(LARGEST / GROWTH) / fetch_last_rows(dtype, x, shape, 2, first, count)
    for i in range(2):  # [count, 2 (e, o), 2 rows, 3 kinds, C]
        single, to = single_tap(height - 2 + i), z + i * kinds_bytes
        fold_rows(dtype, x, shape, single, first, count, to, 4 * kinds_bytes, 2 * kinds_bytes, 0, scale)
    zero = z + size * 4 * kinds_bytes
    _clear_tile(zero)
    panels = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS
    for panel in range(panels):
        for tile in range(0, count, TILE_ROWS):
            for group in range(2):  # e, then o
                a = z + (tile * 4 + group * 2) * kinds_bytes
                b, to = (
                    packed + (group * panels + panel) * (rows + 3) * kinds_bytes * TILE_COLUMNS,
                    zero + (group + 1) * POINT_BYTES,
                )
                _multiply(dtype, a, 4 * kinds_bytes, b, 2 * kinds_bytes // 4, zero, to, every(1.0) / scale)
            number, column = min(TILE_ROWS, count - tile), panel * TILE_COLUMNS
            sums = zero + POINT_BYTES
            _collect_last_row(dtype, sums, units, y, first + tile, number, height, width, half_out, column)


@block_of_work
def _collect_last_row(dtype, sums, units, y, first, count, height, width, half, panel):
    """Writes some places of the last row from the products, float32 [2 (e, o), TILE_ROWS, TILE_COLUMNS], for a panel of
    channels."""
    size = size_of(dtype)
    for i in range(count):
        image, column = (first + i) // width, (first + i) % width
        for c in range(0, min(TILE_COLUMNS, half - panel), LANES):
            at = sums + 4 * (i * TILE_COLUMNS + c)
            e, o = load(at), load(at + POINT_BYTES)
            to = y + size * (((image * height + height - 1) * width + column) * 2 * half + panel + c)
            _write(dtype, to, e, o, units, half, panel + c)


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
