"""Makes each image a JPEG stream, several images at once."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np

from convert.sources.folder.kinds import VERY_LARGE, broken_kind
from convert.sources.folder.values import BrokenFile, LabelledImage
from convert.sources.restart_rows import with_restart_rows
from convert.sources.turn_jpeg import turn_jpeg
from convert.writers.streams import Stream
from loaders.formats.pixels.image_file import RESIZED, TAGGED, PixelRules, VeryLargeImage, decode_image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats that are decoded, whatever a file is called: Pillow hands PostScript to another program, Ghostscript."""
ANEW = "anew"
"""The fact that a JPEG image was turned and encoded anew, since it cannot be turned without loss."""


A = TypeVar("A")
B = TypeVar("B")


class Encoded(NamedTuple):
    """An image as a JPEG stream, and what was special about it (see `Decoded`)."""

    stream: Stream
    facts: frozenset[str]


@contextmanager
def encoders(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for `encode_all` and `encode_each`. When the block ends, what runs is waited for, the rest is dropped.

    They do not belong to the generator: the garbage collector may be what ends that, and must not wait.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rebar-encode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def encode_all(
    pool: ThreadPoolExecutor, ahead: int, images: Iterable[LabelledImage], quality: int, rules: PixelRules
) -> Iterator[Encoded]:
    """Yield `encode` of each image, in order, made by the pool; the first error ends it.

    Args:
        ahead: number of images that may be ready or in the making, so that a large data set does not fill the memory.
    """
    return _in_order(pool, ahead, lambda image: encode(image, quality, rules), images)


def encode_each(
    pool: ThreadPoolExecutor, ahead: int, images: Iterable[LabelledImage], quality: int, rules: PixelRules
) -> Iterator[Encoded | BrokenFile]:
    """Yield each image as a JPEG stream, or what is wrong with its file; as `encode_all`, but that no error ends it."""
    return _in_order(pool, ahead, lambda image: _encode_or_tell(image, quality, rules), images)


def encode(image: LabelledImage, quality: int, rules: PixelRules) -> Encoded:
    """Return an image as a JPEG stream: its own when it is an RGB JPEG that is small enough, else made anew.

    Rows of a baseline stream end in restart markers (`with_restart_rows`), so that a loader can read those it needs.

    Args:
        image: the image, in any of FORMATS.
        quality: of the JPEG, 1 to 95.
        rules: what becomes of its pixels.

    Raises:
        ValueError: the image cannot be read whole.
    """
    try:
        return _encoded(image.read(), quality, rules)
    except (OSError, ValueError) as error:
        raise ValueError(f"{image.name} cannot be used ({error}): repair or remove it") from None


def _encoded(content: bytes, quality: int, rules: PixelRules) -> Encoded:
    """The stream of an image, whose file has this content; raises as `decode_image`."""
    image = decode_image(content, FORMATS, rules)
    facts, is_kept = image.facts, False
    if image.format == "JPEG" and image.mode == "RGB" and RESIZED not in facts:
        is_kept = not (rules.orient and TAGGED in facts)
        turned = None if is_kept else turn_jpeg(content, image.orientation)
        if turned is not None:
            content, image, is_kept = turned, decode_image(turned, ("JPEG",)), True
        else:
            facts = facts if is_kept else facts | {ANEW}
    if not is_kept:
        buffer = io.BytesIO()
        image.rgb.save(buffer, "JPEG", quality=quality)
        content = buffer.getvalue()
    histogram = np.array(image.rgb.histogram(), np.int64).reshape(3, 256)
    return Encoded(Stream(with_restart_rows(content), image.rgb.height, image.rgb.width, histogram), facts)


def _encode_or_tell(image: LabelledImage, quality: int, rules: PixelRules) -> Encoded | BrokenFile:
    content = b""
    try:
        content = image.read()
        return _encoded(content, quality, rules)
    except OSError as error:
        return BrokenFile(image.name, f"cannot be read ({error.strerror or error})")
    except VeryLargeImage:
        return BrokenFile(image.name, VERY_LARGE)
    except ValueError as error:
        return BrokenFile(image.name, broken_kind(content, str(error)))


def _in_order(pool: ThreadPoolExecutor, ahead: int, call: Callable[[A], B], values: Iterable[A]) -> Iterator[B]:
    """Yield `call` of each value, in order; at most `ahead` results are ready or in the making."""
    pending: deque[Future[B]] = deque()
    for value in values:
        pending.append(pool.submit(call, value))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
