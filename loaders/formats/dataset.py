"""A data set on disk as one value: for each sample id, where its image lies in the file, and its label."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

CHANNELS = 3


@dataclass(frozen=True, eq=False)
class DatasetFile:
    """An open data set. Sample id i is the same image and label in every format.

    Attributes:
        path: the file.
        kind: "raw", "jpeg", "mixed" (raw pixels and JPEG), or "png" (PNG, and maybe JPEG; only in a `.tar`).
        data: uint8 [file size], a read-only memory map of the file.
        offsets: int64 [N], index in `data` of the first byte of each image.
        sizes: int64 [N], number of bytes of each image; H * W * 3 when raw.
        heights, widths: int64 [N], in pixels.
        is_jpeg: bool [N].
        labels: int64 [N].
        inode: device and number of the file when it was opened; None where nobody watches it.
    """

    path: str
    kind: str
    data: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    heights: np.ndarray = field(repr=False)
    widths: np.ndarray = field(repr=False)
    is_jpeg: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    inode: tuple[int, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, 3), or None when the images vary in size."""
        height, width = int(self.heights[0]), int(self.widths[0])
        same = (self.heights == height).all() and (self.widths == width).all()
        return (height, width, CHANNELS) if same else None

    @property
    def images(self) -> np.ndarray | None:
        """uint8 [N, H, W, 3], a view of `data`; None unless all are raw, of one size, and lie back to back by id."""
        shape = self.image_shape
        if self.kind != "raw" or shape is None:
            return None
        start, size = self.offsets[0], self.sizes[0]
        if not np.array_equal(self.offsets, start + size * np.arange(self.num_samples)):
            return None
        return self.data[start : start + size * self.num_samples].reshape(self.num_samples, *shape)

    def check_in_place(self) -> None:
        """Refuse to go on where the file was cut or replaced since it was opened: one `stat`, a few microseconds.

        A read behind the end of a file that was cut ends the program with SIGBUS, which Python cannot catch. So every
        backend asks this before each batch. A cut between the question and the read is not seen. A file that is
        deleted stays readable.

        Raises:
            ValueError: says what happened.
        """
        if self.inode is None:
            return
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) != self.inode:
            raise ValueError(f"{self.path} was replaced by another file while it was read: start again")
        if found.st_size < len(self.data):
            raise ValueError(
                f"{self.path} was cut from {len(self.data):,} to {found.st_size:,} bytes while it was read: convert "
                "the data again, then continue"
            )

    def bytes(self, sample: int) -> np.ndarray:
        """The stored bytes of one image: raw pixels [H * W * 3], or a JPEG or PNG stream; a uint8 view of `data`.

        Raises:
            ValueError: there is no such sample.
        """
        if not 0 <= sample < self.num_samples:
            raise ValueError(f"{self.path}: sample {sample} is not in 0..{self.num_samples - 1}")
        return self.data[self.offsets[sample] : self.offsets[sample] + self.sizes[sample]]
