"""The identity by which a mirrored convolution needs half of its multiplications. Knows addresses.

Let the channels of images come in halves x1 and x2. Sum e = x1 + x2 and difference o = x1 - x2 of what a mirrored
convolution reads and of what it writes are linked by filters that are even or odd from left to right. An even filter of
three columns needs two products, with the middle and with (left + right), an odd one a single product, with
(left - right). So with

    z_e = (e, e_left + e_right, o_left - o_right)    z_o = (o, o_left + o_right, e_left - e_right)

the outputs' sum is a convolution of z_e along the rows, their difference one of z_o: 9 products where the filter has
18. The gradient of the input has the same form, with filters transposed and the third kinds exchanged and negated.

Images are channels last: [pixels, 2 C], C a multiple of 16. Places are counted along the columns, then down the lines
of an image, then over images; a line is the rows that `winograd` takes at a time.
"""

from numba.extending import overload

from training.cpu.formats import (
    factor_size,
    has_whole_factors,
    load_number,
    size_of,
    store_factor,
    store_word,
)
from training.cpu.lanes import LANES, every, fetch, multiply_add
from training.cpu.powers import larger_size, larger_sizes, largest_of_all, power_below
from training.cpu.team import OPTIONS, block_of_work
from training.cpu.tile import TILE_COLUMNS

GROWTH = 8
"""What is folded is below this, times the sum of the rows' absolute factors, times the power of two that `fetch_places`
tells: it is a sum of two halves and of two neighbours, each below twice that power."""


@block_of_work
def halves(dtype, x, pixel, half, c):
    """e and o of the sixteen channels from c on."""
    at = x + size_of(dtype) * (pixel * 2 * half + c)
    a, b = load_number(dtype, at), load_number(dtype, at + size_of(dtype) * half)
    return a + b, a - b


@block_of_work
def fold_rows(dtype, x, shape, taps, first, count, z, place_bytes, group_bytes, panel_bytes, scale):
    """Writes z_e and z_o of some places; zeros beyond the edges.

    Args:
        shape: height and width of the images, C, lines of an image and rows of a line.
        taps: what is folded at a place, the sum of two or of four rows times their factors: (row, factor) of each, rows
            counted from the first one of its line.
        place_bytes, group_bytes: from place to place and from e to o.
        panel_bytes: 0 where the order is [count, 2 (e, o), 3 kinds, C]. Else it is [2 (e, o), panels, steps,
            TILE_COLUMNS], of panels of so many bytes in which [3 kinds, C] lie one behind the other, and steps from
            place to place, two places where factors have two bytes; the last one's other half is zero.
        scale: of whole factors.
    """
    _, width, half, lines, step = shape
    for c in range(0, half, LANES):
        image, row, column = first // (lines * width), first % (lines * width) // width * step, first % width
        source = _source(dtype, x, shape, taps, image, row, c)
        e_left = o_left = e = o = every(0.0)
        for place in range(count):
            if place == 0 or column == 0:
                source = _source(dtype, x, shape, taps, image, row, c)
                e_left, o_left = _at_column(dtype, source, shape, column - 1)
                e, o = _at_column(dtype, source, shape, column)
            e_right, o_right = _at_column(dtype, source, shape, column + 1)
            if panel_bytes:
                to = z + place * factor_size(dtype) // 4 * place_bytes
                _store_words(dtype, to, panel_bytes, half, c, place, e, e_left + e_right, o_left - o_right, scale)
                to += group_bytes
                _store_words(dtype, to, panel_bytes, half, c, place, o, o_left + o_right, e_left - e_right, scale)
            else:
                line, to = half * factor_size(dtype), z + place * place_bytes + factor_size(dtype) * c
                _store_factors(dtype, to, line, e, e_left + e_right, o_left - o_right, scale)
                _store_factors(dtype, to + group_bytes, line, o, o_left + o_right, e_left - e_right, scale)
            e_left, o_left, e, o = e, o, e_right, o_right
            column += 1
            if column == width:
                column, row = 0, row + step
                if row == step * lines:
                    image, row = image + 1, 0


