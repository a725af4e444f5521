"""Open a data set of either format, and refuse images that claim to be too large."""

import copyreg
import dataclasses
import os
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from .beton import open_beton
from .claims import MAX_GROWTH, MAX_PIXELS, are_too_many_pixels
from .dataset import DatasetFile
from .tar import open_tar


def open_dataset(path: str | os.PathLike[str], fields: Mapping[str, str] | None = None) -> DatasetFile:
    """Open a `.beton` with the fields `image` (RGB, raw or JPEG) and `label` (integer), or a `.tar` with its `.idx`.

    Args:
        path: the file; a name that ends in `.tar` is a tar. The file must not change while it is open; see
            `DatasetFile.check_in_place`.
        fields: our name of a field -> that of the file, for a `.beton` that others wrote, such as {"image": "img",
            "label": "target"}. Its further fields of numbers and arrays are in `DatasetFile.columns`, by their names.

    Returns:
        The data set, which holds one file descriptor and no copy of the pixels.

    Raises:
        FileNotFoundError: there is no such file, or a tar has no index.
        ValueError: the file is damaged or of another kind, or an image claims more pixels than its bytes can
            hold, or more than 178,956,970.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file: {path}; write one with `python convert/cifar.py`")
    before = os.stat(path)
    if fields is not None and path.endswith(".tar"):
        raise ValueError(f"fields are those of a .beton, {path} has none: leave them out")
    dataset = open_tar(path) if path.endswith(".tar") else open_beton(path, fields)
    dataset = dataclasses.replace(dataset, inode=(before.st_dev, before.st_ino))
    huge = are_too_many_pixels(dataset.heights, dataset.widths, dataset.sizes)
    if huge.any():
        sample = int(huge.argmax())
        height, width, size = dataset.heights[sample], dataset.widths[sample], dataset.sizes[sample]
        raise ValueError(
            f"{path}: the image of sample {sample} claims to have {height} x {width} pixels in {size:,} bytes, at most "
            f"{MAX_PIXELS} are allowed, and {MAX_GROWTH} bytes of them for each byte: make it smaller, or write the "
            "file again"
        )
    return dataset


def _reopened(path: str, digest: int, fields: Mapping[str, str] | None) -> DatasetFile:
    """What a pickled data set becomes.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset`; or the file now holds other samples than when it was pickled.
    """
    dataset = open_dataset(path, fields)
    if _digest(dataset) != digest:
        raise ValueError(f"{path} holds other samples than when it was pickled: open the new file itself")
    return dataset


def _reduced(dataset: DatasetFile) -> tuple[Callable[..., DatasetFile], tuple[object, ...]]:
    return _reopened, (os.path.abspath(dataset.path), _digest(dataset), dataset.fields)


def _digest(dataset: DatasetFile) -> int:
    """Tells apart two files by where their images lie, and by their labels; no pixel is read."""
    return zlib.crc32(np.stack([dataset.offsets, dataset.sizes, dataset.labels]).data)


copyreg.pickle(DatasetFile, _reduced)  # as its path: another process, and a copy, opens the file itself
