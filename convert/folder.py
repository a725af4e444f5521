"""Converts any image folder or WebDataset tar to JPEG images in one file per split.

`python convert/folder.py IMAGES --root data/mine`

An RGB JPEG that is small enough is kept; others are resized and encoded, on all cores. Rows of baseline streams end in
restart markers, which change no pixel: a loader then reads only the rows that it needs.
"""

import os
import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.terminal import print_summary
from convert.writers.split import finished


def convert_folder(
    images: Path,
    root: Path | None = None,
    format: Literal["beton", "dali", "tar", "both"] = "beton",
    max_side: int = 0,
    quality: int = 90,
    workers: int = 0,
) -> None:
    """Convert a folder or a tar of images to ROOT: JPEG images in one file per split and format, and a manifest.

    When they are already there, nothing is done.

    Args:
        images: a folder that holds train/<class>/* and val/<class>/* or test/<class>/*; or one that holds <class>/*,
            which becomes the train split; or a WebDataset tar.
        root: the folder to write; its name is the name of the data set. By default data/NAME, with the name of IMAGES.
        format: .beton files; "dali" or "tar" for .tar files with their .idx; or both.
        max_side: in pixels; larger images are resized so that the longer side has this length. 0 is no limit.
        quality: of the images that are encoded, 1 to 95. JPEG images that need no resizing keep their bytes.
        workers: threads that decode and encode; 0 takes all cores. The files do not depend on it.

    Raises:
        FileNotFoundError, ValueError: `images` is missing, holds no labelled images or a damaged one; or an option is
            out of range.
        ImportError: FFCV is not installed and `.beton` is wanted.
        OSError: a file cannot be written.
    """
    if not 1 <= quality <= 95:
        raise ValueError(f"--quality is {quality}, allowed: 1 to 95")
    if max_side < 0 or workers < 0:
        raise ValueError(f"--max-side and --workers are {max_side} and {workers}, allowed: 0 or more")
    format, console = "dali" if format == "tar" else format, Console(markup=False)
    root = root or Path("data") / images.resolve().stem
    manifest = finished(root, format)
    if manifest is not None:
        console.print(f"{root} is already there (from {manifest.source}); delete it to convert again", soft_wrap=True)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.jpeg import encode_all, encoders
    from convert.sources.labelled_images import find_images
    from convert.sources.restart_rows import NOTE, left_out
    from convert.writers.dataset import write_jpeg_dataset

    with console.status(f"looking through {images}"):
        found = find_images(images)
    workers = workers or len(os.sched_getaffinity(0))
    limit = f"longer side at most {max_side} pixels" if max_side else "of any size"
    with encoders(workers) as pool:
        splits = {
            split: (encode_all(pool, 4 * workers, sources, max_side, quality), [source.label for source in sources])
            for split, sources in found.splits.items()
        }
        manifest = write_jpeg_dataset(
            root,
            splits,
            found.classes,
            format=format,
            source=images.resolve().name,
            note=f"JPEG, {limit}, quality {quality} where encoded anew; {NOTE}",
            console=console,
        )
    print_summary(root, manifest, console)
    sentence = left_out(root, manifest)
    if sentence:
        console.print(sentence, soft_wrap=True)


if __name__ == "__main__":
    run_command(convert_folder, as_positional=True)
