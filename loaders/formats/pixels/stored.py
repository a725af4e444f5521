"""What becomes of transparent pixels, and of those that an orientation tag asks to be turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_ORIENTATION = 0x0112  # a tag of EXIF and TIFF; 1 and what is not 2 to 8 ask for nothing


def has_alpha(image: Image) -> bool:
    """Whether it has an alpha channel or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def without_alpha(image: Image, background: tuple[int, int, int] | None) -> Image:
    """The image in mode RGB, composited on a background; None drops its alpha channel."""
    from PIL import Image

    if not has_alpha(image):
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    if background is None:
        return with_alpha.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), with_alpha).convert("RGB")


def load(image: ImageFile) -> tuple[int, bool]:
    """Load the pixels; return the orientation that a tag asks for, 2 to 8 or 1 for none, and whether they are turned.

    Pillow turns TIFF, and nothing else.
    """
    if image.format != "TIFF":
        image.load()
        return _orientation(image), False
    orientation = _orientation(image)
    image.load()
    return orientation, _orientation(image) != orientation  # it drops the tag of what it turns


def turned(image: Image, orientation: int) -> Image:
    """Turn and mirror an image as its orientation asks (TIFF 6.0, tag 274)."""
    from PIL.Image import Transpose

    steps = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(steps[orientation]) if orientation in steps else image


def turned_back(image: Image, orientation: int) -> Image:
    """Undo `turned`."""
    return turned(image, {6: 8, 8: 6}.get(orientation, orientation))


def _orientation(image: Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged tag asks for nothing, as where no tag is
        return 1
    return orientation if orientation in range(2, 9) else 1
