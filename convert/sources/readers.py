"""Decodes the published forms of CIFAR into arrays: binary batches, python batches, images of 1,024 x 10,000.

Knows how bytes are laid out; must not know where they came from. No pickle is executed (see `unpickle`).
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convert.sources.unpickle import read_plain_pickle
from convert.writers.arrays import Arrays

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """One published form: the files of each split, in the order of their samples, and how to decode them."""

    name: str
    members: dict[str, tuple[str, ...]]  # by split
    decode: Callable[[list[bytes]], Arrays]


def layouts(name: str) -> tuple[Layout, ...]:
    """The published forms of "cifar10" or "cifar100", best first."""
    if name == "cifar100":
        return (
            Layout("binary", {"train": ("train.bin",), "test": ("test.bin",)}, lambda files: _binary(files, 2)),
            Layout("python", {"train": ("train",), "test": ("test",)}, lambda files: _python(files, "fine_labels")),
        )

    def batches(ending: str) -> dict[str, tuple[str, ...]]:
        train = tuple(f"data_batch_{number}{ending}" for number in range(1, 6))
        return {"train": train, "test": (f"test_batch{ending}",)}

    # The package spells it "lables". The labels are one more file, after the images.
    image_files = {split: (*files, f"{split}_lables.json") for split, files in batches(".png").items()}
    return (
        Layout("binary", batches(".bin"), lambda files: _binary(files, 1)),
        Layout("python", batches(""), lambda files: _python(files, "labels")),
        Layout("images", image_files, _images),
    )


def _binary(files: list[bytes], num_labels: int) -> Arrays:
    """Records of `num_labels` bytes (the last is the class) and 3,072 bytes of planes R, G, B."""
    record = num_labels + PIXELS
    for content in files:
        if not content or len(content) % record:
            raise ValueError(f"a batch of {len(content):,} bytes is not whole records of {record:,} bytes")
    records = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, record) for content in files])
    return _pixels_last(records[:, num_labels:]), records[:, num_labels - 1].astype(np.int64)


def _python(files: list[bytes], key: str) -> Arrays:
    """Pickled dictionaries with `data`, uint8 [N, 3072] in planes R, G, B, and a list of labels under `key`."""
    images, labels = [], []
    for content in files:
        batch = read_plain_pickle(content)
        batch = {name.decode("latin-1") if isinstance(name, bytes) else name: batch[name] for name in batch}
        data, classes = batch.get("data"), batch.get(key)
        if not isinstance(data, np.ndarray) or data.shape[1:] != (PIXELS,) or not isinstance(classes, list):
            raise ValueError(f"a python batch lacks 'data' of {PIXELS} bytes a row or the list {key!r}")
        images.append(data)
        labels += classes
    return _pixels_last(np.concatenate(images)), np.array(labels, np.int64)


def _images(files: list[bytes]) -> Arrays:
    """PNG images of 1,024 columns with one sample a row, pixel after pixel, and a JSON list of all labels."""
    from PIL import Image

    rows = []
    for content in files[:-1]:
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                if image.mode != "RGB" or image.width != 1024:
                    raise ValueError(f"an image is {image.mode}, {image.width} wide; needed: RGB, 1024 wide")
                rows.append(np.asarray(image).reshape(-1, 32, 32, 3))
        except OSError as error:  # Pillow's word for an image that is cut short
            raise ValueError(str(error)) from None
    return np.concatenate(rows), np.array(json.loads(files[-1]), np.int64)


def _pixels_last(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
