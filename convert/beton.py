"""Writes `.beton` files through FFCV's writer. The only file of `convert` that imports FFCV, and only when it writes.

FFCV's own driver forks one worker per core. There pages are taken in racing order (two conversions differ), a worker
that fails leaves the parent waiting for ever, and a short last write goes unnoticed. So the parts of `DatasetWriter`
(header, fields, pages, tables) are driven from this process, one sample after the other: the bytes depend on the
samples only and an error is raised where it happens. 50,000 pictures of 32 x 32 take about two seconds this way.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from convert.arrays import check_arrays
from convert.atomic import atomic_path

MIN_PAGE_BYTES = 1 << 21  # FFCV's least page
_MISSING = (
    "writing .beton files needs FFCV, which cannot be imported here ({reason}): install Debian's libopencv-dev "
    'libturbojpeg0-dev pkg-config g++, then pip install "rebar-loaders[ffcv]"'
)


def write_beton(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write raw pictures and labels as a `.beton` with fields `image` and `label`; sample id i is row i.

    Args:
        path: the file to appear, by atomic rename, when all is on disk.
        images_NHWC: uint8 [N, H, W, 3], N >= 1.
        labels_N: integers [N].
        on_samples: called now and then with the number of samples written since its last call.

    Errors:
        ValueError: an array has another shape or dtype.
        ImportError: FFCV is not installed; the sentence names what to install.
        OSError: the disk is full or the file cannot be written; nothing is left behind.
    """
    images_NHWC, labels_N = check_arrays(images_NHWC, labels_N)
    try:
        from ffcv.fields import IntField, RGBImageField
        from ffcv.memory_allocator import MemoryAllocator
        from ffcv.types import ALLOC_TABLE_TYPE
        from ffcv.writer import DatasetWriter, handle_sample
    except ImportError as error:
        raise ImportError(_MISSING.format(reason=error)) from error

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    num_samples, page_bytes = len(images_NHWC), _page_bytes(images_NHWC[0].nbytes)
    with atomic_path(path) as temporary:
        writer = DatasetWriter(str(temporary), fields, page_size=page_bytes, num_workers=1)
        writer.num_samples = num_samples
        writer.prepare()
        allocator = MemoryAllocator(str(temporary), writer.data_region_start, page_bytes)
        try:
            metadata = np.frombuffer(writer.metadata_sm.buf, dtype=writer.metadata_type, count=num_samples)
            names = metadata.dtype.names
            allocator.__enter__()  # opens the file; its __exit__ would wait for ever after some failures
            try:
                for sample in range(num_samples):
                    row = (images_NHWC[sample], labels_N[sample])
                    handle_sample(row, sample, names, metadata, allocator, fields)
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
        num_pages = allocator.next_page_written.value
        _check_length(temporary, allocator.offset + num_pages * page_bytes + num_samples * ALLOC_TABLE_TYPE.itemsize)
    if on_samples is not None:
        on_samples(num_samples % 1000)


def _page_bytes(image_bytes: int) -> int:
    """FFCV's least page, or the least power of two that holds 16 pictures."""
    return max(MIN_PAGE_BYTES, 1 << (16 * image_bytes - 1).bit_length())


def _check_length(path: Path, num_bytes: int) -> None:
    """FFCV writes unbuffered and ignores short counts; a full disk must not pass for success."""
    if os.path.getsize(path) != num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
