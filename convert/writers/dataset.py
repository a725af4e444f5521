"""Writes a whole data set into a folder: the files of every split and, last of all, the manifest."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from convert.terminal import progress_bar
from convert.writers.arrays import Arrays, check_arrays, check_labels
from convert.writers.exchange import exchanging
from convert.writers.part_file import PartStamp, write_part_file
from convert.writers.split import FORMATS, whole_manifest, write_split
from convert.writers.streams import Stream, spooled
from loaders.formats.atomic import remove_leftovers
from loaders.formats.manifest import (
    FILE_NAME,
    Manifest,
    channel_statistics,
    histogram_statistics,
    labels_digest,
    pixels_digest,
    write_manifest,
)

Inventory = dict[str, Any] | Callable[[], dict[str, Any]] | None

# What a conversion of version 0.1 wrote, scratch files included.
_NAMES = rf"{re.escape(FILE_NAME)}|[^.]+(\.({'|'.join(FORMATS['both'])}))?"


def write_dataset(
    folder: Path,
    name: str,
    splits: dict[str, Arrays],
    classes: tuple[str, ...],
    *,
    format: str = "beton",
    source: str,
    verified: bool,
    note: str = "",
    inventory: Inventory = None,
    console: Console | None = None,
) -> Manifest:
    """Write raw images of one size as `folder/{split}.*`, then `folder/manifest.json`, and return the manifest.

    A data set that is there already stays whole until this one is. Then its files of another format stay when they hold
    the same samples, else they go.

    Args:
        folder: where the files go; made when absent.
        name: of the data set.
        splits: images uint8 [N, H, W, 3] or [N, H, W, 1] and labels integers [N] by split name; must hold "train",
            whose statistics the manifest states.
        classes: label k is `classes[k]`.
        format: "beton", "dali" (a `.tar` and its `.idx`) or "both".
        source, verified, note: as in `Manifest`.
        inventory: as in `Manifest`, or a function that is called for it when all images are written.
        console: where progress is shown; None shows nothing.

    Raises:
        ValueError: an array has another shape or dtype, or a label names no class.
        BlockingIOError: another process writes to the folder.
        OSError: a file cannot be written.
    """
    for split, (images, labels) in splits.items():
        _, labels = check_arrays(images, labels)
        check_labels(labels, len(classes), split)
    with _exchanging(folder, console) as new:
        earlier, written = whole_manifest(folder), {}
        num_samples = sum(len(labels) for _, labels in splits.values()) * _num_formats(format)
        with progress_bar(console) as progress:
            task = progress.add_task(f"writing {name}", total=num_samples)
            for split, (images, labels) in splits.items():
                written[split] = write_split(
                    new,
                    split,
                    (images, labels),
                    (pixels_digest(images), labels_digest(labels, len(classes))),
                    format,
                    earlier=earlier,
                    on_samples=lambda count: progress.advance(task, count),
                )
        images, _ = splits["train"]
        mean, std = channel_statistics(images)
        shape = tuple(images.shape[1:])
        manifest = Manifest(name, shape, classes, mean, std, source, verified, note, written, _made(inventory))
        write_manifest(new, manifest)
        return manifest


def write_jpeg_dataset(
    folder: Path,
    splits: Mapping[str, tuple[Iterable[Stream], list[int]]],
    classes: tuple[str, ...],
    *,
    format: str,
    source: str,
    note: str,
    inventory: Inventory = None,
    part: PartStamp | None = None,
    console: Console | None = None,
) -> Manifest:
    """Write JPEG images of any size as `folder/{split}.*`, then `folder/manifest.json`, and return the manifest.

    Args:
        folder: where the files go; its name is the name of the data set.
        splits: the images, which may be made while they are asked for, and their labels, by split name; must hold
            "train", whose statistics the manifest states.
        classes, format, source, note, inventory, console: as in `write_dataset`.
        part: which part of a data set this is; `part.json` says so beside the manifest.

    Raises:
        ValueError, OSError: as `write_dataset` does, and whatever the iteration over the images raises.
    """
    for split, (_, labels) in splits.items():
        check_labels(np.array(labels, np.int64), len(classes), split)
    with _exchanging(folder, console) as new:
        earlier, written, histograms, sizes = whole_manifest(folder), {}, {}, set()
        # Each image is counted once when it is encoded and once for each format.
        num_steps = sum(len(labels) for _, labels in splits.values()) * (1 + _num_formats(format))
        with progress_bar(console) as progress:
            task = progress.add_task(f"writing {folder.name}", total=num_steps)

            def counted(images: Iterable[Stream]) -> Iterator[Stream]:
                for image in images:
                    yield image
                    progress.advance(task)

            for split, (images, labels) in splits.items():
                with spooled(new / split, counted(images), np.array(labels, np.int64)) as streams:
                    written[split] = write_split(
                        new,
                        split,
                        streams,
                        (streams.digest, labels_digest(streams.labels, len(classes))),
                        format,
                        earlier=earlier,
                        on_samples=lambda count: progress.advance(task, count),
                    )
                    histograms[split] = streams.histogram
                    sizes |= set(zip(streams.heights.tolist(), streams.widths.tolist(), strict=True))
        mean, std = histogram_statistics(histograms["train"])
        height, width = (lengths.pop() if len(lengths) == 1 else 0 for lengths in map(set, zip(*sizes, strict=True)))
        manifest = Manifest(
            folder.name,
            (height, width, 3),
            classes,
            mean,
            std,
            source,
            verified=False,
            note=note,
            splits=written,
            inventory=_made(inventory),
        )
        if part is not None:
            write_part_file(new, part, histograms["train"])
        write_manifest(new, manifest)
        return manifest


@contextmanager
def _exchanging(folder: Path, console: Console | None) -> Iterator[Path]:
    """As `exchanging`, begun without what a killed conversion of version 0.1 has left beside its files."""
    with exchanging(folder, console) as new:
        remove_leftovers(folder, _NAMES)
        yield new


def _made(inventory: Inventory) -> dict[str, Any]:
    return inventory() if callable(inventory) else inventory or {}


def _num_formats(format: str) -> int:
    return 2 if format == "both" else 1
