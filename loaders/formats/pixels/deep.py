"""Images of more than 8 bits per channel, scaled to 8 bits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_BITS, _SAMPLE_FORMAT, _SIGNED = 258, 339, 2  # tags of TIFF, and a value of the second
_NATIVE = ";16L" if sys.byteorder == "little" else ";16B"
_OTHER = {";16B": ";16L", ";16L": ";16B"}  # byte order of Pillow's raw modes


def is_deep(image: ImageFile) -> bool:
    """Whether the file holds more than 8 bits per channel. Asked before it is loaded."""
    codec, arguments = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", None)
    is_deep_ppm = codec in ("ppm", "ppm_plain") and isinstance(arguments, tuple) and arguments[-1:] > (255,)
    return _is_grey_deep(image) or ";16" in _raw_mode(image) or is_deep_ppm


class DeepPixels(NamedTuple):
    """Values of more than 8 bits.

    Attributes:
        values: [H, W] or [H, W, C]; with 2 and 4 channels the last one is alpha.
        type_range: the least and the greatest value of their type; 0 and 1 for floating point.
    """

    values: np.ndarray
    type_range: tuple[float, float]


def deep_pixels(image: ImageFile, again: ImageFile) -> DeepPixels | None:
    """The values of more than 8 bits per channel; None where Pillow does not give them.

    Of 16 bits in several channels it gives the upper byte, whichever order they are in: told the other order, it gives
    the lower one. Grey with alpha is one word of four bytes, as RGBA is.

    Args:
        image, again: the same file, opened twice; `again` is not loaded yet.
    """
    if _is_grey_deep(image):
        return _grey(image)
    raw = _raw_mode(again)
    order = _NATIVE if raw.endswith(";16N") else raw[-4:]
    if raw == "LA;16B":
        _set_raw_mode(again, "RGBA")
        values = np.ascontiguousarray(np.asarray(again)).view(">u2").astype(np.uint16)
    elif order in _OTHER:
        upper = np.asarray(image).astype(np.uint16)
        _set_raw_mode(again, raw[:-4] + _OTHER[order])
        values = 256 * upper + np.asarray(again)
    else:
        return None
    return DeepPixels(values, (0, 65535))


def to_8_bits(pixels: DeepPixels, value_range: tuple[float, float] | None, transparent: object = None) -> Image:
    """Scale values to 0..255, rounded to the nearest: an image of mode L, LA, RGB or RGBA.

    Args:
        pixels: the values.
        value_range: those that become 0 and 255, beyond which they are cut off; None takes the range of their type. An
            alpha channel always does.
        transparent: a value, or one of each channel, whose pixels get alpha 0.

    Raises:
        ValueError: half a sentence; floating-point values are not in 0 to 1, and no range is given.
    """
    from PIL import Image

    values, whole = pixels
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())  # not a number if one value is none
        if not np.isfinite(low + high):
            raise ValueError("some of its floating-point values are not finite")
        if value_range is None and not 0 <= low <= high <= 1:
            raise ValueError(f"its values go from {low:g} to {high:g}, and not from 0 to 1: give --range LOW HIGH")
    scaled = _scaled(values, value_range or whole)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        scaled[..., -1] = _scaled(values[..., -1], whole)
    image = Image.fromarray(scaled)
    if isinstance(transparent, int | tuple):
        is_transparent = (values.reshape(*values.shape[:2], -1) == np.array(transparent)).all(axis=2)
        image.putalpha(Image.fromarray(np.uint8(255) * ~is_transparent))
    return image


def _is_grey_deep(image: Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _raw_mode(image: ImageFile) -> str:
    arguments = image.tile[0][3] if image.tile else ""
    return arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""


def _set_raw_mode(image: ImageFile, raw: str) -> None:
    """Have Pillow take the stored bytes for another arrangement of the same length."""
    tiles = []
    for codec, extents, offset, arguments in image.tile:
        tiles.append((codec, extents, offset, (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw))
    image.tile = [
        type(tile)(*new) if hasattr(tile, "_fields") else new for tile, new in zip(image.tile, tiles, strict=True)
    ]


def _grey(image: ImageFile) -> DeepPixels:
    """The values of a grey image of mode I, I;16 or F, of the type that they have in its file."""
    values = np.asarray(image)
    if image.mode == "F":
        return DeepPixels(values, (0, 1))
    bits, is_signed = 16, False  # PNG and PPM, whose values Pillow scales to 16 bits
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits, is_signed = tags.get(_BITS, (16,))[0], _SIGNED in tags.get(_SAMPLE_FORMAT, ())
    if is_signed:
        return DeepPixels(values, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    return DeepPixels(values.view(np.uint32) if bits == 32 else values, (0, 2**bits - 1))


def _scaled(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    low, high = value_range
    return np.clip(np.floor((values.astype(np.float64) - low) * (255 / (high - low)) + 0.5), 0, 255).astype(np.uint8)
