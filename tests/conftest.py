"""What several folders share: small data sets, and tests left out for want of an extra."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.writers.beton import Samples, write_beton, write_samples
from loaders.engine import is_installed
from loaders.formats.beton_layout import JPEG, RAW

NUM_SAMPLES = 97
# A mark, as an extra is called, and what it installs.
EXTRAS = {"ffcv": "ffcv", "dali": "nvidia.dali", "nvimgcodec": "nvidia.nvimgcodec"}


def pytest_collection_modifyitems(items):
    for extra, module in EXTRAS.items():
        if not is_installed(module):
            absent = pytest.mark.skip(reason=f"needs the extra rebar-loaders[{extra}]")
            for item in (item for item in items if item.get_closest_marker(extra)):
                item.add_marker(absent)


def photographs(num: int, height: int, width: int, seed: int) -> np.ndarray:
    """uint8 [num, height, width, 3]: smooth enough for JPEG, different in every pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[:, None]
    a, b, c = rng.uniform(-3, 3, (3, num, 1, 1, 3))
    wave = np.sin(a * 3 * y[None] + b * 3 * x[None] + c) * 90 + 128
    return (wave + rng.integers(-20, 21, wave.shape)).clip(0, 255).astype(np.uint8)


class Beton:
    """A written data set: its path and what was written."""

    def __init__(self, path: Path, images: np.ndarray, labels: np.ndarray):
        self.path, self.images, self.labels = path, images, labels


@pytest.fixture(scope="session")
def betons(tmp_path_factory):
    """name -> Beton: "square" and "odd" are raw, "jpeg" and "mixed" hold 40 images. Sample i has the label 7 * i."""
    folder, made = tmp_path_factory.mktemp("betons"), {}
    for name, height, width in (("square", 32, 32), ("odd", 13, 17)):
        images, labels = photographs(NUM_SAMPLES, height, width, 1), 7 * np.arange(NUM_SAMPLES)
        write_beton(folder / f"{name}.beton", images, labels)
        made[name] = Beton(folder / f"{name}.beton", images, labels)
    for name in ("jpeg", "mixed"):
        images, labels = photographs(40, 24, 40, 2), 7 * np.arange(40)
        write_mode(folder / f"{name}.beton", images, labels, name)
        made[name] = Beton(folder / f"{name}.beton", images, labels)
    return made


def write_mode(path: Path, images: np.ndarray, labels: np.ndarray, mode: str) -> None:
    """Write images of one size as "raw", as "jpeg" (quality 90, 4:4:4), or "mixed": every other one of each."""
    num, height, width, _ = images.shape
    modes = {"raw": [RAW], "jpeg": [JPEG], "mixed": [JPEG, RAW]}[mode] * num
    stored = [_encoded(image) if kind == JPEG else image.tobytes() for image, kind in zip(images, modes, strict=False)]
    offsets, data = np.cumsum([0, *map(len, stored)]), np.frombuffer(b"".join(stored), np.uint8)
    samples = Samples(np.array(modes[:num]), offsets, height, width, labels)
    write_samples(path, samples, lambda first, last: data[offsets[first] : offsets[last]], None)


def _encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def write_through_ffcv(path: Path, images: np.ndarray, labels: np.ndarray, mode: str, page_size: int) -> None:
    """Write by FFCV itself, in one of its modes: "raw", "jpg" or "proportion"."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode=mode), "label": IntField()}
    rows = [(image, int(label)) for image, label in zip(images, labels, strict=True)]
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        DatasetWriter(str(path), fields, page_size=page_size, num_workers=1).from_indexed_dataset(rows)
