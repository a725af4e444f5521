"""Cut a part out of a JPEG stream without decoding it, where restart markers divide its rows of MCUs.

In such a stream the restart interval is a divisor of the number of MCUs in a row, so the entropy-coded data consist of
pieces, so many to a row, none of which needs another: a restart resets all that a decoder carries along. The pieces
that a box touches are copied behind the header, their markers numbered anew, with their height and width in the header.
What comes out is an ordinary JPEG for any decoder, and its pixels are those of the whole image.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from ...compiled import compiled
from .header import EOI, RST0, has_restart_rows, read_scan

WHOLE, WRONG = 0, -1
_NARROWEST = 8  # pixels: libjpeg does not smooth the colours of an image of four
# memchr of the C library: the address of the first byte of that value, or 0.
_memchr = types.ExternalFunction("memchr", types.uintp(types.uintp, types.int32, types.uintp))


class Cut(NamedTuple):
    """What was cut out.

    Attributes:
        size: of the new stream in bytes; or `WHOLE` where all of it is needed, no restart markers divide its rows, or
            it has some other form; or `WRONG` where markers are missing or out of order, or its end is missing.
        top, left: pixel of the image that is the new stream's first.
        height, width: of the new stream, in pixels.
    """

    size: int
    top: int
    left: int
    height: int
    width: int


@compiled(nogil=True)
def cut_box(stream: np.ndarray, top: int, left: int, bottom: int, right: int, out: np.ndarray) -> Cut:
    """Write a JPEG of the pieces that lines top..bottom-1 and columns left..right-1 need to `out`.

    Where colours are stored at half the size, a decoder that smoothes them looks one of theirs to every side: the
    pieces of the pixels around the box are taken too.

    Args:
        stream: uint8 [n]; everything in it is checked before it is used.
        top, bottom: 0 <= top < bottom <= height of the image.
        left, right: 0 <= left < right <= width.
        out: uint8, at least as long as the stream; left as it is unless a part was cut out.
    """
    whole, wrong = Cut(WHOLE, 0, 0, 0, 0), Cut(WRONG, 0, 0, 0, 0)
    scan = read_scan(stream)
    if not has_restart_rows(scan) or len(out) < len(stream):
        return whole
    if not (0 <= top < bottom <= scan.height and 0 <= left < right <= scan.width):
        return whole
    piece_width, per_row = scan.interval * scan.mcu_width, scan.mcus_per_row // scan.interval
    first_row = max(top - 1, 0) // scan.mcu_height
    last_row = min(bottom, scan.height - 1) // scan.mcu_height
    first_column = max(min(left - 1, scan.width - _NARROWEST), 0) // piece_width
    last_column = min(right, scan.width - 1) // piece_width
    is_part = first_row > 0 or last_row < scan.rows - 1 or first_column > 0 or last_column < per_row - 1
    size, row, column, copied = scan.data_at, 0, 0, 0
    begin = i = scan.data_at
    if is_part:
        out[:size] = stream[:size]
    while True:
        i = _next_marker(stream, i)
        if i < 0:
            return wrong
        code = stream[i + 1]
        if is_part and first_row <= row <= last_row and first_column <= column <= last_column:
            if copied > 0:
                out[size], out[size + 1] = 0xFF, RST0 + (copied - 1) % 8
                size += 2
            out[size : size + i - begin] = stream[begin:i]
            size, copied = size + i - begin, copied + 1
        is_last = row == scan.rows - 1 and column == per_row - 1
        if code == EOI:
            break
        if not RST0 <= code < RST0 + 8:
            return whole
        if is_last or code != RST0 + (row * per_row + column) % 8:
            return wrong
        column += 1
        if column == per_row:
            row, column = row + 1, 0
        i += 2
        begin = i
    if not is_last:
        return wrong
    if not is_part:
        return whole
    out[size], out[size + 1] = 0xFF, EOI
    new_top, new_left = first_row * scan.mcu_height, first_column * piece_width
    height = min((last_row + 1) * scan.mcu_height, scan.height) - new_top
    width = min((last_column + 1) * piece_width, scan.width) - new_left
    at = scan.frame_at + 1
    out[at], out[at + 1], out[at + 2], out[at + 3] = height >> 8, height & 255, width >> 8, width & 255
    return Cut(size + 2, new_top, new_left, height, width)


@compiled(nogil=True)
def _next_marker(stream, i):
    """Index of the next marker from `i` on in entropy-coded data, in which FF 00 stands for a byte FF; -1 if none."""
    begin, n = np.uintp(stream.ctypes.data), len(stream)
    while i < n:
        found = _memchr(begin + np.uintp(i), 0xFF, np.uintp(n - i))
        if found == 0:
            return -1
        i = np.intp(found - begin)
        if i + 1 >= n:
            return -1
        if stream[i + 1] == 0:
            i += 2
        elif stream[i + 1] == 0xFF:
            i += 1
        else:
            return i
    return -1
