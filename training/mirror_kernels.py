"""Mirrored convolutions with half of the multiplications, as compiled tasks. Knows addresses; knows no layer.

Let the channels of pictures come in halves x1 and x2. Sum e = x1 + x2 and difference o = x1 - x2 of what a mirrored
convolution reads and of what it writes are linked by filters that are even or odd from left to right. An even filter of
three columns needs two products, with the middle and with (left + right), an odd one a single product, with
(left - right). So with

    z_e = (e, e_left + e_right, o_left - o_right)    z_o = (o, o_left + o_right, e_left - e_right)

the outputs' sum is a convolution of z_e along the rows, their difference one of z_o: 9 products where the filter has 18.
The gradient of the input has the same form; that of the filters is a product between the input's e and o and the folded
gradient of the output.

Pictures are bfloat16, channels last: [pixels, 2 C], C a multiple of 32. Filters are float32 [D, 3 rows, 3 columns, 2 C],
those of the outputs' first half. Packed filters are bfloat16 [2 (e, o), D / 32, 4 points, 3 kinds, C / 2, 32, 2].
"""

from numba import njit

from training.lanes import (
    LANES,
    TILE_COLUMNS,
    TILE_ROWS,
    copy_word,
    every,
    load,
    load_bfloat16,
    multiply,
    narrow,
    read,
    store,
    store_bfloat16,
    store_pairs,
    take_next,
)

BLOCK = 96
"""Pixels that a thread convolves at a time: what they are folded to stays in its cache."""
GRADIENT_BLOCK = 192
"""Likewise for the filters' gradient."""
PARTS = 8
"""Parts of a batch whose filters' gradients are summed apart, however many threads there are."""

_options = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def convolve_scratch(half_in: int) -> int:
    """Bytes that `convolve` needs for each thread."""
    return BLOCK * 2 * 4 * 3 * half_in * 2 + 9 * TILE_ROWS * TILE_COLUMNS * 4


def gradient_scratch(half_in: int, half_out: int) -> int:
    """Bytes that `multiply_gradients` needs for each thread."""
    return GRADIENT_BLOCK * 3 * (half_in + half_out) * 4


@njit(**_options)
def _halves(x, pixel, half, c):
    """e and o of sixteen channels."""
    at = x + 2 * (pixel * 2 * half + c)
    a, b = load_bfloat16(at), load_bfloat16(at + 2 * half)
    return a + b, a - b


@njit(**_options)
def _folded(x, pixel, column, width, half, c):
    """z_e and z_o of sixteen channels."""
    e, o = _halves(x, pixel, half, c)
    e_left = o_left = e_right = o_right = every(0.0)
    if column > 0:
        e_left, o_left = _halves(x, pixel - 1, half, c)
    if column < width - 1:
        e_right, o_right = _halves(x, pixel + 1, half, c)
    return e, e_left + e_right, o_left - o_right, o, o_left + o_right, e_left - e_right


@njit(**_options)
def _row(x, picture, row, column, height, width, half, c):
    """z_e and z_o of sixteen channels at one place of a picture; zeros above and below it."""
    z = every(0.0), every(0.0), every(0.0), every(0.0), every(0.0), every(0.0)
    if 0 <= row < height:
        z = _folded(x, (picture * height + row) * width + column, column, width, half, c)
    return z


@njit(**_options)
def _store_points(to, point, rows):
    """Of one kind, at the four rows around a pair: d0 - d2, d1 + d2, d2 - d1, d1 - d3, `point` bytes apart."""
    d0, d1, d2, d3 = rows
    store_bfloat16(to, narrow(d0 - d2))
    store_bfloat16(to + point, narrow(d1 + d2))
    store_bfloat16(to + 2 * point, narrow(d2 - d1))
    store_bfloat16(to + 3 * point, narrow(d1 - d3))


