"""The sizes that files claim, which are checked ahead of any allocation: one rule for all formats.

A few bytes of a header can claim terabytes. What lies in a file as it is must fit into the file. What is compressed may
grow by the largest factor that DEFLATE can reach, which images and archives stay far below. And nothing exceeds the
limit of its kind.
"""

import os
from pathlib import Path

import numpy as np

MAX_GROWTH = 1032
"""Of DEFLATE (RFC 1951): a match of 258 bytes takes two bits at least."""
ALWAYS_ALLOWED = 1 << 23
"""Bytes that anything compressed may become: an image of one colour is a few bytes in formats other than PNG."""
MAX_PIXELS = 178_956_970
"""Of one image, as in Pillow."""
RGB_BYTES = 3
"""Of a decoded pixel."""


def check_stored(what: str, claimed: int, available: int) -> None:
    """Refuse a size that is larger than what is there.

    Args:
        what: claims it; the sentence begins with this.
        claimed, available: bytes.

    Raises:
        ValueError: half a sentence, to which the caller adds the file and what to do.
    """
    if not 0 <= claimed <= available:
        raise ValueError(f"{what} claims {claimed:,} bytes, and {available:,} are there")


def check_expanded(what: str, claimed: int, stored: int, limit: int) -> None:
    """Refuse a size that the compressed bytes cannot grow to, or that exceeds the limit of its kind.

    Args:
        what: claims it; the sentence begins with this.
        claimed: bytes when it is decompressed.
        stored: bytes that it has in the file.
        limit: bytes.

    Raises:
        ValueError: as in `check_stored`.
    """
    allowed = min(limit, max(ALWAYS_ALLOWED, MAX_GROWTH * stored))
    if not 0 <= claimed <= allowed:
        raise ValueError(
            f"{what} claims {claimed:,} bytes, at most {allowed:,} are allowed for one of {stored:,} bytes"
        )


def are_too_many_pixels(heights: np.ndarray, widths: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Which images claim more pixels than their bytes can hold, or more than `MAX_PIXELS`: bool [N].

    Args:
        heights, widths: int64 [N], pixels.
        stored: int64 [N], bytes of each image in its file. An image that lies there pixel by pixel may have any size.
    """
    pixels = heights * widths.astype(np.float64)
    return are_grown(heights, widths, stored) | ((pixels > MAX_PIXELS) & (stored < RGB_BYTES * pixels))


def are_grown(heights: np.ndarray, widths: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Which images claim more pixels than their bytes can hold: bool [N]. Arguments as in `are_too_many_pixels`."""
    pixels = heights * widths.astype(np.float64)
    return RGB_BYTES * pixels > np.maximum(ALWAYS_ALLOWED, MAX_GROWTH * stored.astype(np.float64))


def read_limited(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a file whose kind is small.

    Raises:
        ValueError: it has more than `max_bytes`.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > max_bytes else file.read(max_bytes + 1)  # a pipe has no size
    if max(size, len(content)) > max_bytes:
        raise ValueError(f"{os.fspath(path)} has {size:,} bytes, and no file of its kind has more than {max_bytes:,}")
    return content


def machine_memory() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's (cgroup v2)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory
