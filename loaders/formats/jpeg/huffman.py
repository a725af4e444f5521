"""The Huffman tables of a JPEG stream, as arrays to decode and to encode with (ITU-T T.81, annexes C and K.3)."""

import numpy as np

from .header import DHT, Scan

CATEGORIES = 12  # of DC differences, where samples have 8 bits
# The DC tables of annex K.3, which have codes for all categories: the number of codes of 1, 2, ... 16 bits.
LUMINANCE = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
CHROMINANCE = (0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0)


def read_tables(content: bytes, scan: Scan) -> dict[int, tuple[tuple[int, ...], bytes]] | None:
    """Row -> numbers of codes of 1 to 16 bits, and their symbols; None where a segment is not whole."""
    found, i = {}, 2
    while i < scan.scan_at - 4:
        if content[i + 1] == 0xFF:
            i += 1
            continue
        at, end = i + 4, i + 2 + int.from_bytes(content[i + 2 : i + 4], "big")
        while content[i + 1] == DHT and at < end:
            lengths = tuple(content[at + 1 : at + 17])
            first, row = at + 17, 4 * (content[at] >> 4 & 1) + (content[at] & 3)
            at = first + sum(lengths)
            if at > end:
                return None
            found[row] = lengths, content[first:at]
        i = end
    return found


def _codes_of(lengths: tuple[int, ...], symbols: bytes) -> list[tuple[int, int, int]]:
    """Symbol, code and number of its bits, of each code of a table (annex C)."""
    found, code, rest = [], 0, iter(symbols)
    for bits, count in enumerate(lengths, 1):
        for _ in range(count):
            found.append((next(rest), code, bits))
            code += 1
        code *= 2
    return found


def fill_lookup(row: np.ndarray, lengths: tuple[int, ...], symbols: bytes) -> bool:
    """Set row[next 16 bits] to 256 * bits of the code + symbol, uint16 [65536]; False if there are too many codes."""
    for symbol, code, bits in _codes_of(lengths, symbols):
        if code >> bits:
            return False
        row[code << 16 - bits : code + 1 << 16 - bits] = bits << 8 | symbol
    return True


def set_codes(row: np.ndarray, lengths: tuple[int, ...], symbols: bytes) -> None:
    """Set row[category] to its code and the number of its bits, int64 [12, 2]."""
    for symbol, code, bits in _codes_of(lengths, symbols):
        if symbol < CATEGORIES:
            row[symbol] = code, bits
