"""Finds labelled images in a folder or in a WebDataset tar."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from convert.sources.tar_file import list_members
from loaders.formats.sentence import one_line

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
SPLITS = ("train", "val", "test")


class LabelledImage(NamedTuple):
    """One image as it was found."""

    name: str  # how an error names it
    read: Callable[[], bytes]  # reads the file
    label: int


@dataclass(frozen=True)
class FoundImages:
    """All images of a data set."""

    splits: dict[str, list[LabelledImage]]  # by split name, each in the order of its sample ids
    classes: tuple[str, ...]  # label k is classes[k]


def find_images(path: Path) -> FoundImages:
    """Find the images of `path`/{train,val,test}/<class>/*, of `path`/<class>/* (one split, "train"), or of a tar.

    In a folder the classes are sorted by name, and the ids run through sorted classes, then sorted file names; folders
    within a class belong to it. In a tar the members of one sample have the same name up to its first dot: one image,
    and one `.cls` with the label in digits. The ids follow the order of the tar.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: it holds no images, lacks the train split, or is a damaged tar or one without labels.
    """
    if path.is_dir():
        return _find_in_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a folder of images or a tar")
    return _find_in_tar(path)


def _find_in_folder(path: Path) -> FoundImages:
    folders = {split: path / split for split in SPLITS if (path / split).is_dir()} or {"train": path}
    if "train" not in folders:
        raise ValueError(f"{path} has {' and '.join(folders)} but no train folder, and the train split is needed")
    class_folders = [child for folder in folders.values() for child in folder.iterdir() if child.is_dir()]
    classes = sorted({folder.name for folder in class_folders if folder.name[0] != "."})
    splits = {}
    for split, folder in folders.items():
        splits[split] = [
            LabelledImage(str(file), file.read_bytes, label)
            for label, name in enumerate(classes)
            for file in sorted((folder / name).rglob("*"), key=lambda file: file.relative_to(path).parts)
            if file.suffix.lower() in ENDINGS and file.name[0] != "." and file.is_file()
        ]
        if not splits[split]:
            raise ValueError(f"{folder} holds no images, needed: <class>/* in it, with the endings {' '.join(ENDINGS)}")
    return FoundImages(splits, tuple(classes))


def _find_in_tar(path: Path) -> FoundImages:
    parts: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in list_members(path):
        folder, slash, name = member.name.rpartition("/")
        key, dot, extension = name.partition(".")
        if dot:
            parts.setdefault(folder + slash + key, {})[extension.lower()] = member

    def content(member: tarfile.TarInfo) -> bytes:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), member.size, member.offset_data)  # as large as the tar at most

    sources = []
    for key, members in parts.items():
        image = next((member for ending, member in members.items() if f".{ending}" in ENDINGS), None)
        if image is None:
            continue
        label = content(members["cls"]).strip() if "cls" in members else b""
        key, name = one_line(key, 80), one_line(image.name, 80)
        if not label.isdigit() or len(label) > 6:
            needed = f"a member {key}.cls with the number of its class, at most six digits"
            raise ValueError(f"{path}: the sample {key} has no label, needed: {needed}")
        sources.append(LabelledImage(f"{path}: {name}", lambda member=image: content(member), int(label)))
    if not sources:
        raise ValueError(f"{path} holds no images, needed: members such as 0001.jpg and 0001.cls")
    return FoundImages({"train": sources}, tuple(map(str, range(1 + max(source.label for source in sources)))))
