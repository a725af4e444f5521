"""Reads images of 32 x 32 from `train/<class>/*` and `test/<class>/*`, with the class names of a known data set."""

from pathlib import Path

import numpy as np

from convert.sources.folder.names import is_skipped
from convert.writers.arrays import Arrays
from loaders.formats.claims import read_limited
from loaders.formats.pixels.image_file import decode_image

SIZE = 32
MAX_FILE_BYTES = 1 << 20
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_image_folder(path: Path, classes: tuple[str, ...]) -> dict[str, Arrays]:
    """Return both splits; ids run through the class folders in the order of `classes`, then sorted file names.

    Args:
        path: the folder that holds `train` and `test`.
        classes: the names of the class folders; label k is `classes[k]`.

    Raises:
        ValueError: a split is missing or empty, a class folder has an unknown name, a file is not an image or lies
            beside the class folders, or an image is not 32 x 32.
    """
    return {split: _read_split(path / split, classes) for split in ("train", "test")}


def _read_split(folder: Path, classes: tuple[str, ...]) -> Arrays:
    names = sorted(child.name for child in folder.iterdir() if _is_class(child)) if folder.is_dir() else []
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(f"{folder} has class folders {', '.join(unknown[:5])}, allowed: {', '.join(classes)}")
    files = [
        (label, file)
        for label, name in enumerate(classes)
        if name in names
        for file in sorted((folder / name).iterdir())
        if not is_skipped(file.name)
    ]
    strange = [file for _, file in files if file.suffix.lower() not in _ENDINGS]
    if folder.is_dir():
        strange += [child for child in folder.iterdir() if not child.is_dir() and not is_skipped(child.name)]
    if strange:
        raise ValueError(
            f"{min(strange)} is not an image in a class folder, needed: <class>/* with {', '.join(_ENDINGS)} only; "
            "remove it, or convert the folder with convert/folder.py"
        )
    if not files:
        raise ValueError(f"{folder} holds no images, needed: <class>/*.png or *.jpg in it")
    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    for row, (_, file) in enumerate(files):
        try:
            image = decode_image(read_limited(file, MAX_FILE_BYTES), ("PNG", "JPEG", "BMP", "WEBP")).rgb
        except ValueError as error:
            raise ValueError(f"{file} cannot be used: {error}") from None
        if image.size != (SIZE, SIZE):
            raise ValueError(f"{file} is {image.width} x {image.height}, needed: {SIZE} x {SIZE}")
        images[row] = np.asarray(image)
    return images, np.array([label for label, _ in files], np.int64)


def _is_class(path: Path) -> bool:
    return path.is_dir() and not is_skipped(path.name)
