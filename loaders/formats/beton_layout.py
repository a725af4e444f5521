"""The layout of a `.beton`, the file format of FFCV 1.0.2: what its reader and its writer share.

The file is little-endian: a header, field descriptors, one metadata record per sample, pages of pixels or JPEG bytes,
and an allocation table up to the end of the file. Pointers count bytes from the start of the file.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ]
)
FIELD = np.dtype([("type_id", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)])
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
BYTES = np.dtype([("ptr", "<u8"), ("size", "<u8")])

VERSION = 2
FLOAT_TYPE, INT_TYPE, IMAGE_TYPE, ARRAY_TYPE, TENSOR_TYPE = 0, 1, 2, 4, 6
METADATA = {  # type of a field -> its part of a sample's metadata record
    FLOAT_TYPE: np.dtype("<f8"),
    INT_TYPE: np.dtype("<i8"),
    IMAGE_TYPE: IMAGE,
    3: BYTES,  # bytes
    ARRAY_TYPE: np.dtype("<u8"),  # a pointer
    5: BYTES,  # JSON
    TENSOR_TYPE: np.dtype("<u8"),  # a pointer
}
ARRAY = np.dtype([("shape", "<u8", 32), ("type_length", "<u8")])  # then the type as JSON, such as [["", "<f4"]]
JPEG, RAW = 0, 1  # the mode of an image
MAX_SIDE = 65_535  # pixels of an image
MIN_PAGE_BYTES = 1 << 21
MAX_PAGE_BYTES = 1 << 31  # the largest power of two that the header can state
IMAGES_PER_PAGE = 16  # at least, where the largest page allows it


def record(types: Mapping[str, int]) -> np.dtype:
    """The metadata record of a sample: a C structure of the fields, each aligned as its type is.

    Args:
        types: of the fields, in their order, by distinct names.
    """
    return np.dtype([(name, METADATA[kind]) for name, kind in types.items()], align=True)


def choose_page_bytes(largest: int) -> int:
    """Return the size of a page: the least power of two that holds 16 images of `largest` bytes, within FFCV's limits.

    Raises:
        ValueError: half a sentence; not even one image of that size fits into a page.
    """
    if largest > MAX_PAGE_BYTES:
        raise ValueError(f"an image has {largest:,} bytes, and a page of a .beton holds {MAX_PAGE_BYTES:,} at most")
    wanted = 1 << (IMAGES_PER_PAGE * largest - 1).bit_length()
    return min(max(MIN_PAGE_BYTES, wanted), MAX_PAGE_BYTES)


class Placement(NamedTuple):
    """Where the images of a file lie. No image crosses a page.

    Attributes:
        firsts: int64 [pages + 1], the first image of each page, and N.
        pointers: uint64 [N], the first byte of each image in the file.
        end: the first byte behind the last page.
    """

    firsts: np.ndarray
    pointers: np.ndarray
    end: int


def place_images(offsets: np.ndarray, metadata_end: int, page_bytes: int) -> Placement:
    """Place images in pages by the order of their ids: one that does not fit into the rest of a page begins the next.

    Args:
        offsets: int64 [N + 1], strictly increasing: where each image begins when all lie back to back, and the end.
        metadata_end: bytes ahead of the pages, the first of which begins at the next multiple of `page_bytes`.
        page_bytes: at least as large as the largest image.
    """
    firsts = [0]
    while firsts[-1] < len(offsets) - 1:
        last = np.searchsorted(offsets, offsets[firsts[-1]] + page_bytes, side="right")
        firsts.append(int(last) - 1)
    start, num_pages = -(-metadata_end // page_bytes) * page_bytes, len(firsts) - 1
    shifts = start + page_bytes * np.arange(num_pages) - offsets[firsts[:-1]]  # from `offsets` to the file
    pointers = offsets[:-1] + np.repeat(shifts, np.diff(firsts))
    return Placement(np.array(firsts), pointers.astype(np.uint64), start + page_bytes * num_pages)
