"""The gradient of a mirrored convolution's filters, with a quarter to a third of the multiplications. Knows tensors'
memory.

It is a matrix product of what the filters are multiplied with in `convolve` and of the gradients of sum and difference
of the output, at the points of `winograd`, two or four rows at a time.
"""

import torch
from torch import Tensor

from training.cpu.fold import GROWTH, fetch_last_rows, fetch_places, fold_rows
from training.cpu.formats import factor_size, size_of
from training.cpu.gradient_rows import bytes_of_step, combine_gradients, gradient_factors
from training.cpu.lanes import LANES, every, load, store
from training.cpu.team import block_of_work, rows_in_cache, run, second_cache, unpack
from training.cpu.tile import LOW_ROWS, TILE_COLUMNS, TILE_ROWS, multiply
from training.cpu.winograd import (
    FILTER,
    four_taps,
    lines_of_image,
    rows_of_line,
    single_tap,
    sum_of_sizes,
    two_taps,
)

LARGEST, WHOLE_PLACES = 2.0**12, 120
"""Whole factors, of input and of gradient, are at most this: int32 can hold the sum of so many places' products."""


def filter_gradient(x: Tensor, grad: Tensor, factors: torch.dtype) -> Tensor:
    """Input [B, 2 C, H, W] and gradient of the output [B, 2 D, H, W], channels last, of one type -> float32
    [D, 2 C, 3, 3], channels last."""
    batch, _, height, width = x.shape
    half_in, half_out = x.shape[1] // 2, grad.shape[1] // 2
    rows = rows_of_line(height)
    lines, alone = lines_of_image(height, rows)
    points = rows + 2 + alone
    tall, columns = _rows_of_tiles(half_out), -(-3 * half_in // TILE_COLUMNS) * TILE_COLUMNS
    together = _points_in_cache(points, 2 * tall * columns * 4)
    most = 4 if together == 1 else 8
    parts = min(max((lines + alone) * batch * width // 512, 1), most)  # of the batch, however many threads there are
    products = torch.empty(points, parts, 2, tall, columns)
    place_bytes = 2 * (columns + half_out + LANES) * factors.itemsize
    block = rows_in_cache(place_bytes, 2)
    block = min(block, WHOLE_PLACES) if factors == torch.int16 else block
    addresses, sizes = (x.data_ptr(), grad.data_ptr(), products.data_ptr()), (height, width, half_in, half_out)
    numbers = *addresses, parts, points, together, block, rows, lines, batch * width, tall, *sizes
    scratch = block * place_bytes + 4 * LOW_ROWS
    run(_multiply_part, factors, -(-points // together) * parts, *numbers, scratch=scratch)
    result = torch.empty(half_out, 2 * half_in, 3, 3).to(memory_format=torch.channels_last)
    numbers = products.data_ptr(), result.data_ptr(), parts, points, rows, tall, half_in
    run(_collect_filter, x.dtype, half_out, *numbers)
    return result


def _rows_of_tiles(half_out: int) -> int:
    """Rows of whole tiles and of a low one for the last of a multiple of sixteen."""
    return half_out // TILE_ROWS * TILE_ROWS + (LOW_ROWS if half_out % TILE_ROWS else 0)


def _points_in_cache(points: int, sums_bytes: int) -> int:
    """How many points may share what is read, as a core's second cache holds the sums of all."""
    return next(n for n in (points, -(-points // 2), 1) if n == 1 or 2 * n * sums_bytes <= second_cache())


@block_of_work
def _multiply_part(dtype, item, z, numbers):
    """Sums at some points over a part of the batch: float32 [2 (e, o), D, columns], [3 kinds, C] of these, in whole
    tiles."""
    x, grad, products, parts, points, together, block, rows, lines, across, tall, height, width, half_in, half_out = (
        unpack(numbers, 15)
    )
    groups = (points + together - 1) // together
    part, group = item // groups, item % groups  # so that points of a part, which read the same, are neighbours in time
    sums_bytes = 8 * tall * _whole_panels(half_in)
    begin, stop = group * together, min((group + 1) * together, points)
    for point in range(begin, stop):
        _clear(products + (point * parts + part) * sums_bytes, sums_bytes)
    shape, grad_shape = (height, width, half_in, lines, rows), (height, width, half_out, lines, rows)
    end = across * lines * (part + 1) // parts
    for first in range(across * lines * part // parts, end, block):
        count = min(block, end - first)
        power = fetch_places(dtype, x, shape, first, count)
        grad_power = fetch_places(dtype, grad, grad_shape, first, count)
        for point in range(begin, min(stop, rows + 2)):
            sums = products + (point * parts + part) * sums_bytes
            _add_lines(dtype, x, grad, sums, tall, z, shape, grad_shape, point, first, count, power, grad_power)
    if points == rows + 2 or (begin > 0 and stop < points):
        return
    shape, grad_shape = (height, width, half_in, 1, height), (height, width, half_out, 1, height)
    end = across * (part + 1) // parts
    for first in range(across * part // parts, end, block):
        count = min(block, end - first)
        power = fetch_last_rows(dtype, x, shape, 2, first, count)
        grad_power = fetch_last_rows(dtype, grad, grad_shape, 1, first, count)
        for row in range(2):  # above it is what belongs to the filter's first row, as all of the first point does
            point = 0 if row == 0 else points - 1
            if begin <= point < stop:
                sums = products + (point * parts + part) * sums_bytes
                _add_last_row(dtype, x, grad, sums, tall, z, shape, grad_shape, row, first, count, power, grad_power)


@block_of_work
def _whole_panels(half_in):
    """Columns of the products."""
    return (3 * half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS


@block_of_work
def _clear(to, size):
    for k in range(0, size, 4 * LANES):
        store(to + k, every(0.0))


@block_of_work
def _add_lines(dtype, x, grad, sums, tall, z, shape, grad_shape, point, first, count, power, grad_power):
    """Adds the products of some places at a point."""
    rows, y = shape[4], z + 2 * _group_bytes(dtype, shape, count)
    if rows == 2:
        taps = two_taps(point)
        scale = every(LARGEST / GROWTH / sum_of_sizes(taps)) / power
        _fold_panels(dtype, x, shape, taps, first, count, z, scale)
    else:
        four = four_taps(point)
        scale = every(LARGEST / GROWTH / sum_of_sizes(four)) / power
        _fold_panels(dtype, x, shape, four, first, count, z, scale)
    factors = gradient_factors(rows, point)
    size = abs(factors[0]) + abs(factors[1]) + abs(factors[2]) + abs(factors[3])
    grad_scale = every(LARGEST / (GROWTH / 2) / size) / grad_power  # no neighbours are added
    combine_gradients(dtype, grad, grad_shape, factors, first, count, y, grad_scale)
    _add_products(dtype, y, z, sums, tall, shape, grad_shape, count, every(1.0) / (scale * grad_scale))


@block_of_work
def _add_last_row(dtype, x, grad, sums, tall, z, shape, grad_shape, row, first, count, power, grad_power):
    """Adds the products of some places of the last row with the row above it or with itself."""
    height, width, half_out, _, _ = grad_shape
    scale, grad_scale = every(LARGEST / GROWTH) / power, every(LARGEST / (GROWTH / 2)) / grad_power
    _fold_panels(dtype, x, shape, single_tap(height - 2 + row), first, count, z, scale)
    last, y = grad + (height - 1) * width * 2 * half_out * size_of(dtype), z + 2 * _group_bytes(dtype, shape, count)
    combine_gradients(dtype, last, grad_shape, gradient_factors(2, 0), first, count, y, grad_scale)
    _add_products(dtype, y, z, sums, tall, shape, grad_shape, count, every(1.0) / (scale * grad_scale))


@block_of_work
def _group_bytes(dtype, shape, count):
    """Of the folded e, and of o, at some places."""
    return (count + 1) // 2 * 2 * factor_size(dtype) * _whole_panels(shape[2])


@block_of_work
def _fold_panels(dtype, x, shape, taps, first, count, z, scale):
    """[2 (e, o), panels, steps, TILE_COLUMNS]."""
    panel_bytes = (count + 1) // 2 * 2 * factor_size(dtype) * TILE_COLUMNS
    group_bytes = _group_bytes(dtype, shape, count)
    fold_rows(dtype, x, shape, taps, first, count, z, 4 * TILE_COLUMNS, group_bytes, panel_bytes, scale)


@block_of_work
def _add_products(dtype, y, z, sums, tall, shape, grad_shape, count, unit):
    """Of both groups: [D, steps] of gradients times [steps, columns] of what is folded."""
    half_out, columns, step_bytes = grad_shape[2], _whole_panels(shape[2]), bytes_of_step(grad_shape[2])
    steps, room = (count * factor_size(dtype) + 3) // 4, (count + 1) // 2 * 2 * factor_size(dtype) // 4
    for group in range(2):
        a, b, c = y + group * room * step_bytes, z + group * room * columns * 4, sums + group * tall * columns * 4
        for column in range(0, columns, TILE_COLUMNS):
            panel, to = b + column * room * 4, c + 4 * column
            for row in range(0, half_out, TILE_ROWS):
                tile, to_row = a + 4 * row, to + 4 * row * columns
                if row + TILE_ROWS <= half_out:
                    multiply(dtype, TILE_ROWS, tile, 4, step_bytes, panel, steps, to_row, to_row, 4 * columns, unit)
                else:
                    multiply(dtype, LOW_ROWS, tile, 4, step_bytes, panel, steps, to_row, to_row, 4 * columns, unit)


@block_of_work
def _collect_filter(dtype, d, scratch, numbers):
    """The gradient of the filters of an output channel, from the products of all parts."""
    products, result, parts, points, rows, tall, half_in = unpack(numbers, 7)
    column, half, quarter = 8 * half_in, every(0.5), every(0.25)
    for c in range(0, half_in, LANES):
        for row in range(3):
            e0, o0 = _filter_row(products, parts, points, rows, row, c, d, tall, half_in)
            e1, o1 = _filter_row(products, parts, points, rows, row, half_in + c, d, tall, half_in)
            e2, o2 = _filter_row(products, parts, points, rows, row, 2 * half_in + c, d, tall, half_in)
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
def _filter_row(products, parts, points, rows, row, column, d, tall, half_in):
    """Of sum and difference: a row of the filters' gradient for sixteen columns of the products."""
    columns = _whole_panels(half_in)
    size = tall * columns
    e = o = every(0.0)
    for point in range(points):
        factor = FILTER[rows // 4, row, point]
        if factor != 0:
            e_sum = o_sum = every(0.0)
            for part in range(parts):
                at = products + 4 * ((point * parts + part) * 2 * size + d * columns + column)
                e_sum, o_sum = e_sum + load(at), o_sum + load(at + 4 * size)
            e, o = e + e_sum * every(factor), o + o_sum * every(factor)
    return e, o
