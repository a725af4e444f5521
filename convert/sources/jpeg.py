"""Makes each image a JPEG stream, several images at once."""

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from PIL import Image

from convert.sources.labelled_images import LabelledImage
from convert.sources.restart_rows import with_restart_rows
from convert.writers.streams import Stream
from loaders.formats.image_file import decode_image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Formats that are decoded, whatever a file is called: Pillow hands PostScript to another program, Ghostscript."""


@contextmanager
def encoders(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for `encode_all`. When the block ends, what has not begun is dropped and what runs is waited for.

    They do not belong to the generator: the garbage collector may be what ends that, and must not wait.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rebar-encode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def encode_all(
    pool: ThreadPoolExecutor, ahead: int, images: list[LabelledImage], max_side: int, quality: int
) -> Iterator[Stream]:
    """Yield `encode` of each image, in order, made by the pool; the first error ends it.

    Args:
        ahead: number of images that may be ready or in the making, so that a large data set does not fill the memory.
    """
    pending: deque[Future[Stream]] = deque()
    for image in images:
        pending.append(pool.submit(encode, image, max_side, quality))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def encode(image: LabelledImage, max_side: int, quality: int) -> Stream:
    """Return the JPEG stream of an image: its own when it is an RGB JPEG that is small enough, else made anew.

    Rows of a baseline stream end in restart markers (`with_restart_rows`), so that a loader can read those it needs.

    Args:
        image: the image, in any format that Pillow reads.
        max_side: in pixels; an image whose longer side is larger is resized to it (Lanczos). 0 is no limit.
        quality: of the JPEG, 1 to 95.

    Raises:
        ValueError: the image cannot be read whole.
    """
    try:
        content = image.read()
        pixels, format, mode = decode_image(content, FORMATS)
        keep = format == "JPEG" and mode == "RGB" and not 0 < max_side < max(pixels.size)
        if not keep:
            if 0 < max_side < max(pixels.size):
                width, height = (max(1, round(length * max_side / max(pixels.size))) for length in pixels.size)
                pixels = pixels.resize((width, height), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            pixels.save(buffer, "JPEG", quality=quality)
            content = buffer.getvalue()
    except (OSError, ValueError) as error:
        raise ValueError(f"{image.name} cannot be used ({error}): repair or remove it") from None
    return Stream(
        with_restart_rows(content), pixels.height, pixels.width, np.array(pixels.histogram(), np.int64).reshape(3, 256)
    )
