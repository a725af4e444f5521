"""Converts any image folder or WebDataset tar to JPEG images in one file per split.

`python convert/folder.py IMAGES --root data/mine`

First an inventory is printed: splits, classes and counts, what is left out and why; `--dry-run` stops there. An RGB
JPEG that is small enough is kept; other images are resized and encoded, on all cores. Rows of baseline streams end in
restart markers, which change no pixel: a loader then reads only the rows that it needs.
"""

import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.sources.folder.records import asked_for, tell_there
from convert.sources.part import parse_part
from convert.terminal import print_summary
from convert.writers.split import finished


def convert_folder(
    images: Path,
    root: Path | None = None,
    format: Literal["beton", "dali", "tar", "both"] = "beton",
    dry_run: bool = False,
    split: float = 0.0,
    seed: int = 0,
    val_as_test: bool = False,
    depth: int = 1,
    labels: Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    class_list: Path | None = None,
    allow_empty: bool = False,
    skip_broken: bool = False,
    max_side: int = 0,
    max_pixels: int = 0,
    orient: bool = False,
    background: str = "white",
    range: tuple[float, float] | None = None,
    quality: int = 90,
    workers: int = 0,
    part: str | None = None,
) -> None:
    """Convert a folder or a tar of images to ROOT: JPEG images in one file per split and format, and a manifest.

    When they are already there, nothing is done; when other images or options made what is there, that is an error.

    Args:
        images: a folder that holds train/<class>/* and val/<class>/* or test/<class>/*; or one that holds <class>/*,
            which becomes the train split; or a WebDataset tar, a folder of such tars, or a pattern of them.
        root: the folder to write; its name is the name of the data set. By default data/NAME, with the name of IMAGES.
        format: .beton files; "dali" or "tar" for .tar files with their .idx; or both.
        dry_run: look at every image, tell what would be written, and stop.
        split: fraction of each class that is held out as a test set, where there is none.
        seed: of that choice.
        val_as_test: call the split val test.
        depth: levels of folders that make a class: 2 takes flowers/daisy for one.
        labels: a CSV or Parquet file that names images and their labels, in place of class folders.
        image_column: of that file; not needed where it has two columns.
        label_column: likewise.
        class_list: a text file with one class on each line, which sets the order of the labels.
        allow_empty: keep classes without an image in train.
        skip_broken: leave out files that cannot be used, and list them in the manifest.
        max_side: in pixels; larger images are resized so that the longer side has this length. 0 is no limit.
        max_pixels: larger images are resized to this many pixels. 0 is no limit.
        orient: turn images as their orientation tags ask; else pixels are as stored.
        background: the colour that transparent pixels are composited on: a name, or such as "#ff8000".
        range: the values LOW HIGH that become black and white, in images of more than 8 bits; by default the range of
            their type.
        quality: of the images that are encoded, 1 to 95. JPEG images that need no resizing keep their
            pixels to the bit: their streams are only divided by restart markers.
        workers: threads that decode and encode; 0 takes all cores. The files do not depend on it.
        part: such as 3/16, to convert the third of sixteen parts into a folder of its own in ROOT, on any machine of a
            job array; `python -m convert.merge ROOT` makes one data set of them.

    Raises:
        FileNotFoundError, ValueError: `images` is missing, holds no labelled images or broken ones; or an option is
            out of range.
        ImportError: pyarrow is not installed, and labels are in Parquet.
        OSError: a file cannot be written.
    """
    _check_options(quality, max_side, max_pixels, workers, depth, split, range)
    format, console = "dali" if format == "tar" else format, Console(markup=False, highlight=False)
    if root is None and not images.exists() and any(letter in images.name for letter in "*?[{"):
        raise ValueError(f"{images} is a pattern, which names no data set: say where it goes with --root")
    root = root or Path("data") / images.resolve().stem
    slice_of = None if part is None else parse_part(part)
    root = root if slice_of is None else root / slice_of.name
    manifest = None if dry_run else finished(root, format)
    asked = asked_for(
        images,
        {
            **{"split": split, "seed": seed, "val_as_test": val_as_test, "depth": depth, "labels": labels},
            **{"image_column": image_column, "label_column": label_column, "class_list": class_list},
            **{"allow_empty": allow_empty, "skip_broken": skip_broken, "max_side": max_side, "max_pixels": max_pixels},
            **{"orient": orient, "background": background, "range": range, "quality": quality},
        },
    )
    if manifest is not None:
        tell_there(root, manifest, asked, console)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.folder.conversion import Conversion
    from convert.sources.folder.inventory import print_inventory
    from convert.sources.labelled_images import Choices, find_images
    from convert.sources.restart_rows import left_out
    from loaders.formats.pixels.image_file import PixelRules

    rules = PixelRules(_color(background), range, orient, max_side, max_pixels, trusted=True)
    choices = Choices(depth, val_as_test, split, seed, labels, image_column, label_column, class_list)
    with console.status(f"looking through {images}"):
        found = find_images(images, choices)
    print_inventory(found, console)
    conversion = Conversion(rules, background, quality, workers, skip_broken, allow_empty, console)
    if dry_run:
        conversion.check(found)
        console.print("nothing is written: --dry-run", soft_wrap=True)
        return
    if slice_of is not None:
        found, conversion = conversion.of_part(found, slice_of)
    manifest = conversion.write(found, root, format, asked)
    print_summary(root, manifest, console)
    sentence = left_out(root, manifest)
    if sentence:
        console.print(sentence, soft_wrap=True)


def _check_options(
    quality: int,
    max_side: int,
    max_pixels: int,
    workers: int,
    depth: int,
    split: float,
    value_range: tuple[float, float] | None,
) -> None:
    if not 1 <= quality <= 95:
        raise ValueError(f"--quality is {quality}, allowed: 1 to 95")
    for name, value, least in (
        ("max-side", max_side, 0),
        ("max-pixels", max_pixels, 0),
        ("workers", workers, 0),
        ("depth", depth, 1),
    ):
        if value < least:
            raise ValueError(f"--{name} is {value}, allowed: {least} or more")
    if not 0 <= split < 1:
        raise ValueError(f"--split is {split:g}, allowed: a fraction of at least 0 and below 1")
    if value_range is not None and not value_range[0] < value_range[1]:
        low, high = value_range
        raise ValueError(f"--range is {low:g} {high:g}, allowed: the lower value first, then a higher one")


def _color(background: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(background)
    except ValueError:
        raise ValueError(f"--background is {background!r}, allowed: a colour such as black or '#ff8000'") from None
    return red, green, blue


if __name__ == "__main__":
    run_command(convert_folder, as_positional=True)
