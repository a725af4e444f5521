"""What several folders share: small data sets written by FFCV itself, and tests left out for want of an extra."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from convert.writers.beton import write_beton
from loaders.loader import is_installed

NUM_SAMPLES = 97
EXTRAS = {"ffcv": "ffcv", "dali": "nvidia.dali"}  # a mark, as an extra is called, and what it installs


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
    pytest.importorskip("ffcv")
    folder, made = tmp_path_factory.mktemp("betons"), {}
    for name, height, width in (("square", 32, 32), ("odd", 13, 17)):
        images, labels = photographs(NUM_SAMPLES, height, width, 1), 7 * np.arange(NUM_SAMPLES)
        write_beton(folder / f"{name}.beton", images, labels)
        made[name] = Beton(folder / f"{name}.beton", images, labels)
    for name, mode in (("jpeg", "jpg"), ("mixed", "proportion")):
        images, labels = photographs(40, 24, 40, 2), 7 * np.arange(40)
        write_through_ffcv(folder / f"{name}.beton", images, labels, mode)
        made[name] = Beton(folder / f"{name}.beton", images, labels)
    return made


def write_through_ffcv(path: Path, images: np.ndarray, labels: np.ndarray, mode: str) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode=mode), "label": IntField()}
    rows = [(image, int(label)) for image, label in zip(images, labels, strict=True)]
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(rows)
