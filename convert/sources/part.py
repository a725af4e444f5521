"""One part of a data set: a slice of the images of every split, by which a job array converts a large one."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple, Protocol, TypeVar


class Image(Protocol):
    """What a part needs to know of an image."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> int: ...


AnyImage = TypeVar("AnyImage", bound=Image)


class Part(NamedTuple):
    """The `number`-th of `of` parts, counted from 1, such as "3/16"."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """Of its folder, and the stem of its files: names sort by number."""
        return f"part-{self.number:05d}-of-{self.of:05d}"


MAX_PARTS = 9_999


def parse_part(text: str) -> Part:
    """Read "3/16".

    Raises:
        ValueError: it is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    part = Part(*map(int, found.groups())) if found else Part(0, 0)
    if not 1 <= part.number <= part.of:
        raise ValueError(f"--part is {text!r}, allowed: such as 3/16, the third of sixteen; at most {MAX_PARTS} parts")
    return part


def slice_part(splits: Mapping[str, Sequence[AnyImage]], part: Part) -> dict[str, list[AnyImage]]:
    """The images of one part: of every split consecutive ones, as many as of any other part, to within one.

    Args:
        splits: all images by split name, each in the order of its ids. The ids run through the parts in order.

    Raises:
        ValueError: a split has fewer images than there are parts.
    """
    for split, images in splits.items():
        if len(images) < part.of:
            raise ValueError(f"--part is {part}, but the split {split} has {len(images)} images only: use fewer parts")
    return {
        split: list(images[len(images) * (part.number - 1) // part.of : len(images) * part.number // part.of])
        for split, images in splits.items()
    }


def listing_digest(splits: Mapping[str, Sequence[Image]]) -> str:
    """Tells whether two machines see the same images in the same order: the SHA-256 of all names and labels, as hex.

    Folders are left out, which may lie elsewhere on another machine.
    """
    digest = hashlib.sha256()
    for split, images in splits.items():
        digest.update(f"{split} {len(images)}\n".encode())
        for image in images:
            digest.update(f"{image.label} {PurePath(image.name).name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
