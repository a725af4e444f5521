"""Read a WebDataset `.tar` through its index, a `.idx`.

The index is text, as DALI's `wds2idx` and `convert.writers.tar` write it: `v1.2 N`, then one line per sample, with
`extension offset size name` for each of its parts. Nothing in it is trusted: every part must lie in the tar, behind a
tar header that states the same size.
"""

import os

import numpy as np

from ..threads import for_blocks
from .claims import read_limited
from .dataset import DatasetFile
from .image_header import image_sizes

VERSION = "v1.2"  # of the index
IMAGES = ("jpg", "jpeg", "png", "webp")
BLOCK = 512  # tar's unit: a header is one block and precedes the content of its member, padded to whole ones
SIZE = slice(124, 136)  # where a header states the content's size, in octal digits (POSIX.1-1988, ustar)
MAX_LABEL_BYTES = 20  # of an int64 in decimal


def open_tar(path: str) -> DatasetFile:
    """Open `x.tar`, with `x.idx` beside it. A sample has one part `jpg`, `jpeg`, `png` or `webp`, and one part `cls`.

    The header of every image is read for its size, which takes about a second for a million images in memory.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: the index does not describe this tar; the message names what is wrong and where.
    """
    index = os.path.splitext(path)[0] + ".idx"
    if not os.path.isfile(index):
        raise FileNotFoundError(f"{path} needs its index {index}: make it with DALI's wds2idx, or convert again")
    if os.path.getsize(path) < 2 * BLOCK:
        raise ValueError(f"{path} is not a whole tar: it has {os.path.getsize(path)} bytes")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    # Each sample takes at least two blocks of a tar, and its line names no more than lies there.
    text = read_limited(index, len(data)).decode("ascii", "replace")
    version, *lines = text.splitlines() or [""]
    if version.split() != [VERSION, str(len(lines))] or not lines:
        raise ValueError(
            f"{index} is not a whole index: it begins with {version[:40]!r} and {len(lines)} lines follow, "
            f"but must begin with {VERSION} and their number; make it again with DALI's wds2idx"
        )
    offsets, sizes, labels = (np.empty(len(lines), np.int64) for _ in range(3))
    for sample, line in enumerate(lines):
        try:
            offsets[sample], sizes[sample], labels[sample] = _sample(data, line.split(" "))
        except ValueError as error:
            raise ValueError(
                f"{index}, line {sample + 2}, does not describe {path}: {error}; make it again with DALI's wds2idx"
            ) from None
    heights, widths, is_jpeg = (
        np.zeros(len(lines), np.int64),
        np.zeros(len(lines), np.int64),
        np.zeros(len(lines), bool),
    )
    for_blocks(image_sizes, len(lines), data, offsets, sizes, heights, widths, is_jpeg, grain=1000)
    bad = (heights < 1) | (widths < 1)
    if bad.any():
        raise ValueError(f"{path}: the image of sample {bad.argmax()} is neither JPEG nor PNG nor WebP: convert again")
    return DatasetFile(path, "jpeg" if is_jpeg.all() else "png", data, offsets, sizes, heights, widths, is_jpeg, labels)


def _sample(data: np.ndarray, words: list[str]) -> tuple[int, int, int]:
    """Offset and size of the image in bytes, and the label, from the words of one line of the index."""
    if len(words) % 4 or len(words) > 400:
        raise ValueError(f"it has {len(words)} words, but needs four for each part: extension offset size name")
    found: dict[str, tuple[int, int]] = {}
    for extension, offset, size in zip(words[0::4], words[1::4], words[2::4], strict=True):
        kind = "image" if extension.lower() in IMAGES else extension.lower()
        if kind not in ("image", "cls"):
            continue
        if kind in found:
            raise ValueError(f"it has two parts of the kind {kind}")
        found[kind] = _located(data, extension, offset, size)
    if len(found) != 2:
        parts = " ".join(words[0::4])[:80]
        raise ValueError(f"it has the parts {parts!r}, but needs cls and one of {IMAGES} behind a name's first dot")
    offset, size = found["cls"]
    text = data[offset : offset + min(size, MAX_LABEL_BYTES + 1)].tobytes().strip()
    if size > MAX_LABEL_BYTES or not text.removeprefix(b"-").isdigit() or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"its cls is {text[:20]!r}, but must be an integer")
    return *found["image"], int(text)


def _located(data: np.ndarray, extension: str, offset: str, size: str) -> tuple[int, int]:
    """Offset and size of one part in bytes; it lies in the tar, behind a header that states the same size."""
    if not (offset.isdecimal() and size.isdecimal() and len(offset) < 20 and len(size) < 20):
        raise ValueError(f"the offset {offset[:20]!r} or the size {size[:20]!r} of its {extension} is not a number")
    first, count = int(offset), int(size)
    if first < BLOCK or count < 1 or first + count > len(data):
        raise ValueError(f"its {extension}, bytes {first} to {first + count}, is not in the {len(data)} bytes")
    stated = data[first - BLOCK : first][SIZE].tobytes().strip(b" \0")
    if not stated.isdigit() or int(stated, 8) != count:
        raise ValueError(f"before its {extension}, at byte {first}, is no tar header of a part of {count} bytes")
    return first, count
