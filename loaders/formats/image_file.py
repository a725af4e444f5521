"""Decode one image file through Pillow, whatever its bytes are: an image, or half a sentence on what is wrong."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .claims import are_too_many_pixels
from .sentence import one_line

if TYPE_CHECKING:
    from PIL.Image import Image


class Decoded(NamedTuple):
    """An image.

    Attributes:
        rgb: its pixels, in mode RGB.
        format: of the file, in Pillow's word, such as "JPEG".
        mode: of the pixels in the file, likewise, such as "L".
    """

    rgb: Image
    format: str
    mode: str


def decode_image(content: bytes, formats: tuple[str, ...]) -> Decoded:
    """Decode an image file of one of these formats, whatever it is called.

    Pillow knows formats for which it starts other programs, and it sets memory aside as the header says: so the formats
    are named, and the header is checked first.

    Args:
        content: the file.
        formats: as Pillow names them.

    Raises:
        ValueError: half a sentence, to which the caller adds the file and what to do.
    """
    from PIL import Image, UnidentifiedImageError  # not every conversion needs it

    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        width, height = image.size
        if are_too_many_pixels(*(np.array([value]) for value in (height, width, len(content))))[0]:
            raise ValueError(f"{height} x {width} pixels in {len(content):,} bytes")
        return Decoded(image.convert("RGB"), image.format or "", image.mode)
    except UnidentifiedImageError:
        raise ValueError(f"it is no {' or '.join(formats)}") from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise anything on damaged files
        raise ValueError(f"it is not a whole image: {one_line(error) or type(error).__name__}") from None
