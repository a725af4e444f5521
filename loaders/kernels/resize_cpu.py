"""Compiled CPU kernel that cuts a box out of an image and resizes it with a triangle filter, as Pillow's BILINEAR does.

Where the image shrinks, the triangle is widened by the ratio, so nothing aliases. Rows are summed first, a whole row at
a time (vector instructions), then columns. The sums between the two are float32, and the result is rounded once, half
up. Pillow also rounds between the two, so results differ by at most 1.
"""

import numpy as np

from ..compiled import compiled

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
    line = np.empty(3 * width, np.float32)
    for i in range(size):
        for k in range(count_y[i]):
            source = image[first_y[i] + k].reshape(-1)[3 * edge : 3 * (edge + width)]
            weight = weights_y[i, k]
            if k == 0:
                for j in range(len(line)):
                    line[j] = weight * _F(source[j])
            else:
                for j in range(len(line)):
                    line[j] += weight * _F(source[j])
        for x in range(size):
            red = green = blue = _F(0.5)  # half a step, so that cutting off rounds half up
            at = 3 * (first_x[x] - edge)
            for k in range(count_x[x]):
                weight = weights_x[x, k]
                red += weight * line[at + 3 * k]
                green += weight * line[at + 3 * k + 1]
                blue += weight * line[at + 3 * k + 2]
            out[i, x, 0], out[i, x, 1], out[i, x, 2] = np.uint8(red), np.uint8(green), np.uint8(blue)
