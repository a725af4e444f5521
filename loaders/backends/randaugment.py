"""RandAugment for a block of samples of one batch: numbers prepared once, then one compiled kernel.

Images go from where a backend fetched them into a buffer of the batch, from which they are painted as usual. Knows
the draws and the operations; knows no file.
"""

import contextlib
import math
from typing import NamedTuple

import numpy as np
from numba import njit

from loaders.augment.config import RANDAUGMENT
from loaders.augment.randaugment import GREY, LEFT, OPERATION, SIGN, TOP, Operation, RandAugment, operations
from loaders.backends.batching import Settings, Span
from loaders.intrinsics import copy
from loaders.kernels import randaugment_cpu as pixel_ops
from loaders.order.rng import below, hash64
from loaders.threads import for_blocks
from loaders.types import EpochPlan

_U = np.uint64
# How an operation is carried out.
_NOTHING, _TABLE, _STRETCH, _EQUALIZE, _COLOR, _CONTRAST, _SHARPNESS, _AFFINE, _RECTANGLE = range(9)
_KINDS = {
    "Identity": _NOTHING,
    "AutoContrast": _STRETCH,
    "Equalize": _EQUALIZE,
    "Color": _COLOR,
    "Contrast": _CONTRAST,
    "Sharpness": _SHARPNESS,
    "CutoutAbs": _RECTANGLE,
    **dict.fromkeys(("Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness"), _TABLE),
    **dict.fromkeys(("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"), _AFFINE),
}


class Prepared(NamedTuple):
    """The operations as numbers; the axis of length two is the sign."""

    rounds: int
    kinds: np.ndarray  # int64 [K]
    values: np.ndarray  # float64 [K, 2]
    tables: np.ndarray  # uint8 [K, 2, 256]
    matrices: np.ndarray  # int64 [K, 2, 6]
    grey: np.ndarray  # uint8 [3]


def prepare(randaugment: RandAugment, height: int, width: int) -> Prepared:
    """For images of this size in pixels."""
    return prepared(randaugment.n, operations(randaugment, height, width), height, width)


def prepared(rounds: int, choices: tuple[Operation, ...], height: int, width: int) -> Prepared:
    kinds = np.array([_KINDS[name] for name, _, _ in choices])
    tables, matrices = np.zeros((len(choices), 2, 256), np.uint8), np.zeros((len(choices), 2, 6), np.int64)
    for k, (name, *values) in enumerate(choices):
        for sign, value in enumerate(values):
            if kinds[k] == _TABLE:
                tables[k, sign] = _table(name, value)
            elif kinds[k] == _AFFINE:
                matrices[k, sign] = _fixed_point(*_matrix(name, value, height, width))
    values = np.array([values for _, *values in choices], np.float64)
    return Prepared(rounds, kinds, values, tables, matrices, np.array(GREY, np.uint8))


def _table(name: str, value: float) -> np.ndarray:
    pixel = np.arange(256)
    if name == "Invert":
        return 255 - pixel
    if name == "Posterize":
        return pixel & ~(2 ** (8 - value) - 1)
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


@njit(nogil=True, cache=True)
def randaugment_block(first, last, data, offsets, rows, out, height, width, key, position, stride, ops):
    """Samples first..last-1 of a batch.

    Args:
        data, offsets, rows: image i begins at data[offsets[rows[i]]].
        out: uint8 [B, H * W * 3].
        key, position, stride: as in `kernels.Recipe`.
        ops: a `Prepared`.
    """
    size = height * width * 3
    spare, table = np.empty(size, np.uint8), np.empty(256, np.uint8)
    counts, tables = np.empty((3, 256), np.int64), np.empty((3, 256), np.uint8)
    for i in range(first, last):
        start = offsets[rows[i]]
        bits = hash64(key, _U(position + stride * i))
        now, other = out[i], spare
        copy(_U(now.ctypes.data), _U(data[start : start + size].ctypes.data), size)
        for r in range(ops.rounds):
            slot = RANDAUGMENT + 4 * r
            k = np.int64(below(hash64(bits, _U(slot + OPERATION)), _U(len(ops.kinds))))
            sign = np.int64(below(hash64(bits, _U(slot + SIGN)), _U(2)))
            kind, value = ops.kinds[k], ops.values[k, sign]
            if kind == _TABLE:
                pixel_ops.look_up(now, ops.tables[k, sign])
            elif kind in (_STRETCH, _EQUALIZE):
                pixel_ops.stretch(now, counts, tables, kind == _EQUALIZE)
            elif kind == _COLOR:
                pixel_ops.color(now, np.float32(value))
            elif kind == _CONTRAST:
                pixel_ops.contrast(now, np.float32(value), table)
            elif kind == _SHARPNESS:
                pixel_ops.sharpness(other, now, height, width, np.float32(value))
                now, other = other, now
            elif kind == _AFFINE:
                pixel_ops.affine(other, now, height, width, ops.matrices[k, sign])
                now, other = other, now
            elif kind == _RECTANGLE:
                y = (hash64(bits, _U(slot + TOP)) >> _U(11)) * 2.0**-53 * height
                x = (hash64(bits, _U(slot + LEFT)) >> _U(11)) * 2.0**-53 * width
                pixel_ops.rectangle(now, height, width, value, x, y, ops.grey)
        if now.ctypes.data != out[i].ctypes.data:
            copy(_U(out[i].ctypes.data), _U(now.ctypes.data), size)


def randaugmenting(new_fetch, shape: tuple[int, int, int], settings: Settings):
    """`new_fetch` of a `feed.Feed`, with RandAugment between the backend's images and the painter."""
    height, width, _ = shape
    ops = prepare(settings.augment.randaugment, height, width)

    def new_augmented_fetch():
        fetch, out = new_fetch(), np.empty((settings.batch_size, height * width * 3), np.uint8)
        offsets, rows, readable = np.arange(len(out)) * out.shape[1], np.arange(len(out)), out.reshape(-1).view()
        for array in (offsets, rows, readable):
            array.flags.writeable = False  # one type for the kernels, whether they read this or the file

        def augmented_fetch(plan: EpochPlan, todo: list[Span]):
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for span, images in zip(todo, fetched, strict=True):
                    where = np.uint64(plan.key), plan.rank + plan.world_size * span.first, plan.world_size
                    args = (*images, out, height, width, *where, ops)
                    for_blocks(randaugment_block, len(images[2]), *args, threads=settings.num_threads)
                    yield readable, offsets, rows[: len(images[2])]

        return augmented_fetch

    return new_augmented_fetch
