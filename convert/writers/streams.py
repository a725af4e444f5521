"""The form in which JPEG images reach the writers: their streams one after the other in a scratch file."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loaders.formats.atomic import file_errors, temporary_path


class Stream(NamedTuple):
    """One image as a JPEG stream."""

    content: bytes  # a JPEG file
    height: int  # pixels
    width: int
    histogram: np.ndarray  # int64 [3, 256]: number of pixels of each value, by channel


@dataclass(frozen=True, eq=False)
class Streams:
    """The images of one split; sample id i is data[offsets[i]:offsets[i + 1]].

    Attributes:
        data: uint8 [total bytes], read-only.
        offsets: int64 [N + 1].
        heights, widths, labels: int64 [N].
        histogram: int64 [3, 256], over all images.
    """

    data: np.ndarray
    offsets: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    labels: np.ndarray
    histogram: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> np.ndarray:
        """Return the stream of one sample, a uint8 view."""
        return self.data[self.offsets[sample] : self.offsets[sample + 1]]

    @property
    def digest(self) -> str:
        """The SHA-256 of all streams one after the other, as hex."""
        return hashlib.sha256(self.data.data).hexdigest()


@contextmanager
def spooled(path: Path, images: Iterable[Stream], labels: np.ndarray) -> Iterator[Streams]:
    """Write streams to a scratch file beside `path`, yield them as `Streams`, and remove the file at the end.

    Args:
        path: the scratch file has this name with a dot before and the process id behind.
        images: the streams, which may be made while they are asked for.
        labels: integers [N], one per stream.

    Raises:
        OSError: the disk is full or the file cannot be written.
    """
    sizes, heights, widths, histogram = [], [], [], np.zeros((3, 256), np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with file_errors(path, temporary), open(temporary, "wb") as file:
            for image in images:
                file.write(image.content)
                sizes.append(len(image.content))
                heights.append(image.height)
                widths.append(image.width)
                histogram += image.histogram
        data = np.memmap(temporary, np.uint8, "r").view(np.ndarray)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        yield Streams(data, offsets, np.array(heights), np.array(widths), np.asarray(labels, np.int64), histogram)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
