"""The reference backend: NumPy and Pillow, one image and one step at a time; every other backend must equal it.

Slow on purpose. It shares the draws and the normalisation table with the other backends, and no pixel code.
"""

import math
from collections.abc import Generator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from ..augment.color_jitter import ColorJitter, jitter_factors
from ..augment.config import Augment
from ..augment.crop import boxes
from ..augment.draws import (
    CROP_X,
    CROP_Y,
    CUTOUT_X,
    CUTOUT_Y,
    ERASE_NOISE,
    FLIP,
    RANDAUGMENT,
    VERTICAL_FLIP,
    alternating_sides,
    draw,
)
from ..augment.erasing import RandomErasing, erased_box, prepare_erasing
from ..augment.mixers import ONE, MixGeometry, draw_mix
from ..augment.normalisation import normalisation_table
from ..augment.randaugment import GREY, LEFT, OPERATION, SIGN, TOP, RandAugment, operations
from ..formats.dataset import DatasetFile
from ..formats.pixels.image_file import decode_image
from ..order.rng import hash_array
from ..types import Batch, EpochPlan, Mix
from .batching import Settings, Span, columns, delivered_shape, nchw, spans, watched
from .grey import with_rgb_statistics

_AFFINE = Image.Transform.AFFINE


class Reference:
    """Delivers a data set slowly, on the calling thread."""

    def __init__(self, dataset: DatasetFile, settings: Settings):
        delivered_shape(dataset, settings.augment, "reference")
        self.dataset, self.settings = dataset, with_rgb_statistics(settings, dataset)

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """The batches of a plan, from `start_batch` on."""
        todo = spans(plan, self.dataset, self.settings, start_batch)
        return self._batches(plan, todo)

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Generator[Batch]:
        augment, dtype = self.settings.augment, self.settings.dtype
        beside = columns(plan, self.dataset)
        for span in watched(self.dataset, todo, plan):
            pixels = [augmented(decode(self.dataset, plan.ids[i]), augment, plan, i) for i in range(*span)]
            images, mix = np.stack(pixels if dtype == torch.uint8 else [normalised(p, augment) for p in pixels]), None
            if augment.mixer is not None:
                first = plan.rank + plan.world_size * span.first
                geometry = draw_mix(augment.mixer, plan.key, first, *images.shape[:3])
                images, mix = mixed(images, geometry), Mix(*map(torch.from_numpy, geometry[:2]))
            images = np.ascontiguousarray(images[..., : self.dataset.channels])
            yield Batch(nchw(torch.from_numpy(images)).to(dtype), *beside.slice(span), mix)


def open_backend(dataset: DatasetFile, settings: Settings) -> Reference:
    """Deliver any data set whose images have one size, or are resized to one."""
    return Reference(dataset, settings)


def decode(dataset: DatasetFile, sample: int) -> np.ndarray:
    """Decode one image as it was stored: uint8 [H, W, 3], three equal channels of a grey one.

    Raises:
        ValueError: the stream is damaged, or its size is not that of its record.
    """
    stored, shape = dataset.bytes(sample), (dataset.heights[sample], dataset.widths[sample], 3)
    if dataset.kind != "png" and not dataset.is_jpeg[sample]:
        return np.broadcast_to(stored.reshape(*shape[:2], dataset.channels), shape)
    height, width, _ = shape
    kind = "JPEG" if dataset.is_jpeg[sample] else "PNG or WebP"
    try:
        image = decode_image(stored.tobytes(), ("JPEG", "PNG", "WEBP")).rgb
        if image.size != (width, height):
            raise ValueError(f"it is {image.height} x {image.width} pixels, its record says {height} x {width}")
    except ValueError as error:
        raise ValueError(
            f"{dataset.file_of(sample)}: the {kind} of sample {sample} cannot be decoded: {error}"
        ) from None
    return np.asarray(image)


def augmented(image_HWC: np.ndarray, augment: Augment, plan: EpochPlan, index: int) -> np.ndarray:
    """Do all that happens to one image but to normalise and to mix it: uint8 [H, W, 3] for this place in a plan."""
    key, position = plan.key, plan.rank + plan.world_size * index
    if augment.resize:
        image_HWC = resized(image_HWC, augment, key, position)
    if augment.randaugment is not None:
        image_HWC = randaugmented(image_HWC, augment.randaugment, key, position)
    if augment.color_jitter is not None:
        image_HWC = jittered(image_HWC, augment.color_jitter, key, position)

    def drawn(index: int, n: int) -> int:
        return int(draw(key, np.array([position]), index, n)[0])

    height, width, _ = image_HWC.shape
    p = augment.crop_padding
    if p:
        mode = "constant" if augment.pad_mode == "zero" else "reflect"
        padded = np.pad(image_HWC, ((p, p), (p, p), (0, 0)), mode=mode)
        y, x = drawn(CROP_Y, 2 * p + 1), drawn(CROP_X, 2 * p + 1)
        image_HWC = padded[y : y + height, x : x + width]
    alternating = augment.flip == "alternating"
    if alternating_sides(plan, index, index + 1)[0] if alternating else augment.flip and drawn(FLIP, 2):
        image_HWC = image_HWC[:, ::-1]
    if augment.vertical_flip and drawn(VERTICAL_FLIP, 2):
        image_HWC = image_HWC[::-1]
    if augment.cutout:
        y, x = drawn(CUTOUT_Y, height) - augment.cutout // 2, drawn(CUTOUT_X, width) - augment.cutout // 2
        image_HWC = image_HWC.copy()
        image_HWC[max(y, 0) : max(y + augment.cutout, 0), max(x, 0) : max(x + augment.cutout, 0)] = 0
    if augment.erasing is not None:
        image_HWC = erased(image_HWC, augment.erasing, key, position)
    return image_HWC


