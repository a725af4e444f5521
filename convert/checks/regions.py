"""Checksums of the regions of a file, so that two people can tell where their copies part."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loaders.formats.beton import FIELD, HEADER
from loaders.formats.open import open_dataset

_CHUNK = 1 << 24  # bytes hashed at once


class Region(NamedTuple):
    """A part of a file.

    Attributes:
        name: what lies there.
        num_bytes: how much of it.
        sha256: its hex checksum.
    """

    name: str
    num_bytes: int
    sha256: str


def regions(path: Path) -> list[Region]:
    """The regions of a `.beton` in their order, of a `.tar` its images and all else, of another file all of it.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    if path.suffix == ".beton":
        return _of_beton(path)
    if path.suffix == ".tar":
        dataset = open_dataset(path)
        order = np.argsort(dataset.offsets)
        starts, ends = dataset.offsets[order], (dataset.offsets + dataset.sizes)[order]
        between = zip(np.concatenate([[0], ends]), np.concatenate([starts, [len(dataset.data)]]), strict=True)
        images = _region("images", dataset.data, zip(starts, ends, strict=True))
        return [images, _region("headers and labels", dataset.data, between)]
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    return [_region("all of it", data, [(0, len(data))])]


def _of_beton(path: Path) -> list[Region]:
    dataset = open_dataset(path)
    data = dataset.data
    header = data[: HEADER.itemsize].view(HEADER)[0]
    ends = {
        "header and fields": HEADER.itemsize + int(header["num_fields"]) * FIELD.itemsize,
        "labels and places": int(dataset.offsets.min()),
        "images": int(header["alloc_table_ptr"]),
        "allocation table": len(data),
    }
    starts = [0, *ends.values()]
    return [_region(name, data, [(start, end)]) for start, (name, end) in zip(starts, ends.items(), strict=False)]


def _region(name: str, data: np.ndarray, spans) -> Region:
    digest, total = hashlib.sha256(), 0
    for start, end in spans:
        total += int(end - start)
        for first in range(int(start), int(end), _CHUNK):
            digest.update(data[first : min(first + _CHUNK, int(end))].data)
    return Region(name, total, digest.hexdigest())
