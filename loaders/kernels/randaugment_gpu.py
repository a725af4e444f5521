"""The Triton kernel of one round of RandAugment on a GPU, which gives the bytes of `loaders.kernels.randaugment_cpu`.

It is imported as `loaders.kernels.augment_gpu` is, before whose kernel it is launched once for each round.
"""

from typing import Any

import triton
import triton.language as tl

from ..augment.randaugment import GREY
from . import randaugment_cpu as cpu
from .augment_gpu import EXACT
from .jitter_gpu import add, blend, luma

BLOCK = 1024  # pixels at a time

_TABLE, _STRETCH, _EQUALIZE = tl.constexpr(cpu.TABLE), tl.constexpr(cpu.STRETCH), tl.constexpr(cpu.EQUALIZE)
_COLOR, _CONTRAST, _SHARPNESS = tl.constexpr(cpu.COLOR), tl.constexpr(cpu.CONTRAST), tl.constexpr(cpu.SHARPNESS)
_AFFINE, _RECTANGLE = tl.constexpr(cpu.AFFINE), tl.constexpr(cpu.RECTANGLE)
_RED, _GREEN, _BLUE = (tl.constexpr(value) for value in GREY)


@triton.jit
def _least(a, b):
    return tl.minimum(a, b)


@triton.jit
def _most(a, b):
    return tl.maximum(a, b)


@triton.jit
def _byte(image, pixel, c: tl.constexpr, inside):
    """Channel c of pixels: int32; zero where not `inside`."""
    return tl.load(image + 3 * pixel + c, mask=inside, other=0).to(tl.int32)


