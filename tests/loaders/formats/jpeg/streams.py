"""JPEG streams of every subsampling and odd sizes, with restart rows or without."""

import io

import numpy as np
import simplejpeg
from PIL import Image

SUBSAMPLINGS = ("444", "422", "420", "440", "411", "Gray")


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pixels uint8 [H, W, 3] with edges and gradients, of strong colours."""
    small = rng.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, subsampling: str, quality: int = 85) -> bytes:
    """A baseline stream without restart markers."""
    if subsampling == "Gray":
        grey = np.ascontiguousarray(pixels[..., :1])
        return simplejpeg.encode_jpeg(grey, quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", subsampling)


def by_pillow(pixels: np.ndarray, **options) -> bytes:
    """A stream that Pillow encodes."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def decoded(stream: bytes) -> np.ndarray:
    """Pixels uint8 [H, W, 3], decoded by Pillow."""
    return np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))


def drawn(rng: np.random.Generator, largest: int = 90) -> tuple[bytes, str]:
    """A stream of a random size and subsampling, and its subsampling."""
    height, width = (int(length) for length in rng.integers(1, largest, 2))
    subsampling = SUBSAMPLINGS[rng.integers(len(SUBSAMPLINGS))]
    return encoded(smooth(rng, height, width), subsampling, int(rng.integers(20, 100))), subsampling
