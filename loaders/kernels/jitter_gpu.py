"""The Triton kernel of `ColorJitter` on a GPU, which gives the bytes of `loaders.kernels.jitter_cpu`.

It is imported as `loaders.kernels.augment_gpu` is, before whose kernel it is launched.
"""

from typing import Any

import triton
import triton.language as tl

from .augment_gpu import EXACT

BLOCK = 1024  # pixels at a time


@triton.jit
def blend(other, value, factor):
    """`blend` of `loaders.kernels.randaugment_cpu`: int32 and a float32 factor to int32 in 0..255."""
    mixed = factor * (value - other).to(tl.float32) + other
    return tl.minimum(tl.maximum(mixed, 0.0), 255.0).to(tl.int32)


@triton.jit
def add(a, b):
    return a + b


@triton.jit
def luma(red, green, blue):
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


@triton.jit
def _lit(image, pixel, brightness, PIXELS: tl.constexpr):
    """Red, green and blue of an image's pixels after the change of brightness: int32; zero behind the last pixel."""
    inside = pixel < PIXELS
    red = tl.load(image + 3 * pixel, mask=inside, other=0).to(tl.int32)
    green = tl.load(image + 3 * pixel + 1, mask=inside, other=0).to(tl.int32)
    blue = tl.load(image + 3 * pixel + 2, mask=inside, other=0).to(tl.int32)
    return blend(0, red, brightness), blend(0, green, brightness), blend(0, blue, brightness)


@triton.jit(do_not_specialize_on_alignment=["starts", "factors"])
def jitter_batch(
    out,
    data,
    starts,
    factors,
    PIXELS: tl.constexpr,
    CONTRAST: tl.constexpr,
    SATURATION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Jitter the colours of image program_id(0) of a batch, as `loaders.kernels.jitter_cpu` does.

    Args:
        out: uint8 [B, PIXELS, 3].
        data: uint8, pixels of all images.
        starts: int64 [B], the first byte of each image.
        factors: float32 [B, 3], of `loaders.augment.color_jitter.jitter_factors`.
        CONTRAST, SATURATION: whether these are changed.
    """
    i = tl.program_id(0)
    image, target = data + tl.load(starts + i), out + i.to(tl.int64) * (3 * PIXELS)
    brightness, contrast = tl.load(factors + 3 * i), tl.load(factors + 3 * i + 1)
    saturation = tl.load(factors + 3 * i + 2)
    mean = tl.full([1], 0, tl.int32)
    if CONTRAST:
        sums = tl.full([BLOCK], 0, tl.int32)
        for first in range(0, PIXELS, BLOCK):
            pixel = first + tl.arange(0, BLOCK)
            red, green, blue = _lit(image, pixel, brightness, PIXELS)  # pyright: ignore[reportGeneralTypeIssues]
            sums += luma(red, green, blue)  # behind the last pixel that of black, which is zero
        total = tl.reduce(sums.to(tl.int64), 0, add)
        mean += ((2 * total + PIXELS) // (2 * PIXELS)).to(tl.int32)  # pyright: ignore[reportOperatorIssue]
    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        red, green, blue = _lit(image, pixel, brightness, PIXELS)  # pyright: ignore[reportGeneralTypeIssues]
        if CONTRAST:
            red, green, blue = blend(mean, red, contrast), blend(mean, green, contrast), blend(mean, blue, contrast)
        if SATURATION:
            grey = luma(red, green, blue)
            red, green, blue = (
                blend(grey, red, saturation),
                blend(grey, green, saturation),
                blend(grey, blue, saturation),
            )
        inside = pixel < PIXELS
        tl.store(target + 3 * pixel, red.to(tl.uint8), mask=inside)
        tl.store(target + 3 * pixel + 1, green.to(tl.uint8), mask=inside)
        tl.store(target + 3 * pixel + 2, blue.to(tl.uint8), mask=inside)


def launch(out, data, starts, factors, num_pixels: int, changes: tuple[bool, ...]) -> None:
    """Queue `jitter_batch` for a whole batch on the current stream; `changes` as `ColorJitter.changes`."""
    constants: dict[str, Any] = {
        "PIXELS": num_pixels,
        "CONTRAST": changes[1],
        "SATURATION": changes[2],
        "BLOCK": BLOCK,
        **EXACT,
    }
    jitter_batch[(len(starts),)](out, data, starts, factors, **constants)