@triton.jit
def _mean_luma(image, PIXELS: tl.constexpr, BLOCK: tl.constexpr):
    """The mean luma of an image, rounded half up: int32."""
    sums = tl.full([BLOCK], 0, tl.int32)
    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        inside = pixel < PIXELS
        grey = luma(_byte(image, pixel, 0, inside), _byte(image, pixel, 1, inside), _byte(image, pixel, 2, inside))
        sums += grey  # behind the last pixel that of black, which is zero
    total = tl.reduce(sums.to(tl.int64), 0, add)
    return ((2 * total + PIXELS) // (2 * PIXELS)).to(tl.int32)  # pyright: ignore[reportOperatorIssue]


@triton.jit
def _spread(image, c: tl.constexpr, equal, PIXELS: tl.constexpr, BLOCK: tl.constexpr):
    """The table of AutoContrast, or of Equalize where `equal`, for channel c of an image: int32 [256]."""
    level, counts = tl.arange(0, 256), tl.full([256], 0, tl.int32)
    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        inside = pixel < PIXELS
        counts += tl.histogram(_byte(image, pixel, c, inside), 256, mask=inside)
    low = tl.reduce(tl.where(counts > 0, level, 255), 0, _least)
    high = tl.reduce(tl.where(counts > 0, level, 0), 0, _most)
    if equal:
        step = (PIXELS - tl.reduce(tl.where(level == high, counts, 0), 0, add)) // 255
        darker = tl.associative_scan(counts, 0, add) - counts
        table = tl.minimum((step // 2 + darker) // tl.maximum(step, 1), 255)
    else:
        step = high - low  # pyright: ignore[reportOperatorIssue]
        scale = 255.0 / tl.maximum(step, 1).to(tl.float64)
        value = level.to(tl.float64) * scale + (0 - low).to(tl.float64) * scale  # pyright: ignore[reportOperatorIssue]
        table = tl.minimum(tl.maximum(value, 0.0), 255.0).to(tl.int32)
    return tl.where(step == 0, level, table)


@triton.jit
def _smooth(image, pixel, c: tl.constexpr, inside, WIDTH: tl.constexpr):
    """Channel c under the 3 x 3 kernel of sharpness, as `randaugment_cpu.sharpness`: int32; `inside` has neighbours."""
    total = 4 * _byte(image, pixel, c, inside)
    for dy in tl.static_range(-1, 2):  # pyright: ignore[reportGeneralTypeIssues] (Triton unrolls it)
        for dx in tl.static_range(-1, 2):  # pyright: ignore[reportGeneralTypeIssues]
            total += _byte(image, pixel + (dy * WIDTH + dx), c, inside)
    return ((2 * total + 13) * 20165) >> 19


@triton.jit(do_not_specialize_on_alignment=["starts", "drawn", "boxes"])
def randaugment_round(
    out,
    data,
    starts,
    drawn,
    boxes,
    kinds,
    factors,
    tables,
    matrices,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Apply one operation to image program_id(0) of a batch.

    Args:
        out: uint8 [B, H, W, 3], elsewhere than `data`.
        data: uint8, pixels of all images.
        starts: int64 [B], the first byte of each image.
        drawn: int32 [B], which operation, of the K that there are.
        boxes: int32 [B, 4], first and last row, first and last column of a rectangle; None where there is none.
        kinds: int32 [K], how an operation is carried out, see `randaugment_cpu`.
        factors: float32 [K] of a blend.
        tables: uint8 [K, 256].
        matrices: int64 [K, 6], as in `randaugment_cpu.affine`.
    """
    i = tl.program_id(0)
    PIXELS: tl.constexpr = HEIGHT * WIDTH
    image, target = data + tl.load(starts + i), out + i.to(tl.int64) * (3 * PIXELS)
    operation = tl.load(drawn + i)
    kind, factor, matrix = tl.load(kinds + operation), tl.load(factors + operation), matrices + 6 * operation
    is_table = (kind == _TABLE) | (kind == _STRETCH) | (kind == _EQUALIZE)
    mean, level = tl.full([1], 0, tl.int32), tl.arange(0, 256)
    red_table, green_table, blue_table = level, level, level
    if kind == _TABLE:
        red_table = tl.load(tables + 256 * operation + level).to(tl.int32)
        green_table = red_table
        blue_table = red_table
    elif is_table:
        red_table = _spread(image, 0, kind == _EQUALIZE, PIXELS, BLOCK)
        green_table = _spread(image, 1, kind == _EQUALIZE, PIXELS, BLOCK)
        blue_table = _spread(image, 2, kind == _EQUALIZE, PIXELS, BLOCK)
    elif kind == _CONTRAST:
        mean += _mean_luma(image, PIXELS, BLOCK)
    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        inside = pixel < PIXELS
        y, x = pixel // WIDTH, pixel % WIDTH
        source, seen = pixel, inside
        if kind == _AFFINE:
            column = (tl.load(matrix + 2) + tl.load(matrix) * x + tl.load(matrix + 1) * y) >> 16
            row = (tl.load(matrix + 5) + tl.load(matrix + 3) * x + tl.load(matrix + 4) * y) >> 16
            seen = inside & (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
            source = (row * WIDTH + column).to(tl.int32)
        red, green, blue = _byte(image, source, 0, seen), _byte(image, source, 1, seen), _byte(image, source, 2, seen)
        if is_table:
            red, green, blue = (
                tl.gather(red_table, red, 0),
                tl.gather(green_table, green, 0),
                tl.gather(blue_table, blue, 0),
            )
        elif (kind == _COLOR) | (kind == _CONTRAST):
            grey = tl.where(kind == _COLOR, luma(red, green, blue), mean)
            red, green, blue = blend(grey, red, factor), blend(grey, green, factor), blend(grey, blue, factor)
        elif kind == _SHARPNESS:
            inner = (y > 0) & (y < HEIGHT - 1) & (x > 0) & (x < WIDTH - 1)
            red = tl.where(inner, blend(_smooth(image, pixel, 0, inner, WIDTH), red, factor), red)
            green = tl.where(inner, blend(_smooth(image, pixel, 1, inner, WIDTH), green, factor), green)
            blue = tl.where(inner, blend(_smooth(image, pixel, 2, inner, WIDTH), blue, factor), blue)
        if boxes is not None:  # noqa: SIM102 (the compiler knows the one, the image the other)
            if kind == _RECTANGLE:
                box = boxes + 4 * i
                covered = (y >= tl.load(box)) & (y <= tl.load(box + 1))
                covered = covered & (x >= tl.load(box + 2)) & (x <= tl.load(box + 3))
                red, green, blue = (
                    tl.where(covered, _RED, red),
                    tl.where(covered, _GREEN, green),
                    tl.where(covered, _BLUE, blue),
                )
        tl.store(target + 3 * pixel, red.to(tl.uint8), mask=inside)
        tl.store(target + 3 * pixel + 1, green.to(tl.uint8), mask=inside)
        tl.store(target + 3 * pixel + 2, blue.to(tl.uint8), mask=inside)


def launch(out, *arrays, height: int, width: int) -> None:
    """Queue `randaugment_round` for a whole batch on the current stream."""
    constants: dict[str, Any] = {"HEIGHT": height, "WIDTH": width, "BLOCK": BLOCK, **EXACT}
    randaugment_round[(len(out),)](out, *arrays, **constants)
