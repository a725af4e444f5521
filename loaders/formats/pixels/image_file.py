"""Decode one image file through Pillow, whatever its bytes are: an image, or half a sentence on what is wrong."""

from __future__ import annotations

import importlib
import io
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..claims import MAX_PIXELS, RGB_BYTES, are_grown, machine_memory
from ..sentence import one_line
from . import deep, stored

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

TRUSTED_PIXELS = 1 << 26
"""Of an image that its owner converts, whatever its bytes: a white page takes some 1,300 bytes as a fax."""
_PLUGINS = {
    "JPEG": "Jpeg",
    "PNG": "Png",
    "BMP": "Bmp",
    "GIF": "Gif",
    "TIFF": "Tiff",
    "PPM": "Ppm",
    "WEBP": "WebP",
    "AVIF": "Avif",
}

DAMAGED = "it is not a whole image: "
"""Begins the sentence on a file that its decoder refuses."""
TAGGED, ALPHA, DEEP, FRAMES = "tagged", "alpha", "deep", "frames"
RESIZED, REDUCED = "resized", "reduced"
"""What may be special about an image; see `Decoded`."""


class Decoded(NamedTuple):
    """An image.

    Attributes:
        rgb: its pixels, in mode RGB.
        format: of the file, in Pillow's word, such as "JPEG".
        mode: of the pixels in the file, likewise, such as "L".
        orientation: 2 to 8 where a tag asks for the pixels to be turned, else 1.
        facts: those that hold of TAGGED (orientation is not 1), ALPHA (a channel or a transparent colour), DEEP (more
            than 8 bits), FRAMES (several), RESIZED (to a limit), REDUCED (very large, so decoded with a limit).
    """

    rgb: Image
    format: str
    mode: str
    orientation: int = 1
    facts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PixelRules:
    """What becomes of pixels where there is a choice. The defaults are what every backend of the loader does.

    Attributes:
        background: R, G, B that transparent pixels are composited on; None drops the alpha channel.
        value_range: the values that become 0 and 255 in images of more than 8 bits; None takes their type's range.
        orient: whether pixels are turned as an orientation tag asks; else they are as stored.
        max_side, max_pixels: a larger image is resized to them (Lanczos); 0 is no limit.
        trusted: whether the file is its owner's, who may well store a large white page in few bytes.
    """

    background: tuple[int, int, int] | None = None
    value_range: tuple[float, float] | None = None
    orient: bool = False
    max_side: int = 0
    max_pixels: int = 0
    trusted: bool = False

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of this size is resized to."""
        longest = max(width, height)
        if 0 < self.max_side < longest:
            width, height = (max(1, round(length * self.max_side / longest)) for length in (width, height))
        if 0 < self.max_pixels < width * height:
            scale = (self.max_pixels / (width * height)) ** 0.5
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
        return width, height


_AS_STORED = PixelRules()
_ONE_AT_A_TIME = threading.Lock()  # of very large images, whatever the number of threads


class OtherFormat(ValueError):
    """A file of none of the formats that were named."""


class _Refused(ValueError):
    """A whole image that these rules cannot take."""


class VeryLargeImage(ValueError):
    """An image of more pixels than are decoded at once. With a limit of `PixelRules` it may be one that is."""


def decode_image(content: bytes, formats: tuple[str, ...], rules: PixelRules = _AS_STORED) -> Decoded:
    """Decode an image file of one of these formats, whatever it is called; of several frames the first.

    Pillow knows formats for which it starts other programs, and it sets memory aside as the header says: so the formats
    are named, and the header is checked first.

    Args:
        content: the file.
        formats: as Pillow names them.
        rules: what becomes of its pixels.

    Raises:
        VeryLargeImage: it has more than `MAX_PIXELS` and no limit is set, or memory does not suffice.
        OtherFormat, ValueError: half a sentence, to which the caller adds the file and what to do.
    """
    try:
        image = _open(content, formats)
        whole_size = image.size
        is_reduced = _fit_memory(image, len(content), rules)
        with _ONE_AT_A_TIME if is_reduced else nullcontext():
            return _decoded(image, lambda: _open(content, formats), rules, is_reduced, image.size != whole_size)
    except (OtherFormat, VeryLargeImage, _Refused) as error:
        raise error from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise anything on damaged files
        raise ValueError(f"{DAMAGED}{one_line(error) or type(error).__name__}") from None


def _decoded(
    image: ImageFile, again: Callable[[], ImageFile], rules: PixelRules, is_reduced: bool, is_resized: bool
) -> Decoded:
    """Decode an image whose header was read; `again` opens the same file once more."""
    format, mode, is_deep = image.format or "", image.mode, deep.is_deep(image)
    is_animated, has_alpha = _is_animated(image), stored.has_alpha(image)
    orientation, is_turned = stored.load(image)
    values = deep.deep_pixels(image, again()) if is_deep else None
    if is_deep and values is None and rules.value_range is not None:
        raise _Refused("Pillow gives only 8 bits of each value, so that --range cannot apply: save it as PNG or TIFF")
    if values is None:
        rgb = stored.without_alpha(image, rules.background)
    else:
        try:
            scaled = deep.to_8_bits(values, rules.value_range, image.info.get("transparency"))
        except ValueError as error:
            raise _Refused(str(error)) from None
        rgb = stored.without_alpha(scaled, rules.background)
    if rules.orient != is_turned:
        rgb = stored.turned(rgb, orientation) if rules.orient else stored.turned_back(rgb, orientation)
    size = rules.fitted(*rgb.size)
    if size != rgb.size:
        from PIL.Image import Resampling

        rgb, is_resized = rgb.resize(size, Resampling.LANCZOS), True
    found = {TAGGED: orientation != 1, ALPHA: has_alpha, DEEP: is_deep, FRAMES: is_animated}
    found |= {RESIZED: is_resized, REDUCED: is_reduced}
    return Decoded(rgb, format, mode, orientation, frozenset(fact for fact, holds in found.items() if holds))


def _open(content: bytes, formats: tuple[str, ...]) -> ImageFile:
    """Read the header, as `PIL.Image.open` does; but that warns of images that are allowed here, and refuses those that
    are to be decoded at a reduced size."""
    from PIL import Image

    for format in formats:
        with suppress(ImportError):  # a Pillow without AVIF
            importlib.import_module(f"PIL.{_PLUGINS[format]}ImagePlugin")
        factory, accept = Image.OPEN.get(format, (None, None))
        if factory is not None and accept is not None and accept(content[:16]) is True:
            return factory(io.BytesIO(content), "")
    raise OtherFormat(f"it is no {' or '.join(formats)}")


def _fit_memory(image: ImageFile, num_bytes: int, rules: PixelRules) -> bool:
    """Check the size that the header claims; have a very large JPEG decoded smaller. Returns whether it is large."""
    width, height = image.size
    claimed = f"{height} x {width} pixels"
    is_trusted = rules.trusted and width * height <= TRUSTED_PIXELS
    if are_grown(*(np.array([value]) for value in (height, width, num_bytes)))[0] and not is_trusted:
        raise ValueError(f"{claimed} in {num_bytes:,} bytes")
    if width * height <= MAX_PIXELS:
        return False
    if not rules.max_side and not rules.max_pixels:
        raise VeryLargeImage(f"it has {claimed}, more than {MAX_PIXELS:,}")
    image.draft(image.mode, rules.fitted(width, height))  # JPEG: a half, a quarter or an eighth, while that is enough
    if RGB_BYTES * image.width * image.height > machine_memory() // 2:
        raise VeryLargeImage(f"its {claimed} take more than half of this machine's memory")
    return True


def _is_animated(image: ImageFile) -> bool:
    with suppress(Exception):  # a later frame may be damaged
        return bool(getattr(image, "is_animated", False))
    return True
