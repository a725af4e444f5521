"""Converts a data set of the library `datasets`: `python convert/huggingface.py FOLDER --root data/mine`.

FOLDER is what `save_to_disk` has written, or a folder of Parquet or Arrow files as they come from a hub: a column of
images and one of labels. Needs pyarrow.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.sources.folder.records import asked_for, tell_there
from convert.terminal import print_summary
from convert.writers.split import finished
from loaders.formats.manifest import Manifest

if TYPE_CHECKING:
    from convert.sources.huggingface.tables import Tables
    from loaders.formats.pixels.image_file import PixelRules


def convert_huggingface(
    tables: Path,
    root: Path | None = None,
    format: Literal["beton", "dali", "both"] = "beton",
    image_column: str | None = None,
    label_column: str | None = None,
    store: Literal["auto", "raw", "jpeg"] = "auto",
    channels: Literal[1, 3] = 3,
    max_side: int = 0,
    quality: int = 90,
    workers: int = 0,
) -> None:
    """Convert a folder of Parquet or Arrow files with images to ROOT: one file per split and format, and a manifest.

    When they are already there, nothing is done; when other tables or options made what is there, that is an error.
    The ids run through the rows, file after file.

    Args:
        tables: a folder that `save_to_disk` has written, or of Parquet or Arrow files from a hub.
        root: the folder to write; its name is the name of the data set. By default data/NAME, with the name of TABLES.
        format: .beton files; "dali" for .tar files with their .idx; or both.
        image_column: the column of images; by default the only one that holds any.
        label_column: the column of labels, integers or strings; by default the one that is marked as a class label.
        store: "raw" keeps pixels as they are, for images of one size; "jpeg" keeps JPEG files and encodes others;
            "auto" takes raw where all images are PNG of one size of at most 128 pixels.
        channels: 1 keeps grey images grey, where they are stored raw.
        max_side: in pixels; larger images are resized so that the longer side has this length, where they are stored as
            JPEG. 0 is no limit.
        quality: of the JPEG images that are encoded, 1 to 95.
        workers: threads that decode and encode; 0 takes all cores. The files do not depend on it.

    Raises:
        FileNotFoundError, ValueError: the folder is missing, or holds no such data set or a damaged one; or an option
            is out of range.
        ImportError: pyarrow is not installed.
        OSError: a file cannot be written.
    """
    if not 1 <= quality <= 95 or max_side < 0 or workers < 0:
        given = f"{quality}, {max_side} and {workers}"
        raise ValueError(f"--quality, --max-side and --workers are {given}, allowed: 1 to 95, and 0 or more")
    console = Console(markup=False, highlight=False, soft_wrap=True)
    root = root or Path("data") / tables.resolve().name
    manifest = finished(root, format)
    asked = asked_for(
        tables,
        {
            **{"image_column": image_column, "label_column": label_column, "store": store, "channels": channels},
            **{"max_side": max_side, "quality": quality},
        },
    )
    if manifest is not None:
        tell_there(root, manifest, asked, console)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.folder.pixel_notes import pixel_notes
    from convert.sources.huggingface.images import common_size
    from convert.sources.huggingface.tables import read_tables
    from convert.verify import check_written
    from loaders.formats.pixels.image_file import PixelRules

    with console.status(f"reading the labels of {tables}"):
        found = read_tables(tables, image_column, label_column)
    for phrase in found.left_out:
        console.print(f"left out: {phrase}")
    counts = ", ".join(f"{split} {len(labels):,}" for split, labels in found.labels.items())
    console.print(
        f"{tables}: {counts} images in column {found.columns.image}, {len(found.classes)} classes in column "
        f"{found.columns.label}"
    )
    with console.status("looking at the images"):
        size = None if store == "jpeg" else common_size(found, only_small=store == "auto")
    facts, rules = Counter[str](), PixelRules(max_side=max_side)

    def inventory() -> dict[str, Any]:
        left_out = [f"left out: {phrase}" for phrase in found.left_out]
        return {"asked": asked, "notes": [*left_out, *pixel_notes(facts, rules)]}

    options = {"format": format, "source": tables.resolve().name, "inventory": inventory, "console": console}
    if size is not None:
        manifest = _write_raw(root, found, size, channels, facts, options)
    elif channels == 1:
        raise ValueError("--channels 1 needs images that are stored raw: add --store raw, for images of one size")
    else:
        workers = workers or len(os.sched_getaffinity(0))
        manifest = _write_jpeg(root, found, rules, quality, workers, facts, options)
    for note in pixel_notes(facts, rules):
        console.print(f"note: {note}")
    print_summary(root, manifest, console)
    check_written(root, console)


def _write_raw(
    root: Path,
    found: "Tables",
    size: tuple[int, int],
    channels: int,
    facts: Counter[str],
    options: dict[str, Any],
) -> Manifest:
    from convert.sources.huggingface.images import as_array, encoded
    from convert.writers.dataset import write_dataset

    splits = {
        split: (as_array(encoded(found.files[split], found.columns), len(labels), size, channels, facts), labels)
        for split, labels in found.labels.items()
    }
    note = "pixels as they are in the tables"
    return write_dataset(root, root.name, splits, found.classes, verified=False, note=note, **options)


def _write_jpeg(
    root: Path,
    found: "Tables",
    rules: "PixelRules",
    quality: int,
    workers: int,
    facts: Counter[str],
    options: dict[str, Any],
) -> Manifest:
    from convert.sources.huggingface.images import as_labelled, encoded
    from convert.sources.jpeg import Encoded, encode_all, encoders
    from convert.writers.dataset import write_jpeg_dataset
    from convert.writers.streams import Stream

    def counted(images: Iterable[Encoded]) -> Iterator[Stream]:
        for image in images:
            facts.update(image.facts)
            yield image.stream

    limit = f"longer side at most {rules.max_side} pixels" if rules.max_side else "of any size"
    with encoders(workers) as pool:
        splits = {}
        for split, labels in found.labels.items():
            images = as_labelled(encoded(found.files[split], found.columns), labels)
            splits[split] = counted(encode_all(pool, 4 * workers, images, quality, rules)), labels.tolist()
        note = f"JPEG, {limit}, quality {quality} where encoded anew"
        return write_jpeg_dataset(root, splits, found.classes, note=note, **options)


if __name__ == "__main__":
    run_command(convert_huggingface, as_positional=True)
