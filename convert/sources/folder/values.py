"""The values that pass between the parts of a conversion of someone's own images."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Place(NamedTuple):
    """Where the bytes of a file lie: a file of its own, or a part of a tar."""

    path: str
    offset: int
    size: int  # bytes

    def read(self, max_bytes: int | None = None) -> bytes:
        """The whole file, or its beginning.

        Raises:
            OSError: it cannot be read.
        """
        size = self.size if max_bytes is None else min(self.size, max_bytes)
        with open(self.path, "rb") as file:
            return os.pread(file.fileno(), size, self.offset)


class File(NamedTuple):
    """One file of a source."""

    parts: tuple[str, ...]  # its path in the source
    place: Place


class LabelledImage(NamedTuple):
    """One image as it was found."""

    name: str  # how an error names it
    read: Callable[[], bytes]  # reads the file
    label: int


class BrokenFile(NamedTuple):
    """A file that should be an image and is none, or that cannot be read whole."""

    name: str
    kind: str  # in words that are the same for all files of the kind


@dataclass(frozen=True)
class FoundImages:
    """All images of a data set, and what was left out of it.

    Attributes:
        splits: by split name, each in the order of its sample ids.
        classes: label k is classes[k].
        left_out: number of files by the reason why.
        broken: files that were found to be none of the images that they should be.
        notes: what a person should know of how images, classes and splits were taken; a sentence each.
    """

    splits: dict[str, list[LabelledImage]]
    classes: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter[str])
    broken: tuple[BrokenFile, ...] = ()
    notes: tuple[str, ...] = ()

    def without(self, bad: set[tuple[str, int]]) -> "FoundImages":
        """The same less some images, each given by its split and its place in that."""
        splits = {
            split: [image for i, image in enumerate(images) if (split, i) not in bad]
            for split, images in self.splits.items()
        }
        return replace(self, splits=splits)

    def counts(self) -> dict[str, list[int]]:
        """Number of images of each label, by split."""
        found = {split: [0] * len(self.classes) for split in self.splits}
        for split, images in self.splits.items():
            for image in images:
                found[split][image.label] += 1
        return found
