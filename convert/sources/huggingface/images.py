"""The images of tables as the writers take them: arrays where they are small, of one size and lossless, else JPEG."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from convert.sources.folder.values import LabelledImage
from convert.sources.huggingface.columns import Columns
from convert.sources.huggingface.rows import read_images
from convert.sources.huggingface.tables import Tables
from loaders.formats.pixels.image_file import decode_image

RAW_SIDE = 128  # pixels up to which images are stored as they are
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")


class Encoded(NamedTuple):
    """One image file, and where it was found."""

    where: str
    content: bytes


def encoded(files: list[Path], columns: Columns) -> Iterator[Encoded]:
    """The images of a split, in the order of its rows."""
    for path in files:
        for row, content in enumerate(read_images(path, columns)):
            yield Encoded(f"{path}: row {row}", content)


def common_size(tables: Tables, only_small: bool) -> tuple[int, int] | None:
    """Height and width to store all images of a data set by, as pixels.

    Args:
        only_small: None unless all are PNG, of one size and at most `RAW_SIDE` pixels a side; otherwise the size of the
            first image, whatever the others are.

    Raises:
        ValueError: the first image cannot be decoded.
    """
    found = None
    for files in tables.files.values():
        for image in encoded(files, tables.columns):
            if not only_small:
                return _size(image)
            size = _png_size(image.content)
            if size is None or max(size) > RAW_SIDE or (found is not None and size != found):
                return None
            found = size
    return found


def _size(encoded: Encoded) -> tuple[int, int]:
    try:
        image = decode_image(encoded.content, _FORMATS).rgb
    except ValueError as error:
        raise ValueError(f"{encoded.where}: the image cannot be used: {error}") from None
    return image.height, image.width


def _png_size(content: bytes) -> tuple[int, int] | None:
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG",))
    except Exception:  # noqa: BLE001 (another format, or damaged: it is told when it is decoded)
        return None
    return image.height, image.width


def as_array(
    images: Iterable[Encoded], count: int, size: tuple[int, int], channels: int, facts: Counter[str]
) -> np.ndarray:
    """The pixels of images of one size, uint8 [count, H, W, channels].

    Args:
        images: `count` of them.
        count, size, channels: the shape.
        facts: counts the images for which each fact of `Decoded` holds.

    Raises:
        ValueError: an image cannot be decoded, has another size, or is not grey where one channel is wanted.
    """
    pixels = np.empty((count, *size, channels), np.uint8)
    for row, (where, content) in zip(range(count), images, strict=True):
        try:
            decoded = decode_image(content, _FORMATS)
            image, mode = decoded.rgb, decoded.mode
            if (image.height, image.width) != size:
                raise ValueError(f"it is {image.height} x {image.width}, the first one {size[0]} x {size[1]}")
            if channels == 1 and mode not in ("L", "1"):
                raise ValueError(f"it is {mode}, and --channels 1 needs grey images")
        except ValueError as error:
            raise ValueError(f"{where}: the image cannot be used: {error}") from None
        pixels[row] = np.asarray(image)[..., :channels]
        facts.update(decoded.facts)
    return pixels


def as_labelled(images: Iterable[Encoded], labels_N: np.ndarray) -> Iterator[LabelledImage]:
    """The images as the JPEG encoder takes them, read when they are asked for."""
    for (where, content), label in zip(images, labels_N.tolist(), strict=True):
        yield LabelledImage(where, lambda content=content: content, label)
