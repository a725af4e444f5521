"""The identity by which a mirrored convolution needs half of its multiplications. Knows addresses.

Let the channels of pictures come in halves x1 and x2. Sum e = x1 + x2 and difference o = x1 - x2 of what a mirrored
convolution reads and of what it writes are linked by filters that are even or odd from left to right. An even filter of
three columns needs two products, with the middle and with (left + right), an odd one a single product, with
(left - right). So with

    z_e = (e, e_left + e_right, o_left - o_right)    z_o = (o, o_left + o_right, e_left - e_right)

the outputs' sum is a convolution of z_e along the rows, their difference one of z_o: 9 products where the filter has
18. The gradient of the input has the same form, with filters transposed and the third kinds exchanged and negated.

Pictures are float32 or bfloat16, channels last: [pixels, 2 C], C a multiple of 16.
"""

from training.cpu.lanes import every, load_number, size_of
from training.cpu.team import block_of_work


@block_of_work
def halves(dtype, x, pixel, half, c):
    """e and o of the sixteen channels from c on."""
    at = x + size_of(dtype) * (pixel * 2 * half + c)
    a, b = load_number(dtype, at), load_number(dtype, at + size_of(dtype) * half)
    return a + b, a - b


@block_of_work
def folded(dtype, x, pixel, column, width, half, c):
    """z_e and z_o of the sixteen channels from c on, six values; zeros beyond the edges."""
    e, o = halves(dtype, x, pixel, half, c)
    e_left = o_left = e_right = o_right = every(0.0)
    if column > 0:
        e_left, o_left = halves(dtype, x, pixel - 1, half, c)
    if column < width - 1:
        e_right, o_right = halves(dtype, x, pixel + 1, half, c)
    return e, e_left + e_right, o_left - o_right, o, o_left + o_right, e_left - e_right


@block_of_work
def folded_at(dtype, x, picture, row, column, height, width, half, c):
    """`folded` at a place of a picture; zeros above and below it."""
    z = every(0.0), every(0.0), every(0.0), every(0.0), every(0.0), every(0.0)
    if 0 <= row < height:
        z = folded(dtype, x, (picture * height + row) * width + column, column, width, half, c)
    return z


@block_of_work
def place_of(pair, pairs_of_rows, width):
    """Picture, first row and column of a pair of places, one above the other; they are counted along the columns, then
    down the pairs of rows, then over pictures."""
    per_picture = pairs_of_rows * width
    return pair // per_picture, pair % per_picture // width * 2, pair % width
