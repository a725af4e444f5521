"""The identity by which a mirrored convolution needs half of its multiplications. Knows addresses.

Let the channels of pictures come in halves x1 and x2. Sum e = x1 + x2 and difference o = x1 - x2 of what a mirrored
convolution reads and of what it writes are linked by filters that are even or odd from left to right. An even filter of
three columns needs two products, with the middle and with (left + right), an odd one a single product, with
(left - right). So with

    z_e = (e, e_left + e_right, o_left - o_right)    z_o = (o, o_left + o_right, e_left - e_right)

the outputs' sum is a convolution of z_e along the rows, their difference one of z_o: 9 products where the filter has
18. The gradient of the input has the same form, with filters transposed and the third kinds exchanged and negated.

Pictures are bfloat16, channels last: [pixels, 2 C], C a multiple of 16.
"""

from training.cpu.lanes import every, load_bfloat16
from training.cpu.team import block_of_work


@block_of_work
def halves(x, pixel, half, c):
    """e and o of the sixteen channels from c on."""
    at = x + 2 * (pixel * 2 * half + c)
    a, b = load_bfloat16(at), load_bfloat16(at + 2 * half)
    return a + b, a - b


@block_of_work
def folded(x, pixel, column, width, half, c):
    """z_e and z_o of the sixteen channels from c on, six values; zeros beyond the edges."""
    e, o = halves(x, pixel, half, c)
    e_left = o_left = e_right = o_right = every(0.0)
    if column > 0:
        e_left, o_left = halves(x, pixel - 1, half, c)
    if column < width - 1:
        e_right, o_right = halves(x, pixel + 1, half, c)
    return e, e_left + e_right, o_left - o_right, o, o_left + o_right, e_left - e_right
