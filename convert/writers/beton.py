"""Writes `.beton` files, byte for byte as FFCV 1.0.2 does with one worker, in a single pass and without FFCV.

Where every image goes follows from the sizes alone. So the tables are made first, and the pages are slices of the
images as they lie in memory or in their scratch file: nothing but the tables, 56 bytes for a sample, is held.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convert.writers.arrays import check_arrays
from convert.writers.streams import Streams
from loaders.formats.atomic import atomic_path
from loaders.formats.beton_layout import (
    ALLOCATION,
    ARRAY_TYPE,
    FIELD,
    HEADER,
    IMAGE_TYPE,
    INT_TYPE,
    JPEG,
    MAX_SIDE,
    RAW,
    VERSION,
    Placement,
    choose_page_bytes,
    place_images,
    record,
)

_FIELDS = {"image": IMAGE_TYPE, "label": INT_TYPE}


def write_beton(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write raw images and labels as a `.beton` with fields `image` and `label`; sample id i is row i.

    Args:
        path: the file to appear, by atomic rename, when all is on disk.
        images_NHWC: uint8 [N, H, W, 3], N >= 1; may be a memory map.
        labels_N: integers [N].
        on_samples: called after each page with the number of samples written since its last call.

    Raises:
        ValueError: an array has another shape or dtype, or an image is too large for the format.
        OSError: the disk is full or the file cannot be written; nothing is left behind.
    """
    write_raw(path, *check_arrays(images_NHWC, labels_N), on_samples, _FIELDS)


def write_jpeg_beton(path: str | Path, streams: Streams, on_samples: Callable[[int], None] | None = None) -> None:
    """Write JPEG streams, byte for byte, as a `.beton` with fields `image` and `label`; sample id i is stream i.

    Arguments and errors are those of `write_beton`.
    """
    samples = Samples(JPEG, streams.offsets, streams.heights, streams.widths, streams.labels)
    write_samples(
        path, samples, lambda first, last: streams.data[streams.offsets[first] : streams.offsets[last]], on_samples
    )


class Samples(NamedTuple):
    """What the tables of a file say of its images.

    Attributes:
        mode: JPEG or RAW, of all images or of each, [N].
        offsets: int64 [N + 1], strictly increasing: where each image begins when all lie back to back, and the end.
        heights, widths: pixels, of all images or of each, [N].
        labels: integers [N].
        fields: the types of the fields `image` and `label`; an image may be an array.
        arguments: of the field `image`, for its descriptor.
    """

    mode: np.ndarray | int
    offsets: np.ndarray
    heights: np.ndarray | int
    widths: np.ndarray | int
    labels: np.ndarray
    fields: Mapping[str, int] = _FIELDS
    arguments: bytes = b""


def write_raw(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None,
    fields: Mapping[str, int],
    arguments: bytes = b"",
) -> None:
    """Write raw images, whatever their number of channels, in these fields.

    Arguments and errors are those of `write_beton`; `fields` and `arguments` are as in `Samples`.
    """
    num_samples, height, width, _ = images_NHWC.shape
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ValueError(f"images are {height} x {width} pixels, a .beton holds sides of 1 to {MAX_SIDE}")
    offsets = np.arange(num_samples + 1) * images_NHWC[0].nbytes

    def pixels(first: int, last: int) -> np.ndarray:
        return np.ascontiguousarray(images_NHWC[first:last]).reshape(-1)

    write_samples(path, Samples(RAW, offsets, height, width, labels_N, fields, arguments), pixels, on_samples)


def write_samples(
    path: str | Path,
    samples: Samples,
    content: Callable[[int, int], np.ndarray],
    on_samples: Callable[[int], None] | None,
) -> None:
    """Write images as they are stored, of either mode, with their labels.

    Args:
        path, on_samples: as in `write_beton`.
        samples: the tables.
        content: the stored bytes of images first..last-1, one behind the other, uint8; asked for page by page.

    Raises:
        ValueError, OSError: as `write_beton` does.
    """
    page_bytes = choose_page_bytes(int(np.diff(samples.offsets).max()))
    row = record(samples.fields).itemsize
    metadata_end = HEADER.itemsize + len(samples.fields) * FIELD.itemsize + len(samples.labels) * row
    placement = place_images(samples.offsets, metadata_end, page_bytes)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(_front(samples, placement, page_bytes))
        file.write(_metadata(samples, placement).data)
        file.write(bytes(-metadata_end % page_bytes))
        for first, last in pairwise(placement.firsts.tolist()):
            images = content(first, last)
            file.write(images.data)
            file.write(bytes(page_bytes - len(images)))
            if on_samples is not None:
                on_samples(last - first)
        file.write(_allocations(samples, placement).data)


def _front(samples: Samples, placement: Placement, page_bytes: int) -> bytes:
    """The header and the field descriptors."""
    header, fields = np.zeros(1, HEADER), np.zeros(len(samples.fields), FIELD)
    header[0] = (VERSION, len(fields), page_bytes, len(samples.labels), placement.end)
    for field, (name, kind) in zip(fields, samples.fields.items(), strict=True):
        field["type_id"] = kind
        field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    fields["arguments"][0, : len(samples.arguments)] = np.frombuffer(samples.arguments, np.uint8)
    return header.tobytes() + fields.tobytes()


def _metadata(samples: Samples, placement: Placement) -> np.ndarray:
    """The metadata table, uint8."""
    table = np.zeros(len(samples.labels), record(samples.fields))  # zeros: also between the fields
    table["label"], image = samples.labels, table["image"]
    if samples.fields["image"] == ARRAY_TYPE:
        image[:] = placement.pointers
    else:
        image["mode"], image["height"], image["width"] = samples.mode, samples.heights, samples.widths
        image["data_ptr"] = placement.pointers
    return table.view(np.uint8)


def _allocations(samples: Samples, placement: Placement) -> np.ndarray:
    """The allocation table, uint8."""
    table = np.empty(len(samples.labels), ALLOCATION)
    table["sample_id"], table["ptr"] = np.arange(len(table)), placement.pointers
    table["size"] = np.diff(samples.offsets)
    return table.view(np.uint8)
