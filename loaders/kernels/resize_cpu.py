"""Compiled CPU kernel that cuts a box out of an image and resizes it with a triangle filter, as Pillow's BILINEAR does.

Where the image shrinks, the triangle is widened by the ratio, so nothing aliases. Rows are summed first, a whole row at
a time, then columns, four rows at a time: both in vector instructions, and what lies between the two stays in the
cache. The sums between the two are float32, and the result is rounded once, half up. Pillow also rounds between the
two, so results differ by at most 1.
"""

import numpy as np

from ..compiled import compiled
from .vector_sums import ROWS, sum_pixels

_F = np.float32


@compiled(nogil=True)
def taps(begin, end, size):
    """Compute the weights of a resize of begin..end (pixels, may be fractional) to `size` pixels.

    Returns:
        first int64 [size], count int64 [size], weights float32 [size, most]: result i is the sum over k < count[i] of
        weights[i, k] * pixel[first[i] + k]; they sum to one. No pixel outside begin..end is looked at.
    """
    scale = (end - begin) / size
    support = max(scale, 1.0)
    low, high = int(begin), int(np.ceil(end))
    first, count = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, int(2 * support) + 3), np.float32)
    for i in range(size):
        center = begin + (i + 0.5) * scale
        start, stop = max(int(center - support + 0.5), low), min(int(center + support + 0.5), high)
        total = 0.0
        for k in range(stop - start):
            total += max(1 - abs(start + k + 0.5 - center) / support, 0.0)
        for k in range(stop - start):
            weights[i, k] = max(1 - abs(start + k + 0.5 - center) / support, 0.0) / total
        first[i], count[i] = start, stop - start
    return first, count, weights


@compiled(nogil=True)
def resize_box(image, top, left, bottom, right, out):
    """Resize a box of `image` uint8 [H, W, 3], rows top..bottom and columns left..right, into `out` uint8 [S, S, 3].

    The box lies in the image; its edges are floats and may fall inside a pixel.
    """
    size = out.shape[0]
    first_y, count_y, weights_y = taps(top, bottom, size)
    first_x, count_x, weights_x = taps(left, right, size)
    edge = int(left)
    width = int(np.ceil(right)) - edge
    most = count_x.max()  # weights beyond a pixel's own are zero, and so is what they meet behind a line
    lines = np.zeros((ROWS, 3 * (width + most) + 1), np.float32)
    target = out if size >= ROWS else np.empty((ROWS, size, 3), np.uint8)
    last = np.empty((ROWS, 1, 4), np.uint8)  # pixels of the last column: the byte behind them is that of another row
    for begin in range(0, size, ROWS):
        i = max(min(begin, size - ROWS), 0)
        for r in range(ROWS):
            y = min(i + r, size - 1)
            _sum_rows(image, first_y[y], count_y[y], weights_y[y], 3 * edge, lines[r, : 3 * width])
        for x in range(size - 1):
            sum_pixels(lines, first_x[x] - edge, weights_x, most, x, target, i, x)
        sum_pixels(lines, first_x[size - 1] - edge, weights_x, most, size - 1, last, 0, 0)
        target[i : i + ROWS, size - 1] = last[:, 0, :3]
    if size < ROWS:
        out[:] = target[:size]


@compiled(nogil=True)
def _sum_rows(image, first, count, weights, start, line):
    """Sum `count` rows of an image from row `first` on, by weight, from value `start` of the row on; two at a time."""
    n = len(line)
    for k in range(0, count, 2):
        above = image[first + k].reshape(-1)[start : start + n]
        if k + 1 == count:
            if k == 0:
                for j in range(n):
                    line[j] = weights[k] * _F(above[j])
            else:
                for j in range(n):
                    line[j] += weights[k] * _F(above[j])
            return
        lower = image[first + k + 1].reshape(-1)[start : start + n]
        if k == 0:
            for j in range(n):
                line[j] = weights[k] * _F(above[j]) + weights[k + 1] * _F(lower[j])
        else:
            for j in range(n):
                line[j] = line[j] + weights[k] * _F(above[j]) + weights[k + 1] * _F(lower[j])
