"""Read the size of a JPEG, PNG or WebP image from its header: compiled functions, for use in other kernels too."""

import numpy as np

from ..compiled import compiled

_PNG = np.frombuffer(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", np.uint8)
_RIFF, _WEBP, _LOSSY, _LOSSLESS, _EXTENDED, _START = (
    np.frombuffer(text, np.uint8) for text in (b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"\x01\x2a")
)


@compiled(nogil=True)
def frame_header(stream: np.ndarray) -> int:
    """Index of the first parameter (the precision) of a JPEG stream's first frame header; 0 if it is no JPEG stream.

    The stream is uint8 [n]; six parameters at least lie in it (SOF marker; ITU-T T.81, annexes B.1.1 and B.2.2). What
    does not follow the standard up to there is no JPEG: a decoder might see another frame header than this function.
    """
    n = len(stream)
    if n < 4 or stream[0] != 0xFF or stream[1] != 0xD8:
        return 0
    i = 2
    while i + 10 <= n and stream[i] == 0xFF:
        marker = stream[i + 1]
        if marker == 0xFF:  # a fill byte
            i += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # TEM, RST: no length follows
            i += 2
            continue
        length = (np.int64(stream[i + 2]) << 8) + stream[i + 3]  # of the segment, with these two bytes
        # Before the frame header comes no other SOI, no EOI, no SOS (entropy-coded data) and no reserved marker.
        if marker < 0xC0 or 0xD8 <= marker <= 0xDA or length < 2:
            return 0
        if marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:  # a frame header
            return i + 4
        i += 2 + length
    return 0


@compiled(nogil=True)
def jpeg_size(stream):
    """Height and width in pixels of a JPEG stream, uint8 [n]; 0, 0 if it is none. They stand in its frame header."""
    at = frame_header(stream)
    if at == 0:
        return 0, 0
    height, width = np.int64(stream[at + 1]) << 8, np.int64(stream[at + 3]) << 8
    return height + stream[at + 2], width + stream[at + 4]


@compiled(nogil=True)
def find_other_sizes(
    data: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    is_jpeg: np.ndarray,
    ids: np.ndarray,
    other: np.ndarray,
) -> None:
    """Find JPEG images whose header tells another size than `heights` and `widths`.

    Args:
        data, offsets, sizes, heights, widths, is_jpeg: those of a `DatasetFile`.
        ids: int64 [B], the images to look at.
        other: bool [B], the result: whether image ids[j] is such a one.
    """
    for j in range(len(ids)):
        i = ids[j]
        other[j] = is_jpeg[i] and jpeg_size(data[offsets[i] : offsets[i] + sizes[i]]) != (heights[i], widths[i])


@compiled(nogil=True)
def _png_size(stream):
    """Height and width in pixels of a PNG stream, uint8 [n]; 0, 0 if it is none."""
    if len(stream) < 24 or not _is_at(stream, 0, _PNG):
        return 0, 0
    width = height = 0
    for i in range(4):
        width, height = (width << 8) + int(stream[16 + i]), (height << 8) + int(stream[20 + i])
    return height, width


@compiled(nogil=True)
def _webp_size(stream):
    """Height and width in pixels of a WebP stream, uint8 [n]; 0, 0 if it is none (RFC 9649, sections 2.3 to 2.7)."""
    if len(stream) < 30 or not (_is_at(stream, 0, _RIFF) and _is_at(stream, 8, _WEBP)):
        return 0, 0
    bits = np.int64(0)  # the six bytes from the 24th on, least first
    for i in range(6):
        bits |= np.int64(stream[24 + i]) << 8 * i
    if _is_at(stream, 12, _EXTENDED):
        return (bits >> 24) + 1, (bits & 0xFFFFFF) + 1
    if _is_at(stream, 12, _LOSSY) and stream[23] == 0x9D and _is_at(stream, 24, _START):
        return bits >> 32 & 0x3FFF, bits >> 16 & 0x3FFF
    if _is_at(stream, 12, _LOSSLESS) and stream[20] == 0x2F:
        packed = np.int64(0)
        for i in range(4):
            packed |= np.int64(stream[21 + i]) << 8 * i
        return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
    return 0, 0


@compiled(nogil=True)
def _is_at(stream, at, text):
    same = True
    for i in range(len(text)):
        same &= stream[at + i] == text[i]
    return same


@compiled(nogil=True)
def image_sizes(
    first: int,
    last: int,
    data: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    is_jpeg: np.ndarray,
) -> None:
    """Read the sizes of images first..last-1 from their headers.

    Args:
        data: uint8, the file.
        offsets, sizes: int64 [N]; image i is the `sizes[i]` bytes at data[offsets[i]].
        heights, widths: int64 [N], results in pixels; 0 where there is neither a JPEG nor a PNG nor a WebP image.
        is_jpeg: bool [N], result.
    """
    for i in range(first, last):
        stream = data[offsets[i] : offsets[i] + sizes[i]]
        heights[i], widths[i] = jpeg_size(stream)
        is_jpeg[i] = heights[i] > 0
        if not is_jpeg[i]:
            heights[i], widths[i] = _png_size(stream)
            if heights[i] == 0:
                heights[i], widths[i] = _webp_size(stream)
