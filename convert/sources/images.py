"""Finds labelled images in a folder or a WebDataset tar and makes each a JPEG stream.

Knows where images lie and how they are encoded; must not know how they will be stored.
"""

import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from convert.writers.streams import Stream

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
SPLITS = ("train", "val", "test")


class Source(NamedTuple):
    """One image as it was found."""

    name: str  # what an error calls it
    read: Callable[[], bytes]
    label: int


@dataclass(frozen=True)
class Found:
    """Splits by name, each in the order of its ids, and the class names."""

    splits: dict[str, list[Source]]
    classes: tuple[str, ...]


def find(path: Path) -> Found:
    """Images of `path`/{train,val,test}/<class>/*, of `path`/<class>/* (one split, "train"), or of a tar.

    In a folder the classes are sorted by name and the ids run through sorted classes, then sorted file names; folders
    within a class belong to it. In a tar a sample is the members that differ in nothing but what follows the first dot
    of their name, one image and one `.cls` with the label in digits; ids run as the tar does.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: no images, or a tar without labels.
    """
    if path.is_dir():
        return _find_in_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such folder or tar: {path}")
    return _find_in_tar(path)


def _find_in_folder(path: Path) -> Found:
    folders = {split: path / split for split in SPLITS if (path / split).is_dir()} or {"train": path}
    if "train" not in folders:
        raise ValueError(f"{path} has {', '.join(folders)} but no train folder: the train split is needed")
    children = {split: [child for child in folder.iterdir() if child.is_dir()] for split, folder in folders.items()}
    classes = sorted({child.name for folder in children.values() for child in folder if child.name[0] != "."})
    splits = {}
    for split, folder in folders.items():
        splits[split] = [
            Source(str(file), file.read_bytes, label)
            for label, name in enumerate(classes)
            for file in sorted((folder / name).rglob("*"), key=lambda file: file.relative_to(path).parts)
            if file.suffix.lower() in ENDINGS and file.name[0] != "." and file.is_file()
        ]
        if not splits[split]:
            raise ValueError(f"{folder} holds no images: needed are <class>/* in it, ending in {' '.join(ENDINGS)}")
    return Found(splits, tuple(classes))


def _find_in_tar(path: Path) -> Found:
    parts: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                key, dot, extension = name.partition(".")
                if member.isreg() and dot:
                    parts.setdefault(folder + slash + key, {})[extension.lower()] = member
            end = archive.offset
        with open(path, "rb") as file:  # members also seem to end at a damaged header, or where the file is cut
            if os.pread(file.fileno(), tarfile.BLOCKSIZE, end) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it is cut or damaged at byte {end:,}")
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a whole tar ({error}); a packed one must be unpacked first") from None

    def content(member: tarfile.TarInfo) -> bytes:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), member.size, member.offset_data)

    sources = []
    for key, members in parts.items():
        image = next((member for ending, member in members.items() if f".{ending}" in ENDINGS), None)
        if image is None:
            continue
        label = content(members["cls"]).strip() if "cls" in members else b""
        if not label.isdigit() or len(label) > 6:
            needed = f"needed is a member {key}.cls with the number of its class, at most six digits"
            raise ValueError(f"{path}: the sample {key} has no label: {needed}")
        sources.append(Source(f"{path}: {image.name}", lambda member=image: content(member), int(label)))
    if not sources:
        raise ValueError(f"{path} holds no images: needed are members such as 0001.jpg with 0001.cls")
    return Found({"train": sources}, tuple(map(str, range(1 + max(source.label for source in sources)))))


def encode_all(sources: list[Source], max_side: int, quality: int, workers: int) -> Iterator[Stream]:
    """`encode` for each source, in order, `workers` at once; the first error ends it."""
    ahead: deque = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="rebar-encode") as pool:
        try:
            for source in sources:
                ahead.append(pool.submit(encode, source, max_side, quality))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def encode(source: Source, max_side: int, quality: int) -> Stream:
    """The JPEG stream of an image: its own bytes where they are an RGB JPEG that is small enough, else made by Pillow.

    Args:
        source: the image.
        max_side: pixels; an image whose longer side is larger is resized to it (Lanczos). 0 is no limit.
        quality: of the JPEG, 1 to 95.

    Raises:
        ValueError: the image cannot be read whole.
    """
    try:
        content = source.read()
        with Image.open(io.BytesIO(content)) as image:
            keep = image.format == "JPEG" and image.mode == "RGB" and not 0 < max_side < max(image.size)
            pixels = image.convert("RGB")
        if not keep:
            if 0 < max_side < max(pixels.size):
                size = (max(1, round(side * max_side / max(pixels.size))) for side in pixels.size)
                pixels = pixels.resize(tuple(size), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            pixels.save(buffer, "JPEG", quality=quality)
            content = buffer.getvalue()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{source.name} is not a whole image ({error}): mend or remove it") from None
    return Stream(content, pixels.height, pixels.width, np.array(pixels.histogram(), np.int64).reshape(3, 256))
