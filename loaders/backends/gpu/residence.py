"""The images of a data set in a device's memory: whether they fit, and the one copy that all loaders of a file use."""

import os
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch

from ...formats.dataset import DatasetFile

_CHUNK = 1 << 26  # bytes on their way at once

_State = tuple[str, int, int]  # path, time in ns and size in bytes of a file
_Identity = tuple[tuple[_State, ...], torch.device]  # of all files of a data set, and where their images are
# Images that some loader holds; training, its last epochs without mixing and its statistics read one file.
_held: WeakValueDictionary[_Identity, torch.Tensor] = WeakValueDictionary()


class Resident(NamedTuple):
    """Images on a device.

    Attributes:
        data: uint8 [num_bytes], on the device.
        offsets: int64 [N], on the host: the first byte of each image in `data`.
    """

    data: torch.Tensor
    offsets: np.ndarray


def num_bytes(dataset: DatasetFile) -> int:
    """Count the bytes from the first image to the end of the last one, what lies between included."""
    first, last = _range(dataset)
    return last - first


def too_large(dataset: DatasetFile, device: torch.device) -> str | None:
    """Say why the images should not lie in the device's memory (they need more than half of what is free), or None."""
    if device.type != "cuda" or _identity(dataset, device) in _held:
        return None
    size, (free, _) = num_bytes(dataset), torch.cuda.mem_get_info(device)
    if size <= free // 2:
        return None
    return f"the images' {size / 1e9:.1f} GB are more than half of the {free / 1e9:.1f} GB that are free on {device}"


def resident(dataset: DatasetFile, device: torch.device) -> Resident:
    """Copy the images to the device, unless a loader of this process has them there already."""
    first, last = _range(dataset)
    identity = _identity(dataset, device)
    data = _held.get(identity)
    if data is None:
        dataset.touch()
        data = _held[identity] = _copied(dataset.data[first:last], device)
    return Resident(data, dataset.offsets - first)


def _range(dataset: DatasetFile) -> tuple[int, int]:
    return int(dataset.offsets.min()), int((dataset.offsets + dataset.sizes).max())


def _identity(dataset: DatasetFile, device: torch.device) -> _Identity:
    states = [(os.path.realpath(path), os.stat(path)) for path in dataset.paths()]
    return tuple((path, status.st_mtime_ns, status.st_size) for path, status in states), device


def _copied(source: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy through one page-locked buffer: the file's own memory is neither writable nor page-locked."""
    data = torch.empty(len(source), dtype=torch.uint8, device=device)
    buffer = torch.empty(min(_CHUNK, len(source)), dtype=torch.uint8, pin_memory=device.type == "cuda")
    for start in range(0, len(source), _CHUNK):
        part = buffer[: len(source) - start]
        np.copyto(part.numpy(), source[start : start + _CHUNK])
        data[start : start + _CHUNK].copy_(part)
    return data
