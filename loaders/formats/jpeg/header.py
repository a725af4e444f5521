"""Read the headers of a JPEG stream up to its first scan (ITU-T T.81, annex B), compiled; never outside the stream."""

from typing import NamedTuple

import numpy as np

from ...compiled import compiled

SOF0, SOF1, DHT, SOI, EOI, SOS, DRI = 0xC0, 0xC1, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
RST0 = 0xD0
BLOCK = 8  # pixels


class Scan(NamedTuple):
    """A baseline or extended sequential stream, Huffman-coded with 8 bits, whose one scan holds all components.

    Attributes:
        height, width: of the image, in pixels; 0 where the stream is of another kind, as all other fields.
        mcu_height, mcu_width: of an MCU, the smallest coded unit, in pixels.
        mcus_per_row, rows: MCUs in a row, and rows of them.
        interval: MCUs between two restart markers; 0 where there are none.
        interval_at: index of the interval's two bytes in the stream; 0 where it states none.
        frame_at, scan_at: index of the frame header's and of the scan header's first parameter.
        data_at: index of the first byte of entropy-coded data.
    """

    height: int
    width: int
    mcu_height: int
    mcu_width: int
    mcus_per_row: int
    rows: int
    interval: int
    interval_at: int
    frame_at: int
    scan_at: int
    data_at: int


@compiled(nogil=True)
def has_restart_rows(scan):
    """Whether each row of MCUs ends in a restart marker: the interval is the number of MCUs in a row, or divides it."""
    return scan.height > 0 and scan.interval > 0 and scan.mcus_per_row % scan.interval == 0


@compiled(nogil=True)
def word(stream, at):
    """Two bytes as a number."""
    return (np.int64(stream[at]) << 8) + np.int64(stream[at + 1])


@compiled(nogil=True)
def read_scan(stream: np.ndarray) -> Scan:
    """Read the headers of a stream, uint8 [n]; all fields are zero for streams of another kind and damaged ones."""
    none = Scan(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    n = len(stream)
    if n < 4 or stream[0] != 0xFF or stream[1] != SOI:
        return none
    i, frame_at, interval, interval_at = 2, 0, 0, 0
    while i + 4 <= n and stream[i] == 0xFF:
        marker = stream[i + 1]
        if marker == 0xFF:  # a fill byte
            i += 1
            continue
        at, end = i + 4, i + 2 + word(stream, i + 2)
        if end < at or end > n:
            return none
        if SOF0 <= marker <= SOF1:
            if frame_at or not _is_frame(stream, at, end):
                return none
            frame_at = at
        elif marker == DRI:
            if end != at + 2:
                return none
            interval, interval_at = word(stream, at), at
        elif marker == SOS:
            if not frame_at or not _is_whole_scan(stream, frame_at, at, end):
                return none
            height, width = word(stream, frame_at + 1), word(stream, frame_at + 3)
            mcu_height, mcu_width = _mcu_size(stream, frame_at)
            return Scan(
                height, width, mcu_height, mcu_width, -(-width // mcu_width), -(-height // mcu_height),
                interval, interval_at, frame_at, at, end,
            )  # fmt: skip
        elif not (marker == DHT or marker == 0xDB or marker >= 0xE0):  # tables, applications' data and comments
            return none
        i = end
    return none


@compiled(nogil=True)
def _is_frame(stream, at, end):
    """Whether a frame header is of 8 bits, not empty, and of one or three components."""
    if end < at + 6 or stream[at] != 8 or word(stream, at + 1) == 0 or word(stream, at + 3) == 0:
        return False
    num = np.int64(stream[at + 5])
    if (num != 1 and num != 3) or end != at + 6 + 3 * num:
        return False
    for c in range(num):
        across, down = stream[at + 7 + 3 * c] >> 4, stream[at + 7 + 3 * c] & 15
        if not (1 <= across <= 4 and 1 <= down <= 4):
            return False
    return True


@compiled(nogil=True)
def _is_whole_scan(stream, frame_at, at, end):
    """Whether a scan header is of all components of the frame, in their order, and of all coefficients."""
    num = np.int64(stream[frame_at + 5])
    if end != at + 4 + 2 * num or stream[at] != num:
        return False
    for c in range(num):
        if stream[at + 1 + 2 * c] != stream[frame_at + 6 + 3 * c]:
            return False
    return stream[end - 3] == 0 and stream[end - 2] == 63 and stream[end - 1] == 0


@compiled(nogil=True)
def _mcu_size(stream, frame_at):
    """Height and width of an MCU in pixels; that of a lone component is one block, whatever its sampling factors."""
    num = np.int64(stream[frame_at + 5])
    if num == 1:
        return BLOCK, BLOCK
    across = down = 1
    for c in range(num):
        factors = np.int64(stream[frame_at + 7 + 3 * c])
        across, down = max(across, factors >> 4), max(down, factors & 15)
    return BLOCK * down, BLOCK * across
