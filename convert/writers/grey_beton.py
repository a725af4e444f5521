"""Writes a `.beton` of grey images: FFCV's field of arrays, uint8 [H, W, 1], beside the label.

FFCV's field of images holds three channels, and its Loader would read beyond an image of one. Arrays of one channel it
reads, with NDArrayDecoder.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convert.writers.arrays import check_arrays
from loaders.formats.atomic import atomic_path
from loaders.formats.beton import ALLOCATION, ARRAY, ARRAY_TYPE, FIELD, HEADER, INT_TYPE, VERSION

MIN_PAGE_BYTES = 1 << 21  # FFCV allows no smaller page
_RECORD = np.dtype([("image", "<u8"), ("label", "<i8")])  # of a sample: where its array begins, and its label


def write_grey_beton(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write grey images and labels as a `.beton` with fields `image` and `label`; sample id i is row i.

    Args:
        path: the file to appear, by atomic rename, when all is on disk.
        images_NHWC: uint8 [N, H, W, 1], N >= 1.
        labels_N: integers [N].
        on_samples: called now and then with the number of samples written since its last call.

    Raises:
        ValueError: an array has another shape or dtype.
        OSError: the disk is full or the file cannot be written; nothing is left behind.
    """
    images_NHWC, labels_N = check_arrays(images_NHWC, labels_N)
    n, size = len(images_NHWC), images_NHWC[0].nbytes
    page = max(MIN_PAGE_BYTES, 1 << (16 * size - 1).bit_length())
    before = HEADER.itemsize + 2 * FIELD.itemsize + n * _RECORD.itemsize
    start, per_page = -(-before // page) * page, page // size
    numbers = np.arange(n)
    metadata = np.zeros(n, _RECORD)
    metadata["image"], metadata["label"] = start + numbers // per_page * page + numbers % per_page * size, labels_N
    table = np.zeros(n, ALLOCATION)
    table["sample_id"], table["ptr"], table["size"] = numbers, metadata["image"], size
    header = np.zeros(1, HEADER)
    header[0] = (VERSION, 2, page, n, start + -(-n // per_page) * page)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(
            header.tobytes() + _fields(images_NHWC.shape[1:]).tobytes() + metadata.tobytes() + bytes(start - before)
        )
        for first in range(0, n, per_page):
            stored = images_NHWC[first : first + per_page]
            file.write(np.ascontiguousarray(stored).data)
            file.write(bytes(page - stored.nbytes))
            if on_samples is not None:
                on_samples(len(stored))
        file.write(table.tobytes())


def _fields(shape: tuple[int, ...]) -> np.ndarray:
    """The descriptors of the two fields: an array uint8 of this shape, and an integer."""
    array, described = np.zeros(1, ARRAY), json.dumps(np.dtype(np.uint8).descr).encode()
    array["shape"][0, : len(shape)], array["type_length"] = shape, len(described)
    fields = np.zeros(2, FIELD)
    for field, name, kind in zip(fields, (b"image", b"label"), (ARRAY_TYPE, INT_TYPE), strict=True):
        field["type_id"] = kind
        field["name"][: len(name)] = np.frombuffer(name, np.uint8)
    arguments = array.tobytes() + described
    fields[0]["arguments"][: len(arguments)] = np.frombuffer(arguments, np.uint8)
    return fields