@block_of_work
def fetch_places(dtype, x, shape, first, count):
    """Asks for what `fold_rows` reads of some places: in order, which memory answers quicker than its own order.

    Returns:
        sixteen times the power of two that is at most the largest absolute value there, and over half of it, where
        factors are whole; elsewhere 1.
    """
    height, width, half, lines, step = shape
    begin = first // (lines * width) * height + first % (lines * width) // width * step
    last = first + count - 1
    end = last // (lines * width) * height + min(last % (lines * width) // width * step + step + 1, height)
    row_bytes = width * 2 * half * size_of(dtype)
    return _fetch_bytes(dtype, x + max(begin - 1, 0) * row_bytes, x + end * row_bytes)


@block_of_work
def fetch_last_rows(dtype, x, shape, rows, first, count):
    """The same of the last rows of images, at some places of a single one."""
    height, width, half, _, _ = shape
    power, row_bytes = every(0.0), width * 2 * half * size_of(dtype)
    for image in range(first // width, (first + count - 1) // width + 1):
        end = x + (image + 1) * height * row_bytes
        power = larger_size(power, _fetch_bytes(dtype, end - min(height, rows) * row_bytes, end))
    return power


@block_of_work
def _fetch_bytes(dtype, begin, end):
    """The same of the addresses from begin to end."""
    if has_whole_factors(dtype):
        largest = every(0.0)
        for at in range(begin, end, 64):
            largest = larger_sizes(largest, at)
        return power_below(largest_of_all(largest))
    for at in range(begin, end, 64):
        fetch(at)
    return every(1.0)


def _source(dtype, x, shape, taps, image, row, c):
    """Of two or four taps: address of the row's first pixel and factor of each, zero where there is no row."""


@overload(_source, jit_options=OPTIONS)
def _source_of(dtype, x, shape, taps, image, row, c):
    if len(taps) == 2:
        return lambda dtype, x, shape, taps, image, row, c: (
            _tap(dtype, x, shape, taps[0], image, row, c),
            _tap(dtype, x, shape, taps[1], image, row, c),
        )
    return lambda dtype, x, shape, taps, image, row, c: (
        _tap(dtype, x, shape, taps[0], image, row, c),
        _tap(dtype, x, shape, taps[1], image, row, c),
        _tap(dtype, x, shape, taps[2], image, row, c),
        _tap(dtype, x, shape, taps[3], image, row, c),
    )


@block_of_work
def _tap(dtype, x, shape, tap, image, row, c):
    height, width, half, _, _ = shape
    row += tap[0]
    pixel = (image * height + min(max(row, 0), height - 1)) * width
    return x + size_of(dtype) * (pixel * 2 * half + c), every(tap[1] if 0 <= row < height else tap[1] * 0)


@block_of_work
def _at_column(dtype, source, shape, column):
    """e and o of sixteen channels of what is folded, zeros beyond the edges."""
    _, width, half, _, _ = shape
    e = o = every(0.0)
    if 0 <= column < width:
        for address, factor in source:
            at = address + size_of(dtype) * column * 2 * half
            a, b = load_number(dtype, at), load_number(dtype, at + size_of(dtype) * half)
            e, o = multiply_add(a + b, factor, e), multiply_add(a - b, factor, o)
    return e, o


@block_of_work
def _store_factors(dtype, to, line, first, second, third, scale):
    store_factor(dtype, to, first, scale)
    store_factor(dtype, to + line, second, scale)
    store_factor(dtype, to + 2 * line, third, scale)


@block_of_work
def _store_words(dtype, to, panel_bytes, half, c, place, first, second, third, scale):
    store_word(dtype, to + _column_at(c, panel_bytes), place, first, scale)
    store_word(dtype, to + _column_at(half + c, panel_bytes), place, second, scale)
    store_word(dtype, to + _column_at(2 * half + c, panel_bytes), place, third, scale)


@block_of_work
def _column_at(column, panel_bytes):
    """Where a column of panels lies."""
    return column // TILE_COLUMNS * panel_bytes + column % TILE_COLUMNS * 4
