"""Open a data set of either format, and refuse images that claim to be too large."""

import copyreg
import os
import zlib
from collections.abc import Callable

import numpy as np

from loaders.formats.beton import open_beton
from loaders.formats.dataset import CHANNELS, DatasetFile
from loaders.formats.tar import open_tar

# Of a compressed image, as in Pillow: a header of a few bytes may claim gigabytes of pixels.
MAX_PIXELS = 178_956_970


def open_dataset(path: str | os.PathLike[str]) -> DatasetFile:
    """Open a `.beton` with the fields `image` (RGB, raw or JPEG) and `label` (integer), or a `.tar` with its `.idx`.

    Args:
        path: the file; a name that ends in `.tar` is a tar. The file must not change while it is open.

    Returns:
        The data set, which holds one file descriptor and no copy of the pixels.

    Raises:
        FileNotFoundError: there is no such file, or a tar has no index.
        ValueError: the file is damaged or of another kind, or an image claims more than 178,956,970 pixels.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file: {path}; write one with `python convert/cifar.py`")
    dataset = open_tar(path) if path.endswith(".tar") else open_beton(path)
    pixels = dataset.heights * dataset.widths.astype(np.float64)
    huge = (pixels > MAX_PIXELS) & (dataset.sizes < CHANNELS * pixels)
    if huge.any():
        sample = int(huge.argmax())
        height, width = dataset.heights[sample], dataset.widths[sample]
        raise ValueError(
            f"{path}: the image of sample {sample} claims to have {height} x {width} pixels, at most {MAX_PIXELS} "
            "are allowed: make it smaller, or write the file again"
        )
    return dataset


def _reopened(path: str, digest: int) -> DatasetFile:
    """What a pickled data set becomes.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset`; or the file now holds other samples than when it was pickled.
    """
    dataset = open_dataset(path)
    if _digest(dataset) != digest:
        raise ValueError(f"{path} holds other samples than when it was pickled: open the new file itself")
    return dataset


def _reduced(dataset: DatasetFile) -> tuple[Callable[[str, int], DatasetFile], tuple[str, int]]:
    return _reopened, (os.path.abspath(dataset.path), _digest(dataset))


def _digest(dataset: DatasetFile) -> int:
    """Tells apart two files by where their images lie, and by their labels; no pixel is read."""
    return zlib.crc32(np.stack([dataset.offsets, dataset.sizes, dataset.labels]).data)


copyreg.pickle(DatasetFile, _reduced)  # as its path: another process, and a copy, opens the file itself
