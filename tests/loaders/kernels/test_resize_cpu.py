"""The compiled resize: equal to the sums written out in NumPy, whatever instructions it uses, and near Pillow's."""

import numpy as np
import pytest
from PIL import Image

from loaders.kernels.resize_cpu import resize_box, taps


def written_out(image: np.ndarray, top: float, left: float, bottom: float, right: float, size: int) -> np.ndarray:
    """The same sums in the same order: float32, rows first, one after the other."""
    lines = _summed(image, *taps(top, bottom, size), start=np.float32(0))
    columns = _summed(lines.transpose(1, 0, 2), *taps(left, right, size), start=np.float32(0.5))
    return columns.transpose(1, 0, 2).astype(np.uint8)


def _summed(values: np.ndarray, first: np.ndarray, count: np.ndarray, weights: np.ndarray, start) -> np.ndarray:
    out = np.full((len(first), *values.shape[1:]), start, np.float32)
    for i in range(len(first)):
        for k in range(count[i]):
            out[i] += weights[i, k] * values[first[i] + k].astype(np.float32)
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 31])
def test_sums_are_those_written_out(size):
    rng = np.random.default_rng(size)
    for _ in range(12):
        height, width = rng.integers(1, 90, 2)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        (top, bottom), (left, right) = (np.sort(rng.uniform(0, length, 2)) for length in (height, width))
        edges = top, left, min(bottom + 1e-3, height), min(right + 1e-3, width)  # inside of pixels too
        out = np.empty((size, size, 3), np.uint8)
        resize_box(image, *map(float, edges), out)
        assert np.array_equal(out, written_out(image, *edges, size))


@pytest.mark.parametrize("size", [1, 3, 40, 90])
def test_pixels_are_within_one_of_pillows(size):
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    for top, left, bottom, right in ((0, 0, 60, 80), (3, 5, 10, 70), (59, 79, 60, 80), (20, 0, 60, 1)):
        out = np.empty((size, size, 3), np.uint8)
        resize_box(image, float(top), float(left), float(bottom), float(right), out)
        box = Image.fromarray(image[top:bottom, left:right])
        wanted = np.asarray(box.resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(out.astype(int) - wanted).max() <= 1


def test_neighbouring_images_stay_untouched():
    """A vector is wider than a pixel: what it writes behind the last one must not reach the next image."""
    image = np.full((20, 20, 3), 200, np.uint8)
    for size in (1, 3, 4, 9):
        batch = np.full((3, size, size, 3), 7, np.uint8)
        resize_box(image, 0.0, 0.0, 20.0, 20.0, batch[1])
        assert (batch[1] == 200).all()
        assert (batch[[0, 2]] == 7).all()
