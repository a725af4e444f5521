"""Compiled CPU kernel that makes three equal channels of grey images, for the kernels of RGB."""

import numpy as np

from ..compiled import compiled

_U = np.uint64


@compiled(nogil=True)
def widen(first, last, data, offsets, rows, out):
    """Write images first..last-1 of a batch with each of their values three times.

    Args:
        data: uint8, grey pixels of all images.
        offsets, rows: int64; image i begins at data[offsets[rows[i]]].
        out: uint8 [B, H * W * 3].
    """
    size = out.shape[1] // 3
    for i in range(first, last):
        image, line = data[offsets[rows[i]] : offsets[rows[i]] + size], out[i]
        for j in range(size):
            value, at = image[_U(j)], 3 * j
            line[_U(at)] = value
            line[_U(at + 1)] = value
            line[_U(at + 2)] = value
