"""Runs on shapes: a small one, and one on data with planted wrong labels and near duplicates."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from convert.shapes import make_shapes
from convert.writers.dataset import write_dataset
from training.run import main

KINDS = (0, 3, 6, 8)  # disc, frame, cross, bar: told apart within a few epochs
CLASSES = ("disc", "frame", "cross", "<b>bar</b>")
TRAINING = {
    "model": "rebarnet",
    "width": 0.25,
    "budget": 1,
    "epochs": 9,
    "batch_size": 50,
    "lr": 1.25,
    "optimizer": "muon",
    "label_smoothing": 0.2,
    "size_schedule": "[]",
    "ema": 0.9,
    "backend": "auto",
    "precision": "fp32",  # on every machine
    "eval_every": 0,
}


class Planted(NamedTuple):
    """The folder of the data, of the run, and what was planted.

    Attributes:
        wrong: ids whose labels are wrong, int64.
        copies: name of a change -> pairs of ids, int64 [P, 2], of which the second is the first one changed.
        swapped: the pair of an exact copy with another label.
    """

    data: str
    run: str
    wrong: np.ndarray
    copies: dict[str, np.ndarray]
    swapped: tuple[int, int]


def drawn(num: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = make_shapes(num, split=split)
    kept = np.isin(labels, KINDS)
    return images[kept], np.searchsorted(KINDS, labels[kept])


def changed(images: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Name -> the same images, changed."""
    noisy = 0.85 * images + 20 + rng.integers(-8, 9, images.shape)
    return {
        "equal": images,
        "mirrored": images[:, :, ::-1],
        "brighter and noisy": noisy.clip(0, 255).astype(np.uint8),
        "shifted": np.pad(images, ((0, 0), (2, 0), (0, 2), (0, 0)), "edge")[:, :-2, 2:],
    }


@pytest.fixture(scope="package")
def planted(quick_args, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    images, labels = drawn(2600, "train")
    num, copies, extra = len(images), {}, []
    chosen = rng.choice(num, 40, replace=False)
    for part, name in enumerate(changed(images[:1], rng)):
        sources = chosen[10 * part : 10 * part + 10]
        copies[name] = np.stack([sources, num + 10 * part + np.arange(10)], axis=1)
        extra.append(changed(images[sources], rng)[name])
    images, labels = np.concatenate([images, *extra]), np.concatenate([labels, labels[chosen]])
    wrong = rng.choice(np.setdiff1d(np.arange(num), chosen), 40, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 4, 40)) % 4
    swapped = tuple(copies["equal"][0].tolist())
    labels[swapped[1]] = (labels[swapped[1]] + 1) % 4
    write_shapes(folder / "shapes", images, labels)
    assert main(quick_args(data=folder / "shapes", out=folder / "run", **TRAINING)) == 0
    return Planted(str(folder / "shapes"), str(folder / "run"), np.sort(wrong), copies, swapped)


def write_shapes(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    splits = {"train": (images, labels), "test": drawn(300, "test")}
    write_dataset(folder, "shapes", splits, CLASSES, source="drawn", verified=False)


@pytest.fixture(scope="package")
def small(quick_args, tmp_path_factory) -> Path:
    """The folder of a run of three epochs on some 200 images, the first of which is there twice; data/ lies in it."""
    folder = tmp_path_factory.mktemp("small") / "run"
    images, labels = drawn(500, "train")
    write_shapes(folder / "data", np.concatenate([images, images[:1]]), np.append(labels, labels[0]))
    assert main(quick_args(data=folder / "data", out=folder, width=0.25)) == 0
    return folder
