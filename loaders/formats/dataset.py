"""A data set on disk as one value: for each sample id, where its image lies in the file, and its label."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CHANNELS = 3


@dataclass(frozen=True, eq=False)
class DatasetFile:
    """A data set on disk; sample id i is the same image and label in every format.

    Attributes:
        path: the file.
        kind: "raw"; "jpeg"; "mixed", raw pixels and JPEG; or "png", of a tar, where some may be JPEG.
        data: uint8 [file size], read-only memory map.
        offsets: int64 [N], the first byte of each image in `data`.
        sizes: int64 [N], the bytes of each image; H * W * 3 when raw.
        heights, widths: int64 [N], pixels.
        is_jpeg: bool [N].
        labels: int64 [N].
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

    def __post_init__(self):
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def num_samples(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, 3), or None when the images vary in size."""
        height, width = int(self.heights[0]), int(self.widths[0])
        same = (self.heights == height).all() and (self.widths == width).all()
        return (height, width, CHANNELS) if same else None

    @property
    def images(self) -> np.ndarray | None:
        """uint8 [N, H, W, 3], a view of the map without a copy, or None when the images do not lie back to back."""
        shape = self.image_shape
        if self.kind != "raw" or shape is None:
            return None
        start, size = self.offsets[0], self.sizes[0]
        if not np.array_equal(self.offsets, start + size * np.arange(self.num_samples)):
            return None
        return self.data[start : start + size * self.num_samples].reshape(self.num_samples, *shape)

    def bytes(self, sample: int) -> np.ndarray:
        """The stored bytes of one image: a uint8 view of the map, pixels [H * W * 3], or a JPEG or PNG stream."""
        if not 0 <= sample < self.num_samples:
            raise ValueError(f"{self.path}: sample {sample} is not in 0..{self.num_samples - 1}")
        return self.data[self.offsets[sample] : self.offsets[sample] + self.sizes[sample]]
