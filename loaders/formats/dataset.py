"""A data set on disk as one value: for each sample id, where its image lies in the file, and its label."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .column import Column
from .manifest import manifest_near
from .pixels.image_file import decode_image

CHANNELS = 3
"""Of an image, unless its file says that it has one."""


@dataclass(frozen=True, eq=False)
class DatasetFile:
    """An open data set. Sample id i is the same image and label in every format.

    Attributes:
        path: the file.
        kind: "raw", "jpeg", "mixed" (raw pixels and JPEG), or "png" (PNG or WebP, and maybe JPEG; only in a `.tar`).
        data: uint8 [file size], a read-only memory map of the file.
        offsets: int64 [N], index in `data` of the first byte of each image.
        sizes: int64 [N], number of bytes of each image; H * W * C when raw.
        heights, widths: int64 [N], in pixels.
        is_jpeg: bool [N].
        labels: int64 [N].
        columns: further fields of a `.beton`, numbers and arrays, by name.
        fields: our names of the file's fields, where they differ.
        inode: device and number of the file when it was opened; None where nobody watches it.
        channels: C, 3; or 1 where all images are raw and grey.
        absolute: `paths()` from the root, as they were when the files were opened: the working directory may change.
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
    columns: Mapping[str, Column] = field(default_factory=dict[str, Column], repr=False)
    fields: Mapping[str, str] | None = field(default=None, repr=False)
    inode: tuple[int, int] | None = field(default=None, repr=False)
    channels: int = CHANNELS
    absolute: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.absolute:
            object.__setattr__(self, "absolute", tuple(map(os.path.abspath, self.paths())))
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        """Number of samples, N."""
        return self.num_samples

    def __getitem__(self, sample: int) -> tuple[np.ndarray, int]:
        """One image, uint8 [H, W, C], and its label: for a look, or for a torch `DataLoader`.

        Raises:
            IndexError: there is no such sample; a negative one counts from the end.
            ValueError: the image cannot be decoded.
        """
        index = sample + self.num_samples if sample < 0 else sample
        if not 0 <= index < self.num_samples:
            raise IndexError(f"{self.path}: sample {sample} is not in 0..{self.num_samples - 1}")
        stored, (height, width) = self.bytes(index), (int(self.heights[index]), int(self.widths[index]))
        if self.kind == "raw" or (self.kind == "mixed" and not self.is_jpeg[index]):
            return stored.reshape(height, width, self.channels), int(self.labels[index])
        try:
            image = decode_image(stored.tobytes(), ("JPEG", "PNG", "WEBP"))
        except ValueError as error:
            raise ValueError(
                f"{self.file_of(index)}: the image of sample {index} cannot be read, {error}: convert again"
            ) from None
        return np.asarray(image.rgb), int(self.labels[index])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The name of each label, from the `manifest.json` beside the file, or beside the folder of a shard; None where
        there is none of this file.

        Raises:
            ValueError: the manifest is damaged.
        """
        folder, name = os.path.split(self.absolute[0])
        near = manifest_near(folder)
        if near is None:
            return None
        manifest, prefix = near
        return manifest.classes if any(prefix + name in split.files for split in manifest.splits.values()) else None

    @property
    def num_samples(self) -> int:
        """Number of samples, N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C), or None when the images vary in size."""
        height, width = int(self.heights[0]), int(self.widths[0])
        same = (self.heights == height).all() and (self.widths == width).all()
        return (height, width, self.channels) if same else None

    @property
    def images(self) -> np.ndarray | None:
        """uint8 [N, H, W, C], a view of `data`; None unless all are raw, of one size, and lie back to back by id."""
        shape = self.image_shape
        if self.kind != "raw" or shape is None:
            return None
        start, size = self.offsets[0], self.sizes[0]
        if not np.array_equal(self.offsets, start + size * np.arange(self.num_samples)):
            return None
        return self.data[start : start + size * self.num_samples].reshape(self.num_samples, *shape)

    def paths(self) -> tuple[str, ...]:
        """The one file; of shards all, in the order of the ids."""
        return (self.path,)

    def file_of(self, sample: int) -> str:
        """The path of the file that holds a sample, for messages."""
        return self.path

    def touch(self, ids: np.ndarray | None = None) -> None:
        """Make `data` readable where these samples lie, int64 [K], or everywhere. In a single file it always is."""

    def check_in_place(self, ids: np.ndarray | None = None) -> None:
        """Refuse to go on where the file was cut or replaced since it was opened: one `stat`, a few microseconds.

        A read behind the end of a file that was cut ends the program with SIGBUS, which Python cannot catch. So every
        backend asks this before each batch. A cut between the question and the read is not seen. A file that is
        deleted stays readable.

        Raises:
            ValueError: says what happened.
        """
        check_unchanged(self.path, self.inode, len(self.data), self.absolute[0])

    def bytes(self, sample: int) -> np.ndarray:
        """The stored bytes of one image: raw pixels [H * W * C], or a JPEG or PNG stream; a uint8 view of `data`.

        Raises:
            ValueError: there is no such sample.
        """
        if not 0 <= sample < self.num_samples:
            raise ValueError(f"{self.path}: sample {sample} is not in 0..{self.num_samples - 1}")
        return self.data[self.offsets[sample] : self.offsets[sample] + self.sizes[sample]]


def check_unchanged(path: str, inode: tuple[int, int] | None, num_bytes: int, absolute: str) -> None:
    """Refuse a file that was cut or replaced since it was opened; one that is deleted is passed over.

    Args:
        path: the file's name, for messages.
        inode: device and number of the file when it was opened; None where nobody watches it.
        num_bytes: its length then.
        absolute: its name from the root, by which it is found.

    Raises:
        ValueError: says what happened.
    """
    if inode is None:
        return
    try:
        found = os.stat(absolute)
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) != inode:
        raise ValueError(f"{path} was replaced by another file while it was read: start again")
    if found.st_size < num_bytes:
        raise ValueError(
            f"{path} was cut from {num_bytes:,} to {found.st_size:,} bytes while it was read: convert the data again, "
            "then continue"
        )
