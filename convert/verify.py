"""Checks a converted data set against its manifest: `python convert/verify.py data/cifar10`.

Compared are the size and checksum of each file, and the images and labels that the readers of `loaders` find in it; and
the formats with each other, id by id. What a person should see is shown: checksums of each file's regions, the number
of images of each class, and a contact sheet.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from convert.checks.files import difference, formats_of, name_of, open_files, problems_of
from convert.checks.regions import regions
from convert.command import run_command
from convert.writers.exchange import SHEET
from loaders.formats.dataset import DatasetFile
from loaders.formats.manifest import Manifest, read_manifest

_MOST_CLASSES = 30  # rows of the table


def verify(folder: Path, sheet: Path | None = None) -> None:
    """Check a converted data set against its manifest; print what was found, and draw a contact sheet.

    Args:
        folder: a data set made by a script of convert/, such as data/cifar10.
        sheet: where a PNG with a few images of each class is drawn; by default FOLDER/contact_sheet.png.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: the manifest is damaged, or a file is not what it says.
        OSError: the sheet cannot be written where it was asked for.
    """
    manifest, console = read_manifest(folder), Console(markup=False, highlight=False, soft_wrap=True)
    check(folder, manifest, console)
    console.print(_regions(folder, manifest))
    console.print(_counts(folder, manifest))
    from convert.checks.sheet import draw_sheet

    split = "train" if "train" in manifest.splits else next(iter(manifest.splits))
    path = sheet or folder / SHEET
    try:
        draw_sheet(path, _opened(folder, manifest, split), manifest.classes, f"{manifest.name}, {split}")
    except OSError as error:
        if sheet is not None:
            raise
        console.print(
            f"no contact sheet, since {path} cannot be written ({error.strerror}): --sheet PATH draws it elsewhere"
        )
        return
    console.print(f"contact sheet: {path}")


def check(folder: Path, manifest: Manifest, console: Console | None) -> None:
    """Check every file, and print a line for each; None prints nothing.

    Raises:
        ValueError: files differ from the manifest, or formats from each other.
    """
    problems: dict[str, str] = {}
    lines: list[str] = []
    for split in manifest.splits:
        found = problems_of(folder, manifest, split)
        lines += [f"BAD {name}: {problem}" if problem else f"ok  {name}" for name, problem in found.items()]
        if not formats_of(manifest, split):
            raise ValueError(f"the manifest of {folder} names no .beton and no .tar of {split}: convert again")
        first, *others = formats_of(manifest, split)
        for other in others:
            is_well = not any(found[name] for name in (*first, *other))
            lines.append(_compared(folder, first, other, is_well, manifest))
        problems |= found
    if console is not None:
        console.print("\n".join(lines))
    num_bad = sum(map(bool, problems.values()))
    if num_bad:
        raise ValueError(
            f"{num_bad} of {len(problems)} files differ from the manifest of {folder}: delete it and convert again"
        )


def check_written(folder: Path, console: Console) -> None:
    """Read a data set back that was just written, and say that it is what its manifest says.

    Raises:
        ValueError: it is not.
    """
    manifest = read_manifest(folder)
    with console.status("reading it back"):
        check(folder, manifest, None)
    samples = sum(split.num_samples for split in manifest.splits.values())
    formats = {Path(names[0]).suffix for split in manifest.splits for names in formats_of(manifest, split)}
    same = ", the same in both formats" if len(formats) > 1 else ""
    console.print(f"read back: {samples:,} samples as the manifest says{same}")


def _compared(folder: Path, first: list[str], second: list[str], is_well: bool, manifest: Manifest) -> str:
    """One line on two formats of a split. Files that are both as the manifest says hold the same samples."""
    both = " and ".join(map(name_of, (first, second)))
    same = f"{both} hold the same samples, id by id"
    if is_well:
        return f"ok  {same}"
    try:
        one, other = ([folder / name for name in names] for names in (first, second))
        differing = difference(one, other, manifest)
        return f"    {differing or same}"
    except (ValueError, OSError):
        return f"    {both} cannot be compared"


def _opened(folder: Path, manifest: Manifest, split: str) -> DatasetFile:
    """The data set of a split's first format."""
    return open_files([folder / name for name in formats_of(manifest, split)[0]])


def _regions(folder: Path, manifest: Manifest) -> Table:
    table = Table("file", "region", "bytes", "sha256")
    table.columns[0].overflow, table.columns[2].justify = "fold", "right"
    for split in manifest.splits.values():
        for name in split.files:
            for region in regions(folder / name):
                table.add_row(name, region.name, f"{region.num_bytes:,}", region.sha256[:16])
    return table


def _counts(folder: Path, manifest: Manifest) -> Table:
    """Images of each class in each split; of many classes, those with the fewest and the most in the first split."""
    classes, counts = manifest.classes, {}
    for name in manifest.splits:
        labels = _opened(folder, manifest, name).labels
        counts[name] = np.bincount(labels, minlength=len(classes))
    rows = np.arange(len(classes))
    if len(rows) > _MOST_CLASSES:
        order = np.argsort(next(iter(counts.values())), kind="stable")
        rows = np.concatenate([order[: _MOST_CLASSES // 2], order[-(_MOST_CLASSES // 2) :]])
    table = Table("label", "class", *counts)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows.tolist():
        table.add_row(str(row), classes[row], *(f"{count[row]:,}" for count in counts.values()))
    if len(rows) < len(classes):
        table.caption = f"{len(rows)} of {len(classes)} classes: those with the fewest and the most images"
    return table


if __name__ == "__main__":
    run_command(verify, as_positional=True)
