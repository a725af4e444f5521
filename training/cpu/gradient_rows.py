"""Gradients of the output as `filter_gradient` multiplies them: sums and differences of both halves, at a point of
`winograd`, steps of a product one behind the other. Knows addresses.
"""

from training.cpu.fold import halves
from training.cpu.formats import factor_size, store_two
from training.cpu.lanes import LANES, every, multiply_add
from training.cpu.team import block_of_work
from training.cpu.winograd import GRADIENT


@block_of_work
def gradient_factors(rows, point):
    """Of the rows of a line at a point."""
    table = GRADIENT[rows // 4, point]
    return table[0], table[1], table[2], table[3]


@block_of_work
def bytes_of_step(half_out):
    """From step to step: an odd number of cache lines, since with a power of two all would meet in a
    few places of the cache."""
    return 4 * (half_out if half_out // LANES % 2 else half_out + LANES)


@block_of_work
def combine_gradients(dtype, grad, shape, factors, first, count, y, scale):
    """Writes the sums of a line's rows times their factors at some places, [2 (e, o), steps, D and what keeps steps
    apart]: factors of two bytes in pairs of places, the last one's other half zero."""
    half, step_bytes = shape[2], bytes_of_step(shape[2])
    room = (count + 1) // 2 * 2 * factor_size(dtype) // 4
    for k in range(0, count, 2):
        one, two = _place(shape, first + k), _place(shape, first + min(k + 1, count - 1))
        for c in range(0, half, LANES):
            e, o = _sum_of_gradients(dtype, grad, shape, factors, one, c)
            e2 = o2 = every(0.0)
            if k + 1 < count:
                e2, o2 = _sum_of_gradients(dtype, grad, shape, factors, two, c)
            to = y + k * factor_size(dtype) // 4 * step_bytes + 4 * c
            store_two(dtype, to, step_bytes, e, e2, scale)
            store_two(dtype, to + room * step_bytes, step_bytes, o, o2, scale)


@block_of_work
def _place(shape, place):
    """Its pixel and its row in the image."""
    height, width, _, lines, step = shape
    image, row, column = place // (lines * width), place % (lines * width) // width * step, place % width
    return (image * height + row) * width + column, row


@block_of_work
def _sum_of_gradients(dtype, grad, shape, factors, place, c):
    e = o = every(0.0)
    e, o = _plus_row(dtype, grad, shape, e, o, factors[0], place, 0, c)
    e, o = _plus_row(dtype, grad, shape, e, o, factors[1], place, 1, c)
    e, o = _plus_row(dtype, grad, shape, e, o, factors[2], place, 2, c)
    return _plus_row(dtype, grad, shape, e, o, factors[3], place, 3, c)


@block_of_work
def _plus_row(dtype, grad, shape, e, o, factor, place, i, c):
    height, width, half, _, _ = shape
    pixel, row = place
    if factor != 0 and row + i < height:
        e_row, o_row = halves(dtype, grad, pixel + i * width, half, c)
        return multiply_add(e_row, every(factor), e), multiply_add(o_row, every(factor), o)
    return e, o
