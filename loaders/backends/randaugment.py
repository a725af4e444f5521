"""The operations of RandAugment as arrays that a compiled kernel reads, made once."""

import math

import numpy as np

from ..augment.draws import RANDAUGMENT
from ..augment.randaugment import GREY, LEFT, OPERATION, SIGN, TOP, Operation, RandAugment, operations
from ..kernels import randaugment_cpu as pixel_ops
from ..kernels.randaugment_cpu import Prepared
from ..order.rng import below_array, hash_array

_KINDS = {
    "Identity": pixel_ops.NOTHING,
    "AutoContrast": pixel_ops.STRETCH,
    "Equalize": pixel_ops.EQUALIZE,
    "Color": pixel_ops.COLOR,
    "Contrast": pixel_ops.CONTRAST,
    "Sharpness": pixel_ops.SHARPNESS,
    "CutoutAbs": pixel_ops.RECTANGLE,
    **dict.fromkeys(("Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness"), pixel_ops.TABLE),
    **dict.fromkeys(("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"), pixel_ops.AFFINE),
}


def prepare(randaugment: RandAugment, height: int, width: int) -> Prepared:
    """Turn a version of RandAugment into arrays, for images of `height` x `width` pixels."""
    return prepared(randaugment.n, operations(randaugment, height, width), height, width)


def prepared(rounds: int, choices: tuple[Operation, ...], height: int, width: int) -> Prepared:
    """Turn these operations into arrays; `rounds` of them are applied to an image."""
    kinds = np.array([_KINDS[name] for name, _, _ in choices])
    tables, matrices = np.zeros((len(choices), 2, 256), np.uint8), np.zeros((len(choices), 2, 6), np.int64)
    for k, (name, *values) in enumerate(choices):
        for sign, value in enumerate(values):
            if kinds[k] == pixel_ops.TABLE:
                tables[k, sign] = _table(name, value)
            elif kinds[k] == pixel_ops.AFFINE:
                matrices[k, sign] = _fixed_point(*_matrix(name, value, height, width))
    values = np.array([values for _, *values in choices], np.float64)
    return Prepared(rounds, kinds, values, tables, matrices, np.array(GREY, np.uint8))


def draw_round(ops: Prepared, number: int, key: int, positions: np.ndarray) -> np.ndarray:
    """Draw the operation of one round, as `kernels.randaugment_cpu` does: int64 [B], twice its number, plus its sign.

    Args:
        ops: the operations.
        number: of the round, from 0 on.
        key: of the epoch.
        positions: int64 [B], global.
    """
    bits, index = hash_array(key, positions), RANDAUGMENT + 4 * number
    operation = below_array(hash_array(bits, index + OPERATION), len(ops.kinds))
    return 2 * operation + below_array(hash_array(bits, index + SIGN), 2)


def draw_rectangles(
    sizes: np.ndarray, number: int, key: int, positions: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Draw where CutoutAbs paints in one round, as `kernels.randaugment_cpu` does: int32 [B, 4].

    Args:
        sizes: float64 [B], of the rectangles, in pixels.
        number, key, positions: as in `draw_round`.
        height, width: of the images.

    Returns:
        The first and the last row, the first and the last column.
    """
    bits, edges = hash_array(key, positions), []
    for place, length in ((TOP, height), (LEFT, width)):
        drawn = (hash_array(bits, RANDAUGMENT + 4 * number + place) >> np.uint64(11)) * 2.0**-53
        first = np.maximum(length + (1 - length) * drawn - sizes / 2, 0.0).astype(np.int64)
        edges += [first, np.minimum((first + sizes).astype(np.int64), length - 1)]
    return np.stack(edges, axis=1).astype(np.int32)


def _table(name: str, value: float) -> np.ndarray:
    pixel = np.arange(256)
    if name == "Invert":
        return 255 - pixel
    if name == "Posterize":
        return pixel & ~(2 ** (8 - int(value)) - 1)
    if name == "Brightness":
        return np.array([pixel_ops.blend(np.int32(0), np.int32(i), np.float32(value)) for i in pixel])
    if name == "SolarizeAdd":
        pixel, value = np.clip(pixel + value, 0, 255).astype(np.int64), 128
    return np.where(pixel < value, pixel, 255 - pixel)


def _matrix(name: str, value: float, height: int, width: int) -> tuple[float, ...]:
    """(a, b, c, d, e, f): the pixel (x, y) shows the point (a x + b y + c, d x + e y + f)."""
    if name != "Rotate":
        shear = {"ShearX": (1, value, 0, 0, 1, 0), "ShearY": (1, 0, 0, value, 1, 0)}
        return {**shear, "TranslateX": (1, 0, value, 0, 1, 0), "TranslateY": (1, 0, 0, 0, 1, value)}[name]
    angle = -math.radians(value % 360.0)
    a, b, d = (round(f, 15) for f in (math.cos(angle), math.sin(angle), -math.sin(angle)))
    x, y = width / 2, height / 2  # stays where it is
    return a, b, a * -x + b * -y + x, d, a, d * -x + a * -y + y


def _fixed_point(a: float, b: float, c: float, d: float, e: float, f: float) -> list[int]:
    """In units of 2^-16, at the middle of the first pixel."""
    at = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return [math.floor(v * 65536.0 + 0.5) for v in at]
