"""Converts mini-ImageNet, 60,000 images of 100 classes at 84 x 84: `python convert/mini_imagenet.py IMAGENET CSVS`.

IMAGENET is the folder of ImageNet's training set, of which only the 100 classes are needed, or one of images that were
made from it already; CSVS holds the few-shot lists train.csv, val.csv and test.csv. As in Arazo et al., "How important
is importance sampling for deep budgeted training?", 2021, the three are one data set for ordinary classification.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.command import run_command
from convert.terminal import print_summary, progress_bar
from convert.writers.split import finished


def convert_mini_imagenet(
    images: Path,
    lists: Path,
    root: Path = Path("data"),
    split: Literal["reference", "stratified"] = "reference",
    format: Literal["beton", "dali", "both"] = "beton",
) -> None:
    """Convert mini-ImageNet to ROOT/mini_imagenet: train and test files of raw images, and a manifest.

    When they are already there, nothing is done. The images take 1.3 GB, in memory too.

    Args:
        images: ImageNet's training set, a folder for each class such as n01532829; or a folder of images that are
            called as in the lists, of any size.
        lists: the folder that holds train.csv, val.csv and test.csv.
        root: the folder that holds all data sets.
        split: "reference" divides as Arazo et al.'s code does, at random with seed 42 (50,000 and 10,000 images,
            unequal over the classes); "stratified" takes 500 of each class for training and 100 for the test.
        format: .beton files; "dali" for .tar files with their .idx; or both.

    Raises:
        FileNotFoundError, ValueError: images or lists are missing, or an image cannot be read.
        ImportError: a package is not installed that the format needs.
        OSError: a file cannot be written.
    """
    folder, console = root / "mini_imagenet", Console(markup=False)
    note = f"84 x 84 by the mean over areas, split {split}: no checksum is published"
    manifest = finished(folder, format)
    if manifest is not None:
        if manifest.note != note:
            raise ValueError(f"{folder} holds another split ({manifest.note}): delete it to convert again")
        console.print(f"{folder} is already there; delete it to convert again", soft_wrap=True)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.mini_imagenet import SIDE, divided, find_files, read_lists, read_small
    from convert.verify import check_written
    from convert.writers.dataset import write_dataset

    listed = read_lists(lists)
    with console.status(f"looking through {images}"):
        files = find_files(images, listed)
    classes, labels = np.unique([image.label for image in listed], return_inverse=True)
    parts = dict(zip(("train", "test"), divided(labels, split == "stratified"), strict=True))
    splits = {name: (np.empty((len(ids), SIDE, SIDE, 3), np.uint8), labels[ids]) for name, ids in parts.items()}
    with ThreadPoolExecutor() as pool, progress_bar(console) as progress:
        task = progress.add_task("reading images", total=len(files))
        for name, ids in parts.items():
            for row, image in enumerate(pool.map(read_small, (files[i] for i in ids.tolist()))):
                splits[name][0][row] = image
                progress.advance(task)
    manifest = write_dataset(
        folder,
        "mini_imagenet",
        splits,
        tuple(classes.tolist()),
        format=format,
        source=images.resolve().name,
        verified=False,
        note=note,
        console=console,
    )
    print_summary(folder, manifest, console)
    check_written(folder, console)


if __name__ == "__main__":
    run_command(convert_mini_imagenet, as_positional=True)
