"""Divide the rows of a JPEG stream by restart markers, without touching a coefficient (ITU-T T.81, annex F).

A restart sets the predictions of the DC coefficients to zero, so the first block of each component behind it states its
DC coefficient itself, not the difference to the block before it. Nothing else changes: all other codes are copied bit
by bit, and every decoder gives the same pixels as before.
"""

import numpy as np

from ...compiled import compiled
from .bits import AT, COUNT, MISSING, move_to_marker, peek, put, put_marker, take
from .header import DHT, DRI, EOI, RST0, Scan, has_restart_rows, read_scan
from .huffman import CATEGORIES, CHROMINANCE, LUMINANCE, fill_lookup, read_tables, set_codes

_PIECE = 32  # pixels from one marker to the next, at least
_MCU_BYTES = 1 << 13  # more than the ten blocks of an MCU can take, stuffing included


def with_restart_rows(content: bytes) -> bytes | None:
    """The same JPEG with a restart marker at the end of each row of MCUs; its headers stay, what follows its end goes.

    Where the number of MCUs in a row has a divisor for it, there are more markers inside the rows: then a part can be
    cut out on all four sides.

    Returns:
        The stream; the very one where its rows end in such markers already; None where they cannot be set in: a
        progressive or arithmetic-coded stream, one of four components or several scans, or a damaged one.
    """
    stream = np.frombuffer(content, np.uint8)
    scan = read_scan(stream)
    if scan.height == 0:
        return None
    if has_restart_rows(scan):
        return content
    interval = _interval(scan)
    components = _components(stream, scan)
    num_blocks = scan.mcus_per_row * scan.rows * int(components[:, 0].sum())
    tables = read_tables(content, scan)
    # A block takes two bits at least. More than ten in an MCU are not allowed (B.2.3).
    if tables is None or num_blocks > 4 * len(content) or components[:, 0].sum() > 10:
        return None
    lookup, codes = np.zeros((8, 1 << 16), np.uint16), np.zeros((4, CATEGORIES, 2), np.int64)
    added = b""
    for dc, ac in components[:, 1:].tolist():
        if (
            dc not in tables
            or ac not in tables
            or not (fill_lookup(lookup[dc], *tables[dc]) and fill_lookup(lookup[ac], *tables[ac]))
        ):
            return None
        lengths, symbols = tables[dc]
        if not set(range(CATEGORIES)) <= set(symbols):  # an optimised table has only codes that the stream needed
            lengths, symbols = LUMINANCE if dc == components[0, 1] else CHROMINANCE, bytes(range(CATEGORIES))
            added += bytes((dc, *lengths, *symbols))
        set_codes(codes[dc], lengths, symbols)
    header = _header(content, scan, interval, added)
    out = np.empty(
        len(content) + 4 * num_blocks + 4 * (num_blocks // interval) + len(header) + 2 * _MCU_BYTES, np.uint8
    )
    out[: len(header)] = np.frombuffer(header, np.uint8)
    size = _copy_scan(stream, scan, interval, components, lookup, codes, out, len(header))
    return out[:size].tobytes() if size else None


def _interval(scan: Scan) -> int:
    """MCUs between two markers: the least divisor of a row's number that is at least `_PIECE` pixels wide."""
    for interval in range(1, scan.mcus_per_row):
        if scan.mcus_per_row % interval == 0 and interval * scan.mcu_width >= _PIECE:
            return interval
    return scan.mcus_per_row


def _components(stream: np.ndarray, scan: Scan) -> np.ndarray:
    """int64 [components, 3]: blocks in an MCU, and the rows of its DC table (0 to 3) and of its AC table (4 to 7)."""
    found = []
    for c in range(int(stream[scan.scan_at])):
        factors, tables = int(stream[scan.frame_at + 7 + 3 * c]), int(stream[scan.scan_at + 2 + 2 * c])
        found.append(((factors >> 4) * (factors & 15), tables >> 4 & 3, 4 + (tables & 3)))
    if len(found) == 1:
        found[0] = (1, *found[0][1:])
    return np.array(found, np.int64)


def _header(content: bytes, scan: Scan, interval: int, tables: bytes) -> bytes:
    """The headers, with the restart interval and further tables."""
    stated = interval.to_bytes(2, "big")
    head, tail = content[: scan.scan_at - 4], content[scan.scan_at - 4 : scan.data_at]
    if scan.interval_at:
        head = head[: scan.interval_at] + stated + head[scan.interval_at + 2 :]
    else:
        head += bytes((0xFF, DRI, 0, 4)) + stated
    if tables:
        head += bytes((0xFF, DHT)) + (2 + len(tables)).to_bytes(2, "big") + tables
    return head + tail


@compiled(nogil=True)
def _copy_scan(stream, scan, interval, components, lookup, codes, out, size):
    """Write the entropy-coded data with its restarts, and the end of the image; the new size, or 0 if damaged."""
    num = len(components)
    reader, writer = np.zeros(4, np.int64), np.zeros(4, np.int64)
    reader[AT], writer[AT] = scan.data_at, size
    before, stated = np.zeros(num, np.int64), np.zeros(num, np.int64)
    for mcu in range(scan.mcus_per_row * scan.rows):
        if scan.interval and mcu and mcu % scan.interval == 0:
            if not move_to_marker(stream, reader, RST0 + (mcu // scan.interval - 1) % 8):
                return 0
            reader[AT] += 2
            before[:] = 0
        if mcu and mcu % interval == 0:
            put_marker(out, writer, RST0 + (mcu // interval - 1) % 8)
            stated[:] = 0
        if writer[AT] + _MCU_BYTES > len(out):
            return 0
        for c in range(num):
            for _ in range(components[c, 0]):
                difference = _read_difference(stream, reader, lookup[components[c, 1]])
                before[c] += difference
                if abs(difference) >= 1 << CATEGORIES or not _write_difference(
                    out, writer, codes[components[c, 1]], before[c] - stated[c]
                ):
                    return 0
                stated[c] = before[c]
                if not _copy_coefficients(stream, reader, out, writer, lookup[components[c, 2]]):
                    return 0
        if reader[MISSING] > reader[COUNT]:
            return 0
    if not move_to_marker(stream, reader, EOI):
        return 0
    put_marker(out, writer, EOI)
    return writer[AT]


@compiled(nogil=True)
def _read_difference(stream, reader, table):
    """A DC difference (F.2.2.1); a number out of range where there is no such code."""
    entry = np.int64(table[peek(stream, reader)])
    category = entry & 255
    if entry == 0 or category >= CATEGORIES:
        return np.int64(1 << CATEGORIES)
    reader[COUNT] -= entry >> 8
    value = take(reader, category)
    return value if category == 0 or value >> (category - 1) else value + 1 - (np.int64(1) << category)


@compiled(nogil=True)
def _write_difference(out, writer, codes, difference):
    """Write a DC difference (F.1.2.1); False where none can be that large."""
    category, rest = 0, abs(difference)
    while rest:
        category, rest = category + 1, rest >> 1
    if category >= CATEGORIES:
        return False
    put(out, writer, codes[category, 0], codes[category, 1])
    put(out, writer, difference if difference >= 0 else difference + (np.int64(1) << category) - 1, category)
    return True


@compiled(nogil=True)
def _copy_coefficients(stream, reader, out, writer, table):
    """Copy the AC coefficients of a block (F.2.2.2); False where there is no such code, or one too many."""
    k = 1
    while k < 64:
        entry = np.int64(table[peek(stream, reader)])
        if entry == 0:
            return False
        run, size = (entry & 255) >> 4, entry & 15
        bits = (entry >> 8) + size
        put(out, writer, take(reader, bits), bits)
        if size == 0 and run < 15:
            return True
        k += run + 1
    return k == 64
