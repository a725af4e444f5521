"""The identity by which a mirrored convolution needs half of its multiplications. Knows addresses.

Let the channels of pictures come in halves x1 and x2. Sum e = x1 + x2 and difference o = x1 - x2 of what a mirrored
convolution reads and of what it writes are linked by filters that are even or odd from left to right. An even filter of
three columns needs two products, with the middle and with (left + right), an odd one a single product, with
(left - right). So with

    z_e = (e, e_left + e_right, o_left - o_right)    z_o = (o, o_left + o_right, e_left - e_right)

the outputs' sum is a convolution of z_e along the rows, their difference one of z_o: 9 products where the filter has
18. The gradient of the input has the same form, with filters transposed and the third kinds exchanged and negated.

Pictures are channels last: [pixels, 2 C], C a multiple of 16. Places are counted along the
columns, then down the lines of a picture, of which line k starts at row 2 k, then over pictures.
"""

from training.cpu.formats import (
    factor_size,
    has_whole_factors,
    larger_size,
    largest_of_all,
    load_number,
    power_below,
    size_of,
    store_factor,
    store_word,
)
from training.cpu.lanes import LANES, every, fetch, load
from training.cpu.team import block_of_work

NO_ROW = -(2**31)
GROWTH = 16
"""What is folded is below this times the power of two that `fetch_places` tells: it is a sum of eight, of two halves,
two neighbours and two rows, each below twice that power."""


@block_of_work
def halves(dtype, x, pixel, half, c):
    """e and o of the sixteen channels from c on."""
    at = x + size_of(dtype) * (pixel * 2 * half + c)
    a, b = load_number(dtype, at), load_number(dtype, at + size_of(dtype) * half)
    return a + b, a - b


@block_of_work
def fold_rows(dtype, x, shape, lines, rows, first, count, z, place_bytes, group_bytes, is_paired, scale):
    """Writes z_e and z_o of some places, [count, 2 (e, o), 3 kinds, C] with these distances; zeros beyond the edges.

    Args:
        shape: height and width of the pictures, and C.
        lines: of a picture.
        rows: (a, b, sign): of each place what is folded is row a plus sign times row b, counted from its line's row;
            beyond the edges, and NO_ROW, are zeros.
        place_bytes, group_bytes: from place to place, or from pair to pair, and from e to o.
        is_paired: whether factors of two bytes go in pairs of places, as `tile` takes steps, the last one's other half
            zero.
        scale: of whole factors.
    """
    _, width, half = shape
    line = half * (4 if is_paired else factor_size(dtype))
    for c in range(0, half, LANES):
        picture, row, column = first // (lines * width), first % (lines * width) // width * 2, first % width
        e_left = o_left = e = o = every(0.0)
        for place in range(count):
            if place == 0 or column == 0:
                e_left, o_left = _sum_of_rows(dtype, x, shape, rows, picture, row, column - 1, c)
                e, o = _sum_of_rows(dtype, x, shape, rows, picture, row, column, c)
            e_right, o_right = _sum_of_rows(dtype, x, shape, rows, picture, row, column + 1, c)
            if is_paired:
                to = z + place * factor_size(dtype) // 4 * place_bytes + 4 * c
                _store_words(dtype, to, line, place, e, e_left + e_right, o_left - o_right, scale)
                _store_words(dtype, to + group_bytes, line, place, o, o_left + o_right, e_left - e_right, scale)
            else:
                to = z + place * place_bytes + factor_size(dtype) * c
                _store_factors(dtype, to, line, e, e_left + e_right, o_left - o_right, scale)
                _store_factors(dtype, to + group_bytes, line, o, o_left + o_right, e_left - e_right, scale)
            e_left, o_left, e, o = e, o, e_right, o_right
            column += 1
            if column == width:
                column, row = 0, row + 2
                if row == 2 * lines:
                    picture, row = picture + 1, 0


@block_of_work
def fetch_places(dtype, x, shape, lines, first, count):
    """Asks for what `fold_rows` reads of some places: in order, which memory answers quicker than its own order.

    Returns:
        sixteen times the power of two that is at most the largest absolute value there, and over half of it, where
        factors are whole; elsewhere 1.
    """
    height, width, half = shape
    begin = first // (lines * width) * height + first % (lines * width) // width * 2
    last = first + count - 1
    end = last // (lines * width) * height + min(last % (lines * width) // width * 2 + 3, height)
    row_bytes = width * 2 * half * size_of(dtype)
    return fetch_bytes(dtype, x + max(begin - 1, 0) * row_bytes, x + end * row_bytes)


@block_of_work
def fetch_bytes(dtype, begin, end):
    """The same of the addresses from begin to end."""
    if has_whole_factors(dtype):
        largest = every(0.0)
        for at in range(begin, end, 64):
            largest = larger_size(largest, load(at))
        return power_below(largest_of_all(largest))
    for at in range(begin, end, 64):
        fetch(at)
    return every(1.0)


@block_of_work
def _sum_of_rows(dtype, x, shape, rows, picture, row, column, c):
    """e and o of row a plus sign times row b."""
    height, width, half = shape
    a, b, sign = rows
    e = o = e2 = o2 = every(0.0)
    if 0 <= column < width:
        pixel = (picture * height + row) * width + column
        if 0 <= row + a < height:
            e, o = halves(dtype, x, pixel + a * width, half, c)
        if 0 <= row + b < height:
            e2, o2 = halves(dtype, x, pixel + b * width, half, c)
    if sign < 0:
        return e - e2, o - o2
    return e + e2, o + o2


@block_of_work
def _store_factors(dtype, to, line, first, second, third, scale):
    store_factor(dtype, to, first, scale)
    store_factor(dtype, to + line, second, scale)
    store_factor(dtype, to + 2 * line, third, scale)


@block_of_work
def _store_words(dtype, to, line, place, first, second, third, scale):
    store_word(dtype, to, place, first, scale)
    store_word(dtype, to + line, place, second, scale)
    store_word(dtype, to + 2 * line, place, third, scale)
