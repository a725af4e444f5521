"""Writes `.beton` files with the parts of FFCV's writer, in one process.

FFCV's own driver forks one worker per core. Its workers take pages in racing order (two conversions differ), a worker
that fails leaves the parent waiting for ever, and a short last write goes unnoticed. Here the parts of `DatasetWriter`
(header, fields, pages, tables) handle one sample after the other, so the bytes depend on the samples only and an error
is raised where it happens. 50,000 images of 32 x 32 take about two seconds this way.
"""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convert.writers.arrays import check_arrays
from convert.writers.streams import Streams
from loaders.formats.atomic import atomic_path

# Number of bytes -> their place in the file and the memory to write them to.
_Allocate = Callable[[int], tuple[int, np.ndarray]]

JPEG = 0  # the mode of an image in FFCV's metadata
MIN_PAGE_BYTES = 1 << 21  # FFCV allows no smaller page
_MISSING = (
    "writing .beton files needs FFCV, which cannot be imported here ({reason}): install Debian's libopencv-dev "
    "libturbojpeg0-dev pkg-config g++, then pip install ffcv"
)


def write_beton(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write raw images and labels as a `.beton` with fields `image` and `label`; sample id i is row i.

    Args:
        path: the file to appear, by atomic rename, when all is on disk.
        images_NHWC: uint8 [N, H, W, 3], N >= 1.
        labels_N: integers [N].
        on_samples: called now and then with the number of samples written since its last call.

    Raises:
        ValueError: an array has another shape or dtype.
        ImportError: FFCV is not installed; the sentence names what to install.
        OSError: the disk is full or the file cannot be written; nothing is left behind.
    """
    images_NHWC, labels_N = check_arrays(images_NHWC, labels_N)
    field = _ffcv().fields.RGBImageField(write_mode="raw")
    _write(path, images_NHWC, labels_N, field.encode, images_NHWC[0].nbytes, on_samples)


def write_jpeg_beton(path: str | Path, streams: Streams, on_samples: Callable[[int], None] | None = None) -> None:
    """Write JPEG streams, byte for byte, as a `.beton` with fields `image` and `label`; sample id i is stream i.

    Arguments and errors are those of `write_beton`.
    """
    images = [(streams[i], int(streams.heights[i]), int(streams.widths[i])) for i in range(len(streams))]
    _write(path, images, streams.labels, _keep, int(np.diff(streams.offsets).max()), on_samples)


def _keep(destination: np.ndarray, image: tuple[np.ndarray, int, int], malloc: _Allocate) -> None:
    """Store a JPEG stream as it is: what FFCV's image field does, without its encoder."""
    stream, height, width = image
    destination["mode"], destination["height"], destination["width"] = JPEG, height, width
    destination["data_ptr"], storage = malloc(len(stream))
    storage[:] = stream


class _Column(NamedTuple):
    """The one attribute of a field that FFCV's writer uses once the header is written."""

    encode: Callable[..., None]


class _Ffcv(NamedTuple):
    """The modules of FFCV that are needed here."""

    fields: ModuleType
    memory_allocator: ModuleType
    types: ModuleType
    writer: ModuleType


def _ffcv() -> _Ffcv:
    try:
        from ffcv import fields, memory_allocator, types, writer
    except ImportError as error:
        raise ImportError(_MISSING.format(reason=error)) from error
    return _Ffcv(fields, memory_allocator, types, writer)


def _write(
    path: str | Path,
    images: Sequence[Any] | np.ndarray,
    labels_N: np.ndarray,
    encode: Callable[..., None],
    image_bytes: int,
    on_samples: Callable[[int], None] | None,
) -> None:
    """Write `images` of at most about `image_bytes` each with `encode(destination, image, malloc)`."""
    ffcv = _ffcv()
    fields = {"image": ffcv.fields.RGBImageField(), "label": ffcv.fields.IntField()}
    encoders = {"image": _Column(encode), "label": fields["label"]}
    num_samples, page_bytes = len(images), _page_bytes(image_bytes)
    with atomic_path(path) as temporary:
        writer = ffcv.writer.DatasetWriter(str(temporary), fields, page_size=page_bytes, num_workers=1)
        writer.num_samples = num_samples
        writer.prepare()
        allocator = ffcv.memory_allocator.MemoryAllocator(str(temporary), writer.data_region_start, page_bytes)
        try:
            metadata = np.frombuffer(writer.metadata_sm.buf, dtype=writer.metadata_type, count=num_samples)
            names = metadata.dtype.names
            allocator.__enter__()  # opens the file; its __exit__ would wait for ever after some failures
            try:
                for sample in range(num_samples):
                    row = (images[sample], labels_N[sample])
                    ffcv.writer.handle_sample(row, sample, names, metadata, allocator, encoders)
                    if on_samples is not None and (sample + 1) % 1000 == 0:
                        on_samples(1000)
                allocator.flush_page()
            finally:
                allocator.fp.close()
            writer.finalize([allocator.allocations])
        finally:
            metadata = None  # a live view would keep the shared memory open
            with suppress(BufferError):
                writer.metadata_sm.close()
            writer.metadata_sm.unlink()
        num_pages, allocation = allocator.next_page_written.value, ffcv.types.ALLOC_TABLE_TYPE
        _check_length(temporary, allocator.offset + num_pages * page_bytes + num_samples * allocation.itemsize)
    if on_samples is not None:
        on_samples(num_samples % 1000)


def _page_bytes(image_bytes: int) -> int:
    """Return the page size: the least power of two that holds 16 images of this size, and FFCV's minimum at least."""
    return max(MIN_PAGE_BYTES, 1 << (16 * image_bytes - 1).bit_length())


def _check_length(path: Path, num_bytes: int) -> None:
    """Raise OSError unless the file is whole: FFCV ignores short writes, and a full disk must not pass for success."""
    if os.path.getsize(path) != num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
