"""Cut rows out of a JPEG stream without decoding it, where its rows of MCUs end in restart markers.

Such a stream (its restart interval is the number of MCUs in a row) is a header and one piece of entropy-coded data per
row, none of which needs another: the restart resets all that a decoder carries along. So the rows that a box touches
are copied behind the header, their markers numbered anew, with their height in the header. What comes out is an
ordinary JPEG for any decoder, and its pixels are those of the whole image.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from ...compiled import compiled
from .header import EOI, RST0, read_scan

WHOLE, WRONG = 0, -1
# That of the C library: the address of the first such byte, or 0.
_memchr = types.ExternalFunction("memchr", types.uintp(types.uintp, types.int32, types.uintp))


class Cut(NamedTuple):
    """What was cut out.

    Attributes:
        size: of the new stream in bytes; or `WHOLE` where all rows are needed, or the stream has no restart rows or
            some other form; or `WRONG` where its restart markers are not those of its rows, or its end is missing.
        top: line of the image that is the new stream's first.
        height: of the new stream, in lines.
    """

    size: int
    top: int
    height: int


@compiled(nogil=True)
def cut_rows(stream: np.ndarray, top: int, bottom: int, out: np.ndarray) -> Cut:
    """Write a JPEG of the rows that lines top..bottom-1 need to `out`.

    Where colours are stored at half the height, a decoder that smoothes them looks one of their lines up and down: the
    rows of the lines above and below are taken too.

    Args:
        stream: uint8 [n]; nothing that it says is believed.
        top, bottom: 0 <= top < bottom <= height of the image.
        out: uint8, at least as long as the stream; left as it is unless rows were cut out.
    """
    scan = read_scan(stream)
    if scan.height == 0 or scan.interval != scan.mcus_per_row or len(out) < len(stream):
        return Cut(WHOLE, 0, 0)
    if not 0 <= top < bottom <= scan.height:
        return Cut(WHOLE, 0, 0)
    first = max(top - 1, 0) // scan.mcu_height
    last = min(bottom, scan.height - 1) // scan.mcu_height
    is_part = first > 0 or last < scan.rows - 1
    size, row, begin, i = scan.data_at, 0, scan.data_at, scan.data_at
    if is_part:
        out[:size] = stream[:size]
    while True:
        i = _next_marker(stream, i)
        if i < 0:
            return Cut(WRONG, 0, 0)
        code, wanted = stream[i + 1], is_part and first <= row <= last
        if wanted:
            out[size : size + i - begin] = stream[begin:i]
            size += i - begin
        if code == EOI:
            break
        if not RST0 <= code < RST0 + 8:
            return Cut(WHOLE, 0, 0)
        if row + 1 >= scan.rows or code != RST0 + row % 8:
            return Cut(WRONG, 0, 0)
        if wanted and row < last:
            out[size], out[size + 1] = 0xFF, RST0 + (row - first) % 8
            size += 2
        row, i = row + 1, i + 2
        begin = i
    if row + 1 != scan.rows:
        return Cut(WRONG, 0, 0)
    if not is_part:
        return Cut(WHOLE, 0, 0)
    out[size], out[size + 1] = 0xFF, EOI
    new_top = first * scan.mcu_height
    height = min((last + 1) * scan.mcu_height, scan.height) - new_top
    out[scan.frame_at + 1], out[scan.frame_at + 2] = height >> 8, height & 255
    return Cut(size + 2, new_top, height)


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
