"""Filters in the order in which `convolve` reads them. Knows tensors' memory.

Filters are float32 [D, 2 C, 3, 3], those of the outputs' first half, channels last; packed they are factors in the
order [2 (e, o), panels of `tile`'s columns, points, 3 kinds, C, columns], those of two bytes in pairs of C. The points
are those of `winograd` for two or for four rows and, second, the middle row itself, for the last row of an image.
Where D fills no whole panel, the last one's other columns are left as they are.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from training.cpu.formats import factor_size, scatter, store_two
from training.cpu.lanes import LANES, choose_larger, every, load, store
from training.cpu.powers import larger_size, power_below
from training.cpu.team import block_of_work, run, unpack
from training.cpu.tile import TILE_COLUMNS
from training.cpu.winograd import FILTER, rows_of_line

LARGEST = 2.0**14
"""Below this are whole factors of images, and the sum of a column's absolute ones of filters at a point is below
2^31 over this: so no sum of their products leaves int32."""


AT_FIVE, AT_SEVEN = (
    tuple(tuple(FILTER[four, :, point].tolist()) for point in (0, last, *range(1, last)))
    for four, last in ((0, 4), (1, 6))
)
"""Factors of a filter's rows at each point, for two and for four rows."""


class Packed(NamedTuple):
    """Filters, and float32 [2, columns] what one of their whole factors stands for, by column."""

    filters: Tensor
    units: Tensor


