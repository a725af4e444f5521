"""Draws a data set of ten shapes, 32 x 32 RGB, that needs no network: `python convert/shapes.py`.

Each image shows one shape at its own place, size, angle and colour, over a background of gradient, stripes and noise,
with distracting blobs behind it and a line across. A network learns it, but not in the first epoch.

The draws are raw words of the counter-based Philox generator. Sample i depends on seed, split and i alone, so a longer
set begins with the shorter one. The float32 arithmetic of `shape_drawing` gives the same bytes on every machine.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.command import run_command
from convert.sources.shape_drawing import NUM_DRAWS, SHAPES, SIZE, draw
from convert.terminal import print_summary
from convert.writers.dataset import write_dataset
from convert.writers.split import finished

CLASSES = tuple(SHAPES)
_SPLITS = {"train": 0, "test": 1}
_CHUNK = 250  # samples drawn at a time, so that the temporaries stay small


def make_shapes(num_samples: int, seed: int = 0, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Draw `num_samples` images and their labels; a pure function of its arguments.

    Args:
        num_samples: N, at least 1.
        seed: 0 to 2^63 - 1.
        split: "train" or "test"; the two share no draws.

    Returns:
        images uint8 [N, 32, 32, 3] and labels int64 [N], positions in CLASSES, each class with probability 1/10.

    Raises:
        ValueError: an argument out of range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}, allowed: 1 or more")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed is {seed}, allowed: 0 to 2^63 - 1")
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}, allowed: {', '.join(_SPLITS)}")
    parameters, noise = (np.random.Philox(key=[seed, 2 * _SPLITS[split] + stream]) for stream in (0, 1))
    images = np.empty((num_samples, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(num_samples, np.int64)
    for start in range(0, num_samples, _CHUNK):
        rows = slice(start, min(start + _CHUNK, num_samples))
        count = rows.stop - rows.start
        words = parameters.random_raw(count * (NUM_DRAWS + 1)).reshape(count, NUM_DRAWS + 1)
        labels[rows] = ((words[:, 0] >> np.uint64(32)) * np.uint64(len(CLASSES))) >> np.uint64(32)
        uniform = (words[:, 1:] >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)  # exact in float32
        grain = noise.random_raw(count * SIZE * SIZE).astype("<u8").view(np.uint8).reshape(count, SIZE, SIZE, 8)
        images[rows] = draw(labels[rows], uniform, grain)
    return images, labels


def convert_shapes(root: Path = Path("data"), num_train: int = 20_000, num_test: int = 4_000) -> None:
    """Draw the data set of ten shapes and write it to ROOT/shapes: train.beton, test.beton and a manifest.

    When they are already there, nothing is done; a set of other sizes is replaced.

    Args:
        root: the folder that holds all data sets.
        num_train: images in train.beton.
        num_test: images in test.beton.

    Raises:
        ValueError: a number is less than 1.
        OSError: a file cannot be written.
    """
    console, folder, sizes = Console(markup=False), root / "shapes", {"train": num_train, "test": num_test}
    manifest = finished(folder, "beton")
    if manifest is not None and {name: split.num_samples for name, split in manifest.splits.items()} == sizes:
        console.print(f"{folder} is already there")
        return
    if manifest is not None:
        console.print(f"replacing {folder}, which holds other numbers of images", soft_wrap=True)
    splits = {split: make_shapes(count, split=split) for split, count in sizes.items()}
    manifest = write_dataset(
        folder,
        "shapes",
        splits,
        CLASSES,
        source="drawn by convert/shapes.py with seed 0",
        verified=False,
        note="procedural: there is no published copy to compare with",
        console=console,
    )
    print_summary(folder, manifest, console)


if __name__ == "__main__":
    run_command(convert_shapes)