@njit(**_options)
def _expand(x, z, first, count, height, width, half):
    """Writes what each pair of rows is made from: bfloat16 [count, 2 (e, o), 4 points, 3 kinds, half]."""
    point = 3 * half * 2
    per_picture = (height + 1) // 2 * width
    for place in range(first, first + count):
        picture, row, column = place // per_picture, place % per_picture // width * 2, place % width
        for c in range(0, half, LANES):
            r0 = _row(x, picture, row - 1, column, height, width, half, c)
            r1 = _row(x, picture, row, column, height, width, half, c)
            r2 = _row(x, picture, row + 1, column, height, width, half, c)
            r3 = _row(x, picture, row + 2, column, height, width, half, c)
            to = z + (place - first) * 8 * point + 2 * c
            _store_points(to, point, (r0[0], r1[0], r2[0], r3[0]))
            _store_points(to + 2 * half, point, (r0[1], r1[1], r2[1], r3[1]))
            _store_points(to + 4 * half, point, (r0[2], r1[2], r2[2], r3[2]))
            to += 4 * point
            _store_points(to, point, (r0[3], r1[3], r2[3], r3[3]))
            _store_points(to + 2 * half, point, (r0[4], r1[4], r2[4], r3[4]))
            _store_points(to + 4 * half, point, (r0[5], r1[5], r2[5], r3[5]))


@njit(**_options)
def _store_halves(to, other, e, o):
    store_bfloat16(to, narrow(e + o))
    store_bfloat16(to + other, narrow(e - o))