def pack(weight: Tensor, dtype: torch.dtype, height: int) -> Packed:
    """The filters of the convolution, for images of a height."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_out, half_in, dtype, height)
    numbers = weight.data_ptr(), packed.data_ptr(), packed.shape[1], half_in, half_out
    run(_pack_block, packed.dtype, half_in // LANES, *numbers)
    return _finished(packed, dtype)


def pack_transposed(weight: Tensor, dtype: torch.dtype, height: int) -> Packed:
    """The filters of its input's gradient, in which C and D change places."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_in, half_out, dtype, height)
    numbers = weight.data_ptr(), packed.data_ptr(), packed.shape[1], half_in, half_out
    run(_pack_transposed_block, packed.dtype, half_out // 2, *numbers)
    return _finished(packed, dtype)


def rows_of_output(factors: torch.dtype, height: int) -> int:
    """How many rows at a time an output has: of bfloat16 two, whose errors are three times those of int16 as it is."""
    return 2 if factors == torch.bfloat16 else rows_of_line(height)


def _empty(half_out: int, half_in: int, dtype: torch.dtype, height: int) -> Tensor:
    rows = rows_of_output(dtype, height)
    panels = -(-half_out // TILE_COLUMNS)
    dtype = torch.float32 if dtype == torch.int16 else dtype
    return torch.empty(2 * panels, rows + 3, 3 * half_in, TILE_COLUMNS, dtype=dtype)


def _finished(packed: Tensor, dtype: torch.dtype) -> Packed:
    """Rounds float32 to whole factors where those are asked for."""
    panels, points, rows, columns = packed.shape
    units = torch.empty(panels, columns)
    if packed.dtype == dtype:
        return Packed(packed, units)
    filters = torch.empty(packed.shape, dtype=dtype)
    run(_round_panel, dtype, panels, *(t.data_ptr() for t in (packed, filters, units)), points, rows)
    return Packed(filters, units)


@block_of_work
def _round_panel(dtype, panel, scratch, numbers):
    """Whole factors of a panel, by columns."""
    packed, filters, units, points, rows = unpack(numbers, 5)
    packed += panel * points * rows * TILE_COLUMNS * 4
    filters += panel * points * rows * TILE_COLUMNS * 2
    line = 4 * TILE_COLUMNS
    for c in range(0, TILE_COLUMNS, LANES):
        largest = largest_sum = every(0.0)
        for point in range(points):
            total = every(0.0)
            for row in range(point * rows, (point + 1) * rows):
                size = larger_size(load(packed + row * line + 4 * c), every(0.0))
                total, largest = total + size, larger_size(largest, size)
            largest_sum = larger_size(largest_sum, total)
        scale = every(2.0**30 / LARGEST) / power_below(largest_sum * every(1.01))  # rounding adds to the sum, too
        single = every(2.0**13) / power_below(largest)  # keeps each below 2^14
        scale = choose_larger(scale, single, single, scale)
        for row in range(0, points * rows, 2):
            at = packed + row * line + 4 * c
            store_two(dtype, filters + row // 2 * line + 4 * c, line, load(at), load(at + line), scale)
        store(units + panel * line + 4 * c, every(1.0) / scale)


@block_of_work
def _pack_block(dtype, block, scratch, numbers):
    """Sixteen input channels: neighbours, bfloat16 in pairs, come to neighbouring rows of a panel."""
    weight, packed, points, half_in, half_out = unpack(numbers, 5)
    kind = TILE_COLUMNS * half_in * factor_size(dtype)
    other = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS * 3 * points * kind
    for d in range(half_out):
        to = packed + d // TILE_COLUMNS * 3 * points * kind + d % TILE_COLUMNS * 4
        to += block * LANES * TILE_COLUMNS * factor_size(dtype)
        rows = _rows(weight, d, half_in, block * LANES)
        if points == 5:
            for factors in AT_FIVE:
                _scatter_kinds(dtype, to, kind, other, _at_point(factors, *rows))
                to += 3 * kind
        else:
            for factors in AT_SEVEN:
                _scatter_kinds(dtype, to, kind, other, _at_point(factors, *rows))
                to += 3 * kind


@block_of_work
def _scatter_kinds(dtype, to, kind, other, values):
    line = TILE_COLUMNS * 4
    scatter(dtype, to, line, values[0])
    scatter(dtype, to + kind, line, values[1])
    scatter(dtype, to + 2 * kind, line, values[2])
    scatter(dtype, to + other, line, values[3])
    scatter(dtype, to + other + kind, line, values[4])
    scatter(dtype, to + other + 2 * kind, line, values[5])


@block_of_work
def _pack_transposed_block(dtype, block, scratch, numbers):
    """Two output channels."""
    weight, packed, points, half_in, half_out = unpack(numbers, 5)
    kind = TILE_COLUMNS * half_out * factor_size(dtype)
    other = (half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * 3 * points * kind
    for c in range(0, half_in, LANES):
        to = packed + c // TILE_COLUMNS * 3 * points * kind + c % TILE_COLUMNS * 4
        to += 2 * block * TILE_COLUMNS * factor_size(dtype)
        top, middle, bottom = _rows(weight, 2 * block, half_in, c)
        top2, middle2, bottom2 = _rows(weight, 2 * block + 1, half_in, c)
        if points == 5:
            for f in AT_FIVE:
                a, b = _at_point(f, bottom, middle, top), _at_point(f, bottom2, middle2, top2)  # upside down
                _store_kinds(dtype, to, kind, other, a, b)
                to += 3 * kind
        else:
            for f in AT_SEVEN:
                a, b = _at_point(f, bottom, middle, top), _at_point(f, bottom2, middle2, top2)
                _store_kinds(dtype, to, kind, other, a, b)
                to += 3 * kind


@block_of_work
def _store_kinds(dtype, to, kind, other, a, b):
    """Those of the transposed filters: third kinds are exchanged and negated."""
    line, none = TILE_COLUMNS * 4, every(0.0)
    store_two(dtype, to, line, a[0], b[0], none)
    store_two(dtype, to + kind, line, a[1], b[1], none)
    store_two(dtype, to + 2 * kind, line, none - a[5], none - b[5], none)
    store_two(dtype, to + other, line, a[3], b[3], none)
    store_two(dtype, to + other + kind, line, a[4], b[4], none)
    store_two(dtype, to + other + 2 * kind, line, none - a[2], none - b[2], none)


@block_of_work
def _at_point(factors, top, middle, bottom):
    """The six kinds: the sum of three rows, each times its factor."""
    f, g, h = every(factors[0]), every(factors[1]), every(factors[2])
    return (
        top[0] * f + middle[0] * g + bottom[0] * h, top[1] * f + middle[1] * g + bottom[1] * h,
        top[2] * f + middle[2] * g + bottom[2] * h, top[3] * f + middle[3] * g + bottom[3] * h,
        top[4] * f + middle[4] * g + bottom[4] * h, top[5] * f + middle[5] * g + bottom[5] * h,
    )  # fmt: skip


@block_of_work
def _rows(weight, d, half_in, c):
    """Of output d and sixteen input channels, the six kinds of each of the filter's rows."""
    return _kinds(weight, d, 0, half_in, c), _kinds(weight, d, 1, half_in, c), _kinds(weight, d, 2, half_in, c)


@block_of_work
def _kinds(weight, d, row, half_in, c):
    """The filters of one row for z_e and z_o."""
    at, column = weight + 4 * ((d * 3 + row) * 3 * 2 * half_in + c), 8 * half_in
    a0, a1, a2 = load(at), load(at + column), load(at + 2 * column)
    at += 4 * half_in
    b0, b1, b2 = load(at), load(at + column), load(at + 2 * column)
    half, quarter = every(0.5), every(0.25)
    s, t, p, q = a0 + a2, b0 + b2, a0 - a2, b0 - b2
    return (
        (a1 + b1) * half, (s + t) * quarter, (p - q) * quarter,
        (a1 - b1) * half, (s - t) * quarter, (p + q) * quarter,
    )  # fmt: skip
