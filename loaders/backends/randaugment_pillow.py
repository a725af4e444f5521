"""RandAugment through Pillow: the oracle that the compiled operations are held to. Knows no batch."""

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from loaders.augment.config import RANDAUGMENT, Augment, draw
from loaders.augment.randaugment import GREY, LEFT, OPERATION, SIGN, TOP, operations
from loaders.order.rng import hash_array

_AFFINE = Image.Transform.AFFINE


def randaugmented(image_HWC: np.ndarray, augment: Augment, key: int, position: int) -> np.ndarray:
    """uint8 [H, W, 3] from the draws of one global position."""
    height, width, _ = image_HWC.shape
    choices, where = operations(augment.randaugment, height, width), np.array([position])
    image = Image.fromarray(image_HWC)
    for r in range(augment.randaugment.n):
        first = RANDAUGMENT + 4 * r
        name, plus, minus = choices[int(draw(key, where, first + OPERATION, len(choices))[0])]
        value = minus if draw(key, where, first + SIGN, 2)[0] else plus
        bits = hash_array(hash_array(key, where), np.array([first + TOP, first + LEFT]))
        v, u = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        image = apply(image, name, value, u * width, v * height)
    return np.asarray(image)


def apply(image: Image.Image, name: str, value: float, x: float = 0.0, y: float = 0.0) -> Image.Image:
    """One operation. x, y: the random place of CutoutAbs, in pixels."""
    match name:
        case "Identity":
            return image
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Posterize":
            return ImageOps.posterize(image, value)
        case "Solarize":
            return ImageOps.solarize(image, value)
        case "SolarizeAdd":  # to all pixels; Cubuk et al. add below the threshold only
            brighter = np.clip(np.asarray(image).astype(int) + value, 0, 255).astype(np.uint8)
            return ImageOps.solarize(Image.fromarray(brighter), 128)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return getattr(ImageEnhance, name)(image).enhance(value)
        case "Rotate":
            return image.rotate(value)
        case "ShearX":
            return image.transform(image.size, _AFFINE, (1, value, 0, 0, 1, 0))
        case "ShearY":
            return image.transform(image.size, _AFFINE, (1, 0, 0, value, 1, 0))
        case "TranslateX":
            return image.transform(image.size, _AFFINE, (1, 0, value, 0, 1, 0))
        case "TranslateY":
            return image.transform(image.size, _AFFINE, (1, 0, 0, 0, 1, value))
    assert name == "CutoutAbs", name
    left, top = int(max(0, x - value / 2)), int(max(0, y - value / 2))
    image = image.copy()
    right, bottom = min(image.width, left + value), min(image.height, top + value)
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), GREY)
    return image
