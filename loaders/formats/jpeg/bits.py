"""Read and write the bits of entropy-coded JPEG data, in which FF 00 stands for a byte FF; compiled.

A reader or a writer is an array int64 [4]: the index of its next byte, the bits read ahead or not yet written, their
number, and how many of a reader's bits stand for missing ones behind the end of its data.
"""

import numpy as np

from ...compiled import compiled

AT, BITS, COUNT, MISSING = range(4)


@compiled(nogil=True)
def peek(stream, reader):
    """The next 16 bits; zeros stand for those behind the end or a marker."""
    while reader[COUNT] < 32:
        at, value = reader[AT], np.int64(0)
        if at < len(stream) and stream[at] != 0xFF:
            value = np.int64(stream[at])
            reader[AT] += 1
        elif at + 1 < len(stream) and stream[at + 1] == 0:  # a stuffed byte follows FF
            value = np.int64(0xFF)
            reader[AT] += 2
        else:
            reader[MISSING] += 8
        reader[BITS] = reader[BITS] << 8 | value
        reader[COUNT] += 8
    return reader[BITS] >> (reader[COUNT] - 16) & 0xFFFF


@compiled(nogil=True)
def take(reader, bits):
    """Read so many bits as a number; with what was read since the last `peek`, at most 32."""
    reader[COUNT] -= bits
    return reader[BITS] >> reader[COUNT] & ((np.int64(1) << bits) - 1)


@compiled(nogil=True)
def move_to_marker(stream, reader, marker):
    """Drop the bits that fill the last byte and move the reader to the next marker; return whether it is this one."""
    left, at = reader[COUNT] - reader[MISSING], reader[AT]
    while at + 2 < len(stream) and stream[at] == 0xFF and stream[at + 1] == 0xFF:
        at += 1
    reader[:] = 0
    reader[AT] = at
    return 0 <= left < 8 and at + 1 < len(stream) and stream[at] == 0xFF and stream[at + 1] == marker


@compiled(nogil=True)
def put(out, writer, value, bits):
    """Write a number of so many bits, 0 to 31."""
    writer[BITS] = writer[BITS] << bits | value
    writer[COUNT] += bits
    while writer[COUNT] >= 8:
        writer[COUNT] -= 8
        byte = writer[BITS] >> writer[COUNT] & 255
        out[writer[AT]] = byte
        writer[AT] += 1
        if byte == 0xFF:
            out[writer[AT]] = 0
            writer[AT] += 1


@compiled(nogil=True)
def put_marker(out, writer, marker):
    """Fill the last byte with ones, and write a marker."""
    rest = -writer[COUNT] % 8
    put(out, writer, (np.int64(1) << rest) - 1, rest)
    out[writer[AT]], out[writer[AT] + 1] = 0xFF, marker
    writer[AT] += 2
