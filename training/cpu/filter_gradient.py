"""The gradient of a mirrored convolution's filters, with a quarter to a third of the multiplications. Knows tensors'
memory.

It is a matrix product of what the filters are multiplied with in `convolve` and of the gradients of sum and difference
of the output, at the points of `winograd`, two or four rows at a time.
"""

import torch
from torch import Tensor

from training.cpu.fold import GROWTH, fetch_places, fold_rows, halves
from training.cpu.formats import factor_size, store_two
from training.cpu.lanes import LANES, every, load, multiply_add, store
from training.cpu.team import block_of_work, rows_in_cache, run, second_cache, unpack
from training.cpu.tile import LOW_ROWS, TILE_COLUMNS, TILE_ROWS, multiply
from training.cpu.winograd import FILTER, GRADIENT, MOST_POINTS, four_taps, rows_of_gradient, sum_of_sizes, two_taps

LARGEST, WHOLE_PLACES = 2.0**12, 120
"""Whole factors, of input and of gradient, are at most this: int32 can hold the sum of so many places' products."""


def filter_gradient(x: Tensor, grad: Tensor, factors: torch.dtype) -> Tensor:
    """Input [B, 2 C, H, W] and gradient of the output [B, 2 D, H, W], channels last, of one type -> float32
    [D, 2 C, 3, 3], channels last."""
    batch, _, height, width = x.shape
    half_in, half_out = x.shape[1] // 2, grad.shape[1] // 2
    rows = rows_of_gradient(height)
    points, places = rows + 2, batch * -(-height // rows) * width
    tall, columns = _rows_of_tiles(half_out), -(-3 * half_in // TILE_COLUMNS) * TILE_COLUMNS
    together = _points_in_cache(points, 2 * tall * columns * 4)
    parts = min(max(places // 512, 1), 4 if together == 1 else 8)  # of the batch, however many threads there are
    products = torch.empty(points, parts, 2, tall, columns)
    place_bytes = 2 * (columns + half_out) * factors.itemsize
    block = rows_in_cache(place_bytes, 2)
    block = min(block, WHOLE_PLACES) if factors == torch.int16 else block
    addresses, sizes = (x.data_ptr(), grad.data_ptr(), products.data_ptr()), (height, width, half_in, half_out)
    numbers = *addresses, parts, places, block, together, rows, tall, *sizes
    scratch = block * place_bytes + 4 * LOW_ROWS
    run(_multiply_part, factors, points // together * parts, *numbers, scratch=scratch)
    result = torch.empty(half_out, 2 * half_in, 3, 3).to(memory_format=torch.channels_last)
    numbers = products.data_ptr(), result.data_ptr(), parts, rows, tall, half_in
    run(_collect_filter, x.dtype, half_out, *numbers)
    return result


def _rows_of_tiles(half_out: int) -> int:
    """Rows of whole tiles and of a low one for the last of a multiple of sixteen."""
    return half_out // TILE_ROWS * TILE_ROWS + (LOW_ROWS if half_out % TILE_ROWS else 0)


def _points_in_cache(points: int, sums_bytes: int) -> int:
    """How many points may share what is read, as a core's second cache holds the sums of all."""
    return next(n for n in (points, points // 2, 1) if n == 1 or 2 * n * sums_bytes <= second_cache())


@block_of_work
def _multiply_part(dtype, item, z, numbers):
    """Sums at some points over a part of the batch: float32 [2 (e, o), D, columns], [3 kinds, C] of these, in whole
    tiles."""
    x, grad, products, parts, places, block, together, rows, tall, height, width, half_in, half_out = unpack(
        numbers, 13
    )
    groups = (rows + 2) // together
    part, group = item // groups, item % groups  # so that points of a part, which read the same, are neighbours in time
    sums_bytes = 8 * tall * _whole_panels(half_in)
    lines = (height + rows - 1) // rows
    shape, grad_shape = (height, width, half_in, lines, rows), (height, width, half_out, lines, rows)
    for point in range(group * together, (group + 1) * together):
        _clear(products + (point * parts + part) * sums_bytes, sums_bytes)
    end = places * (part + 1) // parts
    for first in range(places * part // parts, end, block):
        count = min(block, end - first)
        power = fetch_places(dtype, x, shape, first, count)
        grad_power = fetch_places(dtype, grad, grad_shape, first, count)
        for point in range(group * together, (group + 1) * together):
            sums = products + (point * parts + part) * sums_bytes
            _add_block(dtype, x, grad, sums, tall, z, shape, grad_shape, point, first, count, power, grad_power)


@block_of_work
def _whole_panels(half_in):
    """Columns of the products."""
    return (3 * half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS


@block_of_work
def _clear(to, size):
    for k in range(0, size, 4 * LANES):
        store(to + k, every(0.0))


@block_of_work
def _add_block(dtype, x, grad, sums, tall, z, shape, grad_shape, point, first, count, power, grad_power):
    """Adds the products of some places at a point."""
    half_out, rows, columns = grad_shape[2], shape[4], _whole_panels(shape[2])
    steps, room = (count * factor_size(dtype) + 3) // 4, (count + 1) // 2 * 2 * factor_size(dtype) // 4
    step_bytes, panel_bytes, group_bytes = 4 * TILE_COLUMNS, room * TILE_COLUMNS * 4, room * columns * 4
    y = z + 2 * group_bytes
    if rows == 2:
        taps = two_taps(point)
        scale = every(LARGEST / GROWTH / sum_of_sizes(taps)) / power
        fold_rows(dtype, x, shape, taps, first, count, z, step_bytes, group_bytes, panel_bytes, scale)
    else:
        four = four_taps(point)
        scale = every(LARGEST / GROWTH / sum_of_sizes(four)) / power
        fold_rows(dtype, x, shape, four, first, count, z, step_bytes, group_bytes, panel_bytes, scale)
    factors = _gradient_rows(rows, point)
    size = abs(factors[0]) + abs(factors[1]) + abs(factors[2]) + abs(factors[3])
    grad_scale = every(LARGEST / (GROWTH / 2) / size) / grad_power  # no neighbours are added
    _combine_gradients(dtype, grad, grad_shape, factors, first, count, y, grad_scale)
    unit = every(1.0) / (scale * grad_scale)
    for group in range(2):
        a, b, c = y + group * room * half_out * 4, z + group * group_bytes, sums + group * tall * columns * 4
        for column in range(0, columns, TILE_COLUMNS):
            panel, to = b + column // TILE_COLUMNS * panel_bytes, c + 4 * column
            for row in range(0, half_out, TILE_ROWS):
                tile, to_row = a + 4 * row, to + 4 * row * columns
                if row + TILE_ROWS <= half_out:
                    multiply(dtype, TILE_ROWS, tile, 4, 4 * half_out, panel, steps, to_row, to_row, 4 * columns, unit)
                else:
                    multiply(dtype, LOW_ROWS, tile, 4, 4 * half_out, panel, steps, to_row, to_row, 4 * columns, unit)


@block_of_work
def _gradient_rows(rows, point):
    table = GRADIENT[rows // 4, point]
    return table[0], table[1], table[2], table[3]


@block_of_work
def _combine_gradients(dtype, grad, shape, rows, first, count, y, scale):
    """Writes the sums of rows times their factors, of sums and differences at some places: [2 (e, o), steps, D]."""
    half, row_bytes = shape[2], 4 * shape[2]
    group_bytes = (count + 1) // 2 * 2 * factor_size(dtype) * half
    for k in range(0, count, 2):
        one, two = _place(shape, first + k), _place(shape, first + min(k + 1, count - 1))
        for c in range(0, half, LANES):
            e, o = _sum_of_gradients(dtype, grad, shape, rows, one, c)
            e2 = o2 = every(0.0)
            if k + 1 < count:
                e2, o2 = _sum_of_gradients(dtype, grad, shape, rows, two, c)
            to = y + k * factor_size(dtype) * half + 4 * c
            store_two(dtype, to, row_bytes, e, e2, scale)
            store_two(dtype, to + group_bytes, row_bytes, o, o2, scale)


@block_of_work
def _place(shape, place):
    """Its pixel and its row in the picture."""
    height, width, _, lines, step = shape
    picture, row, column = place // (lines * width), place % (lines * width) // width * step, place % width
    return (picture * height + row) * width + column, row


@block_of_work
def _sum_of_gradients(dtype, grad, shape, rows, place, c):
    e = o = every(0.0)
    e, o = _plus_row(dtype, grad, shape, e, o, rows[0], place, 0, c)
    e, o = _plus_row(dtype, grad, shape, e, o, rows[1], place, 1, c)
    e, o = _plus_row(dtype, grad, shape, e, o, rows[2], place, 2, c)
    return _plus_row(dtype, grad, shape, e, o, rows[3], place, 3, c)


@block_of_work
def _plus_row(dtype, grad, shape, e, o, factor, place, i, c):
    height, width, half, _, _ = shape
    pixel, row = place
    if factor != 0 and row + i < height:
        e_row, o_row = halves(dtype, grad, pixel + i * width, half, c)
        return multiply_add(e_row, every(factor), e), multiply_add(o_row, every(factor), o)
    return e, o


@block_of_work
def _collect_filter(dtype, d, scratch, numbers):
    """The gradient of the filters of an output channel, from the products of all parts."""
    products, result, parts, rows, tall, half_in = unpack(numbers, 6)
    column, half, quarter = 8 * half_in, every(0.5), every(0.25)
    for c in range(0, half_in, LANES):
        for row in range(3):
            e0, o0 = _filter_row(products, parts, rows, row, c, d, tall, half_in)
            e1, o1 = _filter_row(products, parts, rows, row, half_in + c, d, tall, half_in)
            e2, o2 = _filter_row(products, parts, rows, row, 2 * half_in + c, d, tall, half_in)
            to = result + (d * 9 + 3 * row) * column + 4 * c
            even, odd = (e1 + o1) * quarter, (e2 + o2) * quarter
            store(to, even + odd)
            store(to + column, (e0 + o0) * half)
            store(to + 2 * column, even - odd)
            to += 4 * half_in
            even, odd = (e1 - o1) * quarter, (o2 - e2) * quarter
            store(to, even + odd)
            store(to + column, (e0 - o0) * half)
            store(to + 2 * column, even - odd)


@block_of_work
def _filter_row(products, parts, rows, row, column, d, tall, half_in):
    """Of sum and difference: a row of the filters' gradient for sixteen columns of the products."""
    columns = _whole_panels(half_in)
    size = tall * columns
    e = o = every(0.0)
    for point in range(MOST_POINTS):
        factor = FILTER[rows // 4, row, point]
        if factor != 0:
            e_sum = o_sum = every(0.0)
            for part in range(parts):
                at = products + 4 * ((point * parts + part) * 2 * size + d * columns + column)
                e_sum, o_sum = e_sum + load(at), o_sum + load(at + 4 * size)
            e, o = e + e_sum * every(factor), o + o_sum * every(factor)
    return e, o
