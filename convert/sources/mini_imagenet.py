"""Finds the 60,000 images of mini-ImageNet by the three lists of Ravi and Larochelle, and divides them for training.

Vinyals et al., "Matching networks for one shot learning", 2016; the lists are those of Ravi and Larochelle,
"Optimization as a model for few-shot learning", 2017. They name image number k of a class n0153282900000005.jpg: k = 5
of class n01532829, counted from 1 through the class's ImageNet files in the order of their numbers.
"""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from loaders.formats.claims import read_limited
from loaders.formats.pixels.image_file import decode_image
from loaders.formats.sentence import one_line

LISTS = ("train.csv", "val.csv", "test.csv")
ADDRESS = "github.com/twitter-research/meta-learning-lstm, folder data/miniImagenet"
SIDE = 84  # pixels
TRAINING = 5 / 6  # fraction of the images: 50,000 of 60,000
SEED = 42  # of Arazo et al.'s code
_MAX_LIST_BYTES = 1 << 24
_MAX_IMAGE_BYTES = 1 << 26
_FORMATS = ("JPEG", "PNG")
_NUMBERED = re.compile(r"(n\d{8})(\d{8})\.\w+")  # as the lists name images
_ENDINGS = (".jpeg", ".jpg", ".png")


class Listed(NamedTuple):
    """One image of the lists, in their order."""

    name: str
    label: str  # WordNet id of the class


def read_lists(folder: Path) -> list[Listed]:
    """Read train.csv, val.csv and test.csv one after the other: a heading, then `filename,label` in each line.

    Raises:
        FileNotFoundError: a list is missing; says where to get them.
        ValueError: a list is no such file, or names an image twice.
    """
    listed = []
    for name in LISTS:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: fetch {', '.join(LISTS)} from {ADDRESS}")
        text = read_limited(path, _MAX_LIST_BYTES).decode("utf-8", "replace")
        for number, row in enumerate(csv.reader(io.StringIO(text))):
            if number and len(row) != 2:
                raise ValueError(f"{path}, line {number + 1}, is {one_line(row)}, needed: filename,label")
            if number:
                listed.append(Listed(*(word.strip() for word in row)))
    if len({image.name for image in listed}) != len(listed):
        raise ValueError(f"the lists in {folder} name some images twice, needed: the lists of {ADDRESS}")
    if not listed:
        raise ValueError(f"the lists in {folder} name no images, needed: the lists of {ADDRESS}")
    return listed


def find_files(images: Path, listed: list[Listed]) -> list[Path]:
    """Find each listed image below `images`: by its name, or by its number in the folder of its class.

    Args:
        images: a folder of images called as in the lists, in folders or not; or ImageNet's training set, a folder for
            each class, such as n01532829/n01532829_37.JPEG.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an image is missing.
    """
    if not images.is_dir():
        raise FileNotFoundError(
            f"{images} does not exist: give ImageNet's training set (from image-net.org), a folder for each class"
        )
    wanted = {image.name for image in listed}
    by_name = {path.name: path for path in images.rglob("*") if path.name in wanted}
    if by_name:
        return _all_of(by_name, listed, images)
    by_class = {label: _in_order(images / label) for label in sorted({image.label for image in listed})}
    found = {}
    for name, label in listed:
        numbered = _NUMBERED.fullmatch(name)
        number = int(numbered[2]) if numbered and numbered[1] == label else 0
        if 1 <= number <= len(by_class[label]):
            found[name] = by_class[label][number - 1]
    return _all_of(found, listed, images)


def _in_order(folder: Path) -> list[Path]:
    """The images of an ImageNet class in the order of their numbers."""
    paths = folder.iterdir() if folder.is_dir() else ()
    numbered = ((re.search(r"_(\d+)\.\w+$", path.name), path) for path in paths if path.suffix.lower() in _ENDINGS)
    return [path for _, path in sorted((int(number[1]), path) for number, path in numbered if number)]


def _all_of(found: dict[str, Path], listed: list[Listed], images: Path) -> list[Path]:
    missing = [image.name for image in listed if image.name not in found]
    if missing:
        raise ValueError(
            f"{images} lacks {len(missing):,} of {len(listed):,} images, such as {one_line(missing[0], 80)}, needed: "
            "ImageNet's training set with all images of its classes, a folder for each"
        )
    return [found[image.name] for image in listed]


def read_small(path: Path) -> np.ndarray:
    """One image as uint8 [84, 84, 3]: each pixel the mean over its area, whatever the image's shape.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        image = decode_image(read_limited(path, _MAX_IMAGE_BYTES), _FORMATS).rgb
    except ValueError as error:
        raise ValueError(f"{path} cannot be used ({error}): get it again") from None
    return np.asarray(image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BOX))


def divided(labels_N: np.ndarray, stratified: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the training and of the test images, int64, in the order of their ids.

    Args:
        labels_N: of all images, in the order of the lists.
        stratified: five sixths of each class, in the order of the lists; otherwise what Arazo et al.'s code takes: the
            first five sixths of NumPy's permutation with seed 42, classes as they fall.
    """
    order = np.random.RandomState(SEED).permutation(len(labels_N))  # theirs, so that the images are
    if not stratified:
        count = round(TRAINING * len(order))
        return order[:count], order[count:]
    in_training = np.zeros(len(order), bool)
    for label in np.unique(labels_N):
        of_class = order[labels_N[order] == label]
        in_training[of_class[: round(TRAINING * len(of_class))]] = True
    return np.flatnonzero(in_training), np.flatnonzero(~in_training)
