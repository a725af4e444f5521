"""Makes a smaller, shrunk, repeated or mislabelled copy of a converted data set: `python convert/derive.py SOURCE OUT`.

Such copies are the controls of a study: in a training set that consists mostly of repeats, choosing samples must win;
in one with wrong labels, choosing those that the network gets wrong must lose. All draws are raw words of the
counter-based Philox generator, a pure function of the seed. Other splits keep all their images and labels.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image
from rich.console import Console

from convert.command import run_command
from convert.terminal import print_summary
from convert.writers.arrays import Arrays
from convert.writers.dataset import write_dataset
from convert.writers.split import finished
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset

_SUBSET, _REPEATED, _ORDER, _WRONG, _LABELS = range(5)  # streams of random words


def derive(
    source: Path,
    out: Path,
    samples: int | None = None,
    size: int | None = None,
    repeats: float = 0.0,
    repeated: float = 0.01,
    wrong_labels: float = 0.0,
    seed: int = 0,
) -> None:
    """Write a copy of a data set of raw images of one size, whose training set is smaller, or worse on purpose.

    When it is already there, nothing is done.

    Args:
        source: folder of a converted data set (train.beton, test.beton, manifest.json).
        out: folder of the copy.
        samples: distinct training images that are kept, as many of each class as it has a part in the whole; all when
            not given.
        size: height and width to which images are reduced, by the mean over areas; their own when not given.
        repeats: fraction of the copy's training set that is copies of a few images.
        repeated: those few, as a fraction of the distinct images.
        wrong_labels: fraction of the copy's training set whose label is replaced by another class's.
        seed: of all draws.

    Raises:
        ValueError: a number out of range, or images of several sizes or compressed ones.
        FileNotFoundError: there is no such data set.
        OSError: a file cannot be written.
    """
    _check(samples, size, repeats, repeated, wrong_labels, seed)
    console = Console(markup=False)
    manifest = read_manifest(source)
    settings = {"samples": samples, "size": size, "repeats": repeats, "repeated": repeated if repeats else None}
    settings |= {"wrong_labels": wrong_labels, "seed": seed}
    told = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
    note = f"derived from {manifest.name} ({manifest.splits['train'].pixels_sha256[:16]}): {told or 'a plain copy'}"
    earlier = finished(out, "beton")
    if earlier is not None:
        if earlier.note != note:
            raise ValueError(f"{out} holds another data set ({earlier.note or earlier.name}): choose another OUT")
        console.print(f"{out} is already there")
        return
    if wrong_labels and len(manifest.classes) < 2:
        raise ValueError(f"--wrong_labels needs two classes or more, and {source} has {len(manifest.classes)}")
    splits = {split: _read(source / f"{split}.beton") for split in manifest.splits}
    train = choose(*splits["train"], samples, seed)
    train = repeat(shrink(train, size), repeats, repeated, seed)
    train = train[0], mislabel(train[1], len(manifest.classes), wrong_labels, seed)
    others = {split: shrink(images, size) for split, images in splits.items() if split != "train"}
    written = write_dataset(
        out,
        out.name,
        {"train": train, **others},
        manifest.classes,
        source=str(source),
        verified=False,
        note=note,
        console=console,
    )
    print_summary(out, written, console)


def choose(images_NHWC: np.ndarray, labels_N: np.ndarray, samples: int | None, seed: int) -> Arrays:
    """The chosen training images in the order of their ids: of each class its part of `samples`, rounded fairly.

    Raises:
        ValueError: there are fewer images.
    """
    if samples is None:
        return images_NHWC, labels_N
    if samples > len(labels_N):
        raise ValueError(f"--samples is {samples:,}, but there are {len(labels_N):,} training images")
    by_class = np.argsort(_words(seed, _SUBSET, len(labels_N)), kind="stable")
    by_class = by_class[np.argsort(labels_N[by_class], kind="stable")]  # in random order within a class
    # Positions that are evenly spread over that order take of each class its part, to within one image.
    kept = by_class[(2 * np.arange(samples) + 1) * len(labels_N) // (2 * samples)]
    kept.sort()
    return images_NHWC[kept], labels_N[kept]


def shrink(images: Arrays, size: int | None) -> Arrays:
    """Images [N, size, size, C], each pixel the mean over its area.

    Raises:
        ValueError: they are smaller than that.
    """
    images_NHWC, labels_N = images
    height, width = images_NHWC.shape[1:3]
    if size is None or (height, width) == (size, size):
        return images
    if size > min(height, width):
        raise ValueError(f"--size is {size}, but the images have {height} x {width} pixels: choose a smaller size")
    flat = images_NHWC[..., 0] if images_NHWC.shape[-1] == 1 else images_NHWC  # Pillow knows grey as [H, W]
    small = [Image.fromarray(image).resize((size, size), Image.Resampling.BOX) for image in flat]
    return np.stack([np.asarray(image) for image in small]).reshape(-1, size, size, images_NHWC.shape[-1]), labels_N


def repeat(images: Arrays, repeats: float, repeated: float, seed: int) -> Arrays:
    """The same images and copies of a few of them, in random order; copies are the fraction `repeats` of the result."""
    images_NHWC, labels_N = images
    n = len(labels_N)
    num_copies = round(n * repeats / (1 - repeats))
    if not num_copies:
        return images
    few = np.argsort(_words(seed, _REPEATED, n), kind="stable")[: max(1, round(repeated * n))]
    ids = np.concatenate([np.arange(n), np.resize(few, num_copies)])
    ids = ids[np.argsort(_words(seed, _ORDER, len(ids)), kind="stable")]
    return images_NHWC[ids], labels_N[ids]


def mislabel(labels_N: np.ndarray, num_classes: int, fraction: float, seed: int) -> np.ndarray:
    """Labels of which floor(fraction N) are replaced, each by another class with equal chances."""
    wrong = np.argsort(_words(seed, _WRONG, len(labels_N)), kind="stable")[: int(fraction * len(labels_N))]
    labels_N = labels_N.copy()
    steps = _words(seed, _LABELS, len(labels_N))[wrong] % np.uint64(max(1, num_classes - 1))
    labels_N[wrong] = (labels_N[wrong] + 1 + steps.astype(np.int64)) % num_classes
    return labels_N


def _check(
    samples: int | None, size: int | None, repeats: float, repeated: float, wrong_labels: float, seed: int
) -> None:
    for name, value in (("samples", samples), ("size", size)):
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}, allowed: 1 or more")
    for name, value in (("repeats", repeats), ("wrong_labels", wrong_labels)):
        if not 0 <= value < 1:
            raise ValueError(f"--{name} is {value}, allowed: a fraction of at least 0 and below 1")
    if not 0 < repeated <= 1:
        raise ValueError(f"--repeated is {repeated}, allowed: a fraction above 0 and up to 1")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"--seed is {seed}, allowed: 0 to 2^63 - 1")


def _read(path: Path) -> Arrays:
    dataset = open_dataset(path)
    if dataset.kind != "raw" or dataset.image_shape is None:
        raise ValueError(
            f"{path} holds {dataset.kind} images, maybe of several sizes: only raw ones of one size can be"
        )
    shape = dataset.image_shape
    images = dataset.images
    if images is None:
        images = np.stack([dataset.bytes(sample).reshape(shape) for sample in range(dataset.num_samples)])
    return images, np.asarray(dataset.labels)


def _words(seed: int, stream: int, num: int) -> np.ndarray:
    """Random words uint64 [num] of one purpose."""
    return np.random.Philox(key=[seed, stream]).random_raw(num)


if __name__ == "__main__":
    run_command(derive, as_positional=True)
