"""Images and small charts as text that a page holds: data URIs, and paths of SVG."""

import base64
import io

import numpy as np
from PIL import Image

from training.report.history import errors

WIDTH, HEIGHT = 96, 24
"""Of a history, in its own units: from the first epoch to the last, and from an error of 1 at the top to 0."""
MOST_DOTS = 40
"""Epochs up to which each visit is a dot; beyond, they would run together."""
_LARGEST = 192  # pixels a side of an embedded image
_LOSSLESS = 64  # pixels a side up to which it is embedded without loss


def data_uri(image_HWC: np.ndarray) -> str:
    """An image as part of a page: small ones to the pixel (PNG), others at most 192 pixels a side (JPEG)."""
    image, stream = Image.fromarray(image_HWC), io.BytesIO()
    kind = "png" if max(image.size) <= _LOSSLESS else "jpeg"
    image.thumbnail((_LARGEST, _LARGEST))
    image.save(stream, kind, quality=88, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def history_points(codes_E: np.ndarray) -> list[tuple[float, float]]:
    """Where the errors of one sample lie in a box of WIDTH x HEIGHT: a point for each epoch in which it was visited."""
    step = WIDTH / max(len(codes_E) - 1, 1)
    values = errors(codes_E)
    return [
        (round(float(epoch * step), 1), round(float(HEIGHT * (1 - values[epoch])), 1))
        for epoch in np.flatnonzero(codes_E).tolist()
    ]


def path_of(points: list[tuple[float, float]]) -> str:
    """The line through points, as the attribute `d` of an SVG path."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""


def histogram(values: np.ndarray, is_right: np.ndarray, bins: int = 25) -> list[tuple[int, int]]:
    """How many values of each bin of [0, 1] are right and how many are not; NaN is left out."""
    known = ~np.isnan(values)
    counts = [np.histogram(values[known & chosen], bins, (0, 1))[0].tolist() for chosen in (is_right, ~is_right)]
    return list(zip(*counts, strict=True))
