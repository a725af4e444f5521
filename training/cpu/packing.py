"""Filters in the order in which `convolve` reads them. Knows tensors' memory.

Filters are float32 [D, 2 C, 3, 3], those of the outputs' first half, channels last. Where D is no multiple of 32, the
last panel's other columns are left as they are.
"""

import torch
from torch import Tensor

from training.cpu.lanes import LANES, copy_word, every, load, narrow, store_bfloat16, store_pairs
from training.cpu.team import block_of_work, run, unpack
from training.cpu.tile import TILE_COLUMNS


def pack(weight: Tensor) -> Tensor:
    """The filters of the convolution; as `convolve` takes them."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_out, half_in)
    run(_pack_block, half_in // LANES, weight.data_ptr(), packed.data_ptr(), half_in, half_out, scratch=2 * LANES)
    return packed


def pack_transposed(weight: Tensor) -> Tensor:
    """The filters of its input's gradient, in which C and D change places."""
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    packed = _empty(half_in, half_out)
    run(_pack_transposed_block, half_out // 2, weight.data_ptr(), packed.data_ptr(), half_in, half_out)
    return packed


def _empty(half_out: int, half_in: int) -> Tensor:
    panels = -(-half_out // TILE_COLUMNS)
    return torch.empty(2, panels, 4, 3, half_in // 2, TILE_COLUMNS, 2, dtype=torch.bfloat16)


@block_of_work
def _pack_block(block, line, numbers):
    """Sixteen input channels."""
    weight, packed, half_in, half_out = unpack(numbers, 4)
    kind = TILE_COLUMNS * 2 * half_in  # bytes
    other = (half_out + TILE_COLUMNS - 1) // TILE_COLUMNS * 12 * kind
    for d in range(half_out):
        to = packed + d // TILE_COLUMNS * 12 * kind + d % TILE_COLUMNS * 4 + block * LANES * TILE_COLUMNS * 2
        for values in _points(weight, d, half_in, block * LANES):
            _spread(to, values[0], line)
            _spread(to + kind, values[1], line)
            _spread(to + 2 * kind, values[2], line)
            _spread(to + other, values[3], line)
            _spread(to + other + kind, values[4], line)
            _spread(to + other + 2 * kind, values[5], line)
            to += 3 * kind


@block_of_work
def _spread(to, value, line):
    """Writes pairs of neighbouring channels into neighbouring rows of a panel."""
    store_bfloat16(line, narrow(value))
    for k in range(LANES // 2):
        copy_word(to + 4 * TILE_COLUMNS * k, line + 4 * k)


@block_of_work
def _pack_transposed_block(block, scratch, numbers):
    """Two output channels."""
    weight, packed, half_in, half_out = unpack(numbers, 4)
    kind = TILE_COLUMNS * 2 * half_out  # bytes
    other = (half_in + TILE_COLUMNS - 1) // TILE_COLUMNS * 12 * kind
    none = every(0.0)
    for c in range(0, half_in, LANES):
        to = packed + c // TILE_COLUMNS * 12 * kind + c % TILE_COLUMNS * 4 + block * TILE_COLUMNS * 4
        top, plus, minus, bottom = _points(weight, 2 * block, half_in, c)
        top2, plus2, minus2, bottom2 = _points(weight, 2 * block + 1, half_in, c)
        for a, b in ((bottom, bottom2), (plus, plus2), (minus, minus2), (top, top2)):  # upside down
            store_pairs(to, narrow(a[0]), narrow(b[0]))
            store_pairs(to + kind, narrow(a[1]), narrow(b[1]))
            store_pairs(to + 2 * kind, narrow(none - a[5]), narrow(none - b[5]))
            store_pairs(to + other, narrow(a[3]), narrow(b[3]))
            store_pairs(to + other + kind, narrow(a[4]), narrow(b[4]))
            store_pairs(to + other + 2 * kind, narrow(none - a[2]), narrow(none - b[2]))
            to += 3 * kind


@block_of_work
def _points(weight, d, half_in, c):
    """Of output d and sixteen input channels, the six kinds at each of the four points of `convolve`."""
    top, middle, bottom = (
        _kinds(weight, d, 0, half_in, c), _kinds(weight, d, 1, half_in, c), _kinds(weight, d, 2, half_in, c)
    )  # fmt: skip
    a0, a1, a2, a3, a4, a5 = _half_of_sum(top, bottom)
    b0, b1, b2, b3, b4, b5 = _half_of_sum(middle, _zeros())
    plus = a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5
    minus = a0 - b0, a1 - b1, a2 - b2, a3 - b3, a4 - b4, a5 - b5
    return top, plus, minus, bottom


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