def resized(image_HWC: np.ndarray, augment: Augment, key: int, position: int) -> np.ndarray:
    """The box of `loaders.augment.crop` as uint8 [resize, resize, 3], through Pillow's BILINEAR.

    That filter is a triangle, widened by the ratio where the image shrinks (so it does not alias); pixels outside the
    box are not looked at.
    """
    height, width, _ = image_HWC.shape
    sizes = np.array([height]), np.array([width])
    top, left, height, width = boxes(augment, key, np.array([position]), *sizes)[0]
    box = Image.fromarray(image_HWC[top : top + height, left : left + width])
    return np.asarray(box.resize((augment.resize, augment.resize), Image.Resampling.BILINEAR))


def randaugmented(image_HWC: np.ndarray, randaugment: RandAugment, key: int, position: int) -> np.ndarray:
    """Apply RandAugment through Pillow: uint8 [H, W, 3] from the draws of one global position."""
    height, width, _ = image_HWC.shape
    choices, where = operations(randaugment, height, width), np.array([position])
    image = Image.fromarray(image_HWC)
    for r in range(randaugment.n):
        first = RANDAUGMENT + 4 * r
        name, plus, minus = choices[int(draw(key, where, first + OPERATION, len(choices))[0])]
        value = minus if draw(key, where, first + SIGN, 2)[0] else plus
        bits = hash_array(hash_array(key, where), np.array([first + TOP, first + LEFT]))
        v, u = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        # In (1, width] and (1, height], as theirs draws them: numpy.random.uniform(width).
        image = apply_operation(image, name, value, width + (1 - width) * u, height + (1 - height) * v)
    return np.asarray(image)


def jittered(image_HWC: np.ndarray, jitter: ColorJitter, key: int, position: int) -> np.ndarray:
    """Change brightness, contrast and saturation through Pillow: uint8 [H, W, 3]."""
    image, factors = Image.fromarray(image_HWC), jitter_factors(jitter, key, np.array([position]))[0]
    for name, factor in zip(("Brightness", "Contrast", "Color"), factors, strict=True):
        image = apply_operation(image, name, float(factor))
    return np.asarray(image)


def erased(image_HWC: np.ndarray, erasing: RandomErasing, key: int, position: int) -> np.ndarray:
    """Erase the rectangle of `loaders.augment.erasing`: uint8 [H, W, 3]."""
    height, width, _ = image_HWC.shape
    bits = hash_array(key, position)
    top, left, rows, columns = erased_box(bits[0], height, width, prepare_erasing(erasing))
    value = 255 * np.asarray(0 if erasing.value == "random" else erasing.value)
    if erasing.value == "random":  # the first, second and third byte of a pixel's bits
        noise = hash_array(hash_array(bits, ERASE_NOISE), np.arange(height * width)).reshape(height, width)
        value = np.stack([noise >> np.uint64(shift) & np.uint64(255) for shift in (56, 48, 40)], axis=-1)
        value = value[top : top + rows, left : left + columns]
    image_HWC = image_HWC.copy()
    image_HWC[top : top + rows, left : left + columns] = np.rint(value).astype(np.uint8)
    return image_HWC


def apply_operation(image: Image.Image, name: str, value: float, x: float = 0.0, y: float = 0.0) -> Image.Image:
    """Apply one operation of `loaders.augment.randaugment`; x, y: the random place of CutoutAbs, in pixels."""
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
            return ImageOps.posterize(image, int(value))
        case "Solarize":
            return ImageOps.solarize(image, math.ceil(value))  # inverts from the threshold on
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
        case "CutoutAbs":
            left, top = int(max(0, x - value / 2)), int(max(0, y - value / 2))
            right, bottom = min(image.width, left + value), min(image.height, top + value)
            image = image.copy()
            ImageDraw.Draw(image).rectangle((left, top, right, bottom), GREY)
            return image
        case _:
            raise ValueError(f"{name!r} is no operation of RandAugment: use one that `operations` lists")


def normalised(image_HWC: np.ndarray, augment: Augment) -> np.ndarray:
    """float32 [H, W, 3]: (pixel / 255 - mean) / std, through the table."""
    table = normalisation_table(augment)
    return np.stack([table[c][image_HWC[..., c]] for c in range(3)], axis=-1)


def mixed(images_BHWC: np.ndarray, geometry: MixGeometry) -> np.ndarray:
    """Mix augmented images, uint8 or float32 [B, H, W, 3]; blended bytes are rounded half up."""
    partners, boxes, blend = geometry.partners, geometry.boxes, geometry.blend
    if blend >= 0:
        first, second = images_BHWC[partners[:, 0]], images_BHWC[partners[:, 1]]
        if images_BHWC.dtype == np.uint8:
            total = blend * first.astype(np.int64) + (ONE - blend) * second.astype(np.int64)
            return ((total + ONE // 2) // ONE).astype(np.uint8)
        return np.float32(blend / ONE) * first + np.float32(1 - blend / ONE) * second
    out = np.empty_like(images_BHWC)
    for k, (top, left, height, width, from_top, from_left) in enumerate(boxes):
        patches = images_BHWC[partners[:, k], from_top : from_top + height, from_left : from_left + width]
        out[:, top : top + height, left : left + width] = patches
    return out
