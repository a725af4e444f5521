"""Reads images of 32 x 32 from `train/<class>/*` and `test/<class>/*`, with the class names of a known data set."""

from pathlib import Path

import numpy as np

from convert.writers.arrays import Arrays

SIZE = 32
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_image_folder(path: Path, classes: tuple[str, ...]) -> dict[str, Arrays]:
    """Return both splits; ids run through the class folders in the order of `classes`, then sorted file names.

    Args:
        path: the folder that holds `train` and `test`.
        classes: the names of the class folders; label k is `classes[k]`.

    Raises:
        ValueError: a split is missing or empty, a class folder has an unknown name, or an image is not 32 x 32.
    """
    return {split: _read_split(path / split, classes) for split in ("train", "test")}


def _read_split(folder: Path, classes: tuple[str, ...]) -> Arrays:
    from PIL import Image, UnidentifiedImageError

    names = sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(f"{folder} has class folders {', '.join(unknown[:5])}, allowed: {', '.join(classes)}")
    files = [
        (label, file)
        for label, name in enumerate(classes)
        if name in names
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in _ENDINGS
    ]
    if not files:
        raise ValueError(f"{folder} holds no images, needed: <class>/*.png or *.jpg in it")
    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    for row, (_, file) in enumerate(files):
        try:
            with Image.open(file, formats=["PNG", "JPEG", "BMP", "WEBP"]) as image:
                if image.size != (SIZE, SIZE):
                    raise ValueError(f"{file} is {image.width} x {image.height}, needed: {SIZE} x {SIZE}")
                images[row] = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{file} is not a whole image ({error})") from None
    return images, np.array([label for label, _ in files], np.int64)