@njit(**_options)
def _convolve_block(block, z, x, y, filters, places, height, width, half_in, half_out):
    first = block * BLOCK
    count = min(BLOCK, places - first)
    _expand(x, z, first, count, height, width, half_in)
    per_picture = (height + 1) // 2 * width
    point_bytes = 3 * half_in * 2
    place_bytes = 8 * point_bytes
    steps = 3 * half_in // 2
    filter_bytes = steps * TILE_COLUMNS * 4  # of a panel at a point
    row_bytes = TILE_COLUMNS * 4
    zero = z + BLOCK * place_bytes
    sums = zero + TILE_ROWS * row_bytes
    step = TILE_ROWS * row_bytes  # from point to point
    for k in range(0, TILE_ROWS * row_bytes, 4 * LANES):
        store(zero + k, every(0.0))
    for panel in range(half_out // TILE_COLUMNS):
        for tile in range(0, count, TILE_ROWS):
            a = z + tile * place_bytes
            for point in range(8):
                group = point // 4
                b = filters + ((group * (half_out // TILE_COLUMNS) + panel) * 4 + point % 4) * filter_bytes
                multiply(a + point * point_bytes, place_bytes, 4, b, steps, zero, sums + point * step, row_bytes)
            for i in range(min(TILE_ROWS, count - tile)):
                place = first + tile + i
                picture, row, column = place // per_picture, place % per_picture // width * 2, place % width
                to = y + 2 * (((picture * height + row) * width + column) * 2 * half_out + panel * TILE_COLUMNS)
                for c in range(0, TILE_COLUMNS, LANES):
                    at = sums + i * row_bytes + 4 * c
                    e1, e2, o1, o2 = load(at + step), load(at + 2 * step), load(at + 5 * step), load(at + 6 * step)
                    e, o = load(at) + e1 + e2, load(at + 4 * step) + o1 + o2
                    _store_halves(to + 2 * c, 2 * half_out, e, o)
                    if row + 1 < height:
                        e, o = e1 - e2 - load(at + 3 * step), o1 - o2 - load(at + 7 * step)
                        _store_halves(to + 2 * (c + width * 2 * half_out), 2 * half_out, e, o)


def convolve(task):
    """Blocks of pixels of y = x * filters. Numbers: scratch, its bytes per thread, x, y, packed filters, places, height,
    width, C, D."""
    z = read(task, 3) + take_next(task + 8) * read(task, 4)
    block = take_next(task)
    while block < read(task, 2):
        _convolve_block(
            block, z, read(task, 5), read(task, 6), read(task, 7), read(task, 8), read(task, 9), read(task, 10),
            read(task, 11), read(task, 12),
        )  # fmt: skip
        block = take_next(task)


@njit(**_options)
def _fold_pairs(z, grad, first, count, width, half):
    """Writes z_e and z_o of a block, two pixels side by side: bfloat16 [2, count / 2, 3 half, 2]; zeros beyond an odd
    end."""
    other = (count + 1) // 2 * 3 * half * 4
    for pixel in range(first, first + count, 2):
        to = z + (pixel - first) // 2 * 3 * half * 4
        column, column2 = pixel % width, (pixel + 1) % width
        for c in range(0, half, LANES):
            e, es, od, o, os, ed = _folded(grad, pixel, column, width, half, c)
            e2 = es2 = od2 = o2 = os2 = ed2 = every(0.0)
            if pixel + 1 < first + count:
                e2, es2, od2, o2, os2, ed2 = _folded(grad, pixel + 1, column2, width, half, c)
            at = to + 4 * c
            store_pairs(at, narrow(e), narrow(e2))
            store_pairs(at + 4 * half, narrow(es), narrow(es2))
            store_pairs(at + 8 * half, narrow(od), narrow(od2))
            store_pairs(at + other, narrow(o), narrow(o2))
            store_pairs(at + other + 4 * half, narrow(os), narrow(os2))
            store_pairs(at + other + 8 * half, narrow(ed), narrow(ed2))


@njit(**_options)
def _row_pairs(r, x, first, count, height, width, half):
    """Writes e and o of the rows above, of and below each pixel of a block, two pixels side by side, in panels:
    bfloat16 [2, 3 half / 32, count / 2, 32, 2]; zeros beyond an odd end."""
    pairs = (count + 1) // 2
    other = 3 * half * pairs * 4
    for pixel in range(first, first + count, 2):
        pair = (pixel - first) // 2
        here, here2 = pixel // width % height, (pixel + 1) // width % height
        for tap in range(3):
            source = pixel + (tap - 1) * width
            is_in = 0 <= here + tap - 1 < height
            is_in2 = 0 <= here2 + tap - 1 < height and pixel + 1 < first + count
            for c in range(0, half, LANES):
                e = o = e2 = o2 = every(0.0)
                if is_in:
                    e, o = _halves(x, source, half, c)
                if is_in2:
                    e2, o2 = _halves(x, source + 1, half, c)
                panel, inner = (tap * half + c) // TILE_COLUMNS, (tap * half + c) % TILE_COLUMNS
                to = r + 4 * ((panel * pairs + pair) * TILE_COLUMNS + inner)
                store_pairs(to, narrow(e), narrow(e2))
                store_pairs(to + other, narrow(o), narrow(o2))


@njit(**_options)
def _gradient_part(part, z, x, grad, products, pixels, height, width, half_in, half_out):
    r = z + GRADIENT_BLOCK * 3 * half_out * 4
    size = 9 * half_in * half_out
    products += part * 2 * size * 4
    row_bytes = 3 * half_in * 4
    for k in range(0, 2 * size, LANES):
        store(products + 4 * k, every(0.0))
    end = pixels * (part + 1) // PARTS
    for first in range(pixels * part // PARTS, end, GRADIENT_BLOCK):
        count = min(GRADIENT_BLOCK, end - first)
        pairs = (count + 1) // 2
        _fold_pairs(z, grad, first, count, width, half_out)
        _row_pairs(r, x, first, count, height, width, half_in)
        for group in range(2):
            a, b, c = z + group * pairs * 12 * half_out, r + group * pairs * 12 * half_in, products + 4 * group * size
            for column in range(0, 3 * half_in, TILE_COLUMNS):
                for row in range(0, 3 * half_out, TILE_ROWS):
                    to = c + row * row_bytes + 4 * column
                    multiply(a + 4 * row, 4, 12 * half_out, b + column * pairs * 4, pairs, to, to, row_bytes)


def multiply_gradients(task):
    """Products of the folded gradient and the input, float32 [8 (part of the batch), 2 (e, o), 3 kinds, D, 3 rows, C].

    Numbers: scratch, its bytes per thread, x, gradient of y, products, pixels, height, width, C, D.
    """
    z = read(task, 3) + take_next(task + 8) * read(task, 4)
    part = take_next(task)
    while part < read(task, 2):
        _gradient_part(
            part, z, read(task, 5), read(task, 6), read(task, 7), read(task, 8), read(task, 9), read(task, 10),
            read(task, 11), read(task, 12),
        )  # fmt: skip
        part = take_next(task)


@njit(**_options)
def _total(products, group, kind, d, row, half_in, half_out, c):
    """Sixteen of the products, summed over the parts of the batch."""
    size = 9 * half_in * half_out
    at = products + 4 * (group * size + ((kind * half_out + d) * 3 + row) * half_in + c)
    total = every(0.0)
    for part in range(PARTS):
        total = total + load(at + 4 * part * 2 * size)
    return total


def collect_gradient(task):
    """The filters' gradient from the products; a block is one output channel. Numbers: products, gradient, C, D."""
    products, gradient, half_in, half_out = read(task, 3), read(task, 4), read(task, 5), read(task, 6)
    d = take_next(task)
    while d < read(task, 2):
        for row in range(3):
            to = gradient + 4 * (d * 3 + row) * 3 * 2 * half_in
            for c in range(0, half_in, LANES):
                half, quarter = every(0.5), every(0.25)
                e, o = (
                    _total(products, 0, 0, d, row, half_in, half_out, c) * half,
                    _total(products, 1, 0, d, row, half_in, half_out, c) * half,
                )
                es, os = (
                    _total(products, 0, 1, d, row, half_in, half_out, c) * quarter,
                    _total(products, 1, 1, d, row, half_in, half_out, c) * quarter,
                )
                ed, od = (
                    _total(products, 0, 2, d, row, half_in, half_out, c) * quarter,
                    _total(products, 1, 2, d, row, half_in, half_out, c) * quarter,
                )
                even, odd = es + os, every(0.0) - (ed + od)
                store(to + 4 * c, even + odd)
                store(to + 4 * (c + 2 * half_in), e + o)
                store(to + 4 * (c + 4 * half_in), even - odd)
                even, odd = es - os, od - ed
                store(to + 4 * (c + half_in), even + odd)
                store(to + 4 * (c + 3 * half_in), e - o)
                store(to + 4 * (c + 5 * half_in), even - odd)
        d = take_next(task)


@njit(**_options)
def _kinds(filters, d, row, half_in, c):
    """Filters of sixteen input channels: for z_e and for z_o."""
    at = filters + 4 * ((d * 3 + row) * 3 * 2 * half_in + c)
    step = 8 * half_in
    a0, a1, a2 = load(at), load(at + step), load(at + 2 * step)
    at += 4 * half_in
    b0, b1, b2 = load(at), load(at + step), load(at + 2 * step)
    half, quarter = every(0.5), every(0.25)
    s, t, d, u = a0 + a2, b0 + b2, a0 - a2, b0 - b2
    return (
        (a1 + b1) * half, (s + t) * quarter, (d - u) * quarter,
        (a1 - b1) * half, (s - t) * quarter, (d + u) * quarter,
    )  # fmt: skip


@njit(**_options)
def _points(filters, d, half_in, c):
    """Filters of sixteen input channels for z_e and z_o at the four points: g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2,
    g2, of each kind."""
    top = _kinds(filters, d, 0, half_in, c)
    middle = _kinds(filters, d, 1, half_in, c)
    bottom = _kinds(filters, d, 2, half_in, c)
    half = every(0.5)
    even = (
        (top[0] + bottom[0]) * half, (top[1] + bottom[1]) * half, (top[2] + bottom[2]) * half,
        (top[3] + bottom[3]) * half, (top[4] + bottom[4]) * half, (top[5] + bottom[5]) * half,
    )  # fmt: skip
    odd = (
        middle[0] * half, middle[1] * half, middle[2] * half, middle[3] * half, middle[4] * half, middle[5] * half
    )  # fmt: skip
    plus = even[0] + odd[0], even[1] + odd[1], even[2] + odd[2], even[3] + odd[3], even[4] + odd[4], even[5] + odd[5]
    minus = even[0] - odd[0], even[1] - odd[1], even[2] - odd[2], even[3] - odd[3], even[4] - odd[4], even[5] - odd[5]
    return top, plus, minus, bottom


@njit(**_options)
def _spread(to, value, line):
    """Eight pairs of neighbouring channels, each 128 bytes behind the one before."""
    store_bfloat16(line, narrow(value))
    for k in range(8):
        copy_word(to + 128 * k, line + 4 * k)


@njit(**_options)
def _pack_block(block, line, filters, packed, half_in, half_out):
    c = block * LANES
    other = half_out * 12 * half_in * 2
    kind = 64 * half_in
    for d in range(half_out):
        to = packed + (d // TILE_COLUMNS * 12 * half_in * TILE_COLUMNS + d % TILE_COLUMNS * 2 + c * TILE_COLUMNS) * 2
        top, plus, minus, bottom = _points(filters, d, half_in, c)
        for values in (top, plus, minus, bottom):
            _spread(to, values[0], line)
            _spread(to + kind, values[1], line)
            _spread(to + 2 * kind, values[2], line)
            _spread(to + other, values[3], line)
            _spread(to + other + kind, values[4], line)
            _spread(to + other + 2 * kind, values[5], line)
            to += 3 * kind


def pack_filters(task):
    """Filters in the order in which `convolve` reads them; a block is sixteen input channels.

    Numbers: filters, packed, 64 bytes of scratch per thread, C, D.
    """
    line = read(task, 5) + 64 * take_next(task + 8)
    block = take_next(task)
    while block < read(task, 2):
        _pack_block(block, line, read(task, 3), read(task, 4), read(task, 6), read(task, 7))
        block = take_next(task)


@njit(**_options)
def _pack_transposed_block(block, filters, packed, half_in, half_out):
    d = 2 * block
    other = half_in * 12 * half_out * 2
    kind = 64 * half_out
    none = every(0.0)
    for c in range(0, half_in, LANES):
        to = packed + 2 * (c // TILE_COLUMNS * 12 * half_out * TILE_COLUMNS + c % TILE_COLUMNS * 2 + d * TILE_COLUMNS)
        top, plus, minus, bottom = _points(filters, d, half_in, c)
        top2, plus2, minus2, bottom2 = _points(filters, d + 1, half_in, c)
        for a, b in ((bottom, bottom2), (plus, plus2), (minus, minus2), (top, top2)):
            store_pairs(to, narrow(a[0]), narrow(b[0]))
            store_pairs(to + kind, narrow(a[1]), narrow(b[1]))
            store_pairs(to + 2 * kind, narrow(none - a[5]), narrow(none - b[5]))
            store_pairs(to + other, narrow(a[3]), narrow(b[3]))
            store_pairs(to + other + kind, narrow(a[4]), narrow(b[4]))
            store_pairs(to + other + 2 * kind, narrow(none - a[2]), narrow(none - b[2]))
            to += 3 * kind


def pack_transposed(task):
    """Filters for the gradient of the input, to which C and D change places; a block is a pair of output channels.

    Numbers: filters, packed, C, D.
    """
    block = take_next(task)
    while block < read(task, 2):
        _pack_transposed_block(block, read(task, 3), read(task, 4), read(task, 5), read(task, 6))
        block = take_next(task)
