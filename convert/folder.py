"""Converts any image folder or WebDataset tar to JPEG files: `python convert/folder.py SOURCE --root data/NAME`.

The bytes of a JPEG that is small enough are kept; other images are resized and encoded, several at once.
"""

import os
import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.build import FORMATS, finished, progress_bar, summary
from convert.command import run_command
from convert.writers.streams import Streams, spooled
from loaders.formats.manifest import (
    FILE_NAME,
    FileEntry,
    Manifest,
    Split,
    file_entry,
    histogram_statistics,
    labels_digest,
    missing_files,
    read_manifest,
    write_manifest,
)


def convert_folder(
    source: Path,
    root: Path,
    format: Literal["beton", "dali", "tar", "both"] = "beton",
    max_side: int = 0,
    quality: int = 90,
    workers: int = 0,
) -> None:
    """Write ROOT with a JPEG file for every split and a manifest; returns at once when they are already there.

    Args:
        source: a folder with train/<class>/* and val/<class>/* or test/<class>/*, or with <class>/*, or a tar.
        root: the folder to write, such as data/flowers; its name is the name of the data set.
        format: .beton files; "dali" or "tar", a .tar and its .idx; or both.
        max_side: pixels; larger images are made smaller, so that the longer side has this length. 0 is no limit.
        quality: of the images that are encoded anew, 1 to 95.
        workers: threads that decode and encode; 0 takes all cores. The files do not depend on it.
    """
    if not 1 <= quality <= 95:
        raise ValueError(f"--quality is 1 to 95, got {quality}")
    if max_side < 0 or workers < 0:
        raise ValueError(f"--max_side and --workers are 0 or more, got {max_side} and {workers}")
    format, console = "dali" if format == "tar" else format, Console(markup=False)
    manifest = finished(root, format)
    if manifest is not None:
        console.print(f"{root} is already there (from {manifest.source}); delete it to convert again", soft_wrap=True)
        return
    from convert.sources.images import encode_all, find

    with console.status(f"looking through {source}"):
        found = find(source)
    workers, copies = workers or len(os.sched_getaffinity(0)), 1 + (2 if format == "both" else 1)
    num_images = sum(map(len, found.splits.values()))
    written, histogram, shapes, old = {}, None, set(), _earlier(root)
    with progress_bar(console) as progress:
        task = progress.add_task(f"writing {root.name}", total=num_images * copies)

        def counted(streams):
            for stream in streams:
                yield stream
                progress.advance(task)

        for split, sources in found.splits.items():
            labels = [image.label for image in sources]
            encoded = encode_all(sources, max_side, quality, workers)
            with spooled(root / split, counted(encoded), labels) as streams:
                digests = streams.digest, labels_digest(streams.labels, len(found.classes))
                kept = _kept(root, old, split, digests)
                if not kept:
                    _make_way(root, old, split, console)
                paths = _write_split(root, split, streams, format, lambda count: progress.advance(task, count))
                files = {**kept, **{path.name: file_entry(path) for path in paths}}
                written[split] = Split(len(streams), *digests, dict(sorted(files.items())))
                histogram = streams.histogram if split == "train" else histogram
                shapes |= {(height, width) for height, width in zip(streams.heights, streams.widths, strict=True)}
    mean, std = histogram_statistics(histogram)
    height, width = (int(sides.pop()) if len(sides) == 1 else 0 for sides in map(set, zip(*shapes, strict=True)))
    limit = f"longer side at most {max_side} pixels" if max_side else "of any size"
    note = f"JPEG, {limit}, quality {quality} where encoded anew"
    manifest = Manifest(
        root.name, (height, width, 3), found.classes, mean, std, source.resolve().name, False, note, written
    )
    write_manifest(root, manifest)
    console.print(summary(root, manifest))


def _write_split(root: Path, split: str, streams: Streams, format: str, on_samples) -> list[Path]:
    paths = [root / f"{split}.{ending}" for ending in FORMATS[format]]
    if format != "dali":
        from convert.writers.beton import write_jpeg_beton

        write_jpeg_beton(paths[0], streams, on_samples)
    if format != "beton":
        from convert.writers.tar import write_jpeg_tar

        write_jpeg_tar(paths[-2], streams, on_samples)
    return paths


def _earlier(root: Path) -> Manifest | None:
    """The manifest of an earlier, whole conversion."""
    try:
        manifest = read_manifest(root)
    except (FileNotFoundError, ValueError):
        return None
    return None if missing_files(root, manifest) else manifest


def _kept(root: Path, old: Manifest | None, split: str, digests: tuple[str, str]) -> dict[str, FileEntry]:
    """Files of the split in another format that hold the same streams."""
    known = old.splits.get(split) if old is not None else None
    same = known is not None and (known.pixels_sha256, known.labels_sha256) == digests
    return known.files if same else {}


def _make_way(root: Path, old: Manifest | None, split: str, console: Console) -> None:
    """Take away what is of other images: the manifest, until this conversion is finished, and the split's files."""
    (root / FILE_NAME).unlink(missing_ok=True)
    if old is None or split not in old.splits:
        return
    for name in old.splits[split].files:
        console.print(f"removing {root / name}: it holds other images", soft_wrap=True)
        (root / name).unlink(missing_ok=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv.insert(1, "--source")
    run_command(convert_folder)
