"""Filters in the order in which `convolve` reads them. Knows tensors' memory.

Filters are float32 [D, 2 C, 3, 3], those of the outputs' first half, channels last; packed they have the pictures' type
and the order [2 (e, o), panels of `tile`'s columns, 5 points, 3 kinds, C, columns], bfloat16 in pairs of C. Where D
fills no whole panel, the last one's other columns are left as they are.
"""

import torch
from torch import Tensor

from training.cpu.lanes import LANES, every, load, scatter, size_of, store_two
from training.cpu.team import block_of_work, run, unpack
from training.cpu.tile import TILE_COLUMNS


def pack(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The filters of the convolution."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_out, half_in, dtype)
    numbers = weight.data_ptr(), packed.data_ptr(), half_in, half_out
    run(_pack_block, dtype, half_in // LANES, *numbers)
    return packed


def pack_transposed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The filters of its input's gradient, in which C and D change places."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_in, half_out, dtype)
    run(_pack_transposed_block, dtype, half_out // 2, weight.data_ptr(), packed.data_ptr(), half_in, half_out)
    return packed


def _empty(half_out: int, half_in: int, dtype: torch.dtype) -> Tensor:
    panels = -(-half_out // TILE_COLUMNS)
    return torch.empty(2 * panels * 5 * 3 * half_in * TILE_COLUMNS, dtype=dtype)


@block_of_work
def _pack_block(dtype, block, scratch, numbers):
    """Sixteen input channels: neighbours, bfloat16 in pairs, come to neighbouring rows of a panel."""
    weight, packed, half_in, half_out = unpack(numbers, 4)
    line = TILE_COLUMNS * 4
    kind = TILE_COLUMNS * half_in * size_of(dtype)
    other = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS * 15 * kind
    for d in range(half_out):
        to = packed + d // TILE_COLUMNS * 15 * kind + d % TILE_COLUMNS * 4
        to += block * LANES * TILE_COLUMNS * size_of(dtype)
        for values in _points(weight, d, half_in, block * LANES):
            scatter(dtype, to, line, values[0])
            scatter(dtype, to + kind, line, values[1])
            scatter(dtype, to + 2 * kind, line, values[2])
            scatter(dtype, to + other, line, values[3])
            scatter(dtype, to + other + kind, line, values[4])
            scatter(dtype, to + other + 2 * kind, line, values[5])
            to += 3 * kind


@block_of_work
def _pack_transposed_block(dtype, block, scratch, numbers):
    """Two output channels."""
    weight, packed, half_in, half_out = unpack(numbers, 4)
    line = TILE_COLUMNS * 4
    kind = TILE_COLUMNS * half_out * size_of(dtype)
    other = (half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * 15 * kind
    none = every(0.0)
    for c in range(0, half_in, LANES):
        to = packed + c // TILE_COLUMNS * 15 * kind + c % TILE_COLUMNS * 4 + 2 * block * TILE_COLUMNS * size_of(dtype)
        top, middle, plus, minus, bottom = _points(weight, 2 * block, half_in, c)
        top2, middle2, plus2, minus2, bottom2 = _points(weight, 2 * block + 1, half_in, c)
        upside_down = (bottom, bottom2), (middle, middle2), (plus, plus2), (minus, minus2), (top, top2)
        for a, b in upside_down:
            store_two(dtype, to, line, a[0], b[0])
            store_two(dtype, to + kind, line, a[1], b[1])
            store_two(dtype, to + 2 * kind, line, none - a[5], none - b[5])
            store_two(dtype, to + other, line, a[3], b[3])
            store_two(dtype, to + other + kind, line, a[4], b[4])
            store_two(dtype, to + other + 2 * kind, line, none - a[2], none - b[2])
            to += 3 * kind


@block_of_work
def _points(weight, d, half_in, c):
    """Of output d and sixteen input channels, the six kinds at each of the five points of `convolve`."""
    top, middle, bottom = (
        _kinds(weight, d, 0, half_in, c), _kinds(weight, d, 1, half_in, c), _kinds(weight, d, 2, half_in, c)
    )  # fmt: skip
    a0, a1, a2, a3, a4, a5 = _half_of_sum(top, bottom)
    b0, b1, b2, b3, b4, b5 = _half_of_sum(middle, _zeros())
    plus = a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5
    minus = a0 - b0, a1 - b1, a2 - b2, a3 - b3, a4 - b4, a5 - b5
    return top, middle, plus, minus, bottom


@block_of_work
def _zeros():
    return every(0.0), every(0.0), every(0.0), every(0.0), every(0.0), every(0.0)


@block_of_work
def _half_of_sum(a, b):
    half = every(0.5)
    return (
        (a[0] + b[0]) * half, (a[1] + b[1]) * half, (a[2] + b[2]) * half,
        (a[3] + b[3]) * half, (a[4] + b[4]) * half, (a[5] + b[5]) * half,
    )  # fmt: skip


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
